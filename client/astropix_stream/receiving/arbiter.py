"""One stream out of several that carry the same readouts: of each readout, the first copy that arrives.

Pure. `merged.MergedReceiver` is the shell. The same is done with market data, where it is called line
arbitration. A readout is known again by its bytes: id, timestamp and data. Where the same one is sent twice
(a recording that is played again), the n-th on one path is the n-th on the other. What a path itself calls a
duplicate is not counted among them.

For each path the arbiter remembers what the others brought and this path has not brought yet: 2^21 readouts
of a source at most, and for two minutes those that it has passed. A readout that is remembered so is a later
copy, and is discarded. Any other is new, and is delivered: nothing else is asked, neither ids nor clocks.

==============================  ==========================================================================
a new readout                   is delivered
==============================  ==========================================================================
that goes on                    at once
after a gap                     after 0.2 s: another path may fill the gap in order; at once if all have
                                passed it
of a path that is behind        at once, out of order: the others lost it
==============================  ==========================================================================

What is delivered is counted by `counting.sequencing`, like what a socket receives. But a gap is a loss only
when all paths have passed it for a second, or two minutes after a path fell silent: it may come back and
recover.
"""

import math
import operator
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from astropix_stream.arguments import check_whole
from astropix_stream.batch import Batch, RunStart, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.losses import Loss, Losses, Period
from astropix_stream.counting.places import Place
from astropix_stream.counting.remembered import digest
from astropix_stream.counting.sequencing import SourceSequence
from astropix_stream.counting.stream import MAX_SOURCES
from astropix_stream.counting.track import CLOSE_AFTER_S, PLAUSIBLE_JUMP, REORDER_WINDOW, OpenGap, distance
from astropix_stream.receiving.awaited import Awaited

WAIT_S = 0.2  # for another path to fill a gap in order; twice what a relay across a continent is behind
PATIENCE_S = 120.0  # for a path that is silent: it may come back and recover
MAX_HELD_BYTES = 8 << 20  # of a source, while waiting
MAX_OPEN_GAPS = 256  # of a source; at more losses than that the oldest is closed early
_LOOK_INTERVAL_S = 0.1  # at the gaps
_MAX_STRETCHES = 4096  # of a source, that came through the same path without another between


@dataclass(slots=True, eq=False)
class _Part:
    """New readouts of one batch; the place of the first, in order of arrival; the paths that brought some."""

    batch: Batch
    path: int
    place: int
    arrived: Moment
    paths: set[int]

    @property
    def first_id(self) -> int:
        return self.batch.readout_ids[0]


class _Order:
    """Where in the order of delivery, by ordinal, the readouts stand that arrived as number so and so."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, int, int]] = deque(maxlen=_MAX_STRETCHES)  # place, ordinal, count

    def add(self, place: int, ordinal: int, count: int) -> None:
        """Note readouts that follow each other both ways."""
        if self._stretches:
            first, begin, before = self._stretches[-1]
            if (place, ordinal) == (first + before, begin + before):
                self._stretches[-1] = (first, begin, before + count)
                return
        self._stretches.append((place, ordinal, count))

    def ordinal_of(self, place: int) -> int:
        """Return the ordinal of a readout; 0 if it is too long ago, or was delivered late."""
        for first, begin, count in reversed(self._stretches):
            if first <= place < first + count:
                return begin + place - first
        return 0


class _Line:
    """The readouts of one source, and where each path is."""

    def __init__(self, paths: int, stride: int) -> None:
        self.sequence = SourceSequence(stride, KernelDrops())
        self.sequence.keeps_gaps = True
        self.last_s = -math.inf
        self.due_s = math.inf
        """When to call `tick` for what is held."""
        self.stride = stride
        self._awaited = [Awaited() for _ in range(paths)]
        self._last_ids: list[int | None] = [None] * paths
        self._at = [-1] * paths  # the latest place that each path has come to, in order of arrival
        self._reached = [-1] * paths  # the same in the order of the sequence, by ordinal
        self._arrived = 0
        self._arrivals: deque[tuple[float, int]] = deque()  # a time, and how many had arrived
        self._held: list[_Part] = []
        self._held_bytes = 0
        self._order = _Order()
        self._next_look_s = -math.inf
        self._gaps = 0

    def take(self, path: int, batch: Batch, now: Moment) -> tuple[list[Batch], int]:
        """Take in readouts of one path; return those to deliver, and how many were new."""
        self.last_s = now.s
        given: list[Batch] = []
        new = 0
        for begin, end, before in self._new_parts(path, batch):
            new += end - begin
            whole = end - begin == len(batch)
            part = replace(batch, runs=(), duplicates=b"") if whole else batch.part(begin, end)
            part.duplicates = b""
            self._place(path, part, before, now, given)
        self._note_time(now)
        self._release_due(now, given)
        gaps = self.sequence.open_gaps()
        if gaps and (len(gaps) != self._gaps or now.s >= self._next_look_s):
            self._close_gaps(now)
        return given, new

    def _new_parts(self, path: int, batch: Batch) -> Iterator[tuple[int, int, int | None]]:
        """Yield from where to where readouts are new and their ids go on, and the id before on this path."""
        awaited, duplicates, ids = self._awaited[path], batch.duplicates, batch.readout_ids
        begin, before = -1, self._last_ids[path]
        for i in range(len(batch)):
            is_new, place = False, None
            if not duplicates or not duplicates[i]:
                key = digest(batch, i)
                place = awaited.take(key) if awaited else None
                is_new = place is None
            if begin >= 0 and (not is_new or ids[i] != ids[i - 1] + self.stride):
                yield begin, i, before
                begin = -1
            if place is not None:
                self._note_copy(path, place)
            if is_new:
                if begin < 0:
                    begin, before = i, ids[i - 1] if i else before
                for other, theirs in enumerate(self._awaited):
                    if other != path:
                        theirs.add(key, self._arrived)
                self._arrived += 1
        if begin >= 0:
            yield begin, len(batch), before
        self._last_ids[path] = ids[-1]

    def _note_copy(self, path: int, place: int) -> None:
        self._at[path] = max(self._at[path], place)
        for part in self._held:
            if part.place <= place < part.place + len(part.batch):
                part.paths.add(path)
                return
        self._reached[path] = max(self._reached[path], self._order.ordinal_of(place))

    def _place(self, path: int, batch: Batch, before: int | None, now: Moment, given: list[Batch]) -> None:
        """Deliver new readouts whose ids go on, or hold them while something before is waited for."""
        first_id = batch.readout_ids[0]
        part = _Part(batch, path, self._arrived - len(batch), now, {path})
        overtakes = any(one.path == path for one in self._held)
        if not overtakes and self.sequence.continues(first_id) and self._gap_behind(path, first_id) is None:
            self._give(part, given)
            self._give_what_follows(given)
        elif not overtakes and self._is_late(path, first_id, before):
            for readout_id in batch.readout_ids:
                self.sequence.note_late(self._gap_behind(path, readout_id))
            given.append(batch)
        elif self._held or any(at >= 0 for other, at in enumerate(self._at) if other != path):
            self._hold(part, now)
        else:
            self._give(part, given)

    def _begins_again(self, path: int, readout_id: int, before: int | None) -> bool:
        """Whether ids begin again on a path that has come to the present run, though it may lack its end."""
        has_come = before is not None and self._reached[path] >= self.sequence.first_ordinal
        return has_come and distance(before or 0, readout_id) < 0

    def _is_late(self, path: int, readout_id: int, before: int | None) -> bool:
        """Whether readouts are of long ago: their path, which last brought `before`, is behind the others."""
        reached = self._reached[path]
        if any(path in part.paths for part in self._held):
            return False
        if not self._held and 0 <= self.sequence.ordinal - 1 <= reached:
            return False
        if self._gap_behind(path, readout_id) is not None:
            return True
        if self._begins_again(path, readout_id, before) or any(
            0 < distance(readout_id, part.first_id) <= REORDER_WINDOW * self.stride for part in self._held
        ):
            return False  # what is held waits for it
        ahead = distance(self.sequence.last_id or 0, readout_id)
        if ahead <= 0:
            return reached >= 0 or ahead >= -PLAUSIBLE_JUMP
        return 0 <= reached < self.sequence.first_ordinal

    def _gap_behind(self, path: int, readout_id: int) -> OpenGap | None:
        """Return the gap that a readout of a path fills: the first one that this path has not passed."""
        for gap in self.sequence.open_gaps():
            if gap.missing and gap.holds(readout_id) and gap.ordinal > self._reached[path]:
                return gap
        return None

    def _hold(self, part: _Part, now: Moment) -> None:
        """Hold readouts: those of a path as they come, before what other paths brought from further on."""
        if not self._held:
            self.due_s = now.s + WAIT_S
        index = len(self._held)
        while index and self._held[index - 1].path != part.path:
            if not 0 < distance(part.first_id, self._held[index - 1].first_id) <= PLAUSIBLE_JUMP:
                break
            index -= 1
        self._held.insert(index, part)
        self._held_bytes += len(part.batch.payload)

    def _give(self, part: _Part, given: list[Batch]) -> None:
        """Count readouts and deliver them."""
        count = len(part.batch)
        self._order.add(part.place, self.sequence.ordinal, count)
        for path in part.paths:
            self._at[path] = max(self._at[path], part.place + count - 1)
            self._reached[path] = max(self._reached[path], self.sequence.ordinal + count - 1)
        begun, duplicates = self.sequence.note(part.batch, part.arrived)
        source = part.batch.source
        part.batch.runs = [RunStart(max(0, at), source, run, max(0, -at)) for at, run in begun]
        part.batch.duplicates = duplicates
        given.append(part.batch)

    def _give_what_follows(self, given: list[Batch]) -> None:
        while self._held and self.sequence.continues(self._held[0].first_id):
            self._give_first(given)
        if not self._held:
            self.due_s = math.inf

    def _give_first(self, given: list[Batch]) -> None:
        part = self._held.pop(0)
        self._held_bytes -= len(part.batch.payload)
        self._give(part, given)

    def _certain(self) -> int:
        """Return how many held parts all paths have come to, or passed: nothing will come before them."""
        if self._held_bytes > MAX_HELD_BYTES:
            return len(self._held)
        left = {path for path, at in enumerate(self._at) if at >= 0}
        for count in range(len(self._held), 0, -1):
            left -= self._held[count - 1].paths
            if not left:
                return count
        return 0

    def _release_due(self, now: Moment, given: list[Batch]) -> None:
        """Deliver what was held for long enough."""
        for _ in range(len(self._held) if now.s >= self.due_s else self._certain()):
            self._give_first(given)
        self._give_what_follows(given)

    def _note_time(self, now: Moment) -> None:
        """Await nothing that arrived more than two minutes ago, and that its path has passed."""
        if not self._arrivals or now.s - self._arrivals[-1][0] >= 1.0:
            self._arrivals.append((now.s, self._arrived))
        while now.s - self._arrivals[0][0] > PATIENCE_S:
            _, until = self._arrivals.popleft()
            for awaited, at in zip(self._awaited, self._at, strict=True):
                awaited.forget(min(until, at))

    def tick(self, now: Moment) -> list[Batch]:
        """Wait no longer than it makes sense; return what was held."""
        given: list[Batch] = []
        self._release_due(now, given)
        self.sequence.tick(now)
        self._close_gaps(now)
        return given

    def _close_gaps(self, now: Moment) -> None:
        """Give up the gaps that all paths have passed, or that a silent one did not come back for."""
        self._next_look_s = now.s + _LOOK_INTERVAL_S
        gaps = self.sequence.open_gaps()
        passed = min((reached for reached in self._reached if reached >= 0), default=0)
        for gap in gaps:
            if gap.ordinal <= passed:
                gap.passed_s = min(gap.passed_s, now.s)
            if (
                gap.joining
                or not gap.missing
                or now.s - gap.passed_s >= CLOSE_AFTER_S
                or now.s - gap.opened.s >= PATIENCE_S
            ):
                self.sequence.close_gap(gap)
        gaps = self.sequence.open_gaps()
        for gap in gaps[:-MAX_OPEN_GAPS]:
            self.sequence.close_gap(gap)
        self._gaps = min(len(gaps), MAX_OPEN_GAPS)


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
    """

    def __init__(self, paths: int, *, stride: int = 1) -> None:
        self.first = [0] * paths
        self.later = [0] * paths
        self._stride = check_whole("stride", stride, 1)
        self._lines: dict[Source, _Line] = {}
        self._gone = [0, 0]  # lost and runs, of sources that are forgotten
        self._gone_losses = Losses()

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in `stride`; may be changed once a relay has told it."""
        return self._stride

    @stride.setter
    def stride(self, stride: int) -> None:
        if stride == self._stride:
            return
        self._stride = stride
        for line in self._lines.values():
            line.stride = line.sequence.stride = stride

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
        return given + delivered

    def tick(self, now: Moment) -> list[Batch]:
        """Return what was held for a gap that is waited for no longer."""
        return [batch for line in self._lines.values() for batch in line.tick(now)]

    def due_s(self) -> float:
        """Return when to call `tick` at the latest, for what is held."""
        return min((line.due_s for line in self._lines.values()), default=math.inf)

    @property
    def lost(self) -> int:
        """Readouts that no path brought."""
        return self._gone[0] + sum(line.sequence.before_socket for line in self._lines.values())

    @property
    def runs(self) -> int:
        """Runs of the DAQ seen so far."""
        return self._gone[1] + sum(line.sequence.run_count for line in self._lines.values())

    @property
    def losses(self) -> Sequence[Loss]:
        """The last 100 losses, in order of time."""
        every = [*self._gone_losses]
        for line in self._lines.values():
            every += _losses(line)
        return tuple(Losses(sorted(every, key=lambda loss: loss.ended_ns)))

    @property
    def periods(self) -> dict[Place, Period]:
        """The first and the last of all losses."""
        periods = list(self._gone_losses.periods.values())
        for line in self._lines.values():
            periods += line.sequence.gaps.periods.values()
        return {Place.EVERY_PATH: reduce(operator.or_, periods)} if periods else {}

    def _make_room(self, now: Moment) -> list[Batch]:
        """Forget the source that was silent for longest: each start of a DAQ comes from a new port."""
        if len(self._lines) < MAX_SOURCES:
            return []
        source = min(self._lines, key=lambda source: self._lines[source].last_s)
        line = self._lines.pop(source)
        given = line.tick(Moment(math.inf, now.ns))
        self._gone[0] += line.sequence.before_socket
        self._gone[1] += line.sequence.run_count
        self._gone_losses.extend(_losses(line))
        return given


def _losses(line: _Line) -> list[Loss]:
    return [Loss(Place.EVERY_PATH, gap.count, gap.began_ns, gap.ended_ns) for gap in line.sequence.gaps]
