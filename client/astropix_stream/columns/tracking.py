"""Which readouts of a file are duplicates, where runs begin, and what is missing: many readouts at once.

The ledger says it, as it does of readouts that arrive. Where the readout_id of one is that of the one before
it plus 1, and that goes on for long, it is told so at once; only what is near a step is looked at one by one.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.columns.finding import Readouts
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.stream import StreamLedger

_AFTER_ALL = Moment(float("inf"), 0)
_FILE = Source("", 0)
_NEAR = 68  # readouts after a step, in which what it means is settled
_FEW = 4  # that do where there is a single step


class Tracking:
    """Follows the readouts of a file in the order in which they stand there."""

    def __init__(self) -> None:
        self._ledger = StreamLedger()
        self._newest_ns = -1

    def note(self, readouts: Readouts) -> tuple[list[int], NDArray[np.bool_]]:
        """Note readouts, at least one; return the positions where runs begin, and a mask of duplicates."""
        is_duplicate = np.zeros(len(readouts.ids), bool)
        starts: list[int] = []
        now = Moment(0.0, int(readouts.timestamps[-1]))  # in a file no time passes
        rising = self._rise(readouts)
        for begin, end, is_near in _stretches(readouts, rising=rising):
            at, step = begin, end - begin if is_near else _NEAR
            while at < end:
                some = min(at + step, end)
                if not is_near and self._goes_on(readouts, at, end, now):
                    break
                if not is_near and self._goes_on(readouts, at, some, now):
                    at = some
                    continue
                batch = _batch(readouts, at, some)
                self._ledger.note(batch, now, rising=rising)
                starts += [max(0, at + start.position - start.before) for start in batch.runs]
                if batch.duplicates:
                    is_duplicate[at : at + len(batch)] = np.frombuffer(batch.duplicates, bool)
                at += step
        return starts, is_duplicate

    def _rise(self, readouts: Readouts) -> bool:
        """Whether all timestamps are newer than those before: then none of the readouts came before."""
        timestamps = readouts.timestamps
        rising = int(timestamps[0]) > self._newest_ns and bool((timestamps[1:] > timestamps[:-1]).all())
        self._newest_ns = max(self._newest_ns, int(timestamps.max()))
        return rising

    def _goes_on(self, readouts: Readouts, begin: int, end: int, now: Moment) -> bool:
        """Note readouts that count on, if all before them is settled."""
        offset = int(readouts.begins[begin])
        ids = range(int(readouts.ids[begin]), int(readouts.ids[end - 1]) + 1)
        batch = Batch(  # remembered, and hardly ever looked into: no numbers of Python are made
            _FILE,
            0,
            readouts.raw[offset : int(readouts.begins[end])],
            ids,
            cast(Sequence[int], readouts.timestamps[begin:end]),
            cast(Sequence[int], readouts.begins[begin + 1 : end + 1] - offset),
        )
        return self._ledger.goes_on((batch,), ids, int(readouts.timestamps[end - 1]), now, rising=True)

    def totals(self) -> Counts:
        """Return what was counted, at the end of the file."""
        self._ledger.tick(_AFTER_ALL)
        return self._ledger.totals()


def _stretches(readouts: Readouts, *, rising: bool) -> list[tuple[int, int, bool]]:
    """Divide readouts into those near a step of the ids, and those that count on.

    Where timestamps do not rise, all are looked at together, as near a step.
    """
    ids = readouts.ids
    if not rising:
        return [(0, len(ids), True)]
    steps = np.flatnonzero(np.diff(ids) != 1) + 1
    stretches: list[tuple[int, int, bool]] = []
    end = 0
    if len(steps):
        apart = np.flatnonzero(np.diff(steps) > _NEAR)
        firsts, lasts = steps[np.append(0, apart + 1)], steps[np.append(apart, len(steps) - 1)]
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            if end < first:
                stretches.append((end, first, False))
            end = min(last + (_FEW if first == last else _NEAR), len(ids))
            stretches.append((first, end, True))
    if end < len(ids):
        stretches.append((end, len(ids), False))
    return stretches


def _batch(readouts: Readouts, begin: int, end: int) -> Batch:
    offset = int(readouts.begins[begin])
    return Batch(
        _FILE,
        0,
        readouts.raw[offset : int(readouts.begins[end])],
        readouts.ids[begin:end].tolist(),
        readouts.timestamps[begin:end].tolist(),
        (readouts.begins[begin + 1 : end + 1] - offset).tolist(),
    )
