"""Read what waits in a UDP socket: datagrams, their sources and the kernel's drop count, many in one call.

`open_reader` gives `MmsgReader` where the kernel has recvmmsg, and `RecvReader` elsewhere. Both are held
against the same tests.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from astropix_analysis import multicast
from astropix_analysis.ledger import Source

SLOTS = 64  # datagrams in one call; more gains nothing measurable at 50 000/s
# More than the largest datagram, so that one that fills its slot was cut (MSG_TRUNC) and is rejected as such.
# The odd 192 bytes keep the beginnings of all slots out of one cache set.
SLOT_SIZE = 65536 + 192
_NAME_SIZE = 28  # struct sockaddr_in6
_CONTROL_SIZE = 24  # CMSG_SPACE(sizeof(u32))
_MAX_SOURCES = 1024  # texts of addresses kept; forged sources must not fill the memory


class Drained(NamedTuple):
    """What one read took out of a socket, in the order in which the kernel queued it.

    `drops` is the kernel's running count of datagrams dropped on this socket, as of each datagram (u32,
    wraps); empty where the platform does not tell, or as long as nothing was dropped. `exhausted`: nothing
    waited any more.
    """

    datagrams: Sequence[memoryview | bytes]
    sources: Sequence[Source]
    drops: Sequence[int]
    exhausted: bool


NOTHING = Drained((), (), (), True)


class Reader(Protocol):
    """Reads batches from a non-blocking UDP socket, at most `slots` datagrams at a time."""

    slots: int

    def read(self) -> Drained:
        """Return what waits; the datagrams' buffers are valid until the next read."""


def open_reader(sock: socket.socket) -> Reader:
    """Return the fastest reader that this platform has."""
    if _recvmmsg is not None:
        return MmsgReader(sock)
    return RecvReader(sock)


def _find_recvmmsg() -> "ctypes._NamedFuncPointer | None":
    # The struct layouts below are those of 64-bit Linux.
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "recvmmsg", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        function.restype = ctypes.c_int
    return function


_recvmmsg = _find_recvmmsg()


class MmsgReader:
    """Reads up to 64 datagrams with one system call, into buffers made once.

    The kernel's answers (sizes, flags, addresses, drop counts) are taken from the arrays of C structs with
    one `struct` call for all datagrams: through ctypes fields it took longer than the system call.

    =======  ==========================  =================================================
    offset   struct mmsghdr (64 bytes)   here
    =======  ==========================  =================================================
    0        msg_name, msg_namelen       `_names`: the source's sockaddr
    16       msg_iov, msg_iovlen         `_slots`: the datagram
    32       msg_control, _controllen    `_controls`: SO_RXQ_OVFL, once there were drops
    56       msg_len                     the datagram's size
    =======  ==========================  =================================================
    """

    slots = SLOTS

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        slots = bytearray(SLOTS * SLOT_SIZE)
        self._view = memoryview(slots)
        self._slots = (ctypes.c_char * len(slots)).from_buffer(slots)
        self._names = ctypes.create_string_buffer(SLOTS * _NAME_SIZE)
        self._controls = ctypes.create_string_buffer(SLOTS * _CONTROL_SIZE)
        self._iovecs = ctypes.create_string_buffer(SLOTS * 16)
        self._headers = ctypes.create_string_buffer(self._pack_headers())
        # The kernel overwrites lengths in the headers, so that they are laid anew before each call.
        self._fresh = bytes(self._headers.raw[: SLOTS * 64])
        self._answers = [struct.Struct("<" + "40xQ8xI4x" * n) for n in range(SLOTS + 1)]
        self._counts = [struct.Struct("<" + "16xI4x" * n) for n in range(SLOTS + 1)]
        self._sources: dict[bytes, Source] = {}

    def _pack_headers(self) -> bytes:
        address = ctypes.addressof
        headers = b""
        for i in range(SLOTS):
            struct.pack_into("<QQ", self._iovecs, i * 16, address(self._slots) + i * SLOT_SIZE, SLOT_SIZE)
            headers += struct.pack(
                "<QI4xQQQQi4xI4x",
                address(self._names) + i * _NAME_SIZE,
                _NAME_SIZE,
                address(self._iovecs) + i * 16,
                1,
                address(self._controls) + i * _CONTROL_SIZE,
                _CONTROL_SIZE,
                0,
                0,
            )
        return headers

    def read(self) -> Drained:
        """Return what waits; the datagrams' buffers are valid until the next read."""
        ctypes.memmove(self._headers, self._fresh, len(self._fresh))
        assert _recvmmsg is not None
        n = _recvmmsg(self._socket.fileno(), self._headers, SLOTS, socket.MSG_DONTWAIT, None)
        if n <= 0:
            return self._nothing(ctypes.get_errno() if n < 0 else 0)
        answers = self._answers[n].unpack_from(self._headers)
        controls, sizes = answers[0::2], answers[1::2]
        view = self._view
        begins = range(0, n * SLOT_SIZE, SLOT_SIZE)
        datagrams = [view[at : at + size] for at, size in zip(begins, sizes, strict=True)]
        drops = self._counts[n].unpack_from(self._controls) if any(controls) else ()
        return Drained(datagrams, self._sources_of(n), drops, n < SLOTS)

    def _nothing(self, number: int) -> Drained:
        if number in (0, errno.EAGAIN, errno.EINTR):
            return NOTHING
        raise OSError(number, os.strerror(number))

    def _sources_of(self, n: int) -> Sequence[Source]:
        names = self._names.raw[: n * _NAME_SIZE]
        first = names[:_NAME_SIZE]
        if names == first * n:
            return (self._source(first),) * n
        return [self._source(names[at : at + _NAME_SIZE]) for at in range(0, len(names), _NAME_SIZE)]

    def _source(self, name: bytes) -> Source:
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= _MAX_SOURCES:
                self._sources.clear()
            source = self._sources[name] = _parse_sockaddr(name)
        return source


def _parse_sockaddr(name: bytes) -> Source:
    family, port = struct.unpack_from("=H", name)[0], struct.unpack_from("!H", name, 2)[0]
    if family == socket.AF_INET:
        return Source(socket.inet_ntoa(name[4:8]), port)
    return Source(socket.inet_ntop(socket.AF_INET6, name[8:24]), port)


class RecvReader:
    """Reads one datagram a call, on any platform; where there is recvmsg, with the kernel's drop count.

    One a call, so that the socket itself stays readable while anything waits: `select` then needs no help.
    """

    slots = 1

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read(self) -> Drained:
        """Return the next datagram, if one waits."""
        try:
            if hasattr(self._socket, "recvmsg"):
                data, control, _, address = self._socket.recvmsg(SLOT_SIZE, _CONTROL_SIZE)
            else:
                data, address = self._socket.recvfrom(SLOT_SIZE)
                control = []
        except (BlockingIOError, InterruptedError):
            return NOTHING
        drops = tuple(
            struct.unpack("I", value)[0]
            for level, kind, value in control
            if level == socket.SOL_SOCKET and kind == multicast.SO_RXQ_OVFL
        )
        return Drained((data,), (Source(address[0].partition("%")[0], address[1]),), drops, False)
