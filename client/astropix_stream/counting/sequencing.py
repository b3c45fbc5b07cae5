"""Follow the readout_ids of one source: what is missing, doubled, reordered or late, and where a run begins.

Pure. `ledger` keeps one `SourceSequence` for each source of a stream.

A readout is compared with the highest readout_id so far, in steps of the stride. The first line that fits
says what it is:

=======================================================  ====================================================
step                                                     meaning
=======================================================  ====================================================
forward by 1                                             in order
forward by more, at most 2^20                            a gap; it may still be filled
back by at most 64, the timestamp not newer              fills an open gap (reordered), is late or a duplicate
back by more, with a timestamp from within the run       stray: too late to tell whether it had come before
back to one of the first 64, with a newer timestamp      a new run; what precedes it in the run is a gap
anything else                                            not believed until the next readout continues it:
                                                         then a gap (forward) or a new run (back), else stray
=======================================================  ====================================================

So a forged or damaged readout_id is not taken for a loss of millions. While a new run is young, readouts of
the run before may still come: see `SourceSequence._run_of`. If they go on and on and the new run does not,
its one readout was a stray.

The counter is 32 bits wide: a step of at most 2^20 may pass its end.
"""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from astropix_stream.batch import Run
from astropix_stream.clock import Moment
from astropix_stream.counting.losses import Gaps

CLOSE_AFTER_READOUTS = 64
CLOSE_AFTER_S = 1.0
REORDER_WINDOW = 64  # in strides
PLAUSIBLE_JUMP = 1 << 20  # in strides
KEPT_RUNS = 16
_U32 = 1 << 32
_LARGEST_JUMP = 1 << 30  # in ids, whatever the stride: most of the counter's range must not look like a step
_WINDOW_BITS = REORDER_WINDOW + 1  # the highest id, and those behind it
_WINDOW_MASK = (1 << _WINDOW_BITS) - 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Readouts that are missing, and where they went.

    `began_ns` and `ended_ns` are when the readouts around the gap were received, ns since the Unix epoch.
    """

    first_id: int
    count: int
    began_ns: int
    ended_ns: int
    rejected: int
    in_kernel: int

    @property
    def before_socket(self) -> int:
        """How many never reached the socket."""
        return self.count - self.rejected - self.in_kernel


@dataclass(slots=True)
class KernelDrops:
    """The datagrams that a socket's kernel dropped; they carry no source, so that gaps claim them."""

    total: int = 0
    claimed: int = 0

    def claim(self, wanted: int) -> int:
        """Take up to `wanted` of those that no gap has claimed."""
        taken = max(0, min(wanted, self.total - self.claimed))
        self.claimed += taken
        return taken


@dataclass(slots=True)
class _OpenGap:
    """Ids that are missing and may still come; and what may have become of them."""

    first_id: int
    width: int
    """Up to the id after the gap."""
    missing: int
    began_ns: int
    opened: Moment
    opened_size: int
    joining: bool
    rejected: Counter[str] = field(default_factory=Counter)
    drops: int = 0

    def holds(self, readout_id: int) -> bool:
        return (readout_id - self.first_id) % _U32 < self.width

    @property
    def has_room(self) -> bool:
        """Whether more is missing than was rejected and dropped."""
        return self.missing > self.rejected.total() + self.drops


@dataclass(slots=True)
class _RunState:
    """A run, which of its last ids have come, and its gaps that are still open."""

    run: Run
    began: Moment
    size: int = 1
    """Readouts that took the run further."""
    window: int = 1
    """Bit i: the id i strides below the highest has come."""
    open: deque[_OpenGap] = field(default_factory=deque)

    def advance(self, skipped: int, count: int) -> None:
        """Go on by `skipped` ids that did not come and `count` that did."""
        came = (1 << min(count, _WINDOW_BITS)) - 1
        self.window = (self.window << min(skipped + count, _WINDOW_BITS) | came) & _WINDOW_MASK
        self.size += count

    def take_due(self, now: Moment) -> list[_OpenGap]:
        """Take out the gaps whose time to close has come; they stand in the order of their opening."""
        due = []
        while self.open and (
            self.size - self.open[0].opened_size >= CLOSE_AFTER_READOUTS
            or now.s - self.open[0].opened.s >= CLOSE_AFTER_S
        ):
            due.append(self.open.popleft())
        return due


def distance(last_id: int, readout_id: int, longest: int = PLAUSIBLE_JUMP) -> int:
    """Return how far `readout_id` is ahead of `last_id`: over the counter's end only by at most `longest`."""
    around = (readout_id - last_id + longest) % _U32 - longest
    return around if around <= longest else readout_id - last_id


class SourceSequence:
    """The readouts of one source, as they arrived.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`; losses are counted in readouts multicast. May be changed.
    kernel
        The drops of the socket, shared with the other sources of the stream.
    """

    def __init__(self, stride: int, kernel: KernelDrops) -> None:
        self.received = 0
        """Valid readouts, whatever else is said of them below."""
        self.duplicates = 0
        self.reordered = 0
        """Arrived out of order and filled an open gap."""
        self.late = 0
        """Arrived after their gap was closed: they stay counted as lost, since a counter never falls."""
        self.stray = 0
        """With a readout_id that nothing before or after agrees with."""
        self.before_joining = 0
        """Readouts of the first run seen that were sent before we listened: no loss."""
        self.in_kernel = 0
        self.rejected: Counter[str] = Counter()
        """Missing readouts that were rejected, by reason."""
        self.before_socket = 0
        self.run_count = 0
        self.runs: deque[Run] = deque(maxlen=KEPT_RUNS)
        self.gaps: Gaps[Gap] = Gaps()
        self.last_s = float("-inf")
        self.stride = stride
        self._kernel = kernel
        self._drops_seen = kernel.total
        self._rejections: Counter[str] = Counter()  # since the last step forward, as the drops
        self._current: _RunState | None = None
        self._previous: _RunState | None = None  # for its stragglers, while the present run is young
        self._previous_size = 0  # when the present run began
        self._candidate: tuple[int, int] | None = None
        self._last_ns = 0

    @property
    def _near(self) -> int:
        return REORDER_WINDOW * self.stride

    @property
    def _far(self) -> int:
        return min(PLAUSIBLE_JUMP * self.stride, _LARGEST_JUMP)

    def note_received(
        self, readout_ids: Sequence[int], timestamps: Sequence[int], now: Moment
    ) -> list[tuple[int, Run]]:
        """Note readouts in order of arrival; return the runs that begin among them, and where.

        A run that is not believed at once is told with its second readout; one that goes on after a stray,
        which seemed to begin another, is told again.
        """
        if readout_ids and self.goes_on(readout_ids, timestamps[-1], now):
            return []
        self.received += len(readout_ids)
        self.last_s = now.s
        begun: list[tuple[int, Run]] = []
        for i, (readout_id, timestamp) in enumerate(zip(readout_ids, timestamps, strict=True)):
            before = self._current
            self._note_one(readout_id, timestamp, now)
            self.tick(now)
            if self._current is not None and self._current is not before:
                begun.append((i, self._current.run))
            self._last_ns = now.ns
        return begun

    def note_rejected(self, reason: str) -> None:
        """Note that a datagram of this source was not a readout."""
        self._rejections[reason] += 1

    def tick(self, now: Moment) -> None:
        """Close the gaps whose time has come."""
        for state in (self._previous, self._current):
            if state is not None and state.open:
                self._close(state.take_due(now))
        if self._is_previous_over(now):
            self._end_previous()

    def goes_on(self, readout_ids: Sequence[int], last_timestamp: int, now: Moment) -> bool:
        """Note a batch that goes on where the last one ended, by one comparison; return whether it does."""
        current, count, stride = self._current, len(readout_ids), self.stride
        if current is None or self._previous is not None or self._candidate is not None or not count:
            return False
        run = current.run
        first = run.last_id + stride
        expected = range(first, first + count * stride, stride)
        if readout_ids != expected and [*readout_ids] != [*expected]:
            return False
        self.received += count
        self.last_s, self._last_ns = now
        run.last_id, run.last_timestamp = readout_ids[-1], last_timestamp
        current.advance(0, count)
        self._settle(current)
        if current.open:
            self._close(current.take_due(now))
        return True

    def _note_one(self, readout_id: int, timestamp: int, now: Moment) -> None:
        if self._current is None:
            self._begin_run(readout_id, timestamp, now)
            return
        state = self._run_of(self._current, readout_id, timestamp)
        run, is_straggler = state.run, state is self._previous
        ahead = distance(run.last_id, readout_id, self._far)
        newer = timestamp > run.last_timestamp
        if 0 < ahead <= (self._near if is_straggler else self._far):
            self._advance(state, readout_id, timestamp, now)
        elif -self._near <= ahead <= 0 and not newer:
            self._note_back(state, readout_id, -ahead // self.stride)
        elif is_straggler or (ahead <= 0 and run.first_timestamp < timestamp and not newer):
            self.stray += 1
        elif ahead <= 0 and newer and readout_id < self._near:
            self._begin_run(readout_id, timestamp, now)
        else:
            self._note_implausible(state, readout_id, timestamp, now)

    def _run_of(self, current: _RunState, readout_id: int, timestamp: int) -> _RunState:
        """Tell a straggler of the run before from a readout of the present one.

        It is older than the newest of the run before; or it continues that run, and is older than the
        present one or far from it.
        """
        previous = self._previous
        if previous is None:
            return current
        if timestamp <= previous.run.last_timestamp:
            return previous
        from_previous = distance(previous.run.last_id, readout_id, self._far)
        from_current = distance(current.run.last_id, readout_id, self._far)
        if 0 < from_previous <= self._near and (
            timestamp < current.run.first_timestamp or abs(from_current) > self._near
        ):
            return previous
        return current

    def _begin_run(self, readout_id: int, timestamp: int, now: Moment) -> None:
        """Begin a run. Ids begin at 0: what precedes this one was lost, or sent before we listened."""
        self._end_previous()
        previous = self._previous = self._current
        self._previous_size = previous.size if previous else 0
        self.run_count += 1
        run = Run(self.run_count, readout_id, timestamp, readout_id, timestamp)
        self.runs.append(run)
        self._current = _RunState(run, now)
        first_id, skipped = readout_id % self.stride, readout_id // self.stride
        self._open_gap(self._current, first_id, skipped, now, joining=previous is None)

    def _is_previous_over(self, now: Moment) -> bool:
        """Whether no more is awaited of the run before, since either run is under way."""
        previous, current = self._previous, self._current
        if previous is None or current is None:
            return False
        further = max(current.size, previous.size - self._previous_size)
        return further >= CLOSE_AFTER_READOUTS or now.s - current.began.s >= CLOSE_AFTER_S

    def _end_previous(self) -> None:
        """Close the run before; or go back to it, if it went on and the present one did not."""
        previous, current, self._previous = self._previous, self._current, None
        if previous is None or current is None:
            return
        if current.size == 1 and previous.size > self._previous_size:
            self.stray += 1
            self.runs.pop()
            self._current = previous
        else:
            self._close(previous.open)

    def _advance(self, state: _RunState, readout_id: int, timestamp: int, now: Moment) -> None:
        self._drop_candidate()
        run, stride = state.run, self.stride
        first_id = (run.last_id + stride) % _U32
        skipped = (distance(run.last_id, readout_id, self._far) - 1) // stride
        run.last_id, run.last_timestamp = readout_id, timestamp
        state.advance(skipped, 1)
        self._open_gap(state, first_id, skipped, now)

    def _open_gap(
        self, state: _RunState, first_id: int, count: int, now: Moment, *, joining: bool = False
    ) -> None:
        if count:
            width = count * self.stride
            gap = _OpenGap(first_id, width, count, self._last_ns or now.ns, now, state.size, joining)
            state.open.append(gap)
        self._settle(state)

    def _settle(self, state: _RunState) -> None:
        """Hand what was rejected and dropped since the last step forward to the gap that this step revealed.

        If it revealed none, then to an open one that has room: what was overtaken can also be dropped.
        """
        drops = self._kernel.total - self._drops_seen
        if not drops and not self._rejections:
            return
        self._drops_seen = self._kernel.total
        gap = next((gap for gap in reversed(state.open) if gap.has_room), None)
        if gap is not None:
            gap.drops += drops
            gap.rejected.update(self._rejections)
        self._rejections.clear()

    def _note_back(self, state: _RunState, readout_id: int, position: int) -> None:
        """Note a readout that is not ahead: it fills a gap, or is late, or a duplicate."""
        if state.window >> position & 1:
            self.duplicates += 1
            return
        state.window |= 1 << position
        gap = next((gap for gap in reversed(state.open) if gap.holds(readout_id)), None)
        if gap is None:
            self.late += 1
        else:
            gap.missing -= 1
            self.reordered += 1

    def _note_implausible(self, current: _RunState, readout_id: int, timestamp: int, now: Moment) -> None:
        """Believe a jump once a second readout continues it (as RTP does, RFC 3550, A.1)."""
        candidate = self._candidate
        if candidate == (readout_id, timestamp):
            self.duplicates += 1
            return
        if candidate is None or not (
            0 < distance(candidate[0], readout_id, self._far) <= self._far and timestamp >= candidate[1]
        ):
            self._drop_candidate()
            self._candidate = (readout_id, timestamp)
            return
        self._candidate = None
        if distance(current.run.last_id, candidate[0], self._far) > 0:
            self._advance(current, *candidate, now)
        else:
            self._begin_run(*candidate, now)
            if candidate[1] <= current.run.last_timestamp:  # the DAQ's clock was set back
                self._end_previous()
        self._note_one(readout_id, timestamp, now)

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            self.stray += 1
            self._candidate = None

    def _close(self, gaps: Iterable[_OpenGap]) -> None:
        """Say where the readouts of gaps went: rejected, then in the kernel, the rest before the socket."""
        for gap in gaps:
            left = gap.missing
            if gap.joining:
                self.before_joining += left
                continue
            rejected = 0
            for reason, count in gap.rejected.items():
                claimed = min(count, left - rejected)
                self.rejected[reason] += claimed
                rejected += claimed
            in_kernel = self._kernel.claim(min(gap.drops, left - rejected))
            self.in_kernel += in_kernel
            self.before_socket += left - rejected - in_kernel
            if left:
                self.gaps.append(Gap(gap.first_id, left, gap.began_ns, gap.opened.ns, rejected, in_kernel))
