"""Batches in: runs, each with its counts, rates, losses and the state.

Pure: times are handed in, and it knows nothing of sockets, threads or Bokeh.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from astropix_stream.batch import Position, RunStart, Source
from astropix_stream.clock import Moment
from astropix_stream.columns import decode_batch
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.losses import Loss
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import LOSING_FOR_S, QUIET_AFTER_S, State
from astropix_stream.fitting import SAMPLE, Doubt
from astropix_stream.fmt import ASTROPIX4, Kind, split
from astropix_stream.joining import Joiner
from astropix_stream.monitor.arrivals import Arrival, Reception, Segment, ends_of, without_duplicates
from astropix_stream.monitor.geometry import Geometry, geometry_of
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.rates import ChipRates, RateHistory
from astropix_stream.monitor.recent import Chunk, Recent
from astropix_stream.monitor.resuming import Gap, counts_of, goes_on, unseen
from astropix_stream.monitor.runs import Account, RunData, Tally, account

_log = logging.getLogger(__name__)

MAX_TOGETHER = 2 << 20  # bytes decoded at once: for a moment it takes several times as much memory
_MAX_JOINERS = 64  # sources: forged ones must not fill the memory
MAX_RUNS = 9  # the present one and eight finished; a run takes some MB


class Memory(NamedTuple):
    """What an accumulator knows, to go on with in another process.

    Attributes
    ----------
    saved
        When.
    runs
        As in `Accumulator`; the counts of those that did not change since they were saved may be shared.
    present
        The place among them of the one to follow.
    current
        The place among them of each source's.
    run_count
        Runs that there were.
    tally
        What there was of the stream.
    skipped
        Of that: readouts that were skipped.
    rates
        On the clock of `saved.s`.
    position, totals
        What would come next of a relay, and what it had counted; None without a relay.
    received_ns
        When the latest readout was received.
    """

    saved: Moment
    runs: list[RunData]
    present: int | None
    current: dict[Source, int]
    run_count: int
    tally: Tally
    skipped: int
    rates: RateHistory
    position: Position | None
    totals: Counts | None
    received_ns: int


class Accumulator:
    """Everything that the page knows of a stream.

    Parameters
    ----------
    now
        When the page began.
    source
        Where the readouts come from, as a person wrote it.
    kind
        What the readouts are, unless `set_kind` tells of another.
    """

    def __init__(self, now: Moment, source: str = "", kind: Kind = ASTROPIX4) -> None:
        self.began = now
        self.source = source
        self._kind = kind
        self.runs: list[RunData] = []
        """In the order in which they began."""
        self.present: RunData | None = None
        """The run to follow: that of one DAQ, until it falls silent."""
        self.references: list[RunData] = []
        """Files to compare runs with."""
        self.rates = RateHistory(now.s)
        self.chip_rates = ChipRates()
        self.recent = Recent()
        self.reception = Reception(now, Ledger())
        self._current: dict[Source, RunData] = {}
        self._carried = Tally(now.ns, 0, Counter())  # of a monitor before this one
        self._resumable: dict[Source, RunData] = {}  # its runs that may go on
        self._known_as: dict[tuple[Source, int, int], RunData] = {}  # and as what they went on
        self._seen_until: Position | None = None  # what it had of the relay's numbers
        self._gap: Gap | None = None
        self._next: Position | None = None
        self._received_at_ns = 0
        self._run_count = 0
        self._held = 0
        self._duplicates = 0
        self._skipped = 0
        self._waiting_bytes = 0  # to be decoded together
        self._joiners: dict[Source, Joiner] = {}
        self._doubt = Doubt()
        self._skipped_at_s = float("-inf")
        self._last_loss: Loss | None = None
        self._readouts_at: Counter[int] = Counter()  # by second, of this turn
        self._hits_at: Counter[int] = Counter()

    @property
    def geometry(self) -> Geometry:
        """That of the present run; before the first, that of the kind that is expected."""
        return self.present.counts.geometry if self.present else geometry_of(self._kind)

    def set_kind(self, kind: Kind) -> None:
        """Take the readouts to come for those of a kind; with another than before, a run begins."""
        if kind != self._kind:
            self._kind = kind
            self._current.clear()
            self._joiners.clear()
            self._doubt = Doubt()
            self.present = None

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Take in batches in order of arrival; those of a run are decoded together."""
        waiting: dict[tuple[int, Source], list[Segment]] = {}
        for whole in arrivals:
            came = self._fresh(whole)
            if came is None:
                continue
            arrival = without_duplicates(came)
            if any(start.before for start in arrival.batch.runs):
                self._decode_all(waiting)  # so that those before it can be moved
            for segment in self._segments(arrival):
                self._note(segment)
                if arrival.skipped:
                    self._skip(segment)
                else:
                    self._held += len(segment)
                    self._put(segment, waiting)
            self._duplicates += sum(came.batch.duplicates)
        self._decode_all(waiting)
        self._note_rates()

    def _put(self, segment: Segment, waiting: dict[tuple[int, Source], list[Segment]]) -> None:
        """Let a segment wait for its decoding; where a slice of its run ends, decode what waits."""
        run, batch = segment.run, segment.arrival.batch
        key = run.number, batch.source
        marks = run.slices.keys(batch.timestamps, batch.readout_ids)
        begin = segment.begin
        while (cut := run.slices.end_among(marks, begin, segment.end)) < segment.end:
            if cut > begin:
                waiting.setdefault(key, []).append(segment.part(begin, cut))
            self._decode(waiting.pop(key, []))
            run.slices.close(run.counts, marks[cut])
            begin = cut
        rest = segment.part(begin, segment.end)
        waiting.setdefault(key, []).append(rest)
        self._waiting_bytes += len(rest.payload)
        if self._waiting_bytes > MAX_TOGETHER:
            self._decode_all(waiting)

    def _decode_all(self, waiting: dict[tuple[int, Source], list[Segment]]) -> None:
        for segments in waiting.values():
            self._decode(segments)
        waiting.clear()
        self._waiting_bytes = 0

    def _segments(self, arrival: Arrival) -> Iterator[Segment]:
        """Divide a batch where runs begin."""
        batch = arrival.batch
        begin, run, begins_run = 0, None, False
        if not len(batch):
            return
        for start in batch.runs:
            if start.position > begin:
                run = run or self._run_of(arrival)
                yield Segment(run, arrival, begin, start.position, begins_run)
            begin, run, begins_run = start.position, self._begin_run(start, arrival), True
        if begin < len(batch):
            yield Segment(run or self._run_of(arrival), arrival, begin, len(batch), begins_run)

    def _run_of(self, arrival: Arrival) -> RunData:
        """Return the run that a source's readouts belong to.

        One whose beginning the ledger did not tell has no account there: it has more sources than it follows.
        """
        batch = arrival.batch
        run = self._current.get(batch.source)
        run = run or self._resume_run(batch.source, batch.readout_ids[0], batch.timestamps[0], batch.position)
        if run is None and self.present in self._current.values():
            run = self.present
        return run or self._open(batch.source, batch.readout_ids[0], batch.timestamps[0], arrival)

    def _begin_run(self, start: RunStart, arrival: Arrival) -> RunData:
        identity = start.source, start.run.first_id, start.run.first_timestamp
        known = (run for run in self.runs if (run.source, run.first_id, run.first_timestamp) == identity)
        run = next(known, None) or self._known_as.get(identity)  # one that goes on after a stray
        run = run or self._resume_run(*identity, arrival.batch.position)
        if run is None:
            run = self._open(*identity, arrival)
            run.since.held -= self._move(start, run)
            return run
        run.until = None
        self._current[start.source] = run
        self._move(start, run)
        return run

    def _move(self, start: RunStart, run: RunData) -> int:
        """Count readouts to a run that were counted to the one before it, until a later one told."""
        moved = 0
        for chunk in self.recent.move(start.source, start.before, run.number) if start.before else ():
            moved += len(chunk)
            run.counts.add(chunk.decoded)
            old = next((other for other in self.runs if other.number == chunk.run), None)
            if old is not None:
                old.counts.add(chunk.decoded, sign=-1)
                if (last := self.recent.last_of(old.number)) is not None:
                    old.last_id, old.last_timestamp = last
                old.version += 1
        return moved

    def _open(self, source: Source, first_id: int, first_timestamp: int, arrival: Arrival) -> RunData:
        # Which of both clocks is the one of the losses depends on the way; they differ by less than a second.
        tally = self.tally(min(arrival.batch.received_ns, arrival.at.ns))
        for run in self.runs:
            # A DAQ that is restarted sends from another port: what fell silent has ended.
            if run.until is None and (run.source == source or _silent(run, arrival.at)):
                run.until = tally
        self._run_count += 1
        began_ns = self._received_ns(arrival)
        counts = Histograms(geometry_of(self._kind))
        run = RunData(self._run_count, source, first_id, first_timestamp, began_ns, tally, counts=counts)
        run.slices.begin(first_timestamp, first_id)
        self.runs.append(run)
        self._current[source] = run
        self._forget_oldest(arrival.at)
        return run

    def _forget_oldest(self, now: Moment) -> None:
        """Keep so many runs: the present one, and rather those that go on than those that have ended."""
        if len(self.runs) > MAX_RUNS:
            others = [run for run in self.runs[:-1] if run is not self.present]
            gone = next((run for run in others if _silent(run, now)), others[0])
            self.runs.remove(gone)
            self._current = {source: run for source, run in self._current.items() if run is not gone}

    def _note(self, segment: Segment) -> None:
        run, batch, at = segment.run, segment.arrival.batch, segment.arrival.at
        present = self.present
        if present is None or run.source == present.source or _silent(present, at):
            self.present = run  # a single forged readout of another source does not take the page over
        run.last_id = batch.readout_ids[segment.end - 1]
        run.last_timestamp = batch.timestamps[segment.end - 1]
        run.last_s = at.s
        run.version += 1
        self._readouts_at[self._second(segment.arrival)] += len(segment)

    def _skip(self, segment: Segment) -> None:
        count = len(segment)
        segment.run.skipped += count
        self._skipped += count
        self._skipped_at_s = segment.arrival.at.s
        self.rates.add(segment.arrival.at.s, lost=count)

    def _decode(self, segments: list[Segment]) -> None:
        """Decode what belongs to one run of one source; a call costs 0.12 ms however few readouts it gets."""
        if not segments:
            return
        source, run = segments[0].arrival.batch.source, segments[0].run
        begins = np.cumsum([0, *map(len, segments[:-1])])
        payload = b"".join([segment.payload for segment in segments])
        if self._doubt.open:
            self._note_kind(payload, run.counts.geometry.kind)
        decoded = decode_batch(
            payload,
            run.counts.geometry.kind,
            joiner=self._joiner(source),
            run_starts={
                begin for begin, one in zip(begins.tolist(), segments, strict=True) if one.begins_run
            },
        )
        located = run.counts.add(decoded)
        self.recent.note(Chunk(run.number, source, decoded, located), payload, ends_of(segments))
        hits = np.add.reduceat(decoded.hit_counts, begins)
        for segment, count in zip(segments, hits.tolist(), strict=True):
            self._hits_at[self._second(segment.arrival)] += count

    def _joiner(self, source: Source) -> Joiner:
        """Return what puts the hits of a source together that were split between two readouts."""
        joiner = self._joiners.get(source)
        if joiner is None:
            if len(self._joiners) >= _MAX_JOINERS:
                self._joiners.clear()
            joiner = self._joiners[source] = Joiner()
        return joiner

    @property
    def doubt(self) -> str:
        """Why the readouts may be of another kind than they are decoded as; empty if nothing says so."""
        return self._doubt.text

    def _note_kind(self, payload: bytes, kind: Kind) -> None:
        """Look at the first readouts, whether they are of the kind that they are decoded as."""
        for raw, _, _ in islice(split(payload), SAMPLE):
            if self._doubt.note(kind.readout_class.from_bytes(raw)):
                _log.warning("%s: %s", self.source, self._doubt.text)

    def _note_rates(self) -> None:
        """Tell the rates once a second of time, however many batches there were in it."""
        for second in self._readouts_at:
            self.rates.add(second, readouts=self._readouts_at[second], hits=self._hits_at[second])
        self._readouts_at.clear()
        self._hits_at.clear()

    def _received_ns(self, arrival: Arrival) -> int:
        """Return when it was received: by the relay, if it comes out of its history."""
        return arrival.batch.received_ns if arrival.batch.recovered else arrival.at.ns

    def _second(self, arrival: Arrival) -> int:
        age_s = max(0, arrival.at.ns - self._received_ns(arrival)) / 1e9
        return math.floor(arrival.at.s - age_s)

    def note(self, reception: Reception) -> None:
        """Note what the receiver tells of itself."""
        now, ledger = reception.at, reception.ledger
        if self._gap is not None:
            lost = self._gap.lost(ledger, reception.first_report, reception.relay_id)
            for place, count in lost.items():
                self._note_away(place, count)
        more = ledger.lost - self.reception.ledger.lost
        self.reception = reception
        if self.present is not None:
            self.chip_rates.note(now.s, self.present.number, self.present.counts)
        for loss in self._new_losses(ledger):
            ago_s = max(0, now.ns - loss.ended_ns) / 1e9
            self.rates.add(now.s - ago_s, lost=loss.count)
            more -= loss.count
            for run in self.runs:
                if loss.ended_ns < run.since.at_ns:
                    run.since.lost_at[loss.place] += loss.count
        if more > 0:  # the ledger tells the times of the last hundred only
            self.rates.add(now.s, lost=more)

    def _new_losses(self, ledger: Ledger) -> list[Loss]:
        """Return the losses that were not known the last time."""
        losses = list(ledger.losses)
        if self._last_loss in losses:
            begin = len(losses) - losses[::-1].index(self._last_loss)
            losses = losses[begin:]
        if ledger.losses:
            self._last_loss = ledger.losses[-1]
        return losses

    def tally(self, at_ns: int) -> Tally:
        """Return what there is of the stream up to now."""
        ledger = self.reception.ledger
        lost_at = Counter(ledger.lost_at)
        lost_at[Place.CLIENT_QUEUE] += self._skipped
        lost_at.update(self._carried.lost_at)
        return Tally(at_ns, self._held, lost_at, self._duplicates, ledger.late + self._carried.late)

    def remember(self, now: Moment, known: Mapping[int, int]) -> Memory:
        """Return all of this, to `resume` with; it does not change any more.

        Parameters
        ----------
        now
            The moment.
        known
            By number, the versions of runs whose counts the caller has already: they are not copied.
        """
        runs = [run if known.get(run.number) == run.version else run.kept() for run in self.runs]
        place = {id(run): i for i, run in enumerate(self.runs)}
        current = self._resumable | self._current
        return Memory(
            saved=now,
            runs=runs,
            present=None if self.present is None else place.get(id(self.present)),
            current={source: place[id(run)] for source, run in current.items() if id(run) in place},
            run_count=self._run_count,
            tally=self.tally(now.ns),
            skipped=self._skipped,
            rates=self.rates.copy(),
            position=self._next or self._seen_until,
            totals=self._relay_totals(),
            received_ns=self._received_at_ns,
        )

    def _relay_totals(self) -> Counts | None:
        """Return what the relay has counted, whose numbers go on; None if it has not said so yet."""
        counted = counts_of(self.reception.report)
        if counted is not None and self._next is not None:
            return counted
        gap, behind = self._gap, self._next or self._seen_until
        return gap.totals if gap and behind and gap.position.relay_id == behind.relay_id else None

    def resume(self, memory: Memory, now: Moment) -> None:
        """Go on where another one ended, before anything was taken in."""
        away_s = max(0.0, (now.ns - memory.saved.ns) / 1e9)
        shift_s = now.s - memory.saved.s - away_s
        self.runs = list(memory.runs)
        for run in self.runs:
            run.last_s += shift_s
            run.slices.begin(run.last_timestamp, run.last_id, run.counts)
        self.present = None if memory.present is None else self.runs[memory.present]
        self._resumable = {source: self.runs[place] for source, place in memory.current.items()}
        self._run_count = memory.run_count
        tally = memory.tally
        self._held, self._duplicates, self._skipped = tally.held, tally.duplicates, memory.skipped
        carried = Counter(tally.lost_at)
        carried[Place.CLIENT_QUEUE] -= memory.skipped
        self._carried = Tally(memory.saved.ns, 0, carried, 0, tally.late)
        self.rates = memory.rates
        self.rates.shift(shift_s)
        self._seen_until, self._received_at_ns = memory.position, memory.received_ns
        if memory.position is not None:
            self._gap = Gap(memory.position, memory.totals)

    def _fresh(self, arrival: Arrival) -> Arrival | None:
        """Return what of an arrival no monitor before this one has counted; note what comes next."""
        batch = unseen(arrival.batch, self._seen_until)
        if batch is None or not len(batch):
            return None
        self._received_at_ns = max(self._received_at_ns, batch.received_ns)
        if batch.position is not None:
            self._next = Position(batch.position.relay_id, batch.position.sequence + len(batch))
        return arrival if batch is arrival.batch else replace(arrival, batch=batch)

    def _resume_run(
        self, source: Source, readout_id: int, timestamp: int, position: Position | None
    ) -> RunData | None:
        """Return the run of a monitor before this one that goes on here; count what is missing between."""
        run = self._resumable.pop(source, None)
        if run is None:
            return None
        first, last = (run.first_id, run.first_timestamp), (run.last_id, run.last_timestamp)
        missing = goes_on(first, last, (readout_id, timestamp), self.reception.stride)
        if missing is None:
            return None
        seen = self._seen_until
        if seen is None or position is None or position.relay_id != seen.relay_id:
            self._note_away(Place.CLIENT_AWAY, missing)  # the same relay's numbers tell it more exactly
        self._known_as[source, readout_id, timestamp] = run
        self._current[source] = run
        return run

    def _note_away(self, place: Place, count: int) -> None:
        """Count what was lost while no monitor ran, to the runs that went on then."""
        if count <= 0:
            return
        away_ns = self._carried.at_ns
        self._carried.lost_at[place] += count
        for run in self.runs:
            if away_ns < run.since.at_ns:
                run.since.lost_at[place] += count
        ago_s = max(0.0, (self.reception.at.ns - away_ns) / 1e9)
        self.rates.add(self.reception.at.s - ago_s, lost=count)

    def account(self, run: RunData, since: Tally | None = None) -> Account:
        """Return the account of a run, or of its readouts since some moment."""
        return account(since or run.since, run.until or self.tally(0))

    def sources(self, now: Moment) -> list[Source]:
        """Return where readouts come from at the moment."""
        return [source for source, run in self._current.items() if not _silent(run, now)]

    def state(self, now: Moment) -> State:
        """Return the state of the stream: that of the receiver, unless we lose what it received."""
        state = self.reception.state
        skipping = now.s - self._skipped_at_s < LOSING_FOR_S
        cut_off = state in (State.NO_NETWORK, State.NO_LOG, State.UPSTREAM_LOST)
        return State.LOSING if skipping and not cut_off else state

    def age_s(self, now: Moment) -> float | None:
        """Return the age of the last readout; None before the first."""
        age_s = self.reception.age_s
        return None if age_s is None else age_s + now.s - self.reception.at.s


def _silent(run: RunData, now: Moment) -> bool:
    return now.s - run.last_s > QUIET_AFTER_S
