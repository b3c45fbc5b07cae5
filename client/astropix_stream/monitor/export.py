"""What the page shows, as CSV and JSON, with the run and its live fraction at the head. Pure."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

from astropix_stream import __version__, numbers
from astropix_stream.monitor import panel_tables
from astropix_stream.monitor.fits import Fit
from astropix_stream.monitor.geometry import chip_value
from astropix_stream.monitor.pixels import PixelPanel, mask_document
from astropix_stream.monitor.view import PROBLEMS, View, against
from astropix_stream.wire import NO_SOURCE

Rows: TypeAlias = Iterator[Sequence[Any]]


def state(view: View) -> dict[str, Any]:
    """Return how the stream does, and what there is of the run: GET /api/state.json."""
    status = view.status
    return {
        "program": f"apx monitor {__version__}",
        "time": numbers.iso(view.now.ns),
        "source": status.source,
        "kind": {"uid": view.geometry.kind.uid, "name": view.geometry.kind.name},
        "state": status.state.value,
        "state_text": status.state_text,
        "doubt": status.doubt,
        "last_readout_age_s": None if status.age_s is None else round(status.age_s, 3),
        "lag_s": round(status.lag_s, 3),
        "readouts_per_s": round(status.readouts_per_s, 3),
        "hits_per_s": round(status.hits_per_s, 3),
        "daqs": [str(source) for source in status.daqs],
        "run": run(view),
        "runs": [{"number": label.number, "name": label.name, "text": label.text} for label in status.runs],
        "hot_pixels": [
            {
                "chip": chip_value(hot.pixel.chip),
                "column": hot.pixel.column,
                "row": hot.pixel.row,
                "hits": hot.hits,
            }
            for hot in view.hot
        ],
        "ledger": status.ledger.to_json(),
    }


def run(view: View) -> dict[str, Any] | None:
    """Return the run that is shown; None before the first readout."""
    data = view.run
    if data is None:
        return None
    account = view.account
    return {
        "number": data.number,
        "name": data.name,
        "daq": None if data.source == NO_SOURCE else str(data.source),  # of a file
        "since": view.since,
        "from_start": data.from_start,
        "first_id": data.first_id,
        "last_id": data.last_id,
        "first_timestamp_ns": data.first_timestamp,
        "last_timestamp_ns": data.last_timestamp,
        "began": numbers.iso(data.began_ns),
        "ended": data.until is not None,
        "readouts": view.readouts,
        "hits": view.hits,
        "skipped": data.skipped,
        "held": account.held,
        "lost": account.lost,
        "lost_at": {place.key: count for place, count in account.lost_at.items()},
        "duplicates": account.duplicates,
        "live_fraction": account.live_fraction,
    }


def histograms(view: View) -> dict[str, Any]:
    """Return all histograms of the view: GET /api/histograms.json."""
    return {
        "time": numbers.iso(view.now.ns),
        "source": view.status.source,
        "run": run(view),
        "kind": {"uid": view.geometry.kind.uid, "name": view.geometry.kind.name},
        "choice": {
            name: value for name, value in view.choice.to_json().items() if name not in ("frozen", "reset")
        },
        "chips": [chip_value(chip) for chip in view.chips],
        "pixels": view.pixels,
        "unpaired": view.unpaired,
        "rows": view.rows.tolist(),
        "columns": view.columns.tolist(),
        "hit_map": view.hit_map.tolist(),
        "mean_tot_us": [[_number(value) for value in row] for row in view.mean_tot_us.tolist()],
        "median_tot_us": [[_number(value) for value in row] for row in view.median_tot_us.tolist()]
        if view.choice.quantity == "median"
        else None,
        "tot_edges_us": [round(edge, 3) for edge in view.tot_edges_us.tolist()],
        "tot": view.tot.tolist(),
        "tot_outside": view.tot_outside,
        "tot_statistics": {
            name: _number(value) if isinstance(value, float) else value
            for name, value in view.tot_statistics._asdict().items()
        },
        "tot_compared": _compared(view),
        "fit": None if view.fit is None else _fit(view.fit),
        "per_readout": view.per_readout.tolist(),
        "problems": dict(zip(PROBLEMS, view.problems.tolist(), strict=True)),
        "rates": [
            dict(zip(("time", "readouts_per_s", "hits_per_s", "lost"), row, strict=True))
            for row in _rates(view)
        ],
        "panel": view.choice.panel,
        "tables": {
            name: _as_lists(*rows(view, name)) for name in PANEL_TABLES if panel_of(name) == view.choice.panel
        },
    }


def _as_lists(names: Sequence[str], made: Rows) -> dict[str, list[Any]]:
    """Return a table as JSON has it: a list for each column."""
    table = list(made)
    return {name: [row[i] for row in table] for i, name in enumerate(names)}


def _fit(fit: Fit) -> dict[str, Any]:
    return {
        name: (value if math.isfinite(value) else None) if isinstance(value, float) else value
        for name, value in fit._asdict().items()
    }


def _compared(view: View) -> dict[str, Any] | None:
    """Return the TOT spectrum set against that of another run."""
    if view.compared is None:
        return None
    compared: dict[str, Any] = {
        "run": view.compared.name,
        "scale": view.scale,
        "tot": [round(value, 3) for value in view.tot_outline.tolist()],
    }
    if view.choice.compare_as != "overlay":
        values, errors = against(view, view.tot, view.tot_outline)
        compared[view.choice.compare_as] = [_number(value) for value in values.tolist()]
        compared["error"] = [_number(value) for value in errors.tolist()]
    return compared


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def _hit_map(view: View) -> Rows:
    for (row, column), hits in np.ndenumerate(view.hit_map):
        mean = view.mean_tot_us[row, column]
        yield column, row, int(hits), "" if np.isnan(mean) else f"{mean:.3f}", int(view.masked[row, column])


def _tot(view: View) -> Rows:
    edges = view.tot_edges_us.tolist()
    places = 1 if view.geometry.bin_us >= 0.1 else 3
    for left, right, hits in zip(edges, edges[1:], view.tot.tolist(), strict=False):
        yield f"{left:.{places}f}", f"{right:.{places}f}", hits


def _rates(view: View) -> Rows:
    series = view.series
    rows = zip(series.begins_s, series.readouts, series.hits, series.lost, strict=True)
    for begin_s, readouts, hits, lost in rows:
        began_ns = view.now.ns - round((view.now.s - begin_s) * 1e9)
        yield numbers.iso(began_ns), round(float(readouts), 3), round(float(hits), 3), int(lost)


def _per_readout(view: View) -> Rows:
    yield from enumerate(view.per_readout.tolist())


def _problems(view: View) -> Rows:
    yield from zip(PROBLEMS, view.problems.tolist(), strict=True)


def _profiles(view: View) -> Rows:
    yield from ((n, *pair) for n, pair in enumerate(zip_longest(view.rows, view.columns, fillvalue=0)))


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[View], Rows]]] = {
    "hit_map": (("column", "row", "hits", "mean_tot_us", "masked"), _hit_map),
    "tot": (("tot_from_us", "tot_to_us", "hits"), _tot),
    "rates": (("time", "readouts_per_s", "hits_per_s", "lost"), _rates),
    "per_readout": (("hits", "readouts"), _per_readout),
    "problems": (("problem", "readouts"), _problems),
    "profiles": (("row_or_column", "rows", "columns"), _profiles),
}
TABLES = tuple(_TABLES)
PANEL_TABLES = tuple(panel_tables.TABLES)


def panel_of(name: str) -> str:
    """Return which part of the page a table belongs to: its view has to have that part open."""
    return panel_tables.TABLES[name][0] if name in panel_tables.TABLES else "overview"


def tables_of(view: View) -> tuple[str, ...]:
    """Return the names of the tables of what is shown: of the overview, and of the part that is open."""
    return TABLES + tuple(name for name in PANEL_TABLES if panel_of(name) == view.choice.panel)


def rows(view: View, name: str) -> tuple[Sequence[str], Rows]:
    """Return the names of a table's columns, and its rows."""
    if name in _TABLES:
        columns, make_rows = _TABLES[name]
        return columns, make_rows(view)
    _, columns, make_panel_rows = panel_tables.TABLES[name]
    return columns, make_panel_rows(view.panel)


def table(view: View, name: str) -> str:
    """Return one histogram as CSV, below lines that begin with '# ' and tell what it is of."""
    columns, made = rows(view, name)
    text = io.StringIO()
    for key, value in head(view):
        text.write(f"# {key}: {_one_line(str(value))}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(made)
    return text.getvalue()


def _one_line(text: str) -> str:
    """Keep a text from the wire within its comment."""
    return "".join(char if char.isprintable() else " " for char in text)


def mask(view: View, *, one_chip: bool) -> str:
    """Return the noisy and the masked pixels as YAML; of one chip, its list alone. The view is of a pixel."""
    panel = view.panel
    if not isinstance(panel, PixelPanel):
        raise ValueError("the view has no noise")
    above = f"{view.choice.noise_above:g} {'Hz' if view.choice.noise_in == 'hz' else 'sigma'}"
    return mask_document(
        panel.noise,
        view.choice.masked,
        [*head(view), ("threshold", above)],
        view.choice.chip if one_chip else None,
    )


def head(view: View) -> Iterable[tuple[str, Any]]:
    """Return what a file is of: names and values."""
    yield "source", view.status.source
    yield "time", numbers.iso(view.now.ns)
    values = run(view)
    if values is None:
        yield "run", "none yet"
        return
    yield from values.items()
    yield "kind", view.geometry.kind
    yield "chip", "all" if view.choice.chip is None else chip_value(view.choice.chip)
    yield "masked", " ".join(map(str, view.choice.masked)) or "none"
