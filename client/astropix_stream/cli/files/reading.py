"""Read an .apx file as far as it is whole, and remember what is wrong with it."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from astropix_stream.errors import FormatError
from astropix_stream.fileio import ApxReader
from astropix_stream.fmt import AstroPix4Readout

T = TypeVar("T")


class Reading(AbstractContextManager["Reading"]):
    """An open .apx file, whose iterators end where its damage begins.

    Raises
    ------
    FormatError, OSError
        As `ApxReader` does: not an .apx file, or not readable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = ApxReader(path)
        self._damage = ""
        self.header = self._reader.header

    def readouts(self) -> Iterator[AstroPix4Readout]:
        """Iterate over the whole readouts."""
        return self._until_damage(self._reader)

    def datagrams(self) -> Iterator[tuple[bytes, int, int]]:
        """Iterate over their bytes, readout_ids and timestamps (ns)."""
        return self._until_damage(self._reader.datagrams())

    def _until_damage(self, items: Iterable[T]) -> Iterator[T]:
        try:
            yield from items
        except FormatError as error:
            self._damage = f"{error}; only what precedes it can be used"

    @property
    def leftover_bytes(self) -> int:
        """Bytes of an incomplete readout at the end."""
        return self._reader.leftover_bytes

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; empty if nothing is."""
        if self.leftover_bytes:
            return f"{self.path}: truncated: {self.leftover_bytes} bytes of an incomplete readout at its end"
        return self._damage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
