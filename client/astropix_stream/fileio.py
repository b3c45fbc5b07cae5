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

import logging
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias, overload

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.file_body import FileBody
from astropix_stream.file_header import LENGTH, MAGIC, MAX_HEADER, FileHeader
from astropix_stream.fmt import HEADER_SIZE, Readout

__all__ = [
    "LENGTH",
    "MAGIC",
    "MAX_HEADER",
    "ApxReader",
    "ApxWriter",
    "FileHeader",
    "apx_open",
]

_BLOCK = 1 << 20  # bytes read at a time

PathLike: TypeAlias = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def _in_file(path: str, error: FormatError) -> FormatError:
    """Return the error with the file's name before its text."""
    return FormatError(f"{path}: {error}", offset=error.offset, reason=error.reason)


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

    As with any file there is one place in it: the iterator, `datagrams` and `batches` share it. The iterator
    raises `FormatError` where there is no class for the file's kind of readouts; the other two do without.

    What is not a readout is skipped, up to the next one. At the end of the file, after all readouts, the
    iterators raise a `FormatError` about what was skipped first, with the file and the byte offset. A file
    that ends in the middle of a readout gives all whole ones, then sets `leftover_bytes` and logs a warning.

    Parameters
    ----------
    path
        The file; a pipe will do, as it is read once from its beginning.
    file
        It is open already, at its beginning, and `path` is its name for messages; closed with the reader.
    uid
        As for `FileHeader.from_file`.
    tolerant
        Raise no error about what was skipped; `complaints` has it.

    Attributes
    ----------
    header : FileHeader
        The file's header.
    leftover_bytes : int
        Bytes after the last whole readout, known when the end was reached; 0 in an intact file.
    """

    def __init__(
        self,
        path: PathLike,
        file: IO[bytes] | None = None,
        uid: int | None = None,
        *,
        tolerant: bool = False,
    ) -> None:
        super().__init__(path, "rb", file)
        self._path = os.fspath(path)
        self._tolerant = tolerant
        self.leftover_bytes = 0
        try:
            self.header = FileHeader.from_file(self._file, uid)
        except FormatError as error:
            self.close()
            raise _in_file(self._path, error) from None
        self.body = FileBody(self.header.size, self.header.readout_uid)
        self._make: Callable[[bytes, int, int], Readout[Any]] | None = None
        self._datagrams = self._walk()
        if self.header.is_assumed:
            _log.warning(
                "%s: its header does not say the kind of readouts; taken for AstroPix 4 (4000)",
                self._path,
            )

    @property
    def complaints(self) -> str:
        """What could not be read, and was skipped; empty if nothing was."""
        return str(self.body.complaints)

    @property
    def further_headers(self) -> list[tuple[int, FileHeader]]:
        """Headers of other files within this one, as ``cat a.apx b.apx`` leaves them, and where each is."""
        return self.body.headers

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
        while block := self._file.read(_BLOCK):
            yield from self.body.feed(block)
        yield from self.body.finish()
        self.leftover_bytes = len(self.body.rest)
        if self.leftover_bytes:
            _log.warning(
                "%s: ends in the middle of a readout, %d bytes left over from byte %d on",
                self._path, self.leftover_bytes, self.body.offset,
            )  # fmt: skip
        if self.body.damage and not self._tolerant:
            raise _in_file(self._path, self.body.damage)


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
