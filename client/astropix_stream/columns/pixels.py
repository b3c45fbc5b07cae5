"""Pixels from the half hits of many readouts at once: the NumPy side of `fmt.pair_half_hits`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.decoding import Decoded
from astropix_stream.columns.gathering import Ints
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Kind

_CHIPS = 32  # in a layer
_U32 = 0xFFFFFFFF
_SPENT = -1  # in place of the payload of a half hit that takes part no more


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
    return Pixels(_tabulate(hits, kind, columns, rows), numbers[rows], len(hits) - 2 * len(rows))


class Matched(NamedTuple):
    """Pixels of one batch of several."""

    settled: NDArray[Any]
    """Pixels that no batch to come can change; with those of earlier batches that were open. Over several
    batches they are not quite in the order of their rows: an open pixel comes with a later batch."""
    open: NDArray[Any]
    """The others, as they are if nothing follows."""
    both: NDArray[Any]
    """Settled and open ones in the order of their rows."""
    fresh: Pixels
    """The pixels, settled or open, whose row is in this batch. `unpaired` may be negative: a half hit of an
    earlier batch found its partner."""


class PixelMatcher:
    """Finds the pixels among the half hits of readouts that come batch by batch.

    Where a pixel may be in two readouts (`PixelRule.over_readouts`), what is found does not depend on how the
    readouts are divided into batches: the pixels of `match_pixels` for all half hits together, between one
    missing readout and the next.

    Parameters
    ----------
    kind : Kind
        Of the readouts.

    Raises
    ------
    ConfigError
        The kind has no half hits.

    Notes
    -----
    A row is settled once `reach` half hits of its chip have followed it. So a chip's last half hits, twice
    `reach` of them, are looked at again with the next batch; what is settled among them takes part no more.
    """

    def __init__(self, kind: Kind) -> None:
        if kind.pixel_rule is None:
            raise ConfigError(f"{kind.name} has no half hits: a hit is a pixel")
        self._kind, self._rule = kind, kind.pixel_rule
        self._tail: NDArray[Any] | None = None
        self._last_id = -2  # followed by none
        self._open = 0  # pixels

    def take(self, decoded: Decoded) -> Matched:
        """Take the half hits of readouts that came next, without duplicates."""
        hits, ids = decoded.hits, decoded.readout_ids
        begins_group = (np.diff(ids, prepend=self._last_id) & _U32) != 1
        if not self._rule.over_readouts:
            begins_group[:] = True
        groups = np.cumsum(begins_group)
        numbers = np.repeat(groups, decoded.hit_counts)
        before = 0
        if self._tail is not None:
            before = len(self._tail)
            hits = np.concatenate((self._tail, hits))
            numbers = np.concatenate((np.zeros(before, np.int64), numbers))
        if len(ids):
            self._last_id = int(ids[-1])
        last = groups[-1] if len(groups) else 0

        columns, rows = _pair(hits, self._kind, numbers)
        later = _count_later(_groups_of(hits, self._kind, numbers))
        settled = (later >= self._rule.reach) | (numbers < last)
        table, done = _tabulate(hits, self._kind, columns, rows), settled[rows]
        spent = settled & (hits["is_column"] == 0)
        spent[columns[done]] = True
        kept = (numbers == last) & (later < 2 * self._rule.reach)
        self._tail = hits[kept]
        self._tail["payload"][spent[kept]] = _SPENT
        fresh = self._fresh(decoded, table, rows - before, int((~done).sum()))
        return Matched(table[done], table[~done], table, fresh)

    def _fresh(self, decoded: Decoded, table: NDArray[Any], rows: Ints, still_open: int) -> Pixels:
        """Return the pixels of the latest batch, in which the rows have these places."""
        owners = np.repeat(np.arange(len(decoded.hit_counts)), decoded.hit_counts)
        found = len(table) - self._open
        self._open = still_open
        return Pixels(table[rows >= 0], owners[rows[rows >= 0]], len(decoded.hits) - 2 * found)


def _tabulate(hits: NDArray[Any], kind: Kind, columns: Ints, rows: Ints) -> NDArray[Any]:
    """Make a table of pixels of their half hits."""
    column_hits, row_hits = hits[columns], hits[rows]
    table = np.empty(len(rows), np.dtype(list(kind.pixel_types.items())))
    for name in ("layer", "chip_id", "readout_id", "timestamp", "fpga_timestamp"):
        if name in kind.pixel_types:
            table[name] = row_hits[name]
    for axis, half in (("column", column_hits), ("row", row_hits)):
        table[axis] = half["location"]
        table[f"ts_{axis}"] = half["ts"]
        table[f"tot_{axis}_us"] = half["tot_us"]
    return table


def _groups_of(hits: NDArray[Any], kind: Kind, owners: Ints) -> Ints:
    """Return a number for each half hit that it shares with those of its chip and owner."""
    layers = hits["layer"].astype(np.int64) if kind.layers else 0
    groups: Ints = (owners * (kind.layers + 1) + layers) * _CHIPS + hits["chip_id"]
    return groups


def _count_later(groups: Ints) -> Ints:
    """Return how many of the same group follow each."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    later = np.empty(len(groups), np.int64)
    later[order] = np.searchsorted(ordered, ordered, side="right") - 1 - np.arange(len(groups))
    return later


def _pair(hits: NDArray[Any], kind: Kind, owners: Ints) -> tuple[Ints, Ints]:
    """Return where the column and the row of each pixel are, by row."""
    groups = _groups_of(hits, kind, owners)
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
