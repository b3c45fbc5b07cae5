"""Follow the readout_ids of one source: what is missing, doubled, reordered or late, and where a run begins.

Pure. `ledger` keeps one `SourceSequence` for each source of a stream.

A step from the highest readout_id so far is read like this, in this order:

====================================================  =======================================================
step                                                  meaning
====================================================  =======================================================
forward by one stride                                 in order
forward by more, at most 2^20                         a gap; it may still be filled
back, with a newer timestamp                          a new run; what precedes it in the run is a gap
back by at most 64, the timestamp not newer           fills an open gap (reordered), is late, or a duplicate
anything else                                         not believed until the next readout continues it: then a
                                                      new run (back) or a gap (forward); else a stray
====================================================  =======================================================

So one forged or damaged readout_id does not count as a loss of millions. The counter is 32 bits wide: a fall
from within 2^20 of its end to within 2^20 of its beginning is a step forward.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from astropix_analysis.clock import Moment

CLOSE_AFTER_READOUTS = 64
CLOSE_AFTER_S = 1.0
REORDER_WINDOW = 64  # in strides
PLAUSIBLE_JUMP = 1 << 20
KEPT_GAPS = 100
KEPT_RUNS = 16
_U32 = 1 << 32


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
class Run:
    """A run of the DAQ: readout_ids that begin anew. `number` counts from 1 for each source."""

    number: int
    first_id: int
    first_timestamp: int
    last_id: int
    last_timestamp: int


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
    count: int
    stride: int
    began_ns: int
    opened: Moment
    before_joining: bool = False
    filled: set[int] = field(default_factory=set)
    further: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    drops: int = 0

    @property
    def missing(self) -> int:
        return self.count - len(self.filled)

    def holds(self, readout_id: int) -> bool:
        offset = (readout_id - self.first_id) % _U32
        return offset % self.stride == 0 and offset < self.count * self.stride

    def due(self, now: Moment) -> bool:
        return (
            self.further >= CLOSE_AFTER_READOUTS or now.s - self.opened.s >= CLOSE_AFTER_S or not self.missing
        )


@dataclass(slots=True)
class _RunState:
    """A run and its gaps: those still open, and those closed that a late readout may belong to."""

    run: Run
    began: Moment
    size: int = 1
    open: list[_OpenGap] = field(default_factory=list)
    closed: deque[_OpenGap] = field(default_factory=lambda: deque(maxlen=KEPT_GAPS))


def distance(last_id: int, readout_id: int) -> int:
    """Return how far `readout_id` is ahead; over the counter's end only where both are near it."""
    ahead = readout_id - last_id
    if ahead < 2 * PLAUSIBLE_JUMP - _U32:
        return ahead + _U32
    if ahead > _U32 - 2 * PLAUSIBLE_JUMP:
        return ahead - _U32
    return ahead


class SourceSequence:
    """The readouts of one source, as they arrived.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`; losses are counted in readouts multicast.
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
        self.gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self.last_s = float("-inf")
        self._stride = stride
        self._kernel = kernel
        self._drops_seen = kernel.total
        self._rejections: Counter[str] = Counter()  # since the last readout
        self._current: _RunState | None = None
        self._previous: _RunState | None = None  # for its stragglers, until the present run is under way
        self._candidate: tuple[int, int] | None = None
        self._last_ns = 0

    @property
    def missing(self) -> int:
        """Readouts of closed gaps: in_kernel, rejected and before_socket together."""
        return self.in_kernel + self.rejected.total() + self.before_socket

    def note_received(
        self, readout_ids: Sequence[int], timestamps: Sequence[int], now: Moment
    ) -> list[tuple[int, Run]]:
        """Note readouts in order of arrival; return the runs that begin among them, and where."""
        count = len(readout_ids)
        self.received += count
        begun: list[tuple[int, Run]] = []
        if not self._note_in_order(readout_ids, timestamps):
            for i, (readout_id, timestamp) in enumerate(zip(readout_ids, timestamps, strict=True)):
                run = self._note_one(readout_id, timestamp, now)
                if run is not None:
                    begun.append((i, run))
            self._forget_previous(now)
        self._last_ns = now.ns
        self.last_s = now.s
        return begun

    def note_rejected(self, reason: str) -> None:
        """Note that a datagram of this source was not a readout."""
        self._rejections[reason] += 1

    def tick(self, now: Moment) -> None:
        """Close the gaps whose time has come."""
        if self._current is not None:
            self._close_due(self._current, now)
            self._forget_previous(now)

    def _forget_previous(self, now: Moment) -> None:
        """Close the run before, once the present one is under way: no straggler is awaited any more."""
        current = self._current
        if self._previous is None or current is None:
            return
        if current.size >= CLOSE_AFTER_READOUTS or now.s - current.began.s >= CLOSE_AFTER_S:
            self._close_all(self._previous)
            self._previous = None

    def _note_in_order(self, readout_ids: Sequence[int], timestamps: Sequence[int]) -> bool:
        """Note a batch that goes on where the last one ended; one comparison in C for all of it."""
        current = self._current
        if current is None or self._previous is not None or self._candidate is not None or current.open:
            return False
        first, stride, count = readout_ids[0], self._stride, len(readout_ids)
        if first != current.run.last_id + stride:
            return False
        if count > 1 and list(readout_ids) != list(range(first, first + count * stride, stride)):
            return False
        current.run.last_id, current.run.last_timestamp = readout_ids[-1], timestamps[-1]
        current.size += count
        self._settle(None)
        return True

    def _note_one(self, readout_id: int, timestamp: int, now: Moment) -> Run | None:
        current, previous, stride = self._current, self._previous, self._stride
        if current is None:
            return self._begin_run(readout_id, timestamp, now)
        ahead = distance(current.run.last_id, readout_id)
        newer = timestamp > current.run.last_timestamp
        if previous is not None and not newer and timestamp <= previous.run.last_timestamp:
            self._note_straggler(previous, readout_id, timestamp, now)
        elif (
            previous is not None
            and current.size == 1
            and distance(previous.run.last_id, readout_id) == stride
        ):
            self._resume(previous)
            return self._note_one(readout_id, timestamp, now)
        elif 0 < ahead <= PLAUSIBLE_JUMP:
            self._advance(current, readout_id, timestamp, now)
        elif ahead <= 0 and newer:
            return self._begin_run(readout_id, timestamp, now)
        elif -REORDER_WINDOW * stride <= ahead <= 0:
            self._note_back(current, readout_id)
        else:
            return self._note_implausible(readout_id, timestamp, now)
        self._drop_candidate()
        self._close_due(current, now, further=1)
        return None

    def _begin_run(self, readout_id: int, timestamp: int, now: Moment) -> Run:
        """Begin a run. Ids begin at 0: what precedes this one was lost, or sent before we listened."""
        self._drop_candidate()
        if self._previous is not None:
            self._close_all(self._previous)
        self._previous, joining = self._current, self._current is None
        self.run_count += 1
        run = Run(self.run_count, readout_id, timestamp, readout_id, timestamp)
        self.runs.append(run)
        self._current = _RunState(run, now)
        gap = self._open_gap(
            self._current, readout_id % self._stride, readout_id // self._stride, now, joining
        )
        self._settle(gap)
        return run

    def _resume(self, previous: _RunState) -> None:
        """Go back to the run before: the single readout that seemed to begin a new one was a stray."""
        self.stray += 1
        self.runs.pop()
        self._current, self._previous = previous, None

    def _advance(self, state: _RunState, readout_id: int, timestamp: int, now: Moment) -> None:
        run, stride = state.run, self._stride
        skipped = (distance(run.last_id, readout_id) - 1) // stride
        gap = self._open_gap(state, (run.last_id + stride) % _U32, skipped, now)
        run.last_id, run.last_timestamp = readout_id, timestamp
        state.size += 1
        self._settle(gap)

    def _open_gap(
        self, state: _RunState, first_id: int, count: int, now: Moment, before_joining: bool = False
    ) -> _OpenGap | None:
        if not count:
            return None
        gap = _OpenGap(first_id, count, self._stride, self._last_ns or now.ns, now, before_joining)
        state.open.append(gap)
        return gap

    def _settle(self, gap: _OpenGap | None) -> None:
        """Hand what was rejected and dropped since the last readout to the gap it reveals, or an open one."""
        drops = self._kernel.total - self._drops_seen
        if not drops and not self._rejections:
            return
        self._drops_seen = self._kernel.total
        if gap is None and self._current is not None:
            gap = next(
                (g for g in reversed(self._current.open) if g.missing > g.rejected.total() + g.drops), None
            )
        if gap is not None:
            gap.drops += drops
            gap.rejected.update(self._rejections)
        self._rejections.clear()

    def _note_straggler(self, previous: _RunState, readout_id: int, timestamp: int, now: Moment) -> None:
        """Note a readout of the run before, overtaken by the first of the present one."""
        ahead = distance(previous.run.last_id, readout_id)
        if ahead <= 0:
            self._note_back(previous, readout_id)
        elif ahead <= REORDER_WINDOW * self._stride:
            self.reordered += 1
            self._advance(previous, readout_id, timestamp, now)
        else:
            self.stray += 1

    def _note_back(self, state: _RunState, readout_id: int) -> None:
        """Note a readout that is not ahead: it fills a gap, or is late, or a duplicate."""
        for gap in state.open:
            if gap.holds(readout_id) and readout_id not in gap.filled:
                gap.filled.add(readout_id)
                self.reordered += 1
                return
        if any(gap.holds(readout_id) and readout_id not in gap.filled for gap in state.closed):
            self.late += 1
        else:
            self.duplicates += 1

    def _note_implausible(self, readout_id: int, timestamp: int, now: Moment) -> Run | None:
        """Believe a jump once a second readout continues it (as RTP does, RFC 3550, A.1)."""
        candidate = self._candidate
        if candidate is None or not (
            0 < distance(candidate[0], readout_id) <= REORDER_WINDOW * self._stride
            and timestamp >= candidate[1]
        ):
            self._drop_candidate()
            self._candidate = (readout_id, timestamp)
            return None
        self._candidate = None
        current = self._current
        assert current is not None
        run = None
        if distance(current.run.last_id, candidate[0]) > 0:
            self._advance(current, *candidate, now)
        else:
            run = self._begin_run(*candidate, now)
            if self._previous is not None:  # its timestamps are no guide: the DAQ's clock was set back
                self._close_all(self._previous)
                self._previous = None
        self._note_one(readout_id, timestamp, now)
        return run

    def _drop_candidate(self) -> None:
        if self._candidate is not None:
            self.stray += 1
            self._candidate = None

    def _close_due(self, state: _RunState, now: Moment, further: int = 0) -> None:
        still_open = []
        for gap in state.open:
            gap.further += further
            if gap.due(now):
                self._close(state, gap)
            else:
                still_open.append(gap)
        state.open = still_open

    def _close_all(self, state: _RunState) -> None:
        for gap in state.open:
            self._close(state, gap)
        state.open = []

    def _close(self, state: _RunState, gap: _OpenGap) -> None:
        """Say where the readouts of a gap went: rejected, then in the kernel, the rest before the socket."""
        state.closed.append(gap)
        left = gap.missing
        if gap.before_joining:
            self.before_joining += left
            return
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
