"""The runs of one source, and other sequences of readout_ids: one may go on beside another. Pure.

A run that has ended is kept for a while, for its stragglers. One that goes on, again and again, beside the
present one is no run that has ended: two DAQs share the address.
"""

from collections import deque

from astropix_stream.batch import Run
from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops, SourceAccount
from astropix_stream.counting.track import REORDER_WINDOW, U32, Pending, Track, distance

KEPT_RUNS = 16
_MAX_TRACKS, _MAX_KEPT_TRACKS = 4, 32
TRACK_S = 10.0  # after which a sequence that stopped is not expected to go on beside another
_SHARED_AFTER = 8  # returns to a sequence that seemed to have ended


class SourceRuns(SourceAccount):
    """The runs of one source.

    Parameters
    ----------
    stride, kernel
        As of `SourceAccount`.
    """

    def __init__(self, stride: int, kernel: KernelDrops) -> None:
        super().__init__(stride, kernel)
        self.run_count = 0
        self.runs: deque[Run] = deque(maxlen=KEPT_RUNS)
        self.shared = False
        """Two sequences of ids go on beside each other: two DAQs share an address and port."""
        self._settled: Pending | None = None  # the last one that was counted as something else
        self._settling = False  # the present run is young: readouts of the one before may still come
        self._returns = 0  # to a sequence that seemed to have ended
        self._returned_s = float("-inf")
        self._firsts: deque[int] = deque(maxlen=KEPT_RUNS)  # ordinals of the first readouts of runs
        self._last_taker: Track | None = None
        self._begun: list[tuple[int, Run]] = []

    def _begin_run(self, readout_id: int, timestamp: int, now: Moment, *, joining: bool = False) -> None:
        """Begin a run. Ids begin at 0: what precedes this one was lost, or sent before we listened."""
        self.run_count += 1
        run = Run(self.run_count, readout_id, timestamp, readout_id, timestamp)
        self.runs.append(run)
        self._begun.append((self._ordinal, run))
        self._firsts.append(self._ordinal)
        if readout_id >= self._near and self._tracks:
            self._breaks += 1
        first_id, skipped = readout_id % self.stride, readout_id // self.stride
        self._put_first(Track(run, readout_id, timestamp, now, self._ordinal, now.s))
        self._open_gap(self._tracks[0], first_id, skipped, now, joining=joining)

    def _put_first(self, track: Track) -> None:
        self._settled = None
        for other in self._tracks:
            other.seen_size = 0
        self._settling = bool(self._tracks)
        self._tracks.insert(0, track)
        self._last_taker = track
        if len(self._tracks) > (_MAX_KEPT_TRACKS if self.keeps_gaps else _MAX_TRACKS):
            self._close(self._tracks.pop().open)

    def _jump(self, pending: Pending, now: Moment) -> None:
        """Go on after a long gap. What is before it may still come, or go on beside it."""
        current, stride = self._tracks[0], self.stride
        readout_id, timestamp = pending.places[0]
        first_id = (current.last_id + stride) % U32
        skipped = (distance(current.last_id, readout_id, self._far) - 1) // stride
        self._put_first(Track(current.run, readout_id, timestamp, now, current.first_ordinal, now.s))
        current.run.last_id, current.run.last_timestamp = readout_id, timestamp
        self._open_gap(self._tracks[0], first_id, skipped, now)

    def _return_to(self, track: Track, readout_id: int, now: Moment) -> None:
        """Note that a sequence goes on that seemed to have ended."""
        current = self._tracks[0]
        track.seen_size += 1
        if current.window == 1 and track.seen_size >= 2:
            self._undo_run(track)
            return
        if self._last_taker is not track:
            self._returns += 1
        if self.shared or self._returns >= _SHARED_AFTER or track.seen_size >= 2 * _SHARED_AFTER:
            self._returned_s = now.s
            if not self.shared:
                self._note_shared(track)
        elif track.run is current.run:  # from before a long gap: it is in that now
            self._fill(current, readout_id)
        self._last_taker = track
        if self.shared or track.seen_size > REORDER_WINDOW:
            self._tracks.remove(track)
            self._tracks.insert(0, track)

    def _note_shared(self, track: Track) -> None:
        """Two DAQs: what one of them sent before it was heard is no loss."""
        self.shared = True
        for one in (self._tracks[0], track):
            for gap in one.open:
                gap.joining = gap.joining or gap.opened_size <= 1

    def _undo_run(self, track: Track) -> None:
        """Go back to a run that goes on, while the present one did not: its one readout was a stray."""
        self.stray += 1
        undone = self._tracks.pop(0)
        if self.runs and undone.run is self.runs[-1] and undone.run is not track.run:
            self.runs.pop()
            self._begun = [one for one in self._begun if one[1] is not undone.run]
            self._begun.append((self._ordinal, track.run))
        self._tracks.remove(track)
        self._tracks.insert(0, track)
        self._settling = False

    def _continued(self, readout_id: int, now: Moment) -> Track | None:
        """Return the earlier sequence that goes on with an id."""
        is_lone = self._tracks[0].window == 1
        for track in self._tracks[1:]:
            step = distance(track.last_id, readout_id, self._far)
            if is_lone and 0 < step <= self._near:
                return track
            if step == self.stride and now.s - track.last_s <= TRACK_S:
                return track
        return None
