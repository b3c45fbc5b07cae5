"""Open a file of readouts of any format, or standard input, and read it once from its beginning."""

import codecs
import io
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from astropix_stream.errors import FormatError
from astropix_stream.file_body import Complaints
from astropix_stream.file_header import JSON_AT, FileHeader
from astropix_stream.fileio import ApxReader
from astropix_stream.files import formats
from astropix_stream.files.apx import ApxParser
from astropix_stream.files.formats import Format
from astropix_stream.files.frames import FrameParser
from astropix_stream.files.parser import Found, Parser
from astropix_stream.files.text_log import LogParser
from astropix_stream.fmt import ASTEP, Kind
from astropix_stream.numbers import counted

STDIN = "-"
_BLOCK = 1 << 18  # bytes read at a time


def make_parser(form: Format, kind: Kind | None = None) -> Parser:
    """Make the parser of a format.

    Parameters
    ----------
    form
        The format.
    kind
        What a person says that the readouts are; None believes the file.
    """
    if form is Format.APX:
        return ApxParser()
    if form is Format.LOG:
        return LogParser(kind)
    return FrameParser(frame_kind(kind))


def frame_kind(kind: Kind | None) -> Kind:
    """Return the kind to read raw frames with: what was said, if that has frames, or A-STEP."""
    return kind if kind is not None and hasattr(kind.readout_class, "frame_length") else ASTEP


class ParsedReader:
    """A `.log` or `.bin` file open for reading: what `ApxReader` is for an `.apx` file.

    There is one place in it, which `datagrams` and `batches` share.

    Attributes
    ----------
    header : FileHeader
        What the file says of its readouts.
    leftover_bytes : int
        Bytes at the end that no readout could be made of, known when the end was reached.
    """

    def __init__(self, name: str, file: IO[bytes], parser: Parser) -> None:
        self._name, self._file, self._parser = name, file, parser
        self.leftover_bytes = 0
        self._first = self._read_some()  # a log's header is complete with its first readout
        if isinstance(parser, LogParser) and not (self._first or len(parser.header or ()) > 1):
            first = f": {self.complaints}" if parser.complaints else ""
            raise FormatError(f"{name}: not an .apx file, nor the text log of a DAQ{first}")
        if parser.header is None:
            raise FormatError(f"{name}: the file ends in its header")
        self.header: FileHeader = parser.header
        self._datagrams = self._walk()

    @property
    def complaints(self) -> str:
        """What could not be read, and was skipped; empty if nothing was."""
        return str(self._parser.complaints)

    @property
    def skipped(self) -> int:
        """How many lines or pieces could not be read."""
        return self._parser.complaints.count

    @property
    def further_headers(self) -> list[tuple[int, FileHeader]]:
        """None: no file of these formats holds headers of others (`ApxReader.further_headers`)."""
        return []

    @property
    def raw_frames(self) -> bool:
        """Whether the file has frames alone, which are grouped into readouts here."""
        return isinstance(self._parser, FrameParser)

    def datagrams(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over the exact bytes of each readout, its readout_id and its timestamp (ns)."""
        return self._datagrams

    def batches(self, count: int = 4096) -> Iterator[bytes]:
        """Iterate over the bytes of `count` readouts at a time, back to back."""
        batch: list[bytes] = []
        for raw, _, _ in self._datagrams:
            batch.append(raw)
            if len(batch) == count:
                yield b"".join(batch)
                batch = []
        if batch:
            yield b"".join(batch)

    def _read_some(self) -> list[Found]:
        """Read until there is a readout, or the end."""
        while block := self._file.read(_BLOCK):
            if found := self._parser.feed(block):
                return found
        return []

    def _walk(self) -> Iterator[tuple[bytes, int, int]]:
        found = self._first
        while found:
            for readout in found:
                yield readout[:3]
            found = self._read_some()
        for readout in self._parser.finish():
            yield readout[:3]
        self.leftover_bytes = self._parser.leftover_bytes

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_readouts(path: str | os.PathLike[str], kind: Kind | None = None) -> ApxReader | ParsedReader:
    """Open a file of readouts, of the format that its content tells.

    What is damaged in it is skipped, and told by `describe_damage` at its end.

    Parameters
    ----------
    path
        The file; a pipe will do. ``-`` is standard input.
    kind
        What a person says that the readouts are; None believes the file.

    Raises
    ------
    FormatError
        It is none of the formats; the text says what it is.
    OSError
        As `open` does.
    """
    name = _name_of(path)
    file: IO[bytes]
    if os.fspath(path) == STDIN:
        file = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  (closed by the reader)
    elif Path(name).is_dir():
        raise FormatError(f"{name}: is a directory, not a file of readouts")
    else:
        file = open(name, "rb")  # noqa: SIM115
    try:
        head = file.read(formats.LOOK)
        form = formats.tell_format(head, Path(name).suffix, frame_kind(kind))
        whole: IO[bytes] = io.BufferedReader(_Again(head, file))
        if form is None and Path(name).suffix == Format.APX.value and formats.has_frames(head):
            raise FormatError(f"{name}: not an .apx file: it has raw frames, for a name that ends in .bin")
        if form is Format.APX or (form is None and Path(name).suffix == Format.APX.value):
            return _open_apx(name, whole, kind)
        if form is None or not head:
            raise FormatError(f"{name}: {_no_format(head)}")
        if form is Format.BIN and kind is not None and frame_kind(kind) is not kind:
            raise FormatError(f"{name}: has raw frames, which are {ASTEP}, not {kind}")
        reader = ParsedReader(name, whole, make_parser(form, kind))
    except BaseException:
        file.close()
        raise
    return reader


def describe_damage(
    path: str | os.PathLike[str], reader: ApxReader | ParsedReader, leftover_bytes: int | None = None
) -> str:
    """Say what is wrong with a file that was read to its end; empty if nothing is.

    Parameters
    ----------
    path
        The file.
    reader
        What has read it.
    leftover_bytes
        Of an incomplete readout at the end; by default those that the reader knows of.
    """
    left = reader.leftover_bytes if leftover_bytes is None else leftover_bytes
    told = []
    if isinstance(reader, ParsedReader):
        if reader.skipped:
            told.append(f"{reader.skipped} skipped: {reader.complaints}")
    elif reader.complaints:
        told.append(reader.complaints)
    headers = Complaints()
    for offset, header in reader.further_headers:
        if header.readout_uid == reader.header.readout_uid:
            headers.add(f"another file begins at byte {offset}; its readouts are read, too")
    if headers:
        told.append(str(headers))
    if left:
        told.append(f"truncated: {counted(left, 'byte')} of an incomplete readout at its end")
    return f"{_name_of(path)}: {'; '.join(told)}" if told else ""


def _name_of(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return "standard input" if name == STDIN else name


def _open_apx(name: str, file: IO[bytes], kind: Kind | None) -> ApxReader:
    """Open an .apx file; one whose header cannot be read, too, if a person says what its readouts are."""
    try:
        return ApxReader(name, file, None if kind is None else kind.uid, tolerant=True)
    except FormatError as error:
        if kind is None and error.offset == JSON_AT:
            told = f"{error}; `apx convert {shlex.quote(name)} WHOLE.apx --kind KIND` keeps the readouts"
            raise FormatError(told, offset=error.offset, reason=error.reason) from None
        raise


def _no_format(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text in UTF-16, as the > of PowerShell writes it: save it as UTF-8"
    return "not an .apx file, a text log or frames of an A-STEP"


class _Again(io.RawIOBase):
    """A file whose first bytes have been read already, and that may be a pipe."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        super().__init__()
        self._head, self._file = head, file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] if self._head else self._file.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
