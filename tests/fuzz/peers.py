"""Targets that run: raw ZMTP at a relay, with and without encryption; HTTP at its metrics and at the page.

After each example the program must still be there, and a subscriber, or a reader of the page, be served. What
is sent is what the seed says; what the program does with it depends on time, too.
"""

import contextlib
import http.client
import itertools
import socket
import sys
import tempfile
from pathlib import Path

import zmq
from hypothesis import strategies as st
from zmq.utils import z85

from astropix_stream import wire
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.sock import MulticastSender
from fuzz.mutations import Target, edits, mutated
from ports import free_port, free_port_pair
from programs import Program
from zmtp import DEALER, GREETING, READY, Curve, Peer, frame, new_pair

GROUP = "239.255.77.1"
PATIENCE_S = 10.0
topics = st.sampled_from(
    [b"\x01", b"\x00", b"\x01apx/", b"\x01apx/astropix/data", b"\x00apx/astropix/beat", b"\x02x"]
)
request = wire.pack_request(wire.Request(wire.Ask.OLDEST, 1, 0, 0, 0, "astropix"))
bodies = mutated(topics | st.just(request)) | st.binary(max_size=330)
commands = st.sampled_from(
    [b"\x04PING\0\0abc", b"\x04PONG", b"\x05ERROR\x03abc", b"\x09SUBSCRIBEapx", b"\x06CANCEL", READY]
)
# (flags, body)
frames = st.tuples(st.integers(0, 7), bodies) | st.tuples(st.sampled_from([4, 6]), mutated(commands))


class Watched(Program):
    """A program, and what keeps an eye on it."""

    def check(self):
        assert self.process.poll() is None, f"it ended: {self}"
        assert "Traceback" not in self.stderr, self.stderr


class Relay:
    """A relay as a program, and a good subscriber beside the attackers."""

    def __init__(self, opened, *, curve):
        self.port, self.group_port = free_port_pair(), free_port(socket.SOCK_DGRAM)
        self.metrics_port = free_port(socket.SOCK_STREAM)
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        security, query = "", ""
        self.keys = []
        if curve:
            self.keys = write_keys(directory)
            security = (
                f"security: {{client_keys: {directory}/clients, secret_key: {directory}/relay.key_secret}}\n"
            )
            query = f"?server_key={directory}/relay.key&key_file={directory}/good.key_secret"
        (directory / "relay.yaml").write_text(
            f"streams: [{{group: {GROUP}, port: {self.group_port}, interface: 127.0.0.1}}]\n"
            # The attackers come from the good one's own host, and are many.
            f"publish: {{endpoint: 'tcp://127.0.0.1:{self.port}', never_refuse: [127.0.0.0/8]}}\n"
            f"history: {{size: 1MiB}}\nmetrics: {{listen: '127.0.0.1:{self.metrics_port}'}}\n{security}"
        )
        command = (sys.executable, "-m", "astropix_relay", "run", "--config", directory / "relay.yaml")
        self.program = opened.enter_context(Watched(*command))
        self.program.wait_for("publishing on")
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.receiver = opened.enter_context(open_receiver(AstroPix4Readout, self.url + query))
        self.receiver.wait_ready(PATIENCE_S)
        self.sender = opened.enter_context(MulticastSender(GROUP, self.group_port, 0, interface="127.0.0.1"))
        self.sent = itertools.count()

    def check(self):
        """Check that a readout still comes through, and no other has been lost."""
        self.program.check()
        number = next(self.sent)
        self.sender.send_readout(AstroPix4Readout(b"", number))
        try:
            assert self.receiver.receive(timeout=PATIENCE_S).readout_id == number
        except ReceiveTimeout:
            raise AssertionError(f"nothing came: {self.program}") from None
        assert (self.receiver.ledger.lost, self.receiver.ledger.restarts) == (0, 0)


def write_keys(directory):
    """Write the relay's and two clients' pairs; return what `Curve` takes, for the second client."""
    pairs = {name: zmq.curve_keypair() for name in ("relay", "good", "bad")}
    (directory / "clients").mkdir()
    for name, (public, secret) in pairs.items():
        text = f'metadata\ncurve\n    public-key = "{public.decode()}"\n'
        (directory / f"{name}.key").write_text(text)
        if name != "relay":
            (directory / f"clients/{name}.key").write_text(text)
        path = directory / f"{name}.key_secret"
        path.touch(mode=0o600)
        path.write_text(f'{text}    secret-key = "{secret.decode()}"\n')
    return [z85.decode(key) for key in (pairs["relay"][0], *pairs["bad"])]


def as_frame(flags, body):
    return bytes([flags | 2 * (len(body) > 255)]) + frame(body)[1:]


# (port: publisher or history, whether the handshake is right, edits of it, frames, edits of these)
talks = st.tuples(
    st.integers(0, 1),
    st.booleans(),
    st.lists(edits, min_size=1, max_size=2),
    st.lists(frames, max_size=8),
    st.lists(edits, max_size=2),
)


def talk(relay):
    """Return a target: a client without encryption says something."""

    def check(example):
        door, is_right, wrong, said, changes = example
        handshake = GREETING + frame(DEALER if door else READY, command=True)
        for edit in [] if is_right else wrong:
            handshake = edit.apply(handshake)
        words = b"".join(as_frame(*one) for one in said)
        for edit in changes:
            words = edit.apply(words)
        with contextlib.suppress(OSError), Peer(f"tcp://127.0.0.1:{relay.port + door}", 0.05) as peer:
            peer.sendall(handshake + words)
            with contextlib.suppress(TimeoutError):
                while peer.recv(65536):
                    pass
        relay.check()

    return check


def talk_encrypted(relay):
    """Return a target: a client whose key is on the list, or who stumbles in its handshake."""

    def check(example):
        door, is_right, wrong, said, changes = example
        curve = Curve(*relay.keys) if is_right else Curve(relay.keys[0], *new_pair())
        with contextlib.suppress(OSError), Peer(f"tcp://127.0.0.1:{relay.port + door}", 0.05) as peer:
            hello = frame(curve.hello(), command=True)
            for edit in [] if is_right else wrong[1:]:
                hello = edit.apply(hello)
            peer.sendall(Curve.GREETING + hello)
            peer.read(64)
            welcome = peer.read(170)[2:]
            if len(welcome) < 168:
                return
            initiate = frame(curve.initiate(welcome, (DEALER if door else READY)[6:]), command=True)
            for edit in [] if is_right else wrong[:1]:
                initiate = edit.apply(initiate)
            words = b"".join(frame(curve.message(body, more=bool(flags & 1))) for flags, body in said)
            for edit in changes:
                words = edit.apply(words)
            peer.sendall(initiate + words)
            with contextlib.suppress(TimeoutError):
                while peer.recv(65536):
                    pass
        relay.check()

    return check


PATHS = [
    "/",
    "/metrics",
    "/healthz",
    "/api/state.json",
    "/api/tot.csv?run=1&masked=0/9/3",
    "/ws",
    "/static/js/bokeh.min.js",
    "/assets/bokeh.min.js",
]
HEADERS = [
    *("Host: {host}", "Connection: Upgrade", "Upgrade: websocket", "Origin: http://{host}"),
    *("Content-Length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Range: bytes=0-"),
    *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Cookie: a=b; c"),
    "Accept: application/openmetrics-text",
]
asks = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "G\u00e4T"]),
    st.sampled_from(PATHS) | st.text(max_size=20).map("/{}".format),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/9.9", ""]),
    st.lists(st.sampled_from(HEADERS) | st.text(max_size=30), max_size=6),
    st.binary(max_size=40),
    st.lists(edits, max_size=3),
)


def ask(port, path, check_program):
    """Return a target: an HTTP client says something; then `path` is asked as it should be."""
    host = f"127.0.0.1:{port}"

    def check(example):
        method, where, version, headers, body, changes = example
        lines = [f"{method} {where} {version}", *(line.replace("{host}", host) for line in headers), "", ""]
        words = "\r\n".join(lines).encode(errors="replace") + body
        for edit in changes:
            words = edit.apply(words)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.05) as client:
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        with contextlib.closing(http.client.HTTPConnection(host, timeout=PATIENCE_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        check_program()

    return check


NAMES = ("ZMTP", "ZMTP, encrypted", "HTTP, metrics", "HTTP, page")


def targets(opened):
    """Start the programs; return the targets."""
    plain, secure = Relay(opened, curve=False), Relay(opened, curve=True)
    page = opened.enter_context(
        Watched(sys.executable, "-m", "astropix_stream.cli", "monitor", plain.url, "--listen", "127.0.0.1:0")
    )
    page_port = int(page.wait_for("the page is at").rpartition(":")[2])
    checks = (
        (talks, talk(plain)),
        (talks, talk_encrypted(secure)),
        (asks, ask(plain.metrics_port, "/metrics", plain.program.check)),
        (asks, ask(page_port, "/api/state.json", page.check)),
    )
    made = (Target(*of, a_round=10, shrinks=False) for of in checks)
    return dict(zip(NAMES, made, strict=True))
