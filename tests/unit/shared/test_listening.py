"""What the relay's sockets listen on."""

import socket

import pytest

from astropix_daemon import listening
from astropix_relay.clients import connections


@pytest.fixture(params=[True, False], ids=["with IPv6", "without IPv6"])
def with_ipv6(request, monkeypatch):
    monkeypatch.setattr(listening, "has_ipv6", lambda: request.param)
    return request.param


def can_connect(host, port):
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True


def test_everywhere_is_ipv6_and_ipv4_with_one_socket(with_ipv6):
    with listening.open_bound("*", 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        assert can_connect("127.0.0.1", port)
        assert can_connect("::1", port) == with_ipv6


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.1")]
)
def test_an_address_is_itself(host, reached):
    with listening.open_bound(host, 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        assert [at for at in ("127.0.0.1", "::1") if can_connect(at, port)] == [reached]


def test_what_zeromq_is_told_of_ipv6(with_ipv6):
    assert connections.needs_ipv6("tcp://*:5556") == with_ipv6
    assert connections.needs_ipv6("tcp://[::1]:5556")
    assert not connections.needs_ipv6("tcp://0.0.0.0:5556")
    assert not connections.needs_ipv6("ipc:///run/*:x")


def test_a_host_without_ipv6_is_noticed(monkeypatch):
    def no_such_family(*_, **__):
        raise OSError(97, "Address family not supported by protocol")

    listening.has_ipv6.cache_clear()
    monkeypatch.setattr(socket, "socket", no_such_family)
    try:
        assert not listening.has_ipv6()
    finally:
        monkeypatch.undo()
        listening.has_ipv6.cache_clear()
