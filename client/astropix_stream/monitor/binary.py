"""Everything that a view shows, as a ROOT or an HDF5 file: histograms, tables, notes, and what it is of.

Both have the tables of the CSV files. HDF5 has each as a dataset with named columns, and the maps as
two-dimensional datasets; ROOT has each as a tree below ``tables``, and the histograms as TH1D and TH2D. What
the file is of stands in the attributes of the HDF5 file, and in both as JSON under ``state``.
"""

import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.errors import ConfigError
from astropix_stream.monitor import export
from astropix_stream.monitor.view import View

_LIBRARIES = {"hdf5": "h5py", "root": "uproot"}
_TIMES = ("time", "from", "to", "run_of", "since")  # of the tables: ISO 8601, written as seconds since 1970


class Content(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    view
        What is shown.
    tables
        By name, columns by their names.
    state
        All else, as JSON has it.
    """

    view: View
    tables: Mapping[str, Mapping[str, NDArray[Any]]]
    state: Mapping[str, Any]


def content_of(view: View, notes: Sequence[Mapping[str, Any]], alarms: Mapping[str, Any]) -> Content:
    """Return what there is to write.

    Parameters
    ----------
    view
        What is shown.
    notes, alarms
        As GET /api/notes.json and /api/alarms.json give them.
    """
    tables = {name: _columns(*export.rows(view, name)) for name in export.tables_of(view)}
    for name, records in (("notes", notes), ("alarms", alarms["log"])):
        if records:
            names = list(records[0])
            tables[name] = _columns(names, ([one[key] for key in names] for one in records))
    choice = view.choice.to_json()
    return Content(view, tables, export.state(view) | {"choice": choice, "alarms": alarms["alarms"]})


def _columns(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, NDArray[Any]]:
    """Return the columns of a table: whole numbers, numbers, times in s since 1970, or texts."""
    table = list(rows)
    columns = {}
    for i, name in enumerate(names):
        values = [row[i] for row in table]
        if name in _TIMES and _are_times(values):
            columns[f"{name}_unix_s"] = np.array([_unix_s(value) for value in values], np.float64)
        else:
            columns[name] = _array(values)
    return columns


def _are_times(values: Sequence[Any]) -> bool:
    try:
        return all(map(_unix_s, values))
    except ValueError:
        return False


def _unix_s(value: Any) -> float:
    return float("nan") if value in ("", None) else datetime.fromisoformat(str(value)).timestamp()


def _array(values: Sequence[Any]) -> NDArray[Any]:
    if all(isinstance(value, int | np.integer) for value in values):
        return np.array(values, np.int64)
    try:
        return np.array([float("nan") if value in ("", None) else float(value) for value in values])
    except ValueError:
        return np.array(["" if value is None else str(value) for value in values], object)


def missing() -> dict[str, str]:
    """Return what to install for the formats that cannot be written here."""
    wanting = {name: library for name, library in _LIBRARIES.items() if find_spec(library) is None}
    return {name: _how(library) for name, library in wanting.items()}


def _how(library: str) -> str:
    return f"this needs {library}: pip install 'astropix-stream[convert]'"


def _import(name: str) -> Any:
    """Return a library that only this needs.

    Raises
    ------
    ConfigError
        It is not installed; the text has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(_how(name)) from None


def hdf5(content: Content) -> bytes:
    """Return an HDF5 file.

    Raises
    ------
    ConfigError
        h5py is not installed.
    """
    h5py = _import("h5py")
    text, memory = h5py.string_dtype(), io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, value in export.head(content.view):
            file.attrs[name] = json.dumps(value) if isinstance(value, dict) else str(value)
        file.create_dataset("state", data=json.dumps(content.state), dtype=text)
        for name, columns in content.tables.items():
            types = [(key, text if one.dtype == object else one.dtype) for key, one in columns.items()]
            size = len(next(iter(columns.values()), ()))
            table = np.zeros(size, types)
            for key, one in columns.items():
                table[key] = one
            file.create_dataset(name, data=table)
        for name, values in _maps(content.view):
            file.create_dataset(f"maps/{name}", data=values, compression="gzip")
            file[f"maps/{name}"].attrs["axes"] = "row, column"
        file.create_dataset("tot_edges_us", data=content.view.tot_edges_us)
    return memory.getvalue()


def _maps(view: View) -> Iterator[tuple[str, NDArray[Any]]]:
    yield "hits", view.hit_map
    yield "mean_tot_us", view.mean_tot_us
    if view.choice.quantity == "median":
        yield "median_tot_us", view.median_tot_us
    yield "masked", view.masked.astype(np.uint8)


def root(content: Content) -> bytes:
    """Return a ROOT file.

    Raises
    ------
    ConfigError
        uproot is not installed.
    """
    uproot = _import("uproot")
    ak, identify = importlib.import_module("awkward"), importlib.import_module("uproot.writing.identify")
    view, memory = content.view, io.BytesIO()
    with uproot.recreate(memory) as file:
        file["state"] = json.dumps(content.state)
        for name, histogram in _histograms(view, identify):
            file[name] = histogram
        for name, columns in content.tables.items():
            if len(next(iter(columns.values()), ())):
                types = {key: "string" if one.dtype == object else one.dtype for key, one in columns.items()}
                file.mktree(f"tables/{name}", types).extend({
                    key: ak.Array(one.tolist()) if one.dtype == object else one
                    for key, one in columns.items()
                })  # fmt: skip
        return memory.getvalue()  # uproot writes at once, and closes what it was given


def _histograms(view: View, identify: Any) -> Iterator[tuple[str, Any]]:
    yield "hit_map", _th2(identify, "Hits by pixel", view.hit_map)
    yield "mean_tot", _th2(identify, "Mean TOT by pixel [us]", np.nan_to_num(view.mean_tot_us))
    tot = "Time over threshold;time over threshold [us];hits"
    yield "tot", _th1(identify, tot, view.tot, view.tot_edges_us)
    counts = view.per_readout
    yield (
        "per_readout",
        _th1(identify, "Hits per readout;hits in a readout;readouts", counts, _even(len(counts))),
    )
    problems = "Decode problems, by bit;bit of the decoding status;readouts"
    yield "problems", _th1(identify, problems, view.problems, _even(len(view.problems)))


def _even(count: int) -> NDArray[Any]:
    """Return the edges of bins around 0, 1 and so on."""
    return np.arange(count + 1, dtype=np.float64) - 0.5


def _axis(identify: Any, name: str, title: str, edges: NDArray[np.float64]) -> Any:
    return identify.to_TAxis(
        fName=name, fTitle=title, fNbins=len(edges) - 1, fXmin=edges[0], fXmax=edges[-1], fXbins=edges
    )


def _th1(identify: Any, titles: str, counts: NDArray[Any], edges: NDArray[np.float64]) -> Any:
    title, x, y = titles.split(";")
    middles = (edges[1:] + edges[:-1]) / 2
    values = counts.astype(np.float64)
    return identify.to_TH1x(
        fName=None, fTitle=title, data=np.pad(values, 1), fEntries=values.sum(), fTsumw=values.sum(),
        fTsumw2=values.sum(), fTsumwx=values @ middles, fTsumwx2=values @ middles**2, fSumw2=None,
        fXaxis=_axis(identify, "xaxis", x, edges),
        fYaxis=identify.to_TAxis(fName="yaxis", fTitle=y, fNbins=1, fXmin=0.0, fXmax=1.0),
    )  # fmt: skip


def _th2(identify: Any, title: str, values: NDArray[Any]) -> Any:
    """Return a TH2D of values by row and column; ROOT has the columns one after another within a row."""
    padded = np.pad(values.astype(np.float64), 1)
    x_edges, y_edges = _even(values.shape[1]), _even(values.shape[0])
    total, columns, rows = values.sum(), values.sum(axis=0), values.sum(axis=1)
    at_x, at_y = np.arange(len(columns)), np.arange(len(rows))
    return identify.to_TH2x(
        fName=None, fTitle=title, data=padded.reshape(-1), fEntries=total, fTsumw=total, fTsumw2=total,
        fTsumwx=columns @ at_x, fTsumwx2=columns @ at_x**2, fTsumwy=rows @ at_y, fTsumwy2=rows @ at_y**2,
        fTsumwxy=at_y @ values @ at_x, fSumw2=None,
        fXaxis=_axis(identify, "xaxis", "column", x_edges), fYaxis=_axis(identify, "yaxis", "row", y_edges),
    )  # fmt: skip


FORMATS: dict[str, Callable[[Content], bytes]] = {"hdf5": hdf5, "root": root}
