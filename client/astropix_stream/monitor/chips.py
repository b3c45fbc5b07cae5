"""All chips at once: a small hit map of each, and its rate. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.geometry import Geometry, chip_on, place_of_chip
from astropix_stream.monitor.maps import extent
from astropix_stream.monitor.shown import Shown

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_EXPECTED_SHARE = 1e-3  # of all hits: a chip with fewer may be a corrupt hit, and says nothing of others
_GAP = 0.12  # between maps, of their size


class ChipMap(NamedTuple):
    """A chip among others.

    Attributes
    ----------
    chip
        As a number of `geometry`.
    hits, share
        Pixels hit or half hits, and their part of those of all chips.
    per_s
        Of the last seconds; of a run that has ended, or of a file, over all of it; None if that is not known.
    values
        By row and column: pixels hit without the masked ones, or the half hits in the row and the column of
        each pixel.
    x, y
        Where the map begins if all are drawn together, one unit a pixel; the first layer is on top.
    """

    chip: int
    hits: int
    share: float
    per_s: float | None
    values: Floats
    x: float
    y: float


@dataclass(frozen=True, slots=True, eq=False)
class ChipsPanel:
    """All chips of the run.

    Attributes
    ----------
    chips
        Those with hits, and those between them without: a dead chip stands out. By layer and number.
    halves
        Whether half hits are counted, and not pixels.
    live
        Whether rates are those of the last seconds.
    width, height
        Of all maps together, in pixels.
    """

    chips: tuple[ChipMap, ...]
    halves: bool
    live: bool
    width: float
    height: float


def make(shown: Shown, accumulator: Accumulator) -> ChipsPanel:
    """Work out the maps of all chips."""
    geometry, counts = shown.geometry, shown.counts
    halves = geometry.half_hits and shown.choice.maps_of == "halves"
    hit_map = counts.hit_map.astype(np.float64)
    for pixel in shown.choice.masked:
        if geometry.contains(pixel):
            hit_map[pixel.chip, pixel.row, pixel.column] = 0
    rows, columns = extent(counts.hit_map, geometry)
    totals = counts.rows.sum(axis=1) + counts.columns.sum(axis=1) if halves else hit_map.sum(axis=(1, 2))
    chips = expected_chips(totals, shown.every, geometry)
    rates = accumulator.chip_rates.now(shown.run.number, shown.now.s) if shown.run else None
    live = rates is not None and shown.run is accumulator.present
    places, width, height = _places(chips, geometry, rows, columns)
    every = float(totals.sum()) or 1.0
    found = []
    for chip, (x, y) in zip(chips, places, strict=True):
        if halves:
            values = counts.rows[chip][:rows, None] + counts.columns[chip][None, :columns].astype(np.float64)
        else:
            values = hit_map[chip, :rows, :columns]
        if live and rates is not None:
            per_s: float | None = float(rates[1 if halves else 0][chip])
        else:
            per_s = float(totals[chip]) / shown.seconds if shown.seconds else None
        found.append(ChipMap(chip, int(totals[chip]), float(totals[chip]) / every, per_s, values, x, y))
    return ChipsPanel(tuple(found), halves, live, width, height)


def expected_chips(totals: Floats | Ints, every: Sequence[int], geometry: Geometry) -> list[int]:
    """Return the chips with hits, and those without that one would expect between them.

    In each layer that has hits there should be the same chips, from the first to the last.
    """
    least = _EXPECTED_SHARE * float(totals.sum())
    sure = [place_of_chip(chip) for chip in every if totals[chip] > least]
    layers = sorted({layer for layer, _ in sure})
    numbers = [number for _, number in sure]
    between = range(min(numbers), max(numbers) + 1) if numbers else ()
    expected = {chip_on(layer, number) for layer in layers for number in between}
    return sorted(expected | set(every))


def _places(
    chips: Sequence[int], geometry: Geometry, rows: int, columns: int
) -> tuple[list[tuple[float, float]], float, float]:
    """Return where to draw each chip, and how large all together are.

    A layer has a line of its own; where there are no layers, the lines make about a square.
    """
    gap_x, gap_y = _GAP * columns, 2 * _GAP * rows  # above each is its name
    if geometry.layers:
        layers = sorted({place_of_chip(chip)[0] for chip in chips})
        first = min((place_of_chip(chip)[1] for chip in chips), default=0)
        cells = [(place_of_chip(chip)[1] - first, layers.index(place_of_chip(chip)[0])) for chip in chips]
    else:
        across = max(1, math.ceil(math.sqrt(len(chips))))
        cells = [(i % across, i // across) for i in range(len(chips))]
    across, down = (1 + max((cell[axis] for cell in cells), default=0) for axis in (0, 1))
    height = down * (rows + gap_y)
    places = [
        (-0.5 + x * (columns + gap_x), height - 0.5 - gap_y - rows - y * (rows + gap_y)) for x, y in cells
    ]
    return places, across * (columns + gap_x) - gap_x, height
