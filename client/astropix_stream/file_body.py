"""The body of an .apx file: readouts back to back, and whatever else an accident has put there. Pure.

In an intact file readouts follow one another to the end. A crash, a bad disk or ``cat a.apx b.apx`` put other
bytes between them. These are skipped, up to the next readout that can be believed, or the header of another
file, whose readouts follow it:

- While readouts follow one another, each is believed. Only if the magic of a readout or of a file begins in
  its data must another readout, a header or the end of the file follow it: its length may be wrong.
- After bytes that are no readout, a readout is believed only if it is followed by one of these.

So noise is not taken for readouts. There is no checksum: a readout whose header is whole and whose data are
damaged is given out.
"""

import io
import re
from collections.abc import Iterator
from enum import Enum

from astropix_stream.errors import FormatError
from astropix_stream.file_header import LENGTH, MAGIC, FileHeader
from astropix_stream.fmt import HEADER, HEADER_SIZE, MAX_DATA, kind_of, parse_header
from astropix_stream.fmt import MAGIC as READOUT_MAGIC
from astropix_stream.numbers import counted

_MAX_INNER_HEADER = 1 << 18  # bytes: a wrong length must not hold up a file that grows
_HEADERS = re.compile(re.escape(MAGIC))
_BEGINS = re.compile(re.escape(READOUT_MAGIC) + b"|" + re.escape(MAGIC))
_PART_OF_MAGIC = re.compile(rb"(?:\xfe\xdc?|%(?:A(?:P(?:XD?)?)?)?)\Z")
_NAMED = 3  # complaints that are told one by one


class Complaints:
    """What is wrong with a file, piece by piece: all are counted, the first few are named."""

    def __init__(self) -> None:
        self.count = 0
        self._named: list[str] = []

    def add(self, text: str) -> None:
        """Note one."""
        self.count += 1
        if len(self._named) < _NAMED:
            self._named.append(text)

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        more = self.count - len(self._named)
        return "; ".join([*self._named, *([f"and {more} more like these"] if more else [])])


class _Next(Enum):
    """What stands at a place."""

    READOUT = "a readout; the place told with it is its end"
    HEADER = "the header of another file; likewise"
    NOTHING = "neither"
    UNKNOWN = "too few bytes to tell"


class FileBody:
    """Finds the readouts in the body of a file, which comes in pieces of any size.

    Parameters
    ----------
    offset
        Where in the file the first byte stands.
    uid
        Kind of the readouts, as the file's header says: those behind a header of another kind are skipped.
        None takes all.
    grows
        The file grows: a readout at the end of what is there now is given out, without its successor.

    Attributes
    ----------
    offset : int
        Where in the file the first byte stands that has not been given out as part of a readout, or skipped.
    end : int
        Where in the file the readout ends that was given last.
    complaints : Complaints
        What was skipped.
    damage : FormatError or None
        The first of the complaints.
    headers : list of (int, FileHeader)
        Headers of other files within this one, and where each begins.
    """

    def __init__(self, offset: int, uid: int | None = None, *, grows: bool = False) -> None:
        self._grows = grows
        self.offset = self.end = offset
        self.complaints = Complaints()
        self.damage: FormatError | None = None
        self.headers: list[tuple[int, FileHeader]] = []
        self._uid = uid
        self._buffer = b""
        self._skipped_from = 0
        self._reason = ""  # why bytes are being skipped; empty if they are not
        self._is_other_kind = False

    @property
    def skipping(self) -> str:
        """Why bytes are being skipped; empty if they are not: then the next readout begins at `offset`."""
        if not self._reason:
            return ""
        where = (
            f"not read from byte {self._skipped_from} on"
            if self._is_other_kind
            else (f"not a readout at byte {self._skipped_from}")
        )
        return f"{where}: {self._reason}"

    @property
    def rest(self) -> bytes:
        """Bytes that wait for what follows them; after `finish`, an incomplete readout."""
        return self._buffer

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int, int]]:
        """Take the bytes that follow; iterate, to the end, over the readouts that are whole now.

        Yields
        ------
        raw, readout_id, timestamp : bytes, int, int
            The exact bytes of each readout, and the two fields of its header (ns since the Unix epoch).
        """
        return self._walk(self._buffer + data, final=False)

    def pass_over(self, size: int, rest: bytes) -> None:
        """Note that somebody else has found the readouts in the next `size` bytes; `rest` follows them."""
        self.offset += size
        self._buffer = rest

    def finish(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over what can be made of the rest: nothing follows."""
        yield from self._walk(self._buffer, final=True)
        rest = self._buffer
        if not (
            self._reason or any(magic.startswith(rest[: len(magic)]) for magic in (MAGIC, READOUT_MAGIC))
        ):
            self._skipped_from, self._reason = self.offset, _no_magic(rest)
        if self._reason:
            self.offset += len(self._buffer)
            self._buffer = b""
            self._end_skipping(self.offset)

    def _walk(self, buffer: bytes, *, final: bool) -> Iterator[tuple[bytes, int, int]]:
        at, base, size = 0, self.offset, len(buffer)
        unpack, find = HEADER.unpack_from, buffer.find
        other = find(MAGIC) % (size + 1)  # where another file may begin; if nowhere, at the end
        while (begin := at + HEADER_SIZE) <= size or buffer.startswith(MAGIC, at):
            if begin <= size and not self._reason:
                magic, readout_id, timestamp, length = unpack(buffer, at)
                if (
                    magic == READOUT_MAGIC
                    and (end := begin + length) <= size
                    and length <= MAX_DATA
                    and (  # the first is nearly always true, and costs a third
                        (find(READOUT_MAGIC, begin, end + 3) == end and end <= other)
                        or is_certain(buffer, begin, end, grows=self._grows)
                    )
                ):
                    self.end = base + end
                    yield buffer[at:end], readout_id, timestamp
                    at = end
                    continue
            found, place = self._look(buffer, at, final=final)
            if found is _Next.UNKNOWN:
                break
            if found is not _Next.NOTHING and self._reason:
                self._end_skipping(base + at)
            if found is _Next.HEADER:
                self._note_header(base + at, buffer[at:place])
            elif found is _Next.READOUT:
                self.end = base + place
                _, readout_id, timestamp, _ = HEADER.unpack_from(buffer, at)
                yield buffer[at:place], readout_id, timestamp
            at = place
        self._buffer = buffer[at:]
        self.offset = base + at

    def _look(self, buffer: bytes, at: int, *, final: bool) -> tuple[_Next, int]:
        """Tell what stands at a place, and where to go on."""
        if buffer.startswith(MAGIC, at):
            found, end, reason = _read_header(buffer, at)
        elif self._is_other_kind:
            found, end, reason = _Next.NOTHING, at, ""
        else:
            found, end, reason = _read_readout(buffer, at, final=final)
        next_begin = (_HEADERS if self._is_other_kind else _BEGINS).search(buffer, at + 1)
        if found is _Next.UNKNOWN and final and (self._reason or next_begin):
            found = _Next.NOTHING  # else the file ends within a readout
        if found is not _Next.NOTHING:
            return found, end
        if not self._reason:
            self._skipped_from = self.offset + at
            self._reason = reason
        return found, next_begin.start() if next_begin else max(at + 1, len(buffer) - len(MAGIC) + 1)

    def _note_header(self, begin: int, raw: bytes) -> None:
        header = FileHeader.from_file(io.BytesIO(raw))
        self.headers.append((begin, header))
        self._is_other_kind = self._uid not in (None, header.readout_uid)
        if self._is_other_kind:
            self._skipped_from = begin
            self._reason = f"another file begins there, of {kind_of(header.readout_uid)}"

    def _end_skipping(self, offset: int) -> None:
        begin = self._skipped_from
        size = f" ({counted(offset - begin, 'byte')} skipped)"
        told, reason = self.skipping + size, self._reason + size
        self._reason = ""
        self.complaints.add(told)
        if self.damage is None:
            self.damage = FormatError(told, offset=begin, reason=reason)


def is_certain(buffer: bytes, begin: int, end: int, *, grows: bool = False) -> bool:
    """Return whether a readout can be believed whatever follows it: no magic begins in its data.

    Parameters
    ----------
    buffer
        Holds the readout, and all that is known of what follows.
    begin, end
        Where its data begin and end.
    grows
        Do not wait for bytes that might complete a magic, if nothing follows now.
    """
    most = end + len(MAGIC) - 1
    if buffer.find(READOUT_MAGIC, begin, end + 2) >= 0 or buffer.find(MAGIC, begin, most) >= 0:
        return False
    if most <= len(buffer) or (grows and end == len(buffer)):
        return True
    part = _PART_OF_MAGIC.search(buffer, max(begin, len(buffer) - len(MAGIC)))
    return part is None or part.start() >= end


def _read_readout(buffer: bytes, at: int, *, final: bool) -> tuple[_Next, int, str]:
    """Tell whether a readout begins at a place, and another, a header or the end of the file follows it."""
    try:
        length = parse_header(buffer, at)[2]
    except FormatError as error:
        return _Next.NOTHING, at, str(error)
    end = at + HEADER_SIZE + length
    behind = buffer[end : end + len(MAGIC)]
    if behind.startswith(READOUT_MAGIC) or behind == MAGIC or (final and end == len(buffer)):
        return _Next.READOUT, end, ""
    reason = f"no readout follows the {length} bytes of data that it announces"
    if READOUT_MAGIC.startswith(behind) or MAGIC.startswith(behind):  # as far as there is something
        return _Next.READOUT if final and end <= len(buffer) else _Next.UNKNOWN, end, reason
    return _Next.NOTHING, at, reason


def _no_magic(begin: bytes) -> str:
    return f"begins with {begin[:3].hex(' ')}, not with the magic {READOUT_MAGIC.hex(' ')}"


def _read_header(buffer: bytes, at: int) -> tuple[_Next, int, str]:
    """Tell whether the header of a file begins at a place, where its magic stands."""
    begin = at + len(MAGIC) + LENGTH.size
    reason = "the header of another file, which is damaged"
    if begin > len(buffer):
        return _Next.UNKNOWN, at, reason
    end = begin + LENGTH.unpack_from(buffer, at + len(MAGIC))[0]
    if end - begin > _MAX_INNER_HEADER:
        return _Next.NOTHING, at, reason
    if end > len(buffer):
        return _Next.UNKNOWN, at, reason
    try:
        FileHeader.from_file(io.BytesIO(buffer[at:end]))
    except FormatError:
        return _Next.NOTHING, at, reason
    return _Next.HEADER, end, ""
