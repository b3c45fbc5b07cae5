"""Pixels from the half hits of many readouts at once: the NumPy side of `fmt.pair_half_hits`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.gathering import Ints
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Kind

_CHIPS = 32  # in a layer


class Pixels(NamedTuple):
    """Pixels, and the half hits without a partner."""

    table: NDArray[Any]
    """The fields of `Kind.pixel_types`, in the order of the rows' half hits."""
    owners: Ints
    """Shape (pixels,): the readout of each, as in the argument."""
    unpaired: int
    """Half hits that found no partner."""


def match_pixels(hits: NDArray[Any], kind: Kind, owners: Ints | None = None) -> Pixels:
    """Find the pixels among half hits.

    Parameters
    ----------
    hits : ndarray
        As `decode_columns` gives them.
    kind : Kind
        Theirs; it has the windows (`Kind.pixel_rule`, `Kind.configured`).
    owners : ndarray, shape (hits,), optional
        Ascending numbers of the readouts that the half hits belong to. By default all are taken as one, as
        those of a file of frames without readouts are.

    Returns
    -------
    Pixels
        Those that `fmt.pair_half_hits` finds in each readout.

    Raises
    ------
    ConfigError
        If a hit of this kind is a pixel already.
    """
    if kind.pixel_rule is None:
        raise ConfigError(f"{kind.name} has no half hits: a hit is a pixel")
    numbers = np.zeros(len(hits), np.int64) if owners is None else owners
    columns, rows = _pair(hits, kind, numbers)
    column_hits, row_hits = hits[columns], hits[rows]
    table = np.empty(len(rows), np.dtype(list(kind.pixel_types.items())))
    for name in ("layer", "chip_id", "readout_id", "timestamp", "fpga_timestamp"):
        if name in kind.pixel_types:
            table[name] = row_hits[name]
    for axis, half in (("column", column_hits), ("row", row_hits)):
        table[axis] = half["location"]
        table[f"ts_{axis}"] = half["ts"]
        table[f"tot_{axis}_us"] = half["tot_us"]
    return Pixels(table, numbers[rows], len(hits) - 2 * len(rows))


def _pair(hits: NDArray[Any], kind: Kind, owners: Ints) -> tuple[Ints, Ints]:
    """Return where the column and the row of each pixel are, by row."""
    layers = hits["layer"].astype(np.int64) if kind.layers else 0
    groups = (owners * (kind.layers + 1) + layers) * _CHIPS + hits["chip_id"]
    order = np.argsort(groups, kind="stable")
    pairs = [np.zeros((3, 0), np.int64), *_candidates(hits[order], groups[order], kind)]
    rows, columns, differences = np.concatenate(pairs, axis=1)
    best = np.lexsort((columns, differences, rows))
    columns, rows = _assign(columns[best], rows[best])
    columns, rows = order[columns], order[rows]
    in_order = np.argsort(rows)
    return columns[in_order], rows[in_order]


def _candidates(hits: NDArray[Any], groups: Ints, kind: Kind) -> Iterator[Ints]:
    """Find all rows and columns that may be a pixel; each array has rows, columns, differences of TOT."""
    rule = kind.pixel_rule
    assert rule is not None
    usable = (hits["payload"] == rule.payload) & (hits["location"] < rule.size)
    is_column = usable & (hits["is_column"] == 1)
    rows = np.flatnonzero(usable & (hits["is_column"] == 0))
    tot, ts = hits["tot"].astype(np.int64), hits["ts"].astype(np.int64)
    (low, high), (first, last) = rule.tot_window, rule.ts_window
    for distance in range(1, rule.reach + 1):
        if not (groups[distance:] == groups[:-distance]).any():
            return
        for step in (-distance, distance):
            inside = rows[(rows + step >= 0) & (rows + step < len(hits))]
            inside = inside[is_column[inside + step] & (groups[inside + step] == groups[inside])]
            others = inside + step
            differences = tot[inside] - tot[others]
            fit = (differences >= low) & (differences <= high)
            fit &= (ts[inside] - ts[others] - first) % 256 <= last - first
            yield np.stack((inside[fit], others[fit], differences[fit]))


def _assign(columns: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Give each row, in order, the first of its columns that no row before it has.

    Candidates are in the order of rows, the best of a row first. Where no column of a row is a candidate of
    another row, that is the first; the others are looked at one by one.
    """
    if not len(rows):
        return columns, rows
    contended = np.bincount(columns)[columns] > 1
    starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
    shared = np.logical_or.reduceat(contended, starts)
    chosen = starts[~shared].tolist()
    used: set[int] = set()
    last = -1
    in_shared = np.flatnonzero(np.repeat(shared, np.diff(np.append(starts, len(rows)))))
    for at, row, column in zip(
        in_shared.tolist(), rows[in_shared].tolist(), columns[in_shared].tolist(), strict=True
    ):
        if row != last and column not in used:
            used.add(column)
            chosen.append(at)
            last = row
    return columns[chosen], rows[chosen]
