"""Follow the readout_ids of one source: missing, duplicate, out of order or late, and where a run begins.

Pure. `ledger` keeps one `SourceSequence` for each source of a stream.

A readout is compared with the highest readout_id so far, in steps of the stride. The first line that fits
says what it is:

==========================================  =================================================================
a readout                                   is
==========================================  =================================================================
ahead by 1                                  in order
the same as one before, byte for byte       a duplicate; or the run comes again (a recording played twice),
                                            once the next one follows it as it did the first time
ahead by at most 64                         after a gap, which may still be filled
in an open gap                              reordered, if it is not newer than the highest
anything else                               pending: not believed until a second readout continues it. Then it
                                            was the first of a new run (back) or after a long gap (ahead).
                                            Where the present run goes on instead, it was a stray, or late
==========================================  =================================================================

Which of two possible continuations a readout is, its timestamp decides where that is clear, else the smaller
step. Where the present run goes on as well as the pending readouts, two DAQs share the address. See
docs/decisions/0013-which-evidence-decides-what.md.

The counter is 32 bits wide: a step of at most 2^20 may pass its end.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from astropix_stream.batch import Batch, Run, Source
from astropix_stream.clock import Moment
from astropix_stream.counting import evidence
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.following import TRACK_S, SourceRuns
from astropix_stream.counting.remembered import Remembered
from astropix_stream.counting.track import (
    CLOSE_AFTER_READOUTS,
    CLOSE_AFTER_S,
    REORDER_WINDOW,
    Pending,
    Track,
    distance,
)

_NO_SOURCE = Source("", 0)


class Noted(NamedTuple):
    """What is said of readouts just received.

    Attributes
    ----------
    runs
        The runs that begin, and at which readout. The position is below 0 where that was received before: it
        was not believed at once.
    duplicates
        A mask, as in `Batch`.
    """

    runs: list[tuple[int, Run]]
    duplicates: bytes


class SourceSequence(SourceRuns):
    """The readouts of one source, as they arrived.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`; losses are counted in readouts multicast. May be changed.
    kernel
        The drops of the socket, shared with the other sources of the stream.
    """

    def __init__(self, stride: int, kernel: KernelDrops) -> None:
        super().__init__(stride, kernel)
        self._remembered = Remembered()
        self._doubled: set[int] = set()  # ordinals, of this batch

    @property
    def undecided(self) -> int:
        """How many of the latest readouts there are from the first one on whose place is not known yet."""
        return self._ordinal - self._pending.ordinals[0] if self._pending is not None else 0

    @property
    def unproved(self) -> int:
        """Readouts that came before, and are duplicates unless the run comes again."""
        pending = self._pending
        return len(pending.places) if pending is not None and pending.repeats else 0

    def note_received(
        self, readout_ids: Sequence[int], timestamps: Sequence[int], now: Moment
    ) -> list[tuple[int, Run]]:
        """Do what `note` does, where only this is known of readouts; return the runs that begin."""
        return self.note(
            Batch(_NO_SOURCE, 0, b"", readout_ids, timestamps, range(len(readout_ids))), now
        ).runs

    def note(self, batch: Batch, now: Moment, *, rising: bool = False) -> Noted:
        """Note readouts in order of arrival; return the runs that begin among them, and which came before.

        `rising` is said where all timestamps so far rise: then none came before, and nobody needs to look.
        """
        ids, stamps = batch.readout_ids, batch.timestamps
        if not ids or self.goes_on(ids, stamps[-1], now, (batch,)):
            return Noted([], b"")
        if self._tracks:
            self._wait_on(now)
            self.tick(now)
        self.received += len(ids)
        self.last_s = now.s
        first, told = self._ordinal, 0
        for i, (readout_id, timestamp) in enumerate(zip(ids, stamps, strict=True)):
            if not rising and self._asks_whether_it_came(readout_id):
                if told < i:
                    self._remembered.add((batch.part(told, i),), i - told)
                    told = i
                self._note_known(readout_id, timestamp, self._remembered.age(batch, i), now)
            else:
                self._note_one(readout_id, timestamp, now)
            self._ordinal += 1
            self.tick(now)
            self._last_ns = now.ns
        self._remembered.add((batch.part(told, len(ids)) if told else batch,), len(ids) - told)
        return self._noted(first, len(ids))

    def _noted(self, first: int, count: int) -> Noted:
        begun = [(ordinal - first, run) for ordinal, run in self._begun]
        self._begun.clear()
        doubled, self._doubled = [one - first for one in self._doubled if one >= first], set()
        if not doubled:
            return Noted(begun, b"")
        mask = bytearray(count)
        for position in doubled:
            mask[position] = 1
        return Noted(begun, bytes(mask))

    def settle(self, now: Moment) -> list[tuple[int, Run]]:
        """Do what `tick` does; return the runs that began since, and at which readout before the next one."""
        self.tick(now)
        return self._noted(self._ordinal, 0).runs

    def tick(self, now: Moment) -> None:
        """Close the gaps whose time has come, and say what no second readout has confirmed."""
        pending, tracks = self._pending, self._tracks
        if pending is not None and (
            now.s - pending.began.s >= CLOSE_AFTER_S or pending.went_on >= CLOSE_AFTER_READOUTS
        ):
            self._settle_pending(now)
        for track in tracks:
            if track.open:
                self._close_due(track, now)
        if self._settling and (
            tracks[0].size >= CLOSE_AFTER_READOUTS or now.s - tracks[0].began.s >= CLOSE_AFTER_S
        ):
            self._settling = False
            if not self.keeps_gaps and not self.shared:
                for track in tracks[1:]:
                    self._close(track.open)
                    track.open.clear()
        if self.shared and now.s - self._returned_s > TRACK_S:
            self.shared, self._returns = False, 0

    def goes_on(
        self,
        readout_ids: Sequence[int],
        last_timestamp: int,
        now: Moment,
        batches: Sequence[Batch],
        *,
        rising: bool = False,
    ) -> bool:
        """Note readouts that go on where the last ones ended, by one comparison; return whether they do.

        `rising` is said of a file in which the timestamps of all readouts so far rise: then also while a run
        is young, if the run before ended far from these ids.
        """
        if self._pending is not None or not readout_ids or not self._tracks:
            return False
        if self._settling and not (rising and self._are_far_from_others(readout_ids)):
            return False
        current, count, stride = self._tracks[0], len(readout_ids), self.stride
        first = current.last_id + stride
        if count == 1:  # at the rates that people have nearly every one is alone
            if readout_ids[0] != first:
                return False
        else:
            expected = range(first, first + count * stride, stride)
            if readout_ids != expected and [*readout_ids] != [*expected]:
                return False
        run = current.run
        if current.open:
            self._wait_on(now)
        self.received += count
        self._ordinal += count
        self.last_s, self._last_ns = now
        current.last_s = self.last_s
        current.last_id = run.last_id = readout_ids[-1]
        current.last_timestamp = run.last_timestamp = last_timestamp
        current.advance(0, count)
        self._remembered.add(batches, count)
        if self._rejections or self._kernel.total != self._drops_seen:
            self._settle(current)
        if self._settling:
            self.tick(now)
        elif current.open:
            self._close_due(current, now)
        return True

    def _are_far_from_others(self, readout_ids: Sequence[int]) -> bool:
        """Whether ids are far below those of the run before the present one."""
        if self._returns or self.shared:
            return False
        return all(track.last_id - readout_ids[-1] > self._near for track in self._tracks[1:2])

    # One readout

    def _asks_whether_it_came(self, readout_id: int) -> bool:
        """Whether this id may have come before; else it is not worth a look."""
        if not self._tracks:
            return False
        step = distance(self._tracks[0].last_id, readout_id, self._far)
        unclear = self._settling or self._pending is not None or self.shared
        return step <= 0 or unclear

    def _note_known(self, readout_id: int, timestamp: int, age: int, now: Moment) -> None:
        current = self._tracks[0]
        is_next = distance(current.last_id, readout_id, self._far) == self.stride
        if age and not (is_next and self._ordinal - age < current.first_ordinal):  # of a run that comes again
            self._note_again(readout_id, timestamp, self._ordinal - age, now)
        else:
            self._note_one(readout_id, timestamp, now)

    def _note_one(self, readout_id: int, timestamp: int, now: Moment) -> None:
        """Note a readout that did not come before."""
        tracks = self._tracks
        if not tracks:
            self._begin_run(readout_id, timestamp, now, joining=True)
            return
        track = self._track_of(readout_id, timestamp, now)
        pending = self._pending
        if pending is not None and self._joins_pending(pending, readout_id, timestamp, track):
            pending.places.append((readout_id, timestamp))
            if pending.went_on == 0 or len(pending.places) > 2:
                self._believe(pending, now)  # else wait for a third: the present run went on as well
        elif track is not None:
            self._take(track, readout_id, timestamp, now)
        else:
            self._hold(readout_id, timestamp, now)

    def _track_of(self, readout_id: int, timestamp: int, now: Moment) -> Track | None:
        """Return the sequence of ids that a readout belongs to; None if it fits none."""
        fitting: list[tuple[int, int, Track]] = []
        for n, track in enumerate(self._tracks):
            is_young = n == 1 and self._settling
            if n and not is_young and (not self.shared or now.s - track.last_s > TRACK_S):
                continue
            loosely = n == 0 or is_young or self.shared
            fit = evidence.fit(track, readout_id, timestamp, self.stride, loosely=loosely)
            if fit:
                fitting.append((fit, n, track))
        return evidence.clearest(fitting, timestamp)

    def _joins_pending(self, pending: Pending, readout_id: int, timestamp: int, track: Track | None) -> bool:
        """Whether a readout continues what is pending, rather than the sequence that it fits otherwise."""
        last_id, last_timestamp = pending.places[-1]
        step = distance(last_id, readout_id, self._far)
        if step < 0 and timestamp > last_timestamp:  # what is overtaken is not newer
            return False
        if not evidence.is_confirmed(pending, step, self.stride, implausible=self.implausible):
            return False
        is_next, is_present = step == self.stride, track is self._tracks[0]
        if track is None:
            return not pending.repeats or is_next or evidence.may_be_whole(pending)
        if not is_present:  # a run that has ended is less likely to go on
            begins = pending.places[0][0] < self.stride or len(pending.places) > 1
            return is_next and begins and not self.shared
        if pending.repeats or abs(step) > self._near:
            return False
        return evidence.is_nearer_to_pending(pending, track, readout_id, timestamp, self.stride)

    def _take(self, track: Track, readout_id: int, timestamp: int, now: Moment) -> None:
        """Note a readout of a sequence that is known."""
        step = distance(track.last_id, readout_id, self._far)
        pending = self._pending
        if step <= 0:
            self._note_back(track, readout_id, -step // self.stride)
            return
        if pending is not None:
            self._return_pending_reasons(pending)
        if pending is not None and pending.repeats and not evidence.may_be_whole(pending):
            self._settle_pending(now, goes_on=True)
        if track is not self._tracks[0]:
            self._return_to(track, readout_id, now)
        self._last_taker = track
        self._advance(track, readout_id, timestamp, now)

    # What was not believed at once

    def _hold(self, readout_id: int, timestamp: int, now: Moment) -> None:
        """Wait for a second readout that continues this one."""
        if self._pending is not None:
            self._settle_pending(now, once_more=readout_id < self.stride)
            if self._track_of(readout_id, timestamp, now) is not None:  # of the run that this began
                self._note_one(readout_id, timestamp, now)
                return
        settled, self._settled = self._settled, None
        revived = settled if settled is not None and settled.went_on == 0 else None
        if revived is not None and self._joins_pending(revived, readout_id, timestamp, None):
            revived.places.append((readout_id, timestamp))
            self._believe(revived, now)
            return
        self._pending = self._new_pending(readout_id, timestamp, now)

    def _new_pending(self, readout_id: int, timestamp: int, now: Moment) -> Pending:
        current, reasons = self._tracks[0], self._take_reasons()
        return Pending([(readout_id, timestamp)], [self._ordinal], now, current, current.size, *reasons)

    def _return_pending_reasons(self, pending: Pending) -> None:
        self._return_reasons(pending.drops, pending.rejections)
        pending.drops, pending.rejections = 0, Counter()

    def _note_again(self, readout_id: int, timestamp: int, original: int, now: Moment) -> None:
        """Note a readout that came before, byte for byte: a duplicate, or of a run that comes again."""
        current, age, pending = self._tracks[0], self._ordinal - original, self._pending
        if pending is None and self._settled is not None and self._settled.went_on == 0:
            pending = self._settled
        if pending is not None and evidence.follows_again(pending, readout_id, original, self.stride):
            self._go_on_again(pending, readout_id, timestamp, original, now)
            return
        if pending is not None and pending.repeats and pending.ordinals[0] == original < self._ordinal - 1:
            self._settle_pending(now, once_more=True)
            current = self._tracks[0]
        from_first = original in self._firsts
        its_track = next((one for one in self._tracks if one.first_ordinal <= original), self._tracks[-1])
        back = -distance(its_track.last_id, readout_id, self._far) // self.stride
        if its_track is not current and not self._settling:
            back = max(back, REORDER_WINDOW + 1)  # of a run that is over
        is_of_pending = self._pending is not None and original >= self._pending.ordinals[0]
        may_begin = (from_first and current.size > 1) or back > REORDER_WINDOW
        if age > 1 and may_begin and not is_of_pending:
            self._settle_pending(now)
            self._settled = None
            self._pending = self._new_pending(readout_id, timestamp, now)
            self._pending.original, self._pending.from_first = original, from_first
            self._pending.distance = back
        else:
            self.duplicates += 1
            self._doubled.add(self._ordinal)

    def _go_on_again(
        self, pending: Pending, readout_id: int, timestamp: int, original: int, now: Moment
    ) -> None:
        """Note the next one of readouts that came before."""
        current = self._tracks[0]
        pending.places.append((readout_id, timestamp))
        pending.ordinals.append(self._ordinal)
        pending.original = original
        self._pending, self._settled = pending, None
        arrived = (
            pending.ordinals[0] - current.first_ordinal
        )  # of the present run, before the first one again
        most = 2 * len(pending.places) > arrived
        whole = pending.from_first and readout_id == current.last_id and most
        goes_on = current.size > pending.size_then
        if whole or len(pending.places) > REORDER_WINDOW or (evidence.may_be_whole(pending) and not goes_on):
            self._believe(pending, now)

    def _believe(self, pending: Pending, now: Moment) -> None:
        """Begin a run, or go on after a long gap, with all that is pending."""
        self._pending = None
        (first_id, _), *others = pending.places
        earlier = self._continued(first_id, now) if not pending.repeats else None
        if earlier is not None:
            self._return_pending_reasons(pending)
            for place in pending.places:
                self._take(earlier, *place, now)
            return
        beside = pending.went_on > 1  # the other sequence goes on
        if distance(self._tracks[0].last_id, first_id, self._far) > 0 and not beside and not pending.repeats:
            later = self._take_reasons()
            self._return_pending_reasons(pending)
            self._jump(pending, now)
            self._return_reasons(*later)
        else:
            # A recording that begins in the middle of a run does so again.
            self._begin_with(pending, now, joining=(beside and first_id >= self._near) or pending.from_first)
        for place in others:
            self._note_confirming(*place, now)

    def _begin_with(self, pending: Pending, now: Moment, *, joining: bool = False) -> None:
        """Begin a run with the first readout that is pending, and with the reasons that came before it."""
        after, later = self._ordinal, self._take_reasons()
        self._return_pending_reasons(pending)
        self._ordinal = pending.ordinals[0]
        self._begin_run(*pending.places[0], now, joining=joining)
        self._ordinal = after
        self._return_reasons(*later)

    def _note_confirming(self, readout_id: int, timestamp: int, now: Moment) -> None:
        """Note what confirmed a run or a long gap; where few readouts get through, it may be far ahead."""
        track = self._tracks[0]
        step = distance(track.last_id, readout_id, self._far)
        if step <= 0:
            self._note_back(track, readout_id, -step // self.stride)
            return
        self._advance(track, readout_id, timestamp, now)
        if step > self._near:
            track.note_step(step)  # twice: such steps need no confirmation here

    def _settle_pending(self, now: Moment, *, goes_on: bool = False, once_more: bool = False) -> None:
        """Say what readouts were that nothing has continued.

        The present run may have gone on instead; or a run begins after one that came again.
        """
        pending, self._pending = self._pending, None
        if pending is None or pending.settled:
            return
        current = self._tracks[0]
        first_id, timestamp = pending.places[0]
        went_on = goes_on or pending.went_on > 0
        again = pending.from_first and not went_on and (once_more or evidence.is_surely_again(pending))
        if len(pending.places) > 1 and (again or not pending.repeats):
            self._believe(pending, now)
            return
        self._settled = pending if not went_on else None
        pending.settled = True
        back = -distance(current.last_id, first_id, self._far)
        if not pending.repeats and not went_on and first_id < self._near and back >= 0:
            unseen = back <= self._near and not current.window >> back // self.stride & 1
            if not unseen or first_id < self.stride or timestamp > current.last_timestamp:
                self._begin_with(pending, pending.began)
                return
        self._return_pending_reasons(pending)
        if pending.repeats:
            self.duplicates += len(pending.places)
            self._doubled.update(pending.ordinals)
        elif 0 <= back <= self._near and not current.window >> back // self.stride & 1:
            self._note_back(current, first_id, back // self.stride)
        else:
            self.stray += 1
