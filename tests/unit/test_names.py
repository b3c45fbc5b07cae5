"""Names and their addresses, asked of this host."""

import socket
import threading

import pytest

from astropix_stream import names


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("FD99:0::7", ("fd99::7",)),
        ("no.such.host.invalid", ()),
        ("", ()),
        ("a" * 300, ()),
    ],
)
def test_an_address_is_itself_and_an_unknown_name_has_none(host, addresses, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert names.resolve(host) == addresses


def test_all_addresses_come_once_and_in_order(monkeypatch):
    found = [
        (socket.AF_INET6, 1, 6, "", ("fd99::7", 0, 0, 0)),
        (socket.AF_INET, 1, 6, "", ("10.0.0.7", 0)),
        (socket.AF_INET6, 1, 6, "", ("fd99::7", 0, 0, 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert names.resolve("relay") == ("fd99::7", "10.0.0.7")


def test_a_slow_name_service_is_not_waited_for(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(names, "resolve", lambda _: (answer.wait(10) and ("10.0.0.7",)) or ())
    lookup = names.Lookup("relay")
    try:
        assert lookup.wait(0.01) is None
        answer.set()
        assert lookup.wait(5) == ("10.0.0.7",)
    finally:
        lookup.close()


def test_an_unknown_name_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(names, "_ASK_AGAIN_S", 0.01)
    answers = iter([(), (), ("10.0.0.7",)])
    monkeypatch.setattr(names, "resolve", lambda _: next(answers))
    lookup = names.Lookup("relay")
    try:
        assert lookup._told.recv(1) == b"!"
        assert lookup.wait(0) == ("10.0.0.7",)
    finally:
        lookup.close()


def test_who_closes_waits_for_nobody(monkeypatch):
    monkeypatch.setattr(names, "_ASK_AGAIN_S", 60.0)
    monkeypatch.setattr(names, "resolve", lambda _: ())
    lookup = names.Lookup("relay")
    assert lookup.wait(5) is None
    lookup.close()
