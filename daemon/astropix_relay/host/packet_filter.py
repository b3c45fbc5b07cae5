"""Has the kernel drop what comes to a listening socket from some hosts, so that they cost no connection.

A classic BPF program on the socket (SO_ATTACH_FILTER, socket(7)), which any user may attach. Connections that
exist already have sockets of their own, and go on.
"""

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

MAX_HOSTS = 500  # a program has at most 4096 instructions, and one host takes at most 5

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # <asm-generic/socket.h>
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter in <linux/filter.h>
_LOAD_WORD, _LOAD_BYTE = 0x20, 0x30  # BPF_LD | BPF_ABS, and BPF_W or BPF_B
_EQUAL, _AT_LEAST, _RETURN = 0x15, 0x35, 0x06  # BPF_JMP | BPF_JEQ | BPF_K, BPF_JGE; BPF_RET | BPF_K
_IP_HEADER = 0xFFF00000  # SKF_NET_OFF: offsets from here on are in the IP header
_SOURCE_IPV4, _SOURCE_IPV6 = _IP_HEADER + 12, _IP_HEADER + 8
_ALL = 0xFFFFFFFF

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Instruction(NamedTuple):
    """One instruction; `then` and `otherwise` are how many are jumped over."""

    code: int
    then: int
    otherwise: int
    value: int


_KEEP, _DROP = Instruction(_RETURN, 0, 0, _ALL), Instruction(_RETURN, 0, 0, 0)


def program(hosts: Iterable[Network]) -> list[Instruction]:
    """Return a program that drops the packets of these hosts: IPv4 addresses and IPv6 networks of 64 bits."""
    hosts = list(hosts)[:MAX_HOSTS]
    ipv4 = [int(host.network_address) for host in hosts if host.version == 4]
    ipv6 = [int(host.network_address) >> 64 for host in hosts if host.version == 6]
    of_ipv4 = [Instruction(_LOAD_WORD, 0, 0, _SOURCE_IPV4)]
    for address in ipv4:  # a jump reaches 255 instructions far, so that each host has a `drop` of its own
        of_ipv4 += [Instruction(_EQUAL, 0, 1, address), _DROP]
    of_ipv6 = []
    for prefix in ipv6:
        of_ipv6 += [
            Instruction(_LOAD_WORD, 0, 0, _SOURCE_IPV6),
            Instruction(_EQUAL, 0, 3, prefix >> 32),
            Instruction(_LOAD_WORD, 0, 0, _SOURCE_IPV6 + 4),
            Instruction(_EQUAL, 0, 1, prefix & 0xFFFFFFFF),
            _DROP,
        ]
    version = Instruction(_LOAD_BYTE, 0, 0, _IP_HEADER)
    # By a jump without condition, which has no such limit.
    is_ipv6 = Instruction(_AT_LEAST, 0, 1, 0x60)
    skip = Instruction(0x05, 0, 0, len(of_ipv4) + 1)
    return [version, is_ipv6, skip, *of_ipv4, _KEEP, *of_ipv6, _KEEP]


def drop_from(sock: socket.socket, hosts: Iterable[Network]) -> None:
    """Drop what comes to a socket from these hosts, instead of those named before.

    Raises
    ------
    OSError
        The kernel does not take the program.
    """
    _attach(sock, program(hosts))


def drop_all(sock: socket.socket) -> None:
    """Drop whatever comes to a socket.

    Raises
    ------
    OSError
        The kernel does not take the program.
    """
    _attach(sock, [_DROP])


def _attach(sock: socket.socket, instructions: Sequence[Instruction]) -> None:
    text = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
    buffer = ctypes.create_string_buffer(text, len(text))
    pointer = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def drop_from_none(sock: socket.socket) -> None:
    """Take everything again."""
    with suppress(FileNotFoundError):  # there was none
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
