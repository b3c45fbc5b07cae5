"""What the readouts of all kinds have in common: framing, files, when they are decoded."""

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import IO, Any, ClassVar, Generic, Self, TypeVar

from astropix_stream.errors import FormatError
from astropix_stream.fmt.framing import HEADER, HEADER_SIZE, MAGIC, BytesLike, equal_readouts, parse_header
from astropix_stream.fmt.hits import Hit
from astropix_stream.fmt.meaning import Division, Meaning, Span
from astropix_stream.fmt.status import DecodingStatus
from astropix_stream.fmt.walk import IDLE, REVERSED, Walk

H = TypeVar("H", bound=Hit)

_SHOWN = 100  # hits of a readout in a notebook
_NOT_MADE: list[Any] = []  # in place of the hits of a readout: found, and no objects made of them


class Readout(Generic[H]):
    """One readout: its number, its time, and the data as the board sent them.

    It costs little until it is asked for its hits; they are decoded once, at the first question about them.
    Each kind derives a class from this one or from `WalkedReadout`, with `UID`, `HIT_CLASS` and a way to
    decode.

    Parameters
    ----------
    data : bytes-like
        As the board sent them; trailing padding (`PADDING`) is stripped.
    readout_id : int
        Sequential number that the DAQ host assigns, u32.
    timestamp : int, optional
        ns since the Unix epoch, u64; by default the host's clock now.

    Raises
    ------
    ValueError
        If the readout_id or the timestamp does not fit its field.
    """

    __slots__ = ("_data", "_extra", "_found", "_hits", "_status", "readout_id", "timestamp")

    #: The unique number of the kind, used in the header of files and in the relay's hello.
    UID: ClassVar[int]
    #: Class of the hits.
    HIT_CLASS: ClassVar[type[Any]] = Hit
    #: The `Kind` of a class that was made with other settings; None where the registry knows it by its uid.
    KIND: ClassVar[Any] = None
    #: Bytes that are stripped from the end of the data.
    PADDING: ClassVar[bytes] = b"\xff"

    _data: bytes
    _hits: list[H] | None  # None before they are found, `_NOT_MADE` before objects are made of them
    _found: list[bytes]  # these three are set when the hits are found
    _extra: bytes | None
    _status: int
    readout_id: int
    timestamp: int

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int | None = None) -> None:
        if timestamp is None:
            timestamp = self.latch_ns()
        if readout_id >> 32 or timestamp >> 64:
            raise ValueError(f"readout_id {readout_id} is not a u32, or timestamp {timestamp} not a u64")
        self._data = bytes(data).rstrip(self.PADDING)
        self._hits = None
        self.readout_id = readout_id
        self.timestamp = timestamp

    @classmethod
    def uid(cls) -> int:
        """Give the unique number of this class of readouts, used in the header of files."""
        return cls.UID

    @staticmethod
    def latch_ns() -> int:
        """Read the host's clock: ns since the Unix epoch."""
        return time.time_ns()

    @classmethod
    def from_fields(cls, data: bytes, readout_id: int, timestamp: int) -> Self:
        """Make a readout from fields that were just read from a valid header: fast, and checks nothing.

        Parameters
        ----------
        data
            What follows the header.
        readout_id, timestamp
            As the header says; the timestamp in ns since the Unix epoch.
        """
        readout = cls.__new__(cls)
        readout._data = data.rstrip(cls.PADDING)
        readout._hits = None
        readout.readout_id = readout_id
        readout.timestamp = timestamp
        return readout

    @classmethod
    def from_payload(
        cls, payload: bytes, ends: Sequence[int], readout_ids: Sequence[int], timestamps: Sequence[int]
    ) -> list[Self]:
        """Make the readouts of a payload whose headers were just read; a readout ends at each of `ends`.

        `readout_ids` and `timestamps` (ns since the Unix epoch) are what the headers say.

        A range of ends is that of readouts of one size: these take 0.15 us each, others 0.25, and with a call
        for each it would be 0.33.
        """
        new, readouts, padding = cls.__new__, [], cls.PADDING
        padded = bool(padding)
        fields: Iterable[tuple[int, int, bytes]]
        if isinstance(ends, range):
            fields = equal_readouts(ends.step).iter_unpack(payload)
            padded = any(byte in payload[ends.step - 1 :: ends.step] for byte in padding)
        else:
            rests = (payload[begin + HEADER_SIZE : end] for begin, end in pairwise((0, *ends)))
            fields = zip(readout_ids, timestamps, rests, strict=True)
        for readout_id, timestamp, data in fields:
            readout = new(cls)
            readout._data = data.rstrip(padding) if padded else data
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
            told = f"header announces {length} bytes of data, {len(raw) - HEADER_SIZE} follow"
            raise FormatError(told, offset=0)
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
        try:
            readout_id, timestamp, length = parse_header(header)
        except FormatError as error:
            error.offset = _tell_before(file, len(header))
            raise
        data = file.read(length)
        if len(data) < length:
            left = HEADER_SIZE + len(data)
            told = f"the file ends in the middle of a readout, {left} bytes left over"
            raise FormatError(told, offset=_tell_before(file, left), reason=told)
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

    def decode(self, extra_bytes: bytes | None = None) -> list[H]:
        """Find the hits.

        Parameters
        ----------
        extra_bytes : bytes, optional
            What `extra_bytes` of the previous readout gave, to complete a hit that was split between the two.

        Returns
        -------
        list of hits
            In the order of the data. A second call returns the same list, whatever its argument.
        """
        hits = self._hits
        if hits is None or hits is _NOT_MADE:
            hits = self._hits = self._make_hits(self.find(extra_bytes))
        return hits

    def find(self, extra_bytes: bytes | None = None) -> list[bytes]:
        """Find the hits as `decode` does, but give their bytes as the board sent them."""
        if self._hits is None:
            self._found, self._extra, self._status = self._parse(extra_bytes)
            self._hits = _NOT_MADE
        return self._found

    def _parse(self, extra_bytes: bytes | None) -> tuple[list[bytes], bytes | None, int]:
        """Return the bytes of the hits, the extra bytes, and bits of `Decoding`, in the way of the kind."""
        return [], None, 0

    def _make_hits(self, found: list[bytes]) -> list[H]:
        """Make hits of what `_parse` gave."""
        make, readout_id, timestamp = self.HIT_CLASS, self.readout_id, self.timestamp
        return [make(data, readout_id, timestamp, order) for order, data in enumerate(found)]

    def decoded(self) -> bool:
        """Tell whether the hits have been decoded."""
        return self._hits is not None

    def hits(self) -> list[H]:
        """Give the hits; decodes them, without extra bytes, if `decode` was not called."""
        return self.decode()

    def decoding_status(self) -> DecodingStatus:
        """Tell what was wrong with the data, if anything; decodes as `hits` does."""
        self.find()
        return DecodingStatus(self._status)

    def extra_bytes(self) -> bytes | None:
        """Give the beginning of a hit at the end, for `decode` of the next readout; decodes as `hits`."""
        self.find()
        return self._extra

    @classmethod
    def spans(cls, data: BytesLike, extra_bytes: bytes | None = None) -> list[Span]:
        """Say what each byte of some data is; see `fmt.spans`."""
        whole = bytes(data)
        division = cls._divide(whole.rstrip(cls.PADDING), extra_bytes)
        division.cover(len(whole), Meaning.IDLE)
        return division.spans

    @classmethod
    def _divide(cls, data: bytes, extra_bytes: bytes | None) -> Division:
        """Divide data without trailing padding; of a kind that knows no more, by the bytes of its hits."""
        division = Division()
        for order, hit in enumerate(cls.from_fields(data, 0, 0).find(extra_bytes)):
            begin = data.find(hit, division.at) if hit else -1
            if begin >= 0:
                division.cover(begin, Meaning.UNDECODED)
                division.cover_hit(begin + len(hit), order)
        division.cover(len(data), Meaning.UNDECODED)
        return division

    def explained(self) -> tuple[int, int]:
        """Give the bytes that are understood, and all that could be; both 0 where nothing can be said."""
        return 0, 0

    def pretty_print(self, hits: bool = True) -> str:
        """Make a text for people: the readout in one line and, if wanted, a line for each hit."""
        lines = [f"{self}: {self.hex()}"]
        if hits:
            lines += [f"  {text}" for text in self.hits_as_text()]
        return "\n".join(lines)

    def hits_as_text(self, clean: bool = True) -> list[str]:
        """Make a line for each hit, and one that says what was wrong; of a clean readout only if wanted."""
        lines = [str(hit) for hit in self.decode()]
        status = self.decoding_status()
        return [*lines, f"decoding: {status}"] if status or clean else lines

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Readout):
            return self.uid() == other.uid() and self.to_bytes() == other.to_bytes()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.readout_id, self.timestamp, self._data))

    def __str__(self) -> str:
        return f"readout {self.readout_id} at {self.timestamp} ns, {len(self._data)} bytes"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bytes.fromhex({self.hex()!r}), {self.readout_id}, {self.timestamp})"

    def _repr_html_(self) -> str:
        """Return a table of the hits, for notebooks; a readout that was not decoded stays so."""
        from astropix_stream import markup  # noqa: PLC0415  (a DAQ does not pay for it)

        shown = self if self.decoded() else self.from_fields(self._data, self.readout_id, self.timestamp)
        hits = shown.decode()
        rows = [hit.attribute_values() for hit in hits[:_SHOWN]]
        text = markup.table(self, self.HIT_CLASS.ATTRIBUTE_NAMES, rows)
        more = f"{len(hits)} hits, the first {_SHOWN} are shown; " if len(hits) > _SHOWN else ""
        return text + markup.paragraph(f"{more}decoding: {shown.decoding_status()}")


class WalkedReadout(Readout[H]):
    """A readout whose hits are found by their start bytes, with idle bytes between them."""

    __slots__ = ()

    #: Finds the hits.
    WALK: ClassVar[Walk]

    def decode(self, extra_bytes: bytes | None = None) -> list[H]:
        """Find the hits: `Readout.decode`, without the calls that it can do without."""
        hits = self._hits
        if hits is None or hits is _NOT_MADE:
            if hits is None:
                self._found, self._extra, self._status = self.WALK.parse(self._data, extra_bytes)
            make, readout_id, timestamp = self.HIT_CLASS, self.readout_id, self.timestamp
            hits = self._hits = []
            for hit in self._found:  # most readouts have one or two: a comprehension takes 0.3 us more
                hits.append(make(hit.translate(REVERSED), readout_id, timestamp, len(hits)))
        return hits

    def explained(self) -> tuple[int, int]:
        """Give the bytes of hits, and all bytes; idle and padding ones aside."""
        found = sum(len(hit.translate(None, IDLE)) for hit in self.find())
        return found, len(self._data.translate(None, IDLE))

    def _parse(self, extra_bytes: bytes | None) -> tuple[list[bytes], bytes | None, int]:
        return self.WALK.parse(self._data, extra_bytes)

    @classmethod
    def _divide(cls, data: bytes, extra_bytes: bytes | None) -> Division:
        return cls.WALK.divide(data, extra_bytes)


def _tell_before(file: IO[bytes], read: int) -> int | None:
    """Return where the last `read` bytes begin in a file; None where it does not tell, as a pipe."""
    try:
        return file.tell() - read
    except (OSError, AttributeError):
        return None
