"""Tables of hits that other programs read, in the formats that AstroPix users exchange.

The libraries are an optional extra. CSV, Parquet, HDF5 and ROOT are written a chunk at a time, so that the
size of a file does not matter; the others are collected in memory. Each carries the header of the run, and
what was counted, as one JSON object.
"""

import csv
import importlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.errors import ConfigError

_GROUP_ROWS = 1 << 18  # in a group of Parquet, at least: the writer remembers 20 kB of each until the end
_ROOM = 1024  # bytes left at the top of a CSV file for what is known at the end, for each input


class Table(ABC):
    """A file of rows.

    Parameters
    ----------
    path
        The file; overwritten if it exists.
    types
        The columns: names, in order, and types as NumPy writes them.
    header
        JSON object, as far as it is known at the beginning.
    inputs
        How many files the rows are of.

    Attributes
    ----------
    in_memory
        Bytes of memory for each byte of the rows, until the file is complete; 0 if it is written as it comes.
    """

    in_memory: ClassVar[float] = 0.0

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        self._path, self._types = path, types

    @abstractmethod
    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows, given as columns."""

    @abstractmethod
    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file with its header."""

    def _exact(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns to write, of the types that are exchanged; what does not fit is the largest.

        That is so only of the `decoding_order` of readouts with more than 256 hits.
        """
        exact = {}
        for name, type_ in self._types.items():
            column = columns[name]
            if column.dtype.str[1:] != type_:
                largest = 256 ** int(type_[1:]) - 1
                column = column.clip(max=largest).astype(type_)
            exact[name] = column
        return exact

    def abandon(self) -> None:  # noqa: B027  (most have nothing open)
        """Close what is open, after a failure."""


class CsvTable(Table):
    """Comma-separated values: a comment with the header, a line of names, the rows."""

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._file = path.open("wb")
        self._room = len(self._comment(header)) + _ROOM * (inputs + 1)
        self._file.write(self._comment(header).ljust(self._room) + b"\n" + ",".join(types).encode() + b"\n")
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._arrow_csv: Any = importlib.import_module("pyarrow.csv")
        except ImportError:
            self._arrow = None

    @staticmethod
    def _comment(header: Mapping[str, Any]) -> bytes:
        return b"#" + json.dumps(header).encode()

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        chosen = {name: columns[name] for name in self._types if name in columns}
        if self._arrow is not None and all(hasattr(column, "dtype") for column in chosen.values()):
            options = self._arrow_csv.WriteOptions(include_header=False, quoting_style="none")
            self._arrow_csv.write_csv(_arrow_table(self._arrow, chosen), self._file, options)
            return
        text = io.StringIO()
        values = [column.tolist() if hasattr(column, "tolist") else column for column in chosen.values()]
        csv.writer(text, lineterminator="\n").writerows(zip(*values, strict=True))
        self._file.write(text.getvalue().encode())

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        comment = self._comment(header)
        if len(comment) <= self._room:
            self._file.seek(0)
            self._file.write(comment)
        self._file.close()

    def abandon(self) -> None:
        """Close the file."""
        self._file.close()


class _Collected(Table):
    """Collects all rows in memory."""

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._numpy: Any = _import("numpy")
        self._chunks: dict[str, list[Any]] = {name: [] for name in types}

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        for name, column in self._exact(columns).items():
            self._chunks[name].append(column)

    def _columns(self) -> dict[str, Any]:
        """Return the columns; the pieces of each are given up as it is put together."""
        columns = {}
        for name, type_ in self._types.items():
            chunks = self._chunks.pop(name)
            columns[name] = self._numpy.concatenate(chunks) if chunks else self._numpy.empty(0, type_)
        return columns


class NpzTable(_Collected):
    """NumPy's archive: an array for each column, and `comments`, an array of one text."""

    in_memory = 1.2

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        with self._path.open("wb") as file:
            comments = self._numpy.array([json.dumps(header)])
            self._numpy.savez(file, **self._columns(), comments=comments)


class AstropyTable(_Collected):
    """What Astropy writes: FITS, ECSV."""

    in_memory = 3.0

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._table: Any = _import("astropy.table").Table

    FORMATS: ClassVar[dict[str, str]] = {".fits": "fits", ".ecsv": "ascii.ecsv"}

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        # A card of FITS has 72 characters, and loses spaces at its end.
        text = json.dumps(header, separators=(",", ":")).replace(" ", "\\u0020")
        table = self._table(self._columns(), meta={"comments": [text]}, copy=False)
        table.write(self._path, format=self.FORMATS[self.suffix], overwrite=True)

    suffix: ClassVar[str]


class FitsTable(AstropyTable):
    """FITS: one binary table, with the header as COMMENT cards, to be joined."""

    suffix = ".fits"


class EcsvTable(AstropyTable):
    """Enhanced CSV."""

    suffix = ".ecsv"
    in_memory = 20.0


class ParquetTable(Table):
    """Apache Parquet, with the header as `comments` in the metadata of the schema."""

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._arrow: Any = _import("pyarrow")
        parquet: Any = _import("pyarrow.parquet")
        numpy: Any = _import("numpy")
        fields = [(name, self._arrow.from_numpy_dtype(numpy.dtype(type_))) for name, type_ in types.items()]
        schema = self._arrow.schema(fields)
        # Columns of small numbers gain nothing by a dictionary, which takes twice the time.
        self._writer = parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False)
        self._group: list[Any] = []
        self._rows = 0

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        table = _arrow_table(self._arrow, self._exact(columns))
        self._group.append(table)
        self._rows += len(table)
        if self._rows >= _GROUP_ROWS:
            self._write_group()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(self._arrow.concat_tables(self._group), row_group_size=self._rows)
        self._group, self._rows = [], 0

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        self._write_group()
        self._writer.add_key_value_metadata({"comments": json.dumps(header)})
        self._writer.close()

    def abandon(self) -> None:
        """Close the file."""
        self._writer.close()


class Hdf5Table(Table):
    """HDF5: one dataset HITS of records, with the header as its attribute `comments`."""

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._numpy: Any = _import("numpy")
        h5py: Any = _import("h5py")
        self._text = h5py.string_dtype()
        self._record = self._numpy.dtype(list(types.items()))
        self._file = h5py.File(path, "w")
        self._data = self._file.create_dataset(
            "HITS", (0,), self._record, maxshape=(None,), chunks=(1 << 14,), compression="gzip",
            compression_opts=1, shuffle=True,
        )  # fmt: skip

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        count = len(next(iter(columns.values())))
        rows = self._numpy.empty(count, self._record)
        for name, column in self._exact(columns).items():
            rows[name] = column
        begin = len(self._data)
        self._data.resize((begin + count,))
        self._data[begin:] = rows

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        self._data.attrs.create("comments", [json.dumps(header)], dtype=self._text)
        self._file.close()

    def abandon(self) -> None:
        """Close the file."""
        self._file.close()


class RootTable(Table):
    """ROOT: a TTree HITS with a branch for each column, and the header as a TObjString `comments`."""

    def __init__(
        self, path: Path, types: Mapping[str, str], header: Mapping[str, Any], inputs: int = 1
    ) -> None:
        super().__init__(path, types, header, inputs)
        self._numpy: Any = _import("numpy")
        uproot: Any = _import("uproot")
        self._opened = path.open("w+b")  # given a path, uproot starts a thread that stays
        self._file: Any = uproot.recreate(self._opened)
        self._tree: Any = self._file.mktree("HITS", {n: self._numpy.dtype(t) for n, t in types.items()})

    def write(self, columns: Mapping[str, Any]) -> None:
        """Append rows."""
        if len(next(iter(columns.values()))):
            self._tree.extend(self._exact(columns))

    def finish(self, header: Mapping[str, Any]) -> None:
        """Complete the file."""
        self._file["comments"] = json.dumps(header)
        self._file.close()
        self._opened.close()

    def abandon(self) -> None:
        """Close the file."""
        self._file.close()
        self._opened.close()


TABLES: dict[str, type[Table]] = {
    ".csv": CsvTable,
    ".parquet": ParquetTable,
    ".npz": NpzTable,
    ".ecsv": EcsvTable,
    ".fits": FitsTable,
    ".hdf5": Hdf5Table,
    ".root": RootTable,
}

_LIBRARIES = {
    "numpy": "NumPy", "pyarrow": "PyArrow", "astropy": "Astropy", "h5py": "h5py", "uproot": "uproot",
}  # fmt: skip


def table_class(suffix: str) -> type[Table]:
    """Return the class of tables whose names end so.

    Raises
    ------
    ConfigError
        There is none.
    """
    if suffix not in TABLES:
        what = f"unsupported format {suffix!r}" if suffix else "the name does not tell the format"
        raise ConfigError(f"{what}: give a name that ends in {', '.join(TABLES)}, or .apx")
    return TABLES[suffix]


def _arrow_table(arrow: Any, columns: Mapping[str, Any]) -> Any:
    """Make a table of Arrow of arrays of NumPy, without copying them.

    Arrow's own way imports pandas where it is installed, which takes longer than all else: 0.2 s and 34 MiB.
    """
    arrays = [
        arrow.Array.from_buffers(
            arrow.from_numpy_dtype(column.dtype), len(column), [None, arrow.py_buffer(column)]
        )
        for column in columns.values()
    ]
    return arrow.Table.from_arrays(arrays, names=list(columns))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        library = _LIBRARIES[name.partition(".")[0]]
        raise Problem(
            f"this format needs {library}: pip install 'astropix-stream[convert]'; or write .csv"
        ) from None
