"""What happens together: hits of two chips in the same readout, and clusters of pixels. Pure.

Worked out of the latest readouts only when somebody looks (`recent.Recent.chunks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.geometry import Geometry
from astropix_stream.monitor.maps import extent
from astropix_stream.monitor.shown import Shown

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

MAX_CLUSTER = 20  # the last bin also holds larger ones
_DELTA_BINS = 101
_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))  # row and column; the other four see it from the other side


class Hits(NamedTuple):
    """Pixels hit in the latest readouts, in the order of the readouts."""

    readouts: Ints
    """The readout of each, by a number that ascends."""
    chips: Ints
    columns: Ints
    rows: Ints
    fpga: Ints
    """FPGA timestamps in ticks; empty where there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class CorrelationsPanel:
    """What happens together.

    Attributes
    ----------
    readouts
        How many readouts it is of: the latest ones of the run.
    first, second
        The two chips; None where there are no two.
    columns, rows
        Pairs of hits in the same readout, of both chips: by the column of the second and that of the first,
        and by their rows.
    pairs
        How many pairs.
    delta_edges, deltas
        Pairs by the FPGA's time of the second less that of the first, in ticks; empty where there is none.
    clusters
        Clusters of neighbouring pixels of a chip in a readout by their size, from 0; of the shown chips.
    """

    readouts: int
    first: int | None
    second: int | None
    columns: Ints
    rows: Ints
    pairs: int
    delta_edges: Floats
    deltas: Ints
    clusters: Ints


def make(shown: Shown, accumulator: Accumulator) -> CorrelationsPanel:
    """Work out what happens together in the latest readouts of the run."""
    geometry = shown.geometry
    readouts, hits = collect(accumulator, shown.run.number if shown.run else 0, geometry)
    first, second = _two_chips(shown, hits)
    rows, columns = extent(shown.counts.hit_map, geometry)
    clusters = cluster_sizes(hits, shown.chips, geometry)
    empty = np.zeros(0, np.int64)
    if first is None or second is None:
        none = np.zeros((0, 0), np.int64)
        return CorrelationsPanel(readouts, first, second, none, none, 0, np.zeros(0), empty, clusters)
    one, other = (_of_chip(hits, chip) for chip in (first, second))
    left, right = pairs_of(one.readouts, other.readouts)
    edges, deltas = _deltas(one.fpga[left], other.fpga[right]) if len(one.fpga) else (np.zeros(0), empty)
    return CorrelationsPanel(
        readouts,
        first,
        second,
        _matrix(other.columns[right], one.columns[left], columns),
        _matrix(other.rows[right], one.rows[left], rows),
        len(left),
        edges,
        deltas,
        clusters,
    )


def collect(accumulator: Accumulator, run: int, geometry: Geometry) -> tuple[int, Hits]:
    """Return how many readouts of a run are kept, and their hits."""
    readouts = 0
    parts: list[list[Ints]] = []
    for chunk in accumulator.recent.chunks:
        if chunk.run != run:
            continue
        table: Any = chunk.located.table
        names = table.dtype.names or ()
        if "row" in names and "column" in names and len(table):
            fpga = table["fpga_timestamp"] if "fpga_timestamp" in names else np.zeros(0)
            columns = (geometry.chips_of(table), table["column"], table["row"], fpga)
            parts.append([chunk.located.owners + readouts, *(one.astype(np.int64) for one in columns)])
        readouts += len(chunk)
    if not parts:
        return readouts, Hits(*[np.zeros(0, np.int64)] * 5)
    return readouts, Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _two_chips(shown: Shown, hits: Hits) -> tuple[int | None, int | None]:
    """Return the chips that were chosen; for one that was not, the first other one that has hits."""
    found = sorted(set(np.unique(hits.chips).tolist()) | set(shown.every))
    first, second = shown.choice.chip, shown.choice.other_chip
    if first is None:
        first = next((chip for chip in found if chip != second), None)
    if second is None or second == first:
        second = next((chip for chip in found if chip != first), None)
    return first, second


def _of_chip(hits: Hits, chip: int) -> Hits:
    inside = hits.chips == chip
    return Hits(*(column[inside] if len(column) else column for column in hits))


def pairs_of(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Return the places of all pairs with the same number in two ascending lists."""
    begins, ends = (np.searchsorted(second, first, side) for side in ("left", "right"))
    counts = ends - begins
    left = np.repeat(np.arange(len(first)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return left, np.repeat(begins, counts) + within


def _matrix(down: Ints, across: Ints, size: int) -> Ints:
    inside = (down >= 0) & (down < size) & (across >= 0) & (across < size)
    counts = np.bincount(down[inside] * size + across[inside], minlength=size * size)
    return counts.reshape(size, size)


def _deltas(first: Ints, second: Ints) -> tuple[Floats, Ints]:
    """Return the pairs by their difference of time; the axis goes as far as 95 % of them."""
    deltas = second - first
    reach = float(np.quantile(np.abs(deltas), 0.95)) if len(deltas) else 0.0
    step = max(1, int(np.ceil(2 * reach / (_DELTA_BINS - 1))))
    edges = (np.arange(_DELTA_BINS + 1, dtype=np.float64) - _DELTA_BINS / 2) * step
    return edges, np.histogram(deltas, edges)[0].astype(np.int64)


def cluster_sizes(hits: Hits, chips: Sequence[int], geometry: Geometry) -> Ints:
    """Return clusters by size: pixels of a chip and a readout that touch, by a side or a corner.

    Returns
    -------
        Shape (`MAX_CLUSTER` + 1,); the last bin also holds larger ones.
    """
    inside = np.isin(hits.chips, list(chips))
    _, height, width = geometry.shape
    height, width = height + 2, width + 2  # a border, so that no row touches the end of another
    number = (hits.readouts[inside] * geometry.chips + hits.chips[inside]) * height * width
    pixels = np.unique(number + (hits.rows[inside] + 1) * width + hits.columns[inside] + 1)
    labels = _connected(pixels, [rows * width + columns for rows, columns in _NEIGHBOURS])
    sizes = np.bincount(labels, minlength=1)
    return np.bincount(np.minimum(sizes[sizes > 0], MAX_CLUSTER), minlength=MAX_CLUSTER + 1)


def _connected(pixels: Ints, steps: Sequence[int]) -> Ints:
    """Return for each pixel the smallest place among all that it is connected to, directly or not."""
    labels = np.arange(len(pixels))
    if not len(pixels):
        return labels
    edges = []
    for step in steps:
        found = np.searchsorted(pixels, pixels + step).clip(max=len(pixels) - 1)
        here = np.flatnonzero(pixels[found] == pixels + step)
        edges.append((here, found[here]))
    left, right = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    while True:  # each turn at least halves how far a label has to go
        least = np.minimum(labels[left], labels[right])
        before = labels.copy()
        np.minimum.at(labels, left, least)
        np.minimum.at(labels, right, least)
        labels = labels[labels]
        if (labels == before).all():
            return labels
