"""Sockets kept over a restart: taken over when they are made of the same, closed otherwise."""

import os
import socket

import pytest
import zmq

from astropix_relay.clients.handover import Handover, Listener, stream_name
from astropix_relay.host import systemd


@pytest.fixture
def store(monkeypatch):
    """A service manager's store: what one Handover keeps, the next one inherits."""
    kept = {}

    def keep(label, fd):
        if label not in kept:
            kept[label] = os.dup(fd)

    def forget(label):
        if label in kept:
            os.close(kept.pop(label))

    monkeypatch.setattr(systemd, "is_manager_there", lambda: True)
    monkeypatch.setattr(systemd, "store_fds", keep)
    monkeypatch.setattr(systemd, "remove_fds", forget)
    monkeypatch.setattr(systemd, "listen_fds", lambda: {label: [os.dup(fd)] for label, fd in kept.items()})
    monkeypatch.setattr(systemd, "barrier", lambda timeout_s: True)
    yield kept
    for fd in kept.values():
        os.close(fd)


def test_a_socket_is_taken_over_once_and_only_if_made_of_the_same(store):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        Handover().keep(sock, "stream a", "239.1.1.1", 5007)
        address = sock.getsockname()
    after = Handover()
    assert after.take("stream a", "239.1.1.2", 5007) is None
    with after.take("stream a", "239.1.1.1", 5007) as taken:
        assert taken.getsockname() == address
    assert after.take("stream a", "239.1.1.1", 5007) is None
    after.close_rest()


def test_what_nobody_takes_is_closed_and_kept_no_more(store):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        Handover().keep(sock, "stream gone")
    Handover().close_rest()
    assert not store


def test_a_client_connects_while_no_relay_runs(store, tcp_port):
    endpoint = f"tcp://127.0.0.1:{tcp_port}"
    first = Listener(endpoint, Handover())
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        first.bind(publisher)
        first.close()
    # The end of a context waits until its sockets are closed: until then they might still accept.
    with socket.create_connection(("127.0.0.1", tcp_port), timeout=5) as client:
        client.settimeout(5)
        second = Listener(endpoint, Handover())
        with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
            publisher.linger = 0
            second.bind(publisher)
            assert client.recv(1) == b"\xff"  # the greeting of ZMTP
        second.close()


def test_without_a_manager_the_endpoint_is_bound_as_ever(tcp_port):
    listener = Listener(f"tcp://127.0.0.1:{tcp_port}", Handover())
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        listener.bind(publisher)
        with socket.create_connection(("127.0.0.1", tcp_port), timeout=5):
            pass
    listener.close()


def test_what_is_not_named_any_more_is_let_go_before_the_port_is_bound(store, tcp_port):
    """The documented change of `publish.endpoint`: systemd's copy of the old listener holds the port."""
    Listener(f"tcp://127.0.0.1:{tcp_port}", Handover()).close()
    assert len(store) == 1
    after = Handover()
    everywhere = f"tcp://0.0.0.0:{tcp_port}"
    after.let_go_except([everywhere, None], ["astropix"])
    assert not store
    Listener(everywhere, after).close()
    assert len(store) == 1


def test_a_stream_that_stays_is_kept_and_one_that_is_gone_is_not(store):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        before = Handover()
        before.keep(sock, stream_name("one"), 1)
        before.keep(sock, stream_name("two"), 2)
    after = Handover()
    after.let_go_except([], ["one"])
    assert [label.partition("/")[0] for label in store] == ["stream one"]
    after.close_rest()


def test_a_start_that_fails_lets_go_of_all_that_it_has(store, tcp_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        Handover().keep(sock, stream_name("one"), 1)
    after = Handover()
    Listener(f"tcp://127.0.0.1:{tcp_port}", after).close()
    assert len(store) == 2
    after.let_go_all()
    assert not store


def test_a_port_in_use_is_told_with_its_key_and_holder():
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OSError, match=rf"publish\.endpoint: cannot listen on {endpoint}: .* held by .*"):
            Listener(endpoint, Handover(), "publish.endpoint")
