"""Read what waits in a UDP socket: datagrams, their sources and the kernel's drop count, many in one call.

`open_reader` gives `MmsgReader` where the kernel has recvmmsg, and `RecvReader` elsewhere. Both are held
against the same tests.
"""

import array
import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from astropix_stream import fmt, headers
from astropix_stream.batch import NOTHING, SLOT_SIZE, Drained, One, Source, drained_one
from astropix_stream.multicast import sockets

# Datagrams in one call: more than come in 2 ms at 50 000/s, so that as a rule one call empties the socket.
SLOTS = 128
_FIRST_PIECE = 1472  # bytes of a datagram in one Ethernet frame
_HEADER_SIZE = 64  # struct mmsghdr
_NAME_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 28}  # struct sockaddr_in, sockaddr_in6
_CONTROL_SIZE = 24  # CMSG_SPACE(sizeof(u32))
_IOVECS = struct.Struct("<QQQQ")  # two struct iovec: address and size
_MAX_SOURCES = 1024  # texts of addresses kept; forged sources must not fill the memory
_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0))  # a plain number, not an enumeration
_WAITFORONE = 0x10000  # wait for the first datagram only (Linux)
_SO_RCVTIMEO = 20  # on 64-bit Linux
_TIMEVAL = struct.Struct("=qq")
_WAIT_STEP_S = 0.002  # a difference that is not worth to tell the kernel of
MIN_WAIT_S = 0.02  # of `MmsgReader.wait`: the kernel's steps are up to 4 ms there
_BURST_HZ = 50_000  # small readouts that may come at any time; the kernel's buffer is twice what it says
_OVERHEAD = 768  # bytes of a receive buffer that the kernel takes for a datagram beyond the datagram's own


class Reader(Protocol):
    """Reads batches from a non-blocking UDP socket, at most `slots` datagrams at a time."""

    slots: int

    def read(self) -> Drained:
        """Return what waits."""

    def read_one(self) -> One | None:
        """Return the first datagram that waits; of one that comes alone this costs the least."""


def open_reader(sock: socket.socket, buffer: memoryview | None = None) -> Reader:
    """Return the fastest reader that this platform has.

    Parameters
    ----------
    sock
        The socket.
    buffer
        Where to read to, from `make_buffer`; readers that one thread uses may share it. By default its own.
    """
    if _recvmmsg is not None:
        return MmsgReader(sock, buffer)
    return RecvReader(sock)


def make_buffer() -> memoryview:
    """Return memory to read datagrams to; what of it is never used takes none of the machine's."""
    return memoryview(mmap.mmap(-1, SLOTS * SLOT_SIZE))


def safe_rest_s(buffer_size: int) -> float:
    """Return for how long a receive buffer of this size may be left alone, whatever comes meanwhile."""
    return buffer_size / (_OVERHEAD * _BURST_HZ)


def fill(drained: Drained, buffer_size: int) -> float:
    """Return how much of a receive buffer of this size had been taken by what was drained: 1 is all."""
    return (len(drained.payload) + _OVERHEAD * len(drained.sizes)) / max(1, buffer_size)


def _find_recvmmsg(library: type[ctypes.CDLL]) -> "ctypes._NamedFuncPointer | None":
    # The struct layouts below are those of 64-bit Linux.
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
        return None
    function = getattr(library(None, use_errno=True), "recvmmsg", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    return function


# PyDLL keeps the interpreter's lock: a read never blocks, and to get the lock back could take 5 ms.
_recvmmsg = _find_recvmmsg(ctypes.PyDLL)
_recvmmsg_waiting = _find_recvmmsg(ctypes.CDLL)


def _drops_of(control: Sequence[tuple[int, int, bytes]]) -> tuple[int, ...]:
    return tuple(
        struct.unpack("I", value)[0]
        for level, kind, value in control
        if level == socket.SOL_SOCKET and kind == sockets.SO_RXQ_OVFL
    )


def _source_of(address: Any) -> Source:
    """Return the source of an address as Python's `socket` gives it."""
    return Source(address[0].partition("%")[0], address[1])


class MmsgReader:
    """Reads up to 128 datagrams with one system call, into buffers made once.

    Readouts nearly always have the same size: in a real run 774 of 775 have one hit and 35 bytes. So the
    first `piece` bytes of the datagrams, as many as the last ones had, go into a table without holes, and
    what is longer goes on in a room of its own: as a rule the table is the payload, taken with one copy.

    The kernel's answers (sizes, addresses, drop counts) are taken from the arrays of C structs with one slice
    or `struct` call for all: 10 ns a datagram, where ctypes fields took longer than the system call.

    =======  ==========================  ========================================================
    offset   struct mmsghdr (64 bytes)   here
    =======  ==========================  ========================================================
    0        msg_name, msg_namelen       `_names`: the source's sockaddr
    16       msg_iov, msg_iovlen         `_iovecs`: two, a piece in `_table` and its room in `_rest`
    32       msg_control, _controllen    `_controls`: SO_RXQ_OVFL, once there were drops
    56       msg_len                     the datagram's size
    =======  ==========================  ========================================================
    """

    slots = SLOTS

    def __init__(self, sock: socket.socket, buffer: memoryview | None = None) -> None:
        self._socket = sock
        self._wait_s = -1.0  # that the kernel was told; less than 0: the socket does not block
        self._buffer = make_buffer() if buffer is None else buffer
        self._one_buffer = (self._buffer[:SLOT_SIZE],)
        self._last_address: Any = None  # of one that came alone: nearly always that of the one before
        self._last_source = Source("", 0)
        self._iovecs = bytearray(SLOTS * _IOVECS.size)
        self._name_size = _NAME_SIZES[sock.family]
        self._names = memoryview(bytearray(SLOTS * self._name_size))
        self._controls = bytearray(SLOTS * _CONTROL_SIZE)
        self._headers = memoryview(bytearray(SLOTS * _HEADER_SIZE))
        self._lay_out_headers()
        self._lay_out(min(_FIRST_PIECE, SLOT_SIZE))
        self._last_size = 0
        self._headers_address = ctypes.c_void_p(_address(self._headers))
        words = self._headers.cast("I")
        self._sizes = words[56 // 4 :: _HEADER_SIZE // 4]
        self._control_sizes = words[40 // 4 :: _HEADER_SIZE // 4]
        self._control_room = memoryview(self._control_sizes.tobytes()).cast("I")
        self._sources: dict[bytes, Source] = {}
        # Nearly always all come from the same source as before: then one comparison tells.
        self._one_name = b""
        self._one_source: tuple[Source, ...] = ()

    def _lay_out_headers(self) -> None:
        """Write the structs that tell the kernel where everything goes."""
        names, iovecs, controls = _address(self._names), _address(self._iovecs), _address(self._controls)
        for i in range(SLOTS):
            struct.pack_into(
                "<QI4xQQQQi4xI4x",
                self._headers,
                i * _HEADER_SIZE,
                names + i * self._name_size,
                self._name_size,
                iovecs + i * _IOVECS.size,
                2,
                controls + i * _CONTROL_SIZE,
                _CONTROL_SIZE,
                0,
                0,
            )

    def _lay_out(self, piece: int) -> None:
        """Divide the buffer into the table, of pieces of this size, and the rooms for what is longer."""
        self._piece, self._room = piece, SLOT_SIZE - piece
        self._table, self._rest = self._buffer[: SLOTS * piece], self._buffer[SLOTS * piece :]
        self._even_sizes = (piece,) * SLOTS
        self._one_size = self._even_sizes[:1]
        self._piece_sizes = memoryview(array.array("I", self._even_sizes))
        table = _address(self._buffer)
        rest = table + SLOTS * piece
        for i in range(SLOTS):
            _IOVECS.pack_into(
                self._iovecs, i * _IOVECS.size, table + i * piece, piece, rest + i * self._room, self._room
            )

    def read(self) -> Drained:
        """Return what waits."""
        assert _recvmmsg is not None
        return self._take(_recvmmsg(self._socket.fileno(), self._headers_address, SLOTS, _DONTWAIT, None))

    def wait(self, timeout_s: float) -> Drained:
        """Return what waits; if nothing does, wait for it, at most so long: all in one system call.

        `timeout_s` is at least `MIN_WAIT_S`.
        """
        assert _recvmmsg_waiting is not None
        if not -_WAIT_STEP_S < timeout_s - self._wait_s < _WAIT_STEP_S:
            self._set_wait(timeout_s)
        return self._take(
            _recvmmsg_waiting(self._socket.fileno(), self._headers_address, SLOTS, _WAITFORONE, None)
        )

    def read_one(self) -> One | None:
        """Return the first datagram that waits, received as Python does it.

        For a lone one that is a third cheaper than to read the answers of `read`.
        """
        return self.wait_one(None)

    def wait_one(self, timeout_s: float | None) -> One | None:
        """Return the first datagram; if none waits, wait for it, as `wait`, or with None not at all."""
        if timeout_s is None:
            flags = _DONTWAIT
        else:
            flags = 0
            if not -_WAIT_STEP_S < timeout_s - self._wait_s < _WAIT_STEP_S:
                self._set_wait(timeout_s)
        try:
            size, control, _, address = self._socket.recvmsg_into(self._one_buffer, _CONTROL_SIZE, flags)
        except (BlockingIOError, InterruptedError):
            return None
        if address != self._last_address:
            self._last_address, self._last_source = address, _source_of(address)
        drops = _drops_of(control) if control else ()
        return self._buffer[:size].tobytes(), self._last_source, drops

    def _set_wait(self, timeout_s: float) -> None:
        if self._wait_s < 0:
            self._socket.setblocking(True)
        seconds = int(timeout_s)
        value = _TIMEVAL.pack(seconds, int((timeout_s - seconds) * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVTIMEO, value)
        self._wait_s = timeout_s

    def _take(self, n: int) -> Drained:
        """Return what a call has read."""
        if n <= 0:
            return self._nothing(ctypes.get_errno() if n < 0 else 0)
        # The kernel tells the drop counts from the first drop on, so look at the last.
        drops = _drop_counts(n).unpack_from(self._controls) if self._control_sizes[n - 1] else ()
        # It wrote there how much it used. (Into the sizes of the names too, but all here have one size.)
        self._control_sizes[:n] = self._control_room[:n]
        names = self._names[: n * self._name_size].tobytes()
        if self._sizes[:n] != self._piece_sizes[:n] or not self._one_name.startswith(names):
            return self._gather(n, names, drops)
        payload = self._table[: n * self._piece].tobytes()
        sizes, sources = self._even_sizes[:n], self._one_source[:n]
        return Drained(payload, sizes, sources, drops, n < SLOTS, even=True)

    def _gather(self, n: int, names: bytes, drops: Sequence[int]) -> Drained:
        """Put together what was read: datagrams of any sizes, from any sources.

        Their headers are all in the table, so that they can be read column by column.
        """
        piece, room, table = self._piece, self._room, self._table
        sizes = self._sizes[:n].tolist()
        fields = headers.header_columns(n, piece).unpack_from(table)
        heads = (fields[0::4], fields[1::4], fields[2::4], fields[3::4])
        parts, begin = [], 0
        for i in [i for i, size in enumerate(sizes) if size != piece]:
            more = sizes[i] - piece
            parts.append(table[begin : (i + 1) * piece + min(more, 0)])
            if more > 0:
                parts.append(self._rest[i * room : i * room + more])
            begin = (i + 1) * piece
        parts.append(table[begin : n * piece])
        payload, sources = b"".join(parts), self._sources_of(names)
        even = sizes.count(sizes[0]) == n == sources.count(sources[0])
        if even:
            self._adapt(sizes[0])
        return Drained(payload, sizes, sources, drops, n < SLOTS, even, heads)

    def _adapt(self, size: int) -> None:
        """Lay out for datagrams of another size, once they come for the second time."""
        if size == self._last_size and size >= fmt.HEADER_SIZE:
            self._lay_out(size)
        self._last_size = size

    def _nothing(self, number: int) -> Drained:
        if number in (0, errno.EAGAIN, errno.EINTR):
            return NOTHING
        raise OSError(number, os.strerror(number))

    def _sources_of(self, names: bytes) -> Sequence[Source]:
        size = self._name_size
        n, one = len(names) // size, names[:size]
        if names != one * n:
            return [self._source(names[at : at + size]) for at in range(0, len(names), size)]
        if not self._one_name.startswith(one):
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
def _drop_counts(n: int) -> struct.Struct:
    """Return what unpacks the drop counts of `n` datagrams."""
    return struct.Struct("<" + "16xI4x" * n)


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
        one = self.read_one()
        return NOTHING if one is None else drained_one(*one)

    def read_one(self) -> One | None:
        """Return the next datagram, if one waits."""
        try:
            if hasattr(self._socket, "recvmsg"):
                data, control, _, address = self._socket.recvmsg(SLOT_SIZE, _CONTROL_SIZE)
            else:
                data, address = self._socket.recvfrom(SLOT_SIZE)
                control = []
        except (BlockingIOError, InterruptedError):
            return None
        return data, _source_of(address), _drops_of(control)
