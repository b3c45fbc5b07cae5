"""Tables of hits that other programs read: CSV, NumPy's .npz, Parquet.

The libraries for the last two are an optional extra. CSV and Parquet are written a chunk at a time, so that
the size of a file does not matter.
"""

import csv
import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout, Decoding

_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED


class Table(AbstractContextManager["Table"], ABC):
    """A file of hits; a row each, the columns those of `AstroPix4Hit.ATTRIBUTE_NAMES`."""

    @abstractmethod
    def write(self, readouts: Sequence[AstroPix4Readout]) -> int:
        """Append the hits of readouts that follow those given before; return how many."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CsvTable(Table):
    """Comma-separated values, with a line of names."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(AstroPix4Hit.ATTRIBUTE_NAMES)
        self._extra: bytes | None = None

    def write(self, readouts: Sequence[AstroPix4Readout]) -> int:
        """Append the hits of some readouts."""
        hits: list[AstroPix4Hit] = []
        for readout in readouts:
            hits += readout.decode(self._extra)
            self._extra = readout.extra_bytes()
        self._writer.writerows(hit.attribute_values() for hit in hits)
        return len(hits)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class Columns:
    """Decodes readouts with NumPy, and puts together what was split between two of them."""

    def __init__(self) -> None:
        self._columns: Any = _import("astropix_stream.columns")
        self._before: AstroPix4Readout | None = None

    def decode(self, readouts: Sequence[AstroPix4Readout]) -> Any:
        """Return the hits as a structured array."""
        batch = self._columns.decode_batch(readouts)
        joined = [*readouts]
        for i in (batch.statuses & _NOT_USED).nonzero()[0]:
            before = readouts[i - 1] if i else self._before
            extra = None if before is None else before.extra_bytes()
            if extra:  # decode once more, since a readout remembers its hits
                joined[i] = readouts[i].from_bytes(readouts[i].to_bytes())
                joined[i].decode(extra)
        self._before = readouts[-1] if readouts else None
        changed = any(one is not other for one, other in zip(joined, readouts, strict=True))
        return self._columns.decode_batch(joined).hits if changed else batch.hits


class NpzTable(Table):
    """NumPy's archive: an array for each column. It is collected in memory."""

    def __init__(self, path: Path) -> None:
        self._numpy: Any = _import("numpy")
        self._columns = Columns()
        self._file = path.open("wb")
        self._chunks = [self._columns.decode([])]

    def write(self, readouts: Sequence[AstroPix4Readout]) -> int:
        """Append the hits of some readouts."""
        self._chunks.append(self._columns.decode(readouts))
        return len(self._chunks[-1])

    def close(self) -> None:
        """Complete the file."""
        with self._file:
            hits = self._numpy.concatenate(self._chunks)
            self._numpy.savez(self._file, **{name: hits[name] for name in hits.dtype.names})


class ParquetTable(Table):
    """Apache Parquet."""

    def __init__(self, path: Path) -> None:
        self._arrow: Any = _import("pyarrow")
        parquet: Any = _import("pyarrow.parquet")
        self._columns = Columns()
        self._writer = parquet.ParquetWriter(path, self._make([]).schema)

    def _make(self, readouts: Sequence[AstroPix4Readout]) -> Any:
        hits = self._columns.decode(readouts)
        # A column of a structured array is strided, and Arrow takes contiguous ones.
        return self._arrow.table({name: hits[name].copy() for name in hits.dtype.names})

    def write(self, readouts: Sequence[AstroPix4Readout]) -> int:
        """Append the hits of some readouts."""
        chunk = self._make(readouts)
        self._writer.write_table(chunk)
        return int(chunk.num_rows)

    def close(self) -> None:
        """Complete the file."""
        self._writer.close()


_KINDS: dict[str, type[CsvTable] | type[NpzTable] | type[ParquetTable]] = {
    ".csv": CsvTable,
    ".npz": NpzTable,
    ".parquet": ParquetTable,
}


def open_table(path: Path, kind: str) -> Table:
    """Open a table to write.

    Parameters
    ----------
    path
        The file; overwritten if it exists.
    kind
        .csv, .npz or .parquet.

    Raises
    ------
    ConfigError
        It is none of these.
    Problem
        The library for it is not installed.
    """
    if kind not in _KINDS:
        raise ConfigError(f"{kind!r} is no kind of table: give a name that ends in .csv, .parquet or .npz")
    return _KINDS[kind](path)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        library = "PyArrow" if name.startswith("pyarrow") else "NumPy"
        raise Problem(
            f"this needs {library}: pip install 'astropix-stream[convert]'; or write .csv"
        ) from None
