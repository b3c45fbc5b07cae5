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
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias, overload

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import HEADER_SIZE, AstroPix4Readout, split, uid_to_readout_class

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
LENGTH = struct.Struct("<I")
MAX_HEADER = 1 << 24  # bytes; those of real runs have some 1400, and a wrong length must not fill the memory

_BLOCK = 1 << 20  # bytes read at a time

PathLike: TypeAlias = str | os.PathLike[str]

_log = logging.getLogger(__name__)


class FileHeader(Mapping[str, Any]):
    """What stands at the top of a file: a JSON object, indexed by its keys.

    Parameters
    ----------
    readout_class : type
        Class of the readouts in the file, `AstroPix4Readout`.
    content : mapping
        Anything that JSON can hold. The key ``readout_uid`` is set to that of the class.
    """

    def __init__(self, readout_class: type[AstroPix4Readout], content: Mapping[str, Any]) -> None:
        uid = {"readout_uid": readout_class.uid()}
        self._readout_class = readout_class
        self._content = uid | dict(content) | uid  # first in the file, and not for the content to change

    @classmethod
    def from_file(cls, file: IO[bytes]) -> Self:
        """Read the header of an open file, and leave the file at its first readout.

        Raises
        ------
        FormatError
            If the file is not an .apx file, or its header is damaged.
        """
        start = file.read(len(MAGIC) + LENGTH.size)
        if not start.startswith(MAGIC):
            raise FormatError(f"not an .apx file: begins with {start[: len(MAGIC)]!r}, not with {MAGIC!r}")
        if len(start) < len(MAGIC) + LENGTH.size:
            raise FormatError("the file ends before its header")
        (length,) = LENGTH.unpack_from(start, len(MAGIC))
        if length > MAX_HEADER:
            raise FormatError(f"the header claims to have {length} bytes, more than the {MAX_HEADER} allowed")
        text = file.read(length)
        if len(text) < length:
            raise FormatError(f"the file ends in its header: {len(text)} of {length} bytes")
        content = _parse_json(text)
        return cls(uid_to_readout_class(content["readout_uid"]), content)

    def readout_class(self) -> type[AstroPix4Readout]:
        """Give the class of the readouts in the file."""
        return self._readout_class

    def serialize(self) -> bytes:
        """Make the bytes that a file begins with: magic, length, JSON.

        Raises
        ------
        TypeError
            If the content holds something that is not for JSON.
        """
        text = json.dumps(self._content).encode()
        return MAGIC + LENGTH.pack(len(text)) + text

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __repr__(self) -> str:
        return f"FileHeader({self._readout_class.__name__}, {self._content})"


def _parse_json(text: bytes) -> dict[str, Any]:
    """Read the JSON of a header, that must be an object with a readout_uid."""
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the header is not JSON: {error}") from None
    if not isinstance(content, dict) or "readout_uid" not in content:
        raise FormatError("the header is not a JSON object with the key readout_uid")
    return content


class _ApxFile:
    """What a reader and a writer share: an open file that is closed once."""

    def __init__(self, path: PathLike, mode: str) -> None:
        self._file = open(path, mode)  # noqa: SIM115  # close() and __exit__ close it

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
    All raise `FormatError`, with the file and the byte offset, where the body is not readouts.
    A file that ends in the middle of a readout gives all whole ones, then sets `leftover_bytes` and logs a
    warning.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    leftover_bytes : int
        Bytes after the last whole readout, known when the end was reached; 0 in an intact file.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__(path, "rb")
        self._path = os.fspath(path)
        self.leftover_bytes = 0
        try:
            self.header = FileHeader.from_file(self._file)
        except FormatError as error:
            self.close()
            raise FormatError(f"{self._path}: {error}") from None
        self._make = self.header.readout_class().from_fields
        self._datagrams = self._walk()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AstroPix4Readout:
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

    def _walk(self) -> Iterator[tuple[bytes, int, int]]:
        buffer, base = b"", self._file.tell()
        try:
            while block := self._file.read(_BLOCK):
                buffer += block
                used = yield from split(buffer, base)
                buffer, base = buffer[used:], base + used
        except FormatError as error:
            raise FormatError(f"{self._path}: {error}") from None
        self.leftover_bytes = len(buffer)
        if buffer:
            _log.warning(
                "%s: ends in the middle of a readout, %d bytes left over from byte %d on",
                self._path, len(buffer), base,
            )  # fmt: skip


class ApxWriter(_ApxFile):
    """An .apx file open for writing, its header written.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    """

    def __init__(self, path: PathLike, header: FileHeader, *, overwrite: bool) -> None:
        start = header.serialize()
        super().__init__(path, "wb" if overwrite else "xb")
        self.header = header
        self._file.write(start)

    def write(self, raw: bytes) -> None:
        """Append readouts with their headers: a datagram, or any number of them back to back."""
        self._file.write(raw)

    def flush(self) -> None:
        """Hand what was written to the operating system, so that other programs can read it."""
        self._file.flush()


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
