"""What /proc and socket options say, parsed; and asked of the kernel that runs the tests."""

import socket

import pytest

from astropix_relay.host import queues
from astropix_stream.multicast import memberships, sockets

SNMP = """\
Ip: Forwarding ReasmTimeout ReasmReqds ReasmOKs ReasmFails
Ip: 1 7 100 60 40
Icmp: InMsgs
Icmp: 3
"""
SNMP6 = "Ip6InReceives                   \t12\nIp6ReasmFails                   \t2\n"


def test_counters_are_parsed():
    assert queues.parse_snmp(SNMP, "Ip", "ReasmFails") == 40
    assert queues.parse_snmp(SNMP, "Udp", "ReasmFails") is None
    assert queues.parse_snmp6(SNMP6, "Ip6ReasmFails") == 2
    assert queues.parse_snmp6(SNMP6, "Ip6None") is None


def test_this_host_answers():
    assert memberships.is_member("224.0.0.1", socket.if_nametoindex("lo"))
    assert memberships.is_member("239.255.255.254", socket.if_nametoindex("lo")) is False
    assert queues.reassembly_failures() >= 0


def test_what_the_kernel_does_not_tell_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memberships, "PROC_NET", tmp_path)
    monkeypatch.setattr(sockets, "_SO_MEMINFO", 9999)
    assert memberships.is_member("239.1.1.1", 1) is None
    assert queues.reassembly_failures() is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sockets.socket_memory(sock) is None


@pytest.mark.parametrize("count", [0, 3, 200])
def test_drops_are_known_without_a_further_datagram(count):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the least that the kernel gives
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        for _ in range(count):
            sender.sendto(b"x", receiver.getsockname())
        memory = sockets.socket_memory(receiver)
        waiting = 0
        while memory.queued and sockets.socket_memory(receiver).queued:
            receiver.recv(10)
            waiting += 1
        assert waiting + memory.dropped == count
        assert (memory.queued > 0) == (count > 0)
        assert memory.queued <= memory.limit + 4096
