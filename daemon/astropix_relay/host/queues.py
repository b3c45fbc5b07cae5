"""What the kernel tells of its queues and of lost fragments.

Each question has a pure half that parses, and a thin one that reads. All answers are None where the kernel
does not tell, so that a relay never depends on them.
"""

import socket
import struct
from typing import NamedTuple

from astropix_stream.multicast.memberships import read_proc_net

_SO_MEMINFO = 55  # <asm-generic/socket.h>; nine u32, named SK_MEMINFO_* in <linux/sock_diag.h>
_MEMINFO = struct.Struct("=9I")


class SocketMemory(NamedTuple):
    """How full a socket's receive queue is, and what it dropped so far; known without a further datagram.

    `queued` and `limit` are bytes as the kernel counts them, with its overhead.
    """

    queued: int
    limit: int
    dropped: int


def socket_memory(sock: socket.socket) -> SocketMemory | None:
    """Return the fill of a socket's receive queue and its drops (u32, wraps)."""
    try:
        numbers = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return None
    return SocketMemory(numbers[0], numbers[1], numbers[8])


def reassembly_failures() -> int | None:
    """Return how many IP datagrams of this host were given up because a fragment was missing."""
    ipv4 = parse_snmp(read_proc_net("snmp") or "", "Ip", "ReasmFails")
    ipv6 = parse_snmp6(read_proc_net("snmp6") or "", "Ip6ReasmFails")
    return None if ipv4 is None and ipv6 is None else (ipv4 or 0) + (ipv6 or 0)


def parse_snmp(text: str, protocol: str, counter: str) -> int | None:
    """Find a counter in /proc/net/snmp: for each protocol a line of names, then one of values."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{protocol}:")]
    if len(lines) < 2:
        return None
    value = dict(zip(lines[0], lines[1], strict=False)).get(counter)
    return None if value is None else int(value)


def parse_snmp6(text: str, counter: str) -> int | None:
    """Find a counter in /proc/net/snmp6: a line of name and value for each."""
    return next((int(f[1]) for f in map(str.split, text.splitlines()) if f[0] == counter), None)
