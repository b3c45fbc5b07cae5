"""The doctor at a relay on the loopback interface: with keys, and with peers that misbehave."""

import contextlib
import socket
import threading

import pytest
import zmq
from zmq.auth.thread import ThreadAuthenticator

from astropix_stream import keys, wire
from astropix_stream.doctor import probe, relay
from astropix_stream.doctor.relay import HandshakeResult
from astropix_stream.errors import ConfigError
from astropix_stream.url import parse_url
from integration.test_relay import running_relay

HELLO = wire.pack_hello(wire.Hello(1, "1.0", {"astropix": 4000}, None))
STEP_S = 1.0


def ask(url):
    return probe.ask(parse_url(url), STEP_S)


def faults(answers):
    return [verdict.fault for verdict in relay.judge(answers) if verdict.fault]


@contextlib.contextmanager
def publisher(*, secret=None, hello=HELLO):
    """Something that greets as a relay does, and lets in those with a key of the directory."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as sock:
        sock.linger = 0
        sock.setsockopt(zmq.XPUB_WELCOME_MSG, hello)
        if secret is not None:
            sock.curve_server, sock.curve_secretkey, sock.zap_domain = True, secret, b"relay"
        port = sock.bind_to_random_port("tcp://127.0.0.1")
        yield sock, f"tcp://127.0.0.1:{port}"


class OneKey:
    """Lets in whoever has this key."""

    def __init__(self, public):
        self._public = public

    def callback(self, domain, key):
        return key == self._public


def test_a_relay_that_is_well(group, port):
    with running_relay(group, port) as running:
        answers = ask(running.publisher.endpoint)
    assert (answers.stream, answers.report["joined"]) == ("astropix", True)
    assert faults(answers) == ["relay-hears-nothing"]


def test_a_name_is_looked_up(group, port):
    with running_relay(group, port) as running:
        answers = ask(running.publisher.endpoint.replace("127.0.0.1", "localhost"))
    assert "127.0.0.1" in answers.addresses
    assert answers.handshake is HandshakeResult.SUCCEEDED


def test_keys(tmp_path):
    for name in ("relay", "me", "foreign"):
        keys.write_pair(tmp_path, name)

    def with_keys(endpoint, server, ours):
        return f"{endpoint}?server_key={tmp_path / server}.key&key_file={tmp_path / ours}.key_secret"

    with publisher(secret=keys.read_pair(tmp_path / "relay.key_secret").secret) as (sock, endpoint):
        authenticator = ThreadAuthenticator(sock.context)
        authenticator.start()
        try:
            mine = OneKey(keys.read_public(tmp_path / "me.key"))
            authenticator.configure_curve_callback(domain="relay", credentials_provider=mine)
            assert faults(ask(endpoint)) == ["key-needed"]
            assert faults(ask(with_keys(endpoint, "relay", "foreign"))) == ["key-refused"]
            assert faults(ask(with_keys(endpoint, "foreign", "me"))) == ["wrong-server-key"]
            answers = ask(with_keys(endpoint, "relay", "me"))
            assert answers.handshake is HandshakeResult.SUCCEEDED
            assert "accepted" in [verdict.text for verdict in relay.judge(answers)]
        finally:
            authenticator.stop()
    with publisher() as (_, endpoint):
        assert faults(ask(with_keys(endpoint, "relay", "me"))) == ["key-unneeded"]


def test_keys_that_cannot_be_read_are_the_persons_mistake(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the key file"):
        ask(f"tcp://127.0.0.1:5?server_key={tmp_path}/none.key&key_file={tmp_path}/none.key_secret")
    with pytest.raises(ConfigError, match="belong together"):
        ask(f"tcp://127.0.0.1:5?server_key={tmp_path}/none.key")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\xff" * 64])
def test_another_program_answers(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        answers = ask(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert faults(answers) == ["not-zeromq"]


def test_a_flood_without_a_beat_comes_to_an_end():
    stop = threading.Event()
    header = wire.pack_header(wire.Header(0, 1, 1, 0, 0, wire.NO_SOURCE))
    with publisher() as (sock, endpoint):

        def flood():
            while not stop.wait(0.0005):
                sock.send_multipart([b"apx/astropix/data", header, b"x"])
                sock.send_multipart([b"apx/astropix/junk"])

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            answers = ask(endpoint)
        finally:
            stop.set()
            thread.join()
    assert (answers.has_data, answers.report) == (True, None)
