"""One stream out of several that carry the same readouts: of each readout, the first copy that arrives.

Pure. `merged.MergedReceiver` is the shell. The same is done with market data, where it is called line
arbitration. A readout is known again by its source, readout_id and timestamp.

What was delivered of a source is kept as *stretches*: readout_ids that follow each other without a gap, with
the timestamps from the first to the last. There are as many as there are gaps and runs that a path may still
have something to say about, seldom more than one, so that memory does not grow with time or with how far
one path is behind another:

=============================================  ==========================================================
a readout                                      is
=============================================  ==========================================================
within a stretch, by id and timestamp          a later copy: discarded, counted
the next one of a stretch                      new, and makes it longer; perhaps up to the next stretch
anything else                                  new, the first of a stretch: after a gap, or of a new run
=============================================  ==========================================================

Each path goes through the stretches in order. A gap that one path leaves is waited for, a moment, so that
another one can fill it in order; what fills it later is delivered late. A gap is a loss once all paths have
passed it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import MAX_SOURCES
from astropix_stream.counting.losses import Loss, Losses
from astropix_stream.counting.places import Place
from astropix_stream.counting.sequencing import CLOSE_AFTER_S, PLAUSIBLE_JUMP, distance

WAIT_S = 0.2  # for another path to fill a gap in order; twice what a relay across a continent is behind
PATIENCE_S = 120.0  # for a path that is silent: it may come back and recover
MAX_STRETCHES = 256  # of a source; at more losses than that the oldest gap is closed early
MAX_HELD_BYTES = 8 << 20  # of a source, while waiting
_LOOK_INTERVAL_S = 0.1  # at the gaps
# Between readouts that follow each other: a new run, whose ids may happen to go on where the last one of the
# run before was, does not begin sooner after it; a timestamp that falls further is of a clock set back.
_MAX_STEP_NS, _MAX_FALL_NS = 500_000_000, 1_000_000_000


@dataclass(slots=True, eq=False)
class _Stretch:
    """Readouts that were delivered, or are held until the gap before them is filled."""

    first_id: int
    last_id: int
    first_ns: int
    last_ns: int
    began: Moment
    grew: Moment
    open: bool  # the gap before it may still be filled
    wait_until_s: float = -math.inf
    passed_s: float = math.inf  # since when all paths are past the gap
    held: list[Batch] = field(default_factory=list)

    def holds(self, readout_id: int, timestamp: int, stride: int) -> bool:
        return (
            self.first_id <= readout_id <= self.last_id
            and self.first_ns <= timestamp <= self.last_ns
            and (readout_id - self.first_id) % stride == 0
        )

    def is_followed_by(self, readout_id: int, timestamp: int, stride: int) -> bool:
        step_ns = timestamp - self.last_ns
        return readout_id == self.last_id + stride and -_MAX_FALL_NS <= step_ns <= _MAX_STEP_NS


class _Line:
    """The stretches of one source, in the order in which the DAQ sent them, and where each path is."""

    def __init__(self, paths: int, stride: int) -> None:
        self.stretches: list[_Stretch] = []
        self.at: list[_Stretch | None] = [None] * paths
        self.lost = 0
        self.losses: list[Loss] = []
        self.last_s = -math.inf
        self.due_s = math.inf
        """When to call `tick` for what is held."""
        self._stride = stride
        self._dropped = False
        self._next_look_s = -math.inf

    def take(self, path: int, batch: Batch, now: Moment) -> tuple[list[Batch], int]:
        """Take in readouts of one path; return those to deliver, and how many were new."""
        self.last_s = now.s
        given: list[Batch] = []
        new = 0
        for begin, end in _consecutive(batch.readout_ids, self._stride):
            at = begin
            while at < end:
                until, stretch = self._place(path, batch, at, end, now)
                if stretch is not None:
                    new += until - at
                    self._give(stretch, batch if until - at == len(batch) else batch.part(at, until), given)
                    self._join_next(stretch, given)
                at = until
        if len(self.stretches) > 1:
            given += self._release(now)
            if now.s >= self._next_look_s or len(self.stretches) > MAX_STRETCHES:
                self._close_gaps(now)
        return given, new

    def _place(self, path: int, batch: Batch, at: int, end: int, now: Moment) -> tuple[int, _Stretch | None]:
        """Place the readouts from `at` on; return how far they are all known, or new in one stretch."""
        readout_id, timestamp = batch.readout_ids[at], batch.timestamps[at]
        stretch = self._find(path, readout_id, timestamp)
        if stretch is not None:
            self.at[path] = stretch
            return min(end, at + (stretch.last_id - readout_id) // self._stride + 1), None
        if self._is_before_all(path, timestamp, batch.recovered):
            return at + 1, None
        stretch = self._find_end(path, readout_id, timestamp)
        if stretch is None:
            stretch = self._begin(path, readout_id, timestamp, now)
        until = min([end, *self._begins_within(batch, at, end)])
        stretch.last_id = batch.readout_ids[until - 1]
        stretch.last_ns = max(stretch.last_ns, batch.timestamps[until - 1])
        stretch.grew = now
        self.at[path] = stretch
        return until, stretch

    def _find(self, path: int, readout_id: int, timestamp: int) -> _Stretch | None:
        """Return the stretch that holds a readout; most often it is the one where the path is."""
        here = self.at[path]
        if here is not None:
            if here.holds(readout_id, timestamp, self._stride):
                return here
            if here is self.stretches[-1] and here.is_followed_by(readout_id, timestamp, self._stride):
                return None
        for stretch in reversed(self.stretches):
            if stretch.holds(readout_id, timestamp, self._stride):
                return stretch
        return None

    def _find_end(self, path: int, readout_id: int, timestamp: int) -> _Stretch | None:
        """Return the stretch that a new readout makes longer."""
        here = self.at[path]
        if here is not None and here.is_followed_by(readout_id, timestamp, self._stride):
            return here
        for stretch in reversed(self.stretches):
            if stretch.is_followed_by(readout_id, timestamp, self._stride):
                return stretch
        return None

    def _is_before_all(self, path: int, timestamp: int, recovered: bool) -> bool:
        """Whether this was sent before we joined: a path is behind the others, or was asked for the past."""
        if self.at[path] is not None or not self.stretches or timestamp >= self.stretches[0].first_ns:
            return False
        return self._dropped or not recovered

    def _begin(self, path: int, readout_id: int, timestamp: int, now: Moment) -> _Stretch:
        """Begin a stretch, after where the path was, or a little before; and after what was sent before."""
        here = self.at[path]
        index = 0 if here is None else self.stretches.index(here) + 1
        while index > 0 and 0 < self.stretches[index - 1].first_ns - timestamp <= _MAX_FALL_NS:
            index -= 1
        while index < len(self.stretches) and self.stretches[index].first_ns <= timestamp:
            index += 1
        stretch = _Stretch(readout_id, readout_id, timestamp, timestamp, now, now, open=index > 0)
        self.stretches.insert(index, stretch)
        if self._missing(index) and any(other is not None for other in self._others(path)):
            stretch.wait_until_s = now.s + WAIT_S
            self.due_s = min(self.due_s, stretch.wait_until_s)
        return stretch

    def _others(self, path: int) -> Iterator[_Stretch | None]:
        return (at for other, at in enumerate(self.at) if other != path)

    def _begins_within(self, batch: Batch, at: int, end: int) -> Iterator[int]:
        """Yield the positions in a batch at which a known stretch begins."""
        first_id, last_id = batch.readout_ids[at], batch.readout_ids[end - 1]
        first_ns, last_ns = batch.timestamps[at], batch.timestamps[end - 1]
        for stretch in self.stretches:
            ahead = stretch.first_id - first_id
            if 0 < ahead <= last_id - first_id and first_ns <= stretch.first_ns <= last_ns:
                yield at + ahead // self._stride

    def _join_next(self, stretch: _Stretch, given: list[Batch]) -> None:
        """Make one of two stretches between which nothing is missing any more."""
        index = self.stretches.index(stretch) + 1
        if index == len(self.stretches):
            return
        following = self.stretches[index]
        if stretch.is_followed_by(following.first_id, following.first_ns, self._stride):
            self._unite(stretch, following)
            for batch in following.held:
                self._give(stretch, batch, given)

    def _unite(self, stretch: _Stretch, following: _Stretch) -> None:
        stretch.last_id, stretch.last_ns = following.last_id, max(stretch.last_ns, following.last_ns)
        stretch.grew = following.grew
        self.stretches.remove(following)
        self.at = [stretch if at is following else at for at in self.at]

    def _give(self, stretch: _Stretch, batch: Batch, given: list[Batch]) -> None:
        """Deliver, or hold while something before is waited for."""
        if self.due_s < math.inf:
            for earlier in self.stretches:
                if earlier.wait_until_s > -math.inf:
                    stretch.held.append(batch)
                    return
                if earlier is stretch:
                    break
        given.append(batch)

    def tick(self, now: Moment) -> list[Batch]:
        """Wait no longer than it makes sense; return what was held."""
        given = self._release(now)
        self._close_gaps(now)
        return given

    def _release(self, now: Moment) -> list[Batch]:
        """Return what was held for a gap that all paths have passed, or for long enough."""
        given: list[Batch] = []
        if self.due_s == math.inf:
            return given
        overfull = sum(len(batch.payload) for s in self.stretches for batch in s.held) > MAX_HELD_BYTES
        passed = self._passed()
        self.due_s = math.inf
        for index, stretch in enumerate(self.stretches):
            if now.s < stretch.wait_until_s and index > passed and not overfull:
                self.due_s = stretch.wait_until_s
                break
            stretch.wait_until_s = -math.inf
            given += stretch.held
            stretch.held.clear()
        return given

    def _passed(self) -> int:
        """Return the index of the last stretch that all paths have come to."""
        return min((self.stretches.index(at) for at in self.at if at is not None), default=0)

    def _missing(self, index: int) -> int:
        """Return how many readouts are missing before a stretch, as far as that can be told."""
        if index == 0:
            return 0
        first_id = self.stretches[index].first_id
        ahead = distance(self.stretches[index - 1].last_id, first_id)
        if 0 < ahead <= PLAUSIBLE_JUMP:
            return (ahead - 1) // self._stride
        return first_id // self._stride if first_id <= PLAUSIBLE_JUMP else 0

    def _close_gaps(self, now: Moment) -> None:
        """Give up the gaps that all paths have passed, or that a silent one did not come back for."""
        self._next_look_s = now.s + _LOOK_INTERVAL_S
        passed = self._passed()
        for index in range(len(self.stretches) - 1, 0, -1):  # from the end, since those closed fall out
            if self.stretches[index].open and self._is_over(index, index <= passed, now):
                self._close_gap(index)
        while len(self.stretches) > MAX_STRETCHES:
            self._make_room()
        while len(self.stretches) > 1 and self._is_past(self.stretches[1], now):
            self._forget_oldest()

    def _is_over(self, index: int, passed: bool, now: Moment) -> bool:
        stretch = self.stretches[index]
        if stretch.wait_until_s > -math.inf:
            return False
        if not passed:
            stretch.passed_s = math.inf
            return now.s - max(self.stretches[index - 1].grew.s, stretch.began.s) >= PATIENCE_S
        stretch.passed_s = min(stretch.passed_s, now.s)
        return now.s - stretch.passed_s >= CLOSE_AFTER_S

    def _is_past(self, run: _Stretch, now: Moment) -> bool:
        """Whether the run before this one can be forgotten."""
        return not run.open and now.s - run.began.s >= PATIENCE_S

    def _close_gap(self, index: int) -> None:
        """Count what is missing before a stretch; a copy that still comes is then one too late."""
        before, stretch = self.stretches[index - 1], self.stretches[index]
        missing = self._missing(index)
        if missing:
            self.lost += missing
            self.losses.append(Loss(Place.EVERY_PATH, missing, before.grew.ns, stretch.began.ns))
        stretch.open = False
        if 0 < stretch.first_id - before.last_id <= PLAUSIBLE_JUMP and stretch.first_ns >= before.last_ns:
            self._unite(before, stretch)
        elif missing:
            stretch.first_id %= self._stride
            stretch.first_ns = min(stretch.first_ns, before.last_ns + 1)

    def _make_room(self) -> None:
        """Close the oldest gap; where two stretches cannot be one, forget the older."""
        count = len(self.stretches)
        if self.stretches[1].open:
            self._close_gap(1)
        if len(self.stretches) == count:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        forgotten = self.stretches.pop(0)
        self._dropped = True
        self.at = [None if at is forgotten else at for at in self.at]


class Arbiter:
    """Delivers each readout once, from whichever path has it first.

    Parameters
    ----------
    paths
        Number of paths.
    stride
        The DAQ multicasts one readout in `stride`.

    Attributes
    ----------
    first, later : list of int
        For each path: readouts that it brought first, and later copies, which were discarded.
    lost : int
        Readouts that no path brought.
    losses : counting.losses.Losses
        The last 100.
    """

    def __init__(self, paths: int, *, stride: int = 1) -> None:
        self.first = [0] * paths
        self.later = [0] * paths
        self.lost = 0
        self.losses = Losses()
        self._stride = stride
        self._lines: dict[Source, _Line] = {}

    def take(self, path: int, batch: Batch, now: Moment) -> list[Batch]:
        """Take in readouts from a path; return what can be delivered."""
        given: list[Batch] = []
        line = self._lines.get(batch.source)
        if line is None:
            given = self._make_room(now)
            line = self._lines[batch.source] = _Line(len(self.first), self._stride)
        delivered, new = line.take(path, batch, now)
        self.first[path] += new
        self.later[path] += len(batch) - new
        self._note_losses(line)
        return given + delivered

    def tick(self, now: Moment) -> list[Batch]:
        """Return what was held for a gap that is waited for no longer."""
        given: list[Batch] = []
        for line in self._lines.values():
            given += line.tick(now)
            self._note_losses(line)
        return given

    def due_s(self) -> float:
        """Return when to call `tick` at the latest, for what is held."""
        return min((line.due_s for line in self._lines.values()), default=math.inf)

    def _note_losses(self, line: _Line) -> None:
        if line.losses:
            self.losses.extend(line.losses)
            self.lost += line.lost
            line.losses.clear()
            line.lost = 0

    def _make_room(self, now: Moment) -> list[Batch]:
        """Forget the source that was silent for longest: each start of a DAQ comes from a new port."""
        if len(self._lines) < MAX_SOURCES:
            return []
        source = min(self._lines, key=lambda source: self._lines[source].last_s)
        line = self._lines.pop(source)
        return line.tick(Moment(math.inf, now.ns))


def _consecutive(readout_ids: Sequence[int], stride: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a batch in which the ids follow each other, as (begin, end)."""
    first, count = readout_ids[0], len(readout_ids)
    if readout_ids[-1] - first == (count - 1) * stride and list(readout_ids) == list(
        range(first, first + count * stride, stride)
    ):
        yield 0, count
        return
    begin = 0
    for i in range(1, count + 1):
        if i == count or readout_ids[i] != readout_ids[i - 1] + stride:
            yield begin, i
            begin = i
