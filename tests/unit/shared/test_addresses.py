"""Addresses as they stand in a configuration."""

import pytest
from pydantic import TypeAdapter, ValidationError

from astropix_daemon import addresses
from astropix_daemon.addresses import Address, parse_listen_address
from astropix_stream.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:5556", Address("127.0.0.1", 5556)),
        ("*:5556", Address("*", 5556)),
        ("[::1]:5556", Address("::1", 5556)),
        ("[0:0::1]:0", Address("::1", 0)),
    ],
)
def test_an_address_and_a_port(text, address):
    assert parse_listen_address(text) == address
    assert parse_listen_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5556", "is not ADDRESS:PORT"),
        ("::1:5556", "is not ADDRESS:PORT"),
        ("localhost:5556", "write 127.0.0.1"),
        ("127.0.0.1:80", "1024 to 65535"),
        ("127.0.0.1:65536", "1024 to 65535"),
        ("127.0.0.1:٥٥٥٦", "is not ADDRESS:PORT"),
    ],
)
def test_what_is_none_is_told(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_listen_address(text)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:5556", "127.0.0.1:5556", True),
        ("127.0.0.1:5556", "127.0.0.1:5557", False),
        ("127.0.0.1:5556", "127.0.0.2:5556", False),
        ("*:5556", "127.0.0.1:5556", True),
        ("[::]:5556", "127.0.0.1:5556", True),
        ("0.0.0.0:5556", "127.0.0.1:5556", True),
        ("0.0.0.0:5556", "[::1]:5556", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_that_cannot_both_be_bound(one, other, overlap):
    first, second = parse_listen_address(one), parse_listen_address(other)
    assert first.overlaps(second) is second.overlaps(first) is overlap


def test_the_loopback_is_this_hosts_alone():
    assert [parse_listen_address(text).is_loopback() for text in ("127.0.0.9:5556", "[::1]:5556")] == [
        True
    ] * 2
    assert [parse_listen_address(text).is_loopback() for text in ("*:5556", "10.0.0.1:5556")] == [False] * 2


def test_an_endpoint_that_is_not_tcp_has_no_address():
    assert addresses.tcp_address("tcp://*:5556") == Address("*", 5556)
    assert addresses.tcp_address("ipc:///run/astropix-relay/socket") is None


@pytest.mark.parametrize(
    ("name", "text", "canonical"),
    [
        ("GroupAddress", "FF15:0::1", "ff15::1"),
        ("GroupAddress", "239.1.1.1", "239.1.1.1"),
        ("SourceAddress", "fd00:0::7", "fd00::7"),
        ("ListenAddress", "[0::1]:9108", "[::1]:9108"),
        ("InterfaceName", "eth1", "eth1"),
        ("InterfaceName", "eth0:daq", "eth0:daq"),
        ("InterfaceName", "fd00:0::1", "fd00::1"),
        ("Endpoint", "tcp://[0::1]:5556", "tcp://[::1]:5556"),
        ("Endpoint", "ipc:///run/a.sock", "ipc:///run/a.sock"),
        ("NetworkAddress", "192.0.2.0/24", "192.0.2.0/24"),
        ("NetworkAddress", "192.0.2.7", "192.0.2.7/32"),
    ],
)
def test_each_is_kept_in_one_spelling(name, text, canonical):
    assert TypeAdapter(getattr(addresses, name)).validate_python(text) == canonical


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("GroupAddress", "ff15::1%eth0", "name the interface separately"),
        ("GroupAddress", "0.0.0.0", "every datagram"),
        ("SourceAddress", "239.1.1.1", "is not the IP address of a sender"),
        ("InterfaceName", "192.168.1", "neither an address nor the name of an interface"),
        ("InterfaceName", "eth 0", "neither an address nor the name of an interface"),
        ("Endpoint", "udp://127.0.0.1:5556", "is not an endpoint"),
        ("Endpoint", "ipc://", "is not an endpoint"),
        ("NetworkAddress", "192.0.2.7/24", "neither an address nor a network"),
        ("NetworkAddress", "daq", "neither an address nor a network"),
    ],
)
def test_another_is_refused_in_words(name, text, words):
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(getattr(addresses, name)).validate_python(text)
