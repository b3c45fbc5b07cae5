"""Tables of hits that other programs read: CSV, NumPy's .npz, Parquet.

The libraries for the last two are an optional extra. CSV and Parquet are written a chunk at a time, so that
the size of a file does not matter.
"""

import csv
import importlib
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from astropix_stream.batch import Batch
from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Readout, kind_of_class
from astropix_stream.joining import Joiner, decoded


class Table(AbstractContextManager["Table"], ABC):
    """A file of hits; a row each, the columns those of the hits' `ATTRIBUTE_NAMES`."""

    @abstractmethod
    def write(self, batch: Batch) -> int:
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

    def __init__(self, path: Path, readout_class: type[Readout[Any]]) -> None:
        self._readout_class = readout_class
        self._joiner = Joiner()
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(readout_class.HIT_CLASS.ATTRIBUTE_NAMES)

    def write(self, batch: Batch) -> int:
        """Append the hits of some readouts."""
        readouts = self._readout_class.from_payload(
            batch.payload, batch.ends, batch.readout_ids, batch.timestamps
        )
        done = decoded(readouts, self._joiner, batch.run_starts, batch.duplicates)
        hits = [hit for readout in done for hit in readout.hits()]
        self._writer.writerows(hit.attribute_values() for hit in hits)
        return len(hits)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()


class Columns:
    """Decodes readouts with NumPy."""

    def __init__(self, readout_class: type[Readout[Any]]) -> None:
        self._columns: Any = _import("astropix_stream.columns")
        self._joiner = Joiner()
        self._kind = kind_of_class(readout_class)
        self.nothing = self._columns.decode_batch(b"", self._kind).hits

    def decode(self, batch: Batch) -> Any:
        """Return the hits as a structured array."""
        return self._columns.decode_batch(
            batch.payload,
            self._kind,
            joiner=self._joiner,
            run_starts=batch.run_starts,
            duplicates=batch.duplicates,
        ).hits


class NpzTable(Table):
    """NumPy's archive: an array for each column. It is collected in memory."""

    def __init__(self, path: Path, readout_class: type[Readout[Any]]) -> None:
        self._numpy: Any = _import("numpy")
        self._columns = Columns(readout_class)
        self._file = path.open("wb")
        self._chunks = [self._columns.nothing]

    def write(self, batch: Batch) -> int:
        """Append the hits of some readouts."""
        self._chunks.append(self._columns.decode(batch))
        return len(self._chunks[-1])

    def close(self) -> None:
        """Complete the file."""
        with self._file:
            hits = self._numpy.concatenate(self._chunks)
            self._numpy.savez(self._file, **{name: hits[name] for name in hits.dtype.names})


class ParquetTable(Table):
    """Apache Parquet."""

    def __init__(self, path: Path, readout_class: type[Readout[Any]]) -> None:
        self._arrow: Any = _import("pyarrow")
        parquet: Any = _import("pyarrow.parquet")
        self._columns = Columns(readout_class)
        self._writer = parquet.ParquetWriter(path, self._make(self._columns.nothing).schema)

    def _make(self, hits: Any) -> Any:
        # A column of a structured array is strided, and Arrow takes contiguous ones.
        return self._arrow.table({name: hits[name].copy() for name in hits.dtype.names})

    def write(self, batch: Batch) -> int:
        """Append the hits of some readouts."""
        chunk = self._make(self._columns.decode(batch))
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


def open_table(path: Path, kind: str, readout_class: type[Readout[Any]]) -> Table:
    """Open a table to write.

    Parameters
    ----------
    path
        The file; overwritten if it exists.
    kind
        .csv, .npz or .parquet.
    readout_class
        Class of the readouts.

    Raises
    ------
    ConfigError
        It is none of these.
    Problem
        The library for it is not installed.
    """
    if kind not in _KINDS:
        raise ConfigError(f"{kind!r} is no kind of table: give a name that ends in .csv, .parquet or .npz")
    return _KINDS[kind](path, readout_class)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        library = "PyArrow" if name.startswith("pyarrow") else "NumPy"
        raise Problem(
            f"this needs {library}: pip install 'astropix-stream[convert]'; or write .csv"
        ) from None
