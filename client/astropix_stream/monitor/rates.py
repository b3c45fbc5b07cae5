"""Readouts, hits and losses by time: the older, the coarser, so that weeks take no more memory than an hour.

Pure. Each level is a ring of bins; a count goes into all of them.
"""

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.histograms import Histograms

Floats: TypeAlias = NDArray[np.float64]

#: Width of the bins in seconds, and their number: 11 minutes, 2 hours, 2 days, 30 days.
LEVELS = ((1, 660), (10, 720), (60, 2880), (600, 4320))
READOUTS, HITS, LOST = range(3)
_NOW_OVER_S = 5  # whole bins that the rate of the moment is taken from
_SETTLE_S = 1.0  # after which a bin gets no more counts: readouts gather before they are decoded


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Rates by time, one entry a bin.

    Attributes
    ----------
    begins_s
        When each bin begins, on the clock that the counts came with.
    width_s
        Width of the bins.
    readouts, hits
        Per second.
    lost
        Readouts lost, whole.
    until_s
        The end of the time that was asked for; the bins end a little before it.
    """

    begins_s: Floats
    width_s: int
    readouts: Floats
    hits: Floats
    lost: Floats
    until_s: float


class _Level:
    """A ring of bins of one width."""

    def __init__(self, width_s: int, size: int) -> None:
        self.width_s = width_s
        self.size = size
        self._counts = np.zeros((size, 3))
        self._numbers = np.full(size, np.iinfo(np.int64).min)  # which bin a place holds now

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """All there is to keep of it."""
        return [self._counts, self._numbers]

    def add(self, time_s: float, kind: int, count: float) -> None:
        number = int(time_s // self.width_s)
        place = number % self.size
        if number < self._numbers[place]:
            return  # older than this level remembers
        if number > self._numbers[place]:
            self._numbers[place] = number
            self._counts[place] = 0.0
        self._counts[place, kind] += count

    def between(self, begin_s: float, end_s: float) -> Series:
        """Return the whole bins in some time; bins without counts are zero."""
        first = -int(-begin_s // self.width_s)
        numbers = np.arange(first, max(first, int(end_s // self.width_s)), dtype=np.int64)[-self.size :]
        places = numbers % self.size
        counts = np.where((self._numbers[places] == numbers)[:, None], self._counts[places], 0.0)
        return Series(
            (numbers * self.width_s).astype(np.float64),
            self.width_s,
            counts[:, READOUTS] / self.width_s,
            counts[:, HITS] / self.width_s,
            counts[:, LOST],
            end_s,
        )


class RateHistory:
    """What came when.

    Parameters
    ----------
    now_s
        The time from which on nothing means zero, and not unknown.
    """

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._levels = [_Level(width_s, size) for width_s, size in LEVELS]
        self._newest_s: float | None = None  # with readouts, on the clock of the bins
        self._shift_s = 0.0  # from the clock of the times handed in to that of the bins

    def add(self, time_s: float, *, readouts: int = 0, hits: int = 0, lost: int = 0) -> None:
        """Count what came at some time; it may be in the past."""
        time_s += self._shift_s
        if readouts:
            self._newest_s = time_s if self._newest_s is None else max(self._newest_s, time_s)
        self._began_s = min(self._began_s, time_s)
        for kind, count in ((READOUTS, readouts), (HITS, hits), (LOST, lost)):
            if count:
                for level in self._levels:
                    level.add(time_s, kind, count)

    def last(self, window_s: float, now_s: float) -> Series:
        """Return the rates of the last `window_s` seconds, in the finest bins that reach back so far."""
        now_s += self._shift_s
        level = next((lv for lv in self._levels if lv.width_s * lv.size >= window_s), self._levels[-1])
        begin_s = max(now_s - window_s, self._began_s // level.width_s * level.width_s)
        series = level.between(begin_s, now_s - _SETTLE_S)
        begins_s = series.begins_s - self._shift_s if self._shift_s else series.begins_s
        return replace(series, begins_s=begins_s, until_s=now_s - self._shift_s)

    def end_s(self, now_s: float) -> float:
        """Return when the newest readouts were just old enough for `last` to tell them; now, without any."""
        if self._newest_s is None:
            return now_s
        return min(now_s, self._newest_s // 1 + 1 + _SETTLE_S - self._shift_s)

    def now(self, now_s: float) -> tuple[float, float]:
        """Return readouts and hits per second over the last whole seconds."""
        now_s += self._shift_s
        begin_s = max(now_s - _SETTLE_S - _NOW_OVER_S, self._began_s // 1)
        series = self._levels[0].between(begin_s, now_s - _SETTLE_S)
        if not len(series.readouts):
            return 0.0, 0.0
        return float(series.readouts.mean()), float(series.hits.mean())

    def shift(self, by_s: float) -> None:
        """Go on with times of another clock, which shows `by_s` seconds more; the bins stay whole seconds."""
        self._shift_s -= round(by_s)

    def copy(self) -> "RateHistory":
        """Return the counts as they are now."""
        return deepcopy(self)

    def to_arrays(self) -> tuple[float, list[NDArray[Any]]]:
        """Return when it began, on the clock of the bins, and the bins."""
        arrays = [array for level in self._levels for array in level.arrays]
        return self._began_s, arrays

    @classmethod
    def from_arrays(cls, began_s: float, shift_s: float, arrays: Sequence[NDArray[Any]]) -> "RateHistory":
        """Make it again from what `to_arrays` gave.

        Raises
        ------
        ValueError
            They are of another shape.
        """
        rates = cls(began_s)
        rates._shift_s = shift_s
        mine = rates.to_arrays()[1]
        if [(one.shape, one.dtype) for one in arrays] != [(one.shape, one.dtype) for one in mine]:
            raise ValueError("rates of another shape")
        for one, its in zip(mine, arrays, strict=True):
            one[...] = its
        return rates

    @property
    def shift_s(self) -> float:
        """What to add to the times handed in, to get those of the bins."""
        return self._shift_s


class _ChipCounts(NamedTuple):
    time_s: float
    run: int
    pixels: Floats
    halves: Floats


class ChipRates:
    """Pixels and half hits of each chip over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[_ChipCounts] = deque(maxlen=_NOW_OVER_S + 1)

    def note(self, now_s: float, run: int, counts: Histograms) -> None:
        """Note the counts of the present run; more often than once a second is in vain."""
        if self._samples and self._samples[-1].run == run and now_s - self._samples[-1].time_s < 1.0:
            return
        pixels = counts.hit_map.sum(axis=(1, 2)).astype(np.float64)
        halves = counts.rows.sum(axis=1) + counts.columns.sum(axis=1)
        self._samples.append(_ChipCounts(now_s, run, pixels, halves.astype(np.float64)))

    def now(self, run: int, now_s: float) -> tuple[Floats, Floats] | None:
        """Return pixels and half hits per second by chip; None if that is not known of the run."""
        samples = [one for one in self._samples if one.run == run]
        if len(samples) < 2 or now_s - samples[-1].time_s > 2 * _NOW_OVER_S:
            return None
        first, last = samples[0], samples[-1]
        seconds = last.time_s - first.time_s
        return (last.pixels - first.pixels) / seconds, (last.halves - first.halves) / seconds
