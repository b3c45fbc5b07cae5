"""What is counted of one source, and where what is missing went. Pure.

`sequencing` says what each readout is; here gaps are opened, filled and closed. Each missing readout is
counted in one place (docs/decisions/0004-where-a-loss-is-counted.md).
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from astropix_stream.clock import Moment
from astropix_stream.counting import evidence
from astropix_stream.counting.losses import Gaps
from astropix_stream.counting.track import REORDER_WINDOW, U32, OpenGap, Pending, Track, distance

_IMPLAUSIBLE_BREAKS = 4
# After so long without readouts open gaps wait for so much more, in which a backlog of seconds is read.
_PAUSE_S, _MORE_S = 0.5, 0.25
# Readouts that a rejected datagram may have overtaken: then the gap that it left shows only behind them. More
# would blame it for losses of their own where a DAQ also sends what is no readout.
_OVERTAKEN = 8


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


class SourceAccount:
    """The counts of one source.

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
        self.gaps: Gaps[Gap] = Gaps()
        self.stride = stride
        self.keeps_gaps = False
        """Gaps stay open until `close_gap`: another path may still fill them."""
        self._kernel = kernel
        self._drops_seen = kernel.total
        self._rejections: Counter[str] = Counter()  # since the last step forward, as the drops
        self._rejected_at = 0  # behind how many readouts
        # Rejections before that, likewise, and why.
        self._unclaimed: deque[tuple[int, str]] = deque(maxlen=_OVERTAKEN)
        self._tracks: list[Track] = []  # the present one, then those before it
        self._pending: Pending | None = None
        self._breaks = 0
        self.last_s = float("-inf")
        """When a readout last came, by the monotonic clock."""
        self._last_ns = 0
        self._ordinal = 0  # of the readout that is looked at

    @property
    def _near(self) -> int:
        return evidence.near(self.stride)

    @property
    def _far(self) -> int:
        return evidence.far(self.stride)

    @property
    def implausible(self) -> bool:
        """Whether the ids follow no order: what is missing between them then says nothing."""
        breaks = self.stray + self._breaks
        return breaks >= _IMPLAUSIBLE_BREAKS and breaks * 4 >= self._ordinal

    def note_rejected(self, reason: str) -> None:
        """Note that a datagram of this source was not a readout."""
        self._rejections[reason] += 1
        self._rejected_at = self._ordinal

    def _advance(self, track: Track, readout_id: int, timestamp: int, now: Moment) -> None:
        stride, run = self.stride, track.run
        first_id = (track.last_id + stride) % U32
        skipped = (distance(track.last_id, readout_id, self._far) - 1) // stride
        track.last_id, track.last_timestamp, track.last_s = readout_id, timestamp, now.s
        if track is self._tracks[0] or run is not self._tracks[0].run:
            run.last_id, run.last_timestamp = readout_id, timestamp
        track.advance(skipped, 1)
        track.note_step((skipped + 1) * stride)
        self._open_gap(track, first_id, skipped, now)

    def _open_gap(
        self, track: Track, first_id: int, count: int, now: Moment, *, joining: bool = False
    ) -> None:
        if count:
            width = count * self.stride
            began_ns = self._last_ns or now.ns
            gap = OpenGap(first_id, width, count, began_ns, now, track.size, joining, self._ordinal)
            track.open.append(gap)
        self._settle(track)

    def _settle(self, track: Track) -> None:
        """Hand what was rejected and dropped since the last step forward to the gap that this step revealed.

        If it revealed none, then to an open one that has room: what was overtaken can also be dropped. What
        was rejected waits a little for one, since it may have overtaken others itself.
        """
        if self._kernel.total == self._drops_seen and not self._rejections and not self._unclaimed:
            return
        drops, rejections = self._take_reasons()
        gap = next((gap for gap in reversed(track.open) if gap.has_room), None)
        for reason, count in rejections.items():
            taken = 0 if gap is None else min(count, gap.room)
            if gap is not None and taken:
                gap.rejected[reason] += taken
            self._unclaimed.extend(repeat((self._rejected_at, reason), min(count - taken, _OVERTAKEN)))
        if gap is None:
            return
        gap.drops += drops
        while self._unclaimed and gap.has_room:
            at, reason = self._unclaimed.popleft()
            if self._ordinal - at <= _OVERTAKEN:
                gap.rejected[reason] += 1

    def _take_reasons(self) -> tuple[int, Counter[str]]:
        """Return what was dropped and rejected since the last step forward, which is then taken."""
        drops, self._drops_seen = self._kernel.total - self._drops_seen, self._kernel.total
        rejections, self._rejections = self._rejections, Counter()
        return drops, rejections

    def _return_reasons(self, drops: int, rejections: Counter[str]) -> None:
        self._drops_seen -= drops
        self._rejections.update(rejections)

    def _note_back(self, track: Track, readout_id: int, position: int) -> None:
        """Note a readout that is behind the highest: it fills a gap, or is late."""
        if position <= REORDER_WINDOW:
            if track.window >> position & 1:
                self.stray += 1
                return
            track.window |= 1 << position
        if not self._fill(track, readout_id):
            self.late += 1

    def _fill(self, track: Track, readout_id: int) -> bool:
        gap = track.gap_of(readout_id)
        if gap is None or not gap.missing:
            return False
        gap.missing -= 1
        self.reordered += 1
        if gap.missing < gap.rejected.total():  # so this is not what was rejected: that is missing elsewhere
            reason = next(iter(gap.rejected))
            gap.rejected -= Counter((reason,))
            other = next((one for one in reversed(track.open) if one.has_room), None)
            if other is None:
                self._unclaimed.append((self._ordinal, reason))
            else:
                other.rejected[reason] += 1
        return True

    def _wait_on(self, now: Moment) -> None:
        """After a pause let open gaps wait a little more: what fills them may lie in the queue behind this.

        A program that stood still, and not the network, may be why nothing came.
        """
        if now.s - self.last_s < _PAUSE_S:
            return
        for track in self._tracks:
            for gap in track.open:
                gap.wait_until(now.s + _MORE_S)

    def _close_due(self, track: Track, now: Moment) -> None:
        if not self.keeps_gaps:
            self._close(track.take_due(now))

    def _close(self, gaps: Iterable[OpenGap]) -> None:
        """Say where the readouts of gaps went: rejected, then in the kernel, the rest before the socket."""
        for gap in gaps:
            left = gap.missing
            if gap.joining:
                self.before_joining += left
                continue
            if self.implausible:
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

    # What a merged receiver asks, which knows of several paths

    @property
    def last_id(self) -> int | None:
        """The highest id of the present run; None before any."""
        return self._tracks[0].last_id if self._tracks else None

    def continues(self, readout_id: int) -> bool:
        """Whether an id goes on where the present run is, or what is pending; the first one does."""
        if not self._tracks:
            return True
        last_ids = [self._tracks[0].last_id]
        if self._pending is not None:
            last_ids.append(self._pending.places[-1][0])
        return any((last_id + self.stride) % U32 == readout_id for last_id in last_ids)

    @property
    def first_ordinal(self) -> int:
        """Which readout of the source began the present run."""
        return self._tracks[0].first_ordinal if self._tracks else 0

    @property
    def ordinal(self) -> int:
        """How many readouts were noted in order of arrival."""
        return self._ordinal

    def open_gaps(self) -> list[OpenGap]:
        """Return the gaps that may still be filled, oldest run first."""
        return [gap for track in reversed(self._tracks) for gap in track.open]

    def note_late(self, gap: OpenGap | None) -> None:
        """Note a readout of long ago, that fills a gap or none."""
        self.received += 1
        if gap is None:
            self.late += 1
        else:
            gap.missing -= 1
            self.reordered += 1

    def close_gap(self, gap: OpenGap) -> None:
        """Count what is missing in a gap as lost."""
        for track in self._tracks:
            if gap in track.open:
                track.open.remove(gap)
                self._close([gap])
