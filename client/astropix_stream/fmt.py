"""Bytes to readouts to hits, and back: pure, and the standard library alone.

One readout, as a UDP datagram and in the body of an .apx file, little-endian (`HEADER`):

======  ======  ============================================================
offset  size    field
======  ======  ============================================================
0       3       magic ``fe dc ba``
3       4       readout_id, u32: sequential, restarts at 0 with each run
7       8       timestamp, u64: ns since the Unix epoch, DAQ host clock
15      4       length of the data, u32
19      length  data as the board sent it, trailing padding ``ff`` stripped
======  ======  ============================================================

In the data of an AstroPix 4 readout ``bc`` is idle, ``ff`` is padding, and a hit is 8 bytes, of which the
first, the start byte, is ``e0`` to ``fe``. Any bytes decode, to hits and bits of `Decoding`, in linear time.
"""

import re
import struct
import time
from collections.abc import Generator, Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import IO, Any, ClassVar, Self, TypeAlias

from astropix_stream.errors import FormatError

__all__ = [
    "BIT_FIELDS",
    "CLOCK_MHZ",
    "HEADER",
    "HEADER_SIZE",
    "HIT_SIZE",
    "MAGIC",
    "MAX_DATA",
    "MAX_DATAGRAM",
    "REVERSED",
    "ROLLOVER",
    "AstroPix4Hit",
    "AstroPix4Readout",
    "Decoding",
    "DecodingStatus",
    "parse_header",
    "parse_hits",
    "reverse_bit_order",
    "split",
    "uid_to_readout_class",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"\xfe\xdc\xba"
HEADER = struct.Struct("<3sIQI")  # magic, readout_id, timestamp, length
HEADER_SIZE = HEADER.size
MAX_DATAGRAM = 65507  # bytes: the largest UDP payload over IPv4
MAX_DATA = MAX_DATAGRAM - HEADER_SIZE

HIT_SIZE = 8
CLOCK_MHZ = 20  # the clock of ts_dec1 and ts_dec2
ROLLOVER = 1 << 17  # they count in 17 bits

_IDLE = b"\xbc\xff"
_FIRST_START = 0xE0
_BEFORE_START = re.compile(rb"[^\xe0-\xfe]*+")

# From the first start byte on, the data are tokens that each begin with a start byte and swallow what is no
# start byte after them: a hit (group 1), the extra bytes at the end (group 2), or a hit that was cut short.
# Eight bytes with a start byte inside are a hit only if a start byte or the end comes next. An idle run is
# looked over from the at most 8 places before it, so the time is linear; the possessive `*+` keeps it so.
_TOKEN = re.compile(
    rb"""([\xe0-\xfe](?: [^\xe0-\xfe]{7} | .{7}(?=[\xbc\xff]*+(?:[\xe0-\xfe]|\Z)) )) [^\xe0-\xfe]*+
       | ([\xe0-\xfe].{0,6}+)\Z
       | [\xe0-\xfe][^\xe0-\xfe]*+""",
    re.DOTALL | re.VERBOSE,
)

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def reverse_bit_order(data: BytesLike) -> bytes:
    """Reverse the order of the bits inside every byte.

    Parameters
    ----------
    data : bytes-like
        Any number of bytes.

    Returns
    -------
    bytes
        As many bytes; ``01`` has become ``80``.
    """
    return bytes(data).translate(REVERSED)


def _gray_table(low: int, high: int) -> list[int]:
    """Convert from Gray code to binary every number of which only the bits `low` to `high` - 1 are set."""
    table = [0]
    for bit in range(low, high):
        table += [binary ^ ((2 << bit) - 1) for binary in table]
    return table


# The conversion is linear in xor: two small tables, that cost nothing at import, do for 17 bits.
_BINARY_LOW = _gray_table(0, 8)
_BINARY_HIGH = _gray_table(8, 17)


class Decoding(IntEnum):
    """What can be told of the decoding of a readout: the numbers of the bits of a `DecodingStatus`.

    The last two, and INVALID_EXTRA_BYTES, are known to AstroPix software but never set here: this decoder
    visits every byte, and drops leftovers that do not begin with a start byte.
    """

    ORPHAN_BYTES_MATCHED = 0
    """The bytes before the first start byte completed a hit that began in the previous readout."""
    ORPHAN_BYTES_DROPPED = 1
    """They did not make 8 bytes with the extra bytes of the previous readout."""
    ORPHAN_BYTES_NOT_USED = 2
    """There were such bytes, and no extra bytes of a previous readout."""
    VALID_EXTRA_BYTES = 3
    """A hit began within the last 7 bytes; see `AstroPix4Readout.extra_bytes`."""
    INVALID_EXTRA_BYTES = 4
    """Leftovers at the end that do not begin with a start byte."""
    INCOMPLETE_HIT_DROPPED = 5
    """A hit was cut short by the start byte of another."""
    NOT_ALL_BYTES_VISITED = 6
    """The decoder stopped before the end."""
    UNKNOWN_FATAL_ERROR = 7
    """The decoder failed."""


_MATCHED = 1 << Decoding.ORPHAN_BYTES_MATCHED
_DROPPED = 1 << Decoding.ORPHAN_BYTES_DROPPED
_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES
_CUT_SHORT = 1 << Decoding.INCOMPLETE_HIT_DROPPED


class DecodingStatus(int):
    """The bits of `Decoding` that a readout has set: false with none, indexed by a `Decoding` member."""

    __slots__ = ()

    def __getitem__(self, bit: int) -> bool:
        return bool(self >> bit & 1)

    def __str__(self) -> str:
        return ", ".join(bit.name for bit in Decoding if self[bit]) or "clean"

    def __repr__(self) -> str:
        return f"DecodingStatus({int(self):#x}: {self})"


#: First and last bit of each field that is in the 64 bits of a hit, counted from the most significant.
BIT_FIELDS = {
    "chip_id": (0, 4),
    "payload": (5, 7),
    "row": (8, 12),
    "column": (13, 17),
    "ts_neg1": (18, 18),
    "ts_coarse1": (19, 32),
    "ts_fine1": (33, 35),
    "ts_tdc1": (36, 40),
    "ts_neg2": (41, 41),
    "ts_coarse2": (42, 55),
    "ts_fine2": (56, 58),
    "ts_tdc2": (59, 63),
}


def _field(name: str, doc: str) -> int:
    """Make the property that reads one of `BIT_FIELDS`."""
    first, last = BIT_FIELDS[name]
    shift, mask = 63 - last, (1 << (last - first + 1)) - 1
    # Declared as what reading it gives, so that type checkers know `hit.row` for an int.
    return property(lambda hit: hit.bits >> shift & mask, doc=doc)  # type: ignore[return-value]


class AstroPix4Hit:
    """One hit of an AstroPix 4 chip.

    Every field is worked out when it is read, from one 64-bit integer. Hits are equal when their 8 bytes are.

    Parameters
    ----------
    data : bytes-like
        The 8 bytes of the hit, with the order of the bits in each reversed (`reverse_bit_order`).
    readout_id, timestamp : int
        Those of the readout; the timestamp in ns since the Unix epoch.
    decoding_order : int
        Place among the hits of the readout, from 0.

    Attributes
    ----------
    bits : int
        The data as one 64-bit integer, big-endian.

    Raises
    ------
    FormatError
        If the data are not 8 bytes.
    """

    __slots__ = ("bits", "decoding_order", "readout_id", "timestamp")

    #: The order of the fields, for printing and tables.
    ATTRIBUTE_NAMES: ClassVar[tuple[str, ...]] = (
        "chip_id", "payload", "readout_id", "timestamp", "decoding_order", "row", "column",
        "ts_neg1", "ts_coarse1", "ts_fine1", "ts_tdc1", "ts_neg2", "ts_coarse2", "ts_fine2", "ts_tdc2",
        "ts_dec1", "ts_dec2", "tot_us",
    )  # fmt: skip

    chip_id = _field("chip_id", "Number of the chip in its chain.")
    payload = _field("payload", "Payload bits of the start byte.")
    row = _field("row", "Row of the pixel.")
    column = _field("column", "Column of the pixel.")
    ts_neg1 = _field("ts_neg1", "Clock edge of the first timestamp.")
    ts_coarse1 = _field("ts_coarse1", "Coarse part of the first timestamp, in Gray code with the fine part.")
    ts_fine1 = _field("ts_fine1", "Fine part of the first timestamp.")
    ts_tdc1 = _field("ts_tdc1", "TDC value of the first timestamp.")
    ts_neg2 = _field("ts_neg2", "Clock edge of the second timestamp.")
    ts_coarse2 = _field("ts_coarse2", "Coarse part of the second timestamp, in Gray code with the fine part.")
    ts_fine2 = _field("ts_fine2", "Fine part of the second timestamp.")
    ts_tdc2 = _field("ts_tdc2", "TDC value of the second timestamp.")

    bits: int
    readout_id: int
    timestamp: int
    decoding_order: int

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int, decoding_order: int) -> None:
        if len(data) != HIT_SIZE:
            raise FormatError(f"a hit is {HIT_SIZE} bytes, not {len(data)}")
        self.bits = int.from_bytes(data, "big")
        self.readout_id = readout_id
        self.timestamp = timestamp
        self.decoding_order = decoding_order

    @property
    def ts_dec1(self) -> int:
        """First timestamp, in clock ticks: coarse and fine part, converted from Gray code."""
        bits = self.bits
        return _BINARY_HIGH[bits >> 36 & 0x1FF] ^ _BINARY_LOW[bits >> 28 & 0xFF]

    @property
    def ts_dec2(self) -> int:
        """Second timestamp, in clock ticks; beyond 17 bits where the counter rolled over since the first."""
        bits = self.bits
        ticks = _BINARY_HIGH[bits >> 13 & 0x1FF] ^ _BINARY_LOW[bits >> 5 & 0xFF]
        return ticks if ticks >= self.ts_dec1 else ticks + ROLLOVER

    @property
    def tot_us(self) -> float:
        """Time over threshold, in µs."""
        return (self.ts_dec2 - self.ts_dec1) / CLOCK_MHZ

    def attribute_values(self, names: Sequence[str] | None = None) -> list[Any]:
        """Values of the fields named, or of all, in the order of `ATTRIBUTE_NAMES`."""
        return [getattr(self, name) for name in (self.ATTRIBUTE_NAMES if names is None else names)]

    def __eq__(self, other: object) -> bool:
        return self.bits == other.bits if isinstance(other, AstroPix4Hit) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.bits)

    def __str__(self) -> str:
        return (
            f"hit {self.decoding_order} of readout {self.readout_id}: chip {self.chip_id}, "
            f"row {self.row}, column {self.column}, TOT {self.tot_us:.2f} us"
        )

    def __repr__(self) -> str:
        values = zip(self.ATTRIBUTE_NAMES, self.attribute_values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in values)})"


def parse_hits(data: bytes, extra_bytes: bytes | None = None) -> tuple[list[bytes], bytes | None, int]:
    """Find the hits in the data of a readout.

    Parameters
    ----------
    data : bytes
        Any bytes, without the trailing padding.
    extra_bytes : bytes, optional
        The extra bytes of the previous readout, to complete with the bytes before the first start byte.

    Returns
    -------
    hits : list of bytes
        The 8 bytes of each hit, as the board sent them.
    extra_bytes : bytes or None
        The beginning of a hit at the very end, for the next readout.
    status : int
        Bits of `Decoding`.
    """
    body = data.lstrip(_IDLE)
    hits: list[bytes] = []
    left, status = None, 0
    if body and body[0] < _FIRST_START:
        hits, status = _use_orphans(body, extra_bytes)
    for hit, extra in _TOKEN.findall(body):
        if hit:
            hits.append(hit)
        elif extra:
            left = extra
            status |= _EXTRA
        else:
            status |= _CUT_SHORT
    return hits, left, status


def _use_orphans(body: bytes, extra_bytes: bytes | None) -> tuple[list[bytes], int]:
    """Complete the previous readout's last hit with the bytes before the first start byte."""
    if not extra_bytes:
        return [], _NOT_USED
    end = _BEFORE_START.match(body).end()  # type: ignore[union-attr]  # it matches the empty string too
    hit = bytes(extra_bytes) + body[:end].rstrip(_IDLE)
    return ([hit], _MATCHED) if len(hit) == HIT_SIZE else ([], _DROPPED)


def parse_header(buffer: BytesLike, offset: int = 0) -> tuple[int, int, int]:
    """Check the header of a readout, and read it.

    Parameters
    ----------
    buffer : bytes-like
        Holds the header; what follows it is not looked at.
    offset : int
        Where in the buffer the header begins.

    Returns
    -------
    readout_id, timestamp, length : int
        The timestamp in ns since the Unix epoch, the length of the data in bytes.

    Raises
    ------
    FormatError
        If there are less than 19 bytes, the magic is wrong, or the length is more than a datagram can hold.
    """
    try:
        magic, readout_id, timestamp, length = HEADER.unpack_from(buffer, offset)
    except struct.error:
        found = max(0, len(buffer) - offset)
        raise FormatError(f"{found} bytes, where the header of a readout is {HEADER_SIZE}") from None
    if magic != MAGIC:
        raise FormatError(f"begins with {magic.hex(' ')}, not with the magic {MAGIC.hex(' ')}")
    if length > MAX_DATA:
        raise FormatError(f"header announces {length} bytes of data, more than the {MAX_DATA} of a datagram")
    return readout_id, timestamp, length


@lru_cache(maxsize=256)
def _equal_readouts(size: int) -> struct.Struct:
    """Return what unpacks readout_id, timestamp and data of readouts of this size."""
    return struct.Struct(f"<3xIQ4x{size - HEADER_SIZE}s")


def split(buffer: bytes, base: int = 0) -> Generator[tuple[bytes, int, int], None, int]:
    """Walk over readouts back to back, as in the body of a file or the payload of a relay message.

    Parameters
    ----------
    buffer : bytes
        Readouts; the last may be incomplete.
    base : int
        Where the buffer stands in the file, for the text of an error.

    Yields
    ------
    raw, readout_id, timestamp : bytes, int, int
        The exact bytes of each whole readout, and the two fields of its header (ns since the Unix epoch).

    Returns
    -------
    int
        Where the first byte stands that is not part of a whole readout (the value of `yield from`).

    Raises
    ------
    FormatError
        At bytes that are not a readout, with their offset.
    """
    offset, size = 0, len(buffer)
    try:
        while (begin := offset + HEADER_SIZE) <= size:
            readout_id, timestamp, length = parse_header(buffer, offset)
            if (end := begin + length) > size:
                break
            yield buffer[offset:end], readout_id, timestamp
            offset = end
    except FormatError as error:
        raise FormatError(f"not a readout at byte {base + offset}: {error}") from None
    return offset


class AstroPix4Readout:
    """One readout of an AstroPix 4 detector.

    It costs little until it is asked for its hits; they are decoded once, at the first question about them.

    Parameters
    ----------
    data : bytes-like
        As the board sent them; trailing padding ``ff`` is stripped.
    readout_id : int
        Sequential number that the DAQ host assigns, u32.
    timestamp : int, optional
        ns since the Unix epoch, u64; by default the host's clock now.

    Raises
    ------
    ValueError
        If the readout_id or the timestamp does not fit its field.
    """

    __slots__ = ("_data", "_extra", "_hits", "_status", "readout_id", "timestamp")

    HIT_CLASS: ClassVar[type[AstroPix4Hit]] = AstroPix4Hit

    _data: bytes
    _hits: list[AstroPix4Hit] | None
    _extra: bytes | None
    _status: int
    readout_id: int
    timestamp: int

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int | None = None) -> None:
        if timestamp is None:
            timestamp = self.latch_ns()
        if readout_id >> 32 or timestamp >> 64:
            raise ValueError(f"readout_id {readout_id} is not a u32, or timestamp {timestamp} not a u64")
        self._data = bytes(data).rstrip(b"\xff")
        self._hits = None
        self.readout_id = readout_id
        self.timestamp = timestamp

    @staticmethod
    def uid() -> int:
        """Give the unique number of this class of readouts, used in the header of files."""
        return 4000

    @staticmethod
    def latch_ns() -> int:
        """Read the host's clock: ns since the Unix epoch."""
        return time.time_ns()

    @classmethod
    def from_fields(cls, data: bytes, readout_id: int, timestamp: int) -> Self:
        """Make a readout from fields that were just read from a valid header: fast, and checks nothing."""
        readout = cls.__new__(cls)
        readout._data = data.rstrip(b"\xff")
        readout._hits = None
        readout.readout_id = readout_id
        readout.timestamp = timestamp
        return readout

    @classmethod
    def from_payload(
        cls, payload: bytes, ends: Sequence[int], readout_ids: Sequence[int], timestamps: Sequence[int]
    ) -> list[Self]:
        """Make the readouts of a payload whose headers were just read; a readout ends at each of `ends`.

        A range of ends is that of readouts of one size: these take 0.15 us each, others 0.25, and with a call
        for each it would be 0.33.
        """
        new, readouts, padded = cls.__new__, [], True
        fields: Iterable[tuple[int, int, bytes]]
        if isinstance(ends, range):
            fields = _equal_readouts(ends.step).iter_unpack(payload)
            padded = b"\xff" in payload[ends.step - 1 :: ends.step]
        else:
            rests = (payload[begin + HEADER_SIZE : end] for begin, end in pairwise((0, *ends)))
            fields = zip(readout_ids, timestamps, rests, strict=True)
        for readout_id, timestamp, data in fields:
            readout = new(cls)
            readout._data = data.rstrip(b"\xff") if padded else data
            readout._hits = None
            readout.readout_id = readout_id
            readout.timestamp = timestamp
            readouts.append(readout)
        return readouts

    @classmethod
    def from_bytes(cls, data: BytesLike) -> Self:
        """Read one readout with its header: a datagram.

        Parameters
        ----------
        data : bytes-like
            Exactly one readout. Padding ``ff`` at its end is stripped: `to_bytes` does not give it back.

        Raises
        ------
        FormatError
            If the magic is wrong, or the length is not that of the bytes that follow.
        """
        raw = bytes(data)
        readout_id, timestamp, length = parse_header(raw)
        if length != len(raw) - HEADER_SIZE:
            raise FormatError(f"header announces {length} bytes of data, {len(raw) - HEADER_SIZE} follow")
        return cls.from_fields(raw[HEADER_SIZE:], readout_id, timestamp)

    @classmethod
    def from_file(cls, file: IO[bytes]) -> Self | None:
        """Read the next readout of an open file, or None at its end.

        Raises
        ------
        FormatError
            If the bytes are not a readout, or the file ends in the middle of one.
        """
        header = file.read(HEADER_SIZE)
        if not header:
            return None
        readout_id, timestamp, length = parse_header(header)
        data = file.read(length)
        if len(data) < length:
            left = HEADER_SIZE + len(data)
            raise FormatError(f"the file ends in the middle of a readout, {left} bytes left over")
        return cls.from_fields(data, readout_id, timestamp)

    def to_bytes(self) -> bytes:
        """Header and data: the datagram."""
        data = self._data
        return HEADER.pack(MAGIC, self.readout_id, self.timestamp, len(data)) + data

    def write(self, file: IO[bytes]) -> None:
        """Append the readout to an open file."""
        file.write(self.to_bytes())

    def data(self) -> bytes:
        """Give the data, without header and trailing padding."""
        return self._data

    def hex(self) -> str:
        """Give the data as hexadecimal text."""
        return self._data.hex()

    def decode(self, extra_bytes: bytes | None = None) -> list[AstroPix4Hit]:
        """Find the hits.

        Parameters
        ----------
        extra_bytes : bytes, optional
            What `extra_bytes` of the previous readout gave, to complete a hit that was split between the two.

        Returns
        -------
        list of AstroPix4Hit
            In the order of the data. A second call returns the same list, whatever its argument.
        """
        if self._hits is None:
            found, self._extra, self._status = parse_hits(self._data, extra_bytes)
            make, readout_id, timestamp = self.HIT_CLASS, self.readout_id, self.timestamp
            hits = self._hits = []
            for hit in found:  # most readouts have one or two: a comprehension takes 0.3 us more
                hits.append(make(hit.translate(REVERSED), readout_id, timestamp, len(hits)))
        return self._hits

    def decoded(self) -> bool:
        """Tell whether the hits have been decoded."""
        return self._hits is not None

    def hits(self) -> list[AstroPix4Hit]:
        """Give the hits; decodes them, without extra bytes, if `decode` was not called."""
        return self.decode()

    def decoding_status(self) -> DecodingStatus:
        """Tell what was wrong with the data, if anything; decodes as `hits` does."""
        self.decode()
        return DecodingStatus(self._status)

    def extra_bytes(self) -> bytes | None:
        """Give the beginning of a hit at the end, for `decode` of the next readout; decodes as `hits`."""
        self.decode()
        return self._extra

    def pretty_print(self, hits: bool = True) -> str:
        """Make a text for people: the readout in one line and, if wanted, a line for each hit."""
        lines = [f"{self}: {self.hex()}"]
        if hits:
            lines += [f"  {hit}" for hit in self.decode()]
            lines.append(f"  decoding: {self.decoding_status()}")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        return self.to_bytes() == other.to_bytes() if isinstance(other, AstroPix4Readout) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.readout_id, self.timestamp, self._data))

    def __str__(self) -> str:
        return f"readout {self.readout_id} at {self.timestamp} ns, {len(self._data)} bytes"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bytes.fromhex({self.hex()!r}), {self.readout_id}, {self.timestamp})"


_READOUT_CLASSES = {readout_class.uid(): readout_class for readout_class in (AstroPix4Readout,)}


def uid_to_readout_class(uid: int) -> type[AstroPix4Readout]:
    """Give the class of readouts that has a unique number.

    Raises
    ------
    FormatError
        If there is none.
    """
    try:
        return _READOUT_CLASSES[uid]
    except (KeyError, TypeError):
        known = ", ".join(f"{uid} ({known.__name__})" for uid, known in _READOUT_CLASSES.items())
        raise FormatError(f"no class of readouts has the uid {uid!r}; there is {known}") from None
