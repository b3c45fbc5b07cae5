"""What the kernel tells of a stream besides its datagrams: memberships, links, queues, lost fragments.

Each question has a pure half that parses, and a thin one that reads. All answers are None where the kernel
does not tell, so that a relay never depends on them.
"""

import contextlib
import fcntl
import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

# Not /proc/net: that is the network namespace of the process's first thread.
_PROC_NET = Path("/proc/thread-self/net")

_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
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


def is_member(group: str, index: int) -> bool | None:
    """Return whether the kernel lists `group` as joined on the interface of this index, by anyone.

    It forgets a membership that a socket still believes in when the interface loses its protocol for a while:
    moved to another namespace and back, or an MTU below 1280 for IPv6.
    """
    name, parse = ("igmp6", parse_igmp6) if ":" in group else ("igmp", parse_igmp)
    text = _read(name)
    return None if text is None else (index, group) in parse(text)


def parse_igmp(text: str) -> set[tuple[int, str]]:
    """Parse /proc/net/igmp: a line for each interface, then one, indented, for each group on it."""
    found, index = set(), 0
    for line in text.splitlines()[1:]:
        fields = line.split()
        if not line.startswith("\t"):
            index = int(fields[0])
        else:  # the address as a number of the host's byte order
            found.add((index, socket.inet_ntoa(int(fields[0], 16).to_bytes(4, sys.byteorder))))
    return found


def parse_igmp6(text: str) -> set[tuple[int, str]]:
    """Parse /proc/net/igmp6: a line for each interface and group."""
    lines = [line.split() for line in text.splitlines()]
    return {(int(f[0]), socket.inet_ntop(socket.AF_INET6, bytes.fromhex(f[2]))) for f in lines}


def has_link(name: str) -> bool | None:
    """Return whether an interface is up and its cable connected."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
        flags = struct.unpack_from("=16xH", answer)[0]
        return bool(flags & _IFF_UP and flags & _IFF_RUNNING)
    return None


def reassembly_failures() -> int | None:
    """Return how many IP datagrams of this host were given up because a fragment was missing."""
    ipv4 = parse_snmp(_read("snmp") or "", "Ip", "ReasmFails")
    ipv6 = parse_snmp6(_read("snmp6") or "", "Ip6ReasmFails")
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


def _read(name: str) -> str | None:
    try:
        return (_PROC_NET / name).read_text()
    except OSError:
        return None
