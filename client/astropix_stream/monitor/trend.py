"""How the spectrum of TOT changes over a run: its mean, median and fitted peak, slice by slice. Pure."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.fits import Fit
from astropix_stream.monitor.geometry import Geometry
from astropix_stream.monitor.shown import Shown
from astropix_stream.monitor.slices import Slice
from astropix_stream.monitor.spectra import Statistics, axis_of, fitted, statistics

Ints: TypeAlias = NDArray[np.int64]

MAX_POINTS = 64
FIT_BINS = 60  # of the spectrum of a slice: it has few entries, and there are many slices
_MOST_ASKED = 16  # ways to look at a slice whose numbers are kept


class Point(NamedTuple):
    """The spectrum of a part of the run: of pixels, those that are masked included."""

    begin: int
    end: int
    """ns since the Unix epoch, or readout ids where there are no times."""
    statistics: Statistics
    fit: Fit | None


@dataclass(frozen=True, slots=True, eq=False)
class TrendPanel:
    """The spectrum over the run.

    Attributes
    ----------
    points
        In order of time.
    timed
        Whether their ends are times.
    """

    points: tuple[Point, ...]
    timed: bool


def make(shown: Shown, accumulator: Accumulator) -> TrendPanel:
    """Work out the course of the spectrum."""
    del accumulator
    slices = list(shown.slices())
    while len(slices) > MAX_POINTS:
        slices = _halved(slices)
    asked = _Asked(
        shown.geometry, tuple(shown.chips),
        # Only what the numbers depend on, so that what is kept serves all who ask for the same.
        Choice(
            tot_from=shown.choice.tot_from, tot_to=shown.choice.tot_to, tot_bins=FIT_BINS,
            fit=shown.choice.fit, fit_from=shown.choice.fit_from, fit_to=shown.choice.fit_to,
        ),
    )  # fmt: skip
    points = tuple(_point(one, asked) for one in slices)
    return TrendPanel(points, shown.run is None or shown.run.slices.timed)


class _Asked(NamedTuple):
    geometry: Geometry
    chips: tuple[int, ...]
    choice: Choice


# A slice does not change once it is made. What was worked out of it goes with it: that of the present is made
# again each second, and takes some 70 kB.
_points: WeakKeyDictionary[Slice, dict[_Asked, Point]] = WeakKeyDictionary()
_pairs: WeakKeyDictionary[Slice, tuple[Slice, Slice]] = WeakKeyDictionary()
"""By the first of two: the second, and both as one."""


def _point(one: Slice, asked: _Asked) -> Point:
    """Return the numbers of a slice."""
    known = _points.setdefault(one, {})
    if asked not in known:
        while len(known) >= _MOST_ASKED:
            known.pop(next(iter(known)), None)
        known[asked] = _worked_out(one, asked)
    return known[asked]


def _worked_out(one: Slice, asked: _Asked) -> Point:
    spectrum = one.spectrum(asked.chips)
    _, bins = axis_of(asked.choice, asked.geometry)
    return Point(
        one.begin,
        one.end,
        statistics(spectrum, int(bins[0]), int(bins[-1]), asked.geometry.bin_us),
        fitted(spectrum, asked.choice, asked.geometry, FIT_BINS),
    )


def _together(first: Slice, second: Slice) -> Slice:
    known = _pairs.get(first)
    if known is None or known[0] is not second:
        known = _pairs[first] = second, first.with_next(second)
    return known[1]


def _halved(slices: list[Slice]) -> list[Slice]:
    pairs = [_together(*pair) for pair in zip(slices[::2], slices[1::2], strict=False)]
    return pairs + slices[len(pairs) * 2 :]
