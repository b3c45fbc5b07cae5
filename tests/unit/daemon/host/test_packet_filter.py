"""The kernel drops what comes from some hosts: the program by a model, and on a real listening socket."""

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.host import packet_filter

LOAD_WORD, LOAD_BYTE, EQUAL, AT_LEAST, JUMP, RETURN = 0x20, 0x30, 0x15, 0x35, 0x05, 0x06


def run(program, header):
    """Run a program as the kernel does; return what it returns."""
    accumulator = at = 0
    while True:
        code, then, otherwise, value = program[at]
        at += 1
        match code:
            case 0x20 | 0x30:
                layout = struct.Struct("!I" if code == LOAD_WORD else "!B")
                (accumulator,) = layout.unpack_from(header, value - 0xFFF00000)
            case 0x15:
                at += then if accumulator == value else otherwise
            case 0x35:
                at += then if accumulator >= value else otherwise
            case 0x05:
                at += value
            case 0x06:
                return value
            case _:
                raise AssertionError(code)


def header_from(address):
    if address.version == 4:
        return b"\x45" + bytes(11) + address.packed + bytes(4)
    return b"\x60" + bytes(7) + address.packed + bytes(16)


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(ipaddress.ip_network),
    st.ip_addresses(v=6).map(lambda address: ipaddress.ip_network((address, 64), strict=False)),
)


@given(st.lists(HOSTS, max_size=600), st.ip_addresses())
def test_exactly_the_hosts_named_are_dropped(hosts, address):
    program = packet_filter.program(hosts)
    assert len(program) <= 4096
    named = hosts[: packet_filter.MAX_HOSTS]
    for one in [address, *(host.network_address + 5 * (host.version == 6) for host in named[:5])]:
        dropped = any(one.version == host.version and one in host for host in named)
        assert run(program, header_from(one)) == (0 if dropped else 0xFFFFFFFF)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_refuses_and_takes_again_and_connections_go_on(family):
    there = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as listening:
        listening.bind((there, 0))
        listening.listen()
        address = listening.getsockname()[:2]
        hosts = [ipaddress.ip_network((there, 32 if family == socket.AF_INET else 64), strict=False)]
        with socket.create_connection(address, 5) as client, listening.accept()[0] as server:
            packet_filter.drop_from(listening, hosts)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.3)
            client.sendall(b"still here")
            assert server.recv(100) == b"still here"
        packet_filter.drop_from_none(listening)
        packet_filter.drop_from_none(listening)
        with socket.create_connection(address, 5):
            pass
