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
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from astropix_analysis import fmt, multicast
from astropix_analysis.ledger import Source

# Datagrams in one call: twice what comes in 1 ms at 50 000/s, so that as a rule one call empties the socket.
SLOTS = 128
# More than the largest datagram, so that one that fills its slot was cut (MSG_TRUNC) and is rejected as such.
# The odd 192 bytes keep the beginnings of all slots out of one cache set.
SLOT_SIZE = 65536 + 192
_HEADER_SIZE = 64  # struct mmsghdr
_NAME_SIZE = 28  # struct sockaddr_in6
_CONTROL_SIZE = 24  # CMSG_SPACE(sizeof(u32))
_MAX_SOURCES = 1024  # texts of addresses kept; forged sources must not fill the memory


class Drained(NamedTuple):
    """What one read took out of a socket, in the order in which the kernel queued it.

    `drops` is the kernel's running count of datagrams dropped on this socket, as of each datagram (u32,
    wraps); empty where the platform does not tell, or as long as nothing was dropped. `exhausted`: nothing
    waited any more. `heads`: the fields of `fmt.HEADER` at the beginning of each datagram (garbage where
    one is shorter) and its size, as columns; empty where to read them one by one is as fast.
    """

    datagrams: list[memoryview | bytes]
    sources: Sequence[Source]
    drops: Sequence[int]
    exhausted: bool
    heads: Sequence[Sequence[Any]] = ()


NOTHING = Drained([], (), (), True)


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
    """Reads up to 128 datagrams with one system call, into buffers made once.

    The kernel's answers (sizes, addresses, drop counts) are taken from the arrays of C structs with one slice
    or `struct` call for all: 10 ns a datagram, where ctypes fields took longer than the system call.

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
        slots = memoryview(bytearray(SLOTS * SLOT_SIZE))
        self._buffer = slots
        self._slots = [slots[at : at + SLOT_SIZE] for at in range(0, len(slots), SLOT_SIZE)]
        self._iovecs = bytearray(SLOTS * 16)
        self._names = memoryview(bytearray(SLOTS * _NAME_SIZE))
        self._controls = bytearray(SLOTS * _CONTROL_SIZE)
        self._headers = memoryview(bytearray(SLOTS * _HEADER_SIZE))
        self._lay_out(_address(slots), _address(self._names))
        self._headers_address = _address(self._headers)
        words = self._headers.cast("I")
        self._sizes = words[56 // 4 :: _HEADER_SIZE // 4]
        self._control_sizes = words[40 // 4 :: _HEADER_SIZE // 4]
        # The kernel overwrites them, so that those that it used are written anew before the next call. It
        # overwrites the sizes of the names too, but with the size that the names on this socket have.
        self._control_room = memoryview(self._control_sizes.tobytes()).cast("I")
        self._used = 0
        self._counts = [struct.Struct("<" + "16xI4x" * n) for n in range(SLOTS + 1)]
        self._sources: dict[bytes, Source] = {}
        # Nearly always all come from the same source as before: then one comparison tells.
        self._one_name = b""
        self._one_source: tuple[Source, ...] = ()

    def _lay_out(self, slots: int, names: int) -> None:
        """Write the structs that tell the kernel where everything goes; `slots` and `names` are addresses."""
        iovecs, controls = _address(self._iovecs), _address(self._controls)
        for i in range(SLOTS):
            struct.pack_into("<QQ", self._iovecs, i * 16, slots + i * SLOT_SIZE, SLOT_SIZE)
            struct.pack_into(
                "<QI4xQQQQi4xI4x",
                self._headers,
                i * _HEADER_SIZE,
                names + i * _NAME_SIZE,
                _NAME_SIZE,
                iovecs + i * 16,
                1,
                controls + i * _CONTROL_SIZE,
                _CONTROL_SIZE,
                0,
                0,
            )

    def read(self) -> Drained:
        """Return what waits; the datagrams' buffers are valid until the next read."""
        self._control_sizes[: self._used] = self._control_room[: self._used]
        assert _recvmmsg is not None
        n = _recvmmsg(self._socket.fileno(), self._headers_address, SLOTS, socket.MSG_DONTWAIT, None)
        self._used = max(n, 0)
        if n <= 0:
            return self._nothing(ctypes.get_errno() if n < 0 else 0)
        sizes = self._sizes[:n].tolist()
        datagrams: list[memoryview | bytes] = [
            slot[:size] for slot, size in zip(self._slots, sizes, strict=False)
        ]
        # What `fmt.HEADER` reads in each slot, by field: 60 ns a datagram, one by one 160.
        fields = _heads(n, SLOT_SIZE).unpack_from(self._buffer)
        heads = (fields[0::4], fields[1::4], fields[2::4], fields[3::4], sizes)
        # The kernel tells the drop counts from the first drop on, so look at the last.
        drops = self._counts[n].unpack_from(self._controls) if self._control_sizes[n - 1] else ()
        return Drained(datagrams, self._sources_of(n), drops, n < SLOTS, heads)

    def _nothing(self, number: int) -> Drained:
        if number in (0, errno.EAGAIN, errno.EINTR):
            return NOTHING
        raise OSError(number, os.strerror(number))

    def _sources_of(self, n: int) -> Sequence[Source]:
        names = bytes(self._names[: n * _NAME_SIZE])
        if not self._one_name.startswith(names):
            one = names[:_NAME_SIZE]
            if names != one * n:
                return [self._source(names[at : at + _NAME_SIZE]) for at in range(0, len(names), _NAME_SIZE)]
            self._one_name, self._one_source = one * SLOTS, (self._source(one),) * SLOTS
        return self._one_source[:n]

    def _source(self, name: bytes) -> Source:
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= _MAX_SOURCES:
                self._sources.clear()
            source = self._sources[name] = _parse_sockaddr(name)
        return source


@lru_cache(maxsize=SLOTS)
def _heads(n: int, slot_size: int) -> struct.Struct:
    """Return the struct of the headers in `n` slots."""
    return struct.Struct("<" + (fmt.HEADER.format.lstrip("<") + f"{slot_size - fmt.HEADER_SIZE}x") * n)


def _address(buffer: bytearray | memoryview) -> int:
    """Return where a buffer stands in memory; it must not change its size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


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
        return Drained([data], (Source(address[0].partition("%")[0], address[1]),), drops, False)
