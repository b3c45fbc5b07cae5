"""Maps of pixels: hits, TOT, and which pixels are hot. Pure."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import Geometry, Pixel
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.shown import Counts

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_HOT_FACTOR = 3.0  # times the median of the pixels around it, which no beam spot wider than a pixel reaches
_HOT_SIGMA = 5.0  # of its own count, so that chance makes no pixel hot
MAX_HOT = 12  # listed


class HotPixel(NamedTuple):
    """A pixel with many more hits than those around it."""

    pixel: Pixel
    hits: int
    share: float
    """Of the hits of the chips that are shown."""


def sum_of(
    counts: Counts | Histograms,
    geometry: Geometry,
    chips: Sequence[int],
    masked: Sequence[Pixel],
    shape: tuple[int, ...] | None = None,
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return hits and ticks of some chips without masked pixels, and where all of them are masked.

    Without a shape, as many rows and columns as there are hits in.
    """
    mask = np.zeros((len(chips), *geometry.shape[1:]), np.bool_)
    for pixel in masked:
        if pixel.chip in chips and geometry.contains(pixel):
            mask[chips.index(pixel.chip), pixel.row, pixel.column] = True
    hits = np.where(mask, 0, counts.hit_map[list(chips)]).sum(axis=0)
    ticks = np.where(mask, 0, counts.tot_ticks[list(chips)]).sum(axis=0)
    rows, columns = shape or extent(counts.hit_map, geometry)
    gone: NDArray[np.bool_] = np.all(mask, axis=0) & bool(chips)
    return hits[:rows, :columns], ticks[:rows, :columns], gone[:rows, :columns]


def busiest(counts: Counts, chips: Sequence[int], shape: tuple[int, ...]) -> Ints:
    """Return by row and column which of some chips has most hits there; the first one where none has."""
    rows, columns = shape
    if len(chips) < 2:
        return np.full((rows, columns), chips[0] if chips else 0, np.int64)
    places: Ints = np.asarray(chips, np.int64)[counts.hit_map[list(chips), :rows, :columns].argmax(axis=0)]
    return places


def medians(
    counts: Counts, geometry: Geometry, chips: Sequence[int], hit_map: Ints, choice: Choice
) -> Floats:
    """Return the median TOT of each pixel, to a bin of the spectrum."""
    medians = np.full(hit_map.shape, np.nan)
    if choice.quantity != "median":
        return medians
    for row in np.flatnonzero(hit_map.any(axis=1)).tolist():
        left_out = {pixel.chip for pixel in choice.masked if pixel.row == row}
        spectra = counts.pixel_spectra([c for c in chips if c not in left_out], row, hit_map.shape[1])
        for chip in left_out.intersection(chips):
            lines = counts.pixel_spectra([chip], row, hit_map.shape[1])
            out = [
                p.column for p in choice.masked if (p.chip, p.row) == (chip, row) and p.column < len(lines)
            ]
            lines[out] = 0
            spectra = spectra + lines
        sums = spectra.cumsum(axis=1)
        middle = (2 * sums >= sums[:, -1:]).argmax(axis=1)
        medians[row] = np.where(sums[:, -1] > 0, (middle + 0.5) * geometry.bin_us, np.nan)
    return medians


def extent(hit_map: Ints, geometry: Geometry) -> tuple[int, int]:
    """Return the rows and columns to draw: those of a chip, unless a hit tells of more."""
    kind, (_, rows, columns) = geometry.kind, geometry.shape
    if kind.rows and not hit_map[:, kind.rows :].any():
        rows = kind.rows
    if kind.columns and not hit_map[:, :, kind.columns :].any():
        columns = kind.columns
    return rows, columns


def find_hot(hit_map: Ints, geometry: Geometry, chips: Sequence[int]) -> tuple[HotPixel, ...]:
    """Find the pixels that stand out from those around them: a beam spot does not, its slopes are gentle."""
    found = []
    rows, columns = extent(hit_map, geometry)
    total = int(hit_map[list(chips)].sum())
    for chip in chips:
        pixels = hit_map[chip, :rows, :columns]
        hot = pixels - _HOT_SIGMA * np.sqrt(pixels) > _HOT_FACTOR * _around(pixels)
        found += [
            HotPixel(Pixel(chip, column, row), int(pixels[row, column]), float(pixels[row, column] / total))
            for row, column in np.argwhere(hot).tolist()
        ]
    return tuple(sorted(found, key=lambda one: -one.hits))


def _around(pixels: Ints) -> Floats:
    """Return for each pixel the median of its eight neighbours; over the edge, of those opposite again."""
    rows, columns = pixels.shape
    padded = np.pad(pixels.astype(np.float64), 1, mode="reflect")
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    neighbours = np.stack([padded[i : i + rows, j : j + columns] for i, j in shifts])
    median: Floats = np.median(neighbours, axis=0)
    return median
