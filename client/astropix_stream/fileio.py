"""Files of readouts, .apx: a header, then the datagrams back to back.

======  ======  =========================================================================
offset  size    field
======  ======  =========================================================================
0       6       magic ``%APXDF``
6       4       length of the header, u32, little-endian
10      length  header: a JSON object in UTF-8 with the key ``readout_uid`` and any others
...             body: readouts, each exactly as its datagram (see `fmt`)
======  ======  =========================================================================
"""

import json
import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias, overload

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import HEADER_SIZE, Readout, split, uid_to_readout_class

__all__ = [
    "LENGTH",
    "MAGIC",
    "MAX_HEADER",
    "ApxReader",
    "ApxWriter",
    "FileHeader",
    "apx_open",
]

MAGIC = b"%APXDF"
NOT_APX = f"not an .apx file: it does not begin with {MAGIC.decode()}"
LENGTH = struct.Struct("<I")
JSON_AT = len(MAGIC) + LENGTH.size
MAX_HEADER = 1 << 24  # bytes; those of real runs have some 1400, and a wrong length must not fill the memory

_ASSUMED_UID = 4000  # of files without a readout_uid: only AstroPix 4 was written so
_MAX_UID = 0xFFFFFFFF
_BLOCK = 1 << 20  # bytes read at a time

PathLike: TypeAlias = str | os.PathLike[str]

_log = logging.getLogger(__name__)


class FileHeader(Mapping[str, Any]):
    """What stands at the top of a file: a JSON object, indexed by its keys.

    Parameters
    ----------
    readout_class : type or int
        Class of the readouts in the file, such as `AstroPix4Readout`; or their uid, of which there need be
        no class.
    content : mapping
        Anything that JSON can hold. The key ``readout_uid`` is set to that of the kind.

    Attributes
    ----------
    readout_uid : int
        Says the kind of the readouts.
    is_assumed : bool
        The file does not say its kind, as those of spring 2025: it is taken for AstroPix 4.
    size : int
        Bytes that it takes at the top of the file that it was read from; 0 if it was not.
    damage : str
        Why it could not be read, where the kind was known without it; empty if it could.
    """

    def __init__(self, readout_class: type[Readout[Any]] | int, content: Mapping[str, Any]) -> None:
        self.readout_uid = readout_class if isinstance(readout_class, int) else readout_class.uid()
        self.is_assumed = False
        self.size = 0
        self.damage = ""
        uid = {"readout_uid": self.readout_uid}
        self._content = uid | dict(content) | uid  # first in the file, and not for the content to change

    @classmethod
    def from_file(cls, file: IO[bytes], uid: int | None = None) -> Self:
        """Read the header of an open file, and leave the file at its first readout.

        Parameters
        ----------
        file
            Open for reading, at its beginning.
        uid
            Kind of the readouts of a file whose header is not JSON; None refuses it. See `damage`.

        Raises
        ------
        FormatError
            If the file is not an .apx file, or its header is damaged.
        """
        start = file.read(len(MAGIC) + LENGTH.size)
        if not start:
            raise FormatError("the file is empty", offset=0)
        if len(start) < len(MAGIC) + LENGTH.size and start[: len(MAGIC)] == MAGIC[: len(start)]:
            raise FormatError("the file ends before its header", offset=len(start))
        if not start.startswith(MAGIC):
            raise FormatError(NOT_APX, offset=0)
        (length,) = LENGTH.unpack_from(start, len(MAGIC))
        if length > MAX_HEADER:
            told = f"the header claims to have {length} bytes, more than the {MAX_HEADER} allowed"
            raise FormatError(told, offset=len(MAGIC))
        text = file.read(length)
        if len(text) < length:
            told = f"the file ends in its header: {len(text)} of {length} bytes"
            raise FormatError(told, offset=len(start) + len(text))
        damage = ""
        try:
            content = _parse_json(text)
        except FormatError as error:
            if uid is None:
                raise
            content, damage = {"readout_uid": uid}, str(error)
        header = cls(content.get("readout_uid", _ASSUMED_UID), content)
        header.size, header.damage = len(start) + length, damage
        header.is_assumed = "readout_uid" not in content
        return header

    def readout_class(self) -> type[Readout[Any]]:
        """Give the class of the readouts in the file.

        Raises
        ------
        FormatError
            There is none for this kind: the readouts can be copied and sent, but not decoded.
        """
        return uid_to_readout_class(self.readout_uid)

    def serialize(self, size: int = 0) -> bytes:
        """Make the bytes that a file begins with: magic, length, JSON.

        Parameters
        ----------
        size
            At least so many bytes: the JSON is followed by spaces, which leave room to write more later.

        Raises
        ------
        TypeError
            If the content holds something that is not for JSON.
        """
        text = json.dumps(self._content).encode().ljust(size - len(MAGIC) - LENGTH.size)
        return MAGIC + LENGTH.pack(len(text)) + text

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"FileHeader({self.readout_uid}, {self._content})"


def _in_file(path: str, error: FormatError) -> FormatError:
    """Return the error with the file's name before its text."""
    return FormatError(f"{path}: {error}", offset=error.offset, reason=error.reason)


def _parse_json(text: bytes) -> dict[str, Any]:
    """Read the JSON of a header: an object, whose readout_uid, if there is one, is a number."""
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not JSON: {error}", offset=JSON_AT) from None
    if not isinstance(content, dict):
        raise FormatError("the header is not a JSON object", offset=JSON_AT)
    uid = content.get("readout_uid", _ASSUMED_UID)
    if not isinstance(uid, int) or isinstance(uid, bool) or not 0 <= uid <= _MAX_UID:
        told = f"the header's readout_uid is {json.dumps(uid)[:40]}, not a number from 0 to {_MAX_UID}"
        raise FormatError(told, offset=JSON_AT)
    return content


class _ApxFile:
    """What a reader and a writer share: an open file that is closed once."""

    def __init__(self, path: PathLike, mode: str, file: IO[bytes] | None = None) -> None:
        self._file = open(path, mode) if file is None else file  # noqa: SIM115  # close() closes it

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ApxReader(_ApxFile):
    """An .apx file open for reading: an iterator over its readouts.

    As with any file there is one place in it: the iterator, `datagrams` and `batches` share it.
    All raise `FormatError`, with the file and the byte offset, where the body is not readouts. The iterator
    also raises it where there is no class for the file's kind of readouts; the other two do without.
    A file that ends in the middle of a readout gives all whole ones, then sets `leftover_bytes` and logs a
    warning.

    Parameters
    ----------
    path
        The file; a pipe will do, as it is read once from its beginning.
    file
        It is open already, at its beginning, and `path` is its name for messages; closed with the reader.
    uid
        As for `FileHeader.from_file`.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    leftover_bytes : int
        Bytes after the last whole readout, known when the end was reached; 0 in an intact file.
    """

    def __init__(self, path: PathLike, file: IO[bytes] | None = None, uid: int | None = None) -> None:
        super().__init__(path, "rb", file)
        self._path = os.fspath(path)
        self.leftover_bytes = 0
        try:
            self.header = FileHeader.from_file(self._file, uid)
        except FormatError as error:
            self.close()
            raise _in_file(self._path, error) from None
        self._make: Callable[[bytes, int, int], Readout[Any]] | None = None
        self._datagrams = self._walk()
        if self.header.is_assumed:
            _log.warning(
                "%s: its header does not say the kind of readouts; taken for AstroPix 4 (4000)",
                self._path,
            )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Readout[Any]:
        if self._make is None:
            self._make = self.header.readout_class().from_fields
        raw, readout_id, timestamp = next(self._datagrams)
        return self._make(raw[HEADER_SIZE:], readout_id, timestamp)

    def datagrams(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over the exact bytes of each readout, its readout_id and its timestamp (ns)."""
        return self._datagrams

    def batches(self, count: int = 4096) -> Iterator[bytes]:
        """Iterate over the bytes of `count` readouts at a time, back to back, as `columns` takes them."""
        batch: list[bytes] = []
        damage = None
        try:
            for raw, _, _ in self._datagrams:
                batch.append(raw)
                if len(batch) == count:
                    yield b"".join(batch)
                    batch = []
        except FormatError as error:
            damage = error
        if batch:
            yield b"".join(batch)
        if damage:
            raise damage  # not before the good readouts that precede it

    def blocks(self, size: int) -> Iterator[bytes]:
        """Iterate over the bytes of the body as they stand there, up to `size` at a time."""
        while block := self._file.read(size):
            yield block

    def _walk(self) -> Iterator[tuple[bytes, int, int]]:
        buffer, base = b"", self.header.size
        try:
            while block := self._file.read(_BLOCK):
                buffer += block
                used = yield from split(buffer, base)
                buffer, base = buffer[used:], base + used
        except FormatError as error:
            raise _in_file(self._path, error) from None
        self.leftover_bytes = len(buffer)
        if buffer:
            _log.warning(
                "%s: ends in the middle of a readout, %d bytes left over from byte %d on",
                self._path, len(buffer), base,
            )  # fmt: skip


class ApxWriter(_ApxFile):
    """An .apx file open for writing, its header written.

    Parameters
    ----------
    path, header, overwrite
        See `apx_open`.
    room
        Bytes left free in the header, for `update_header`.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    header_size : int
        Bytes before the first readout.
    """

    def __init__(self, path: PathLike, header: FileHeader, *, overwrite: bool, room: int = 0) -> None:
        start = header.serialize(len(header.serialize()) + room)
        super().__init__(path, "wb" if overwrite else "xb")
        self.header = header
        self.header_size = len(start)
        self._file.write(start)

    def update_header(self, header: FileHeader) -> bool:
        """Write another header in place of the first, if it fits; return whether it did.

        It is one write within a block of the disk: the file is whole before and after it.
        """
        start = header.serialize(self.header_size)
        if len(start) > self.header_size:
            return False
        self._file.flush()
        self._file.seek(0)
        try:
            self._file.write(start)
            self._file.flush()
        finally:
            self._file.seek(0, os.SEEK_END)
        self.header = header
        return True

    def write(self, raw: bytes) -> None:
        """Append readouts with their headers: a datagram, or any number of them back to back."""
        self._file.write(raw)

    def flush(self) -> None:
        """Hand what was written to the operating system, so that other programs can read it."""
        self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._file.fileno()


@overload
def apx_open(path: PathLike, mode: Literal["rb"] = "rb", header: None = None) -> ApxReader: ...
@overload
def apx_open(path: PathLike, mode: Literal["wb", "xb"], header: FileHeader) -> ApxWriter: ...


def apx_open(path: PathLike, mode: str = "rb", header: FileHeader | None = None) -> ApxReader | ApxWriter:
    """Open an .apx file.

    Parameters
    ----------
    path : str or path-like
        The file.
    mode : {"rb", "wb", "xb"}
        Read; write, over what is there; write, and fail with FileExistsError if there is such a file.
    header : FileHeader, optional
        For writing, and required there.

    Returns
    -------
    ApxReader or ApxWriter
        A context manager. A reader has the file's `header` and iterates over its readouts; a writer has
        `write`.

    Raises
    ------
    FormatError
        If the file to read is not an .apx file.
    ConfigError
        If the mode is none of these, or does not go with the header.
    OSError
        As `open` does.
    """
    if mode == "rb" and header is None:
        return ApxReader(path)
    if mode in ("wb", "xb") and header is not None:
        return ApxWriter(path, header, overwrite=mode == "wb")
    raise ConfigError(f'mode {mode!r}: an .apx file is opened with "rb", or "wb" or "xb" and a header')
