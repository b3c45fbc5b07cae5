"""Follow one stream of a log: stored messages in, batches out, and the account of what is not there. Pure.

The readouts in a log carry the relay's numbers. A step in them is a loss: *no longer kept* where the log's
own numbers have a step too, since it has removed messages; *between relay and log* where they have none,
since the bridge never stored what is missing. Numbers that were delivered before are left out. What the relay
itself lost it says in its heartbeats, and the bridge with each message.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from astropix_stream import wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Counts, Ledger, StreamLedger, place_counts
from astropix_stream.counting.losses import Loss, Losses
from astropix_stream.counting.places import Place
from astropix_stream.counting.track import PLAUSIBLE_JUMP, distance
from astropix_stream.errors import WireError
from astropix_stream.log import messages
from astropix_stream.log.messages import Stored

_KEPT_RELAYS = 64  # starts of relays whose last numbers are remembered


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where reading begins, as the log answered.

    Attributes
    ----------
    removed
        Messages before the first one to come were in the log and have been removed.
    skip_to
        Readouts of this relay before this one were not asked for.
    """

    removed: bool = False
    skip_to: Position | None = None


class Following:
    """One stream of a log, as its messages tell.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`.
    """

    def __init__(self, *, stride: int | None = None) -> None:
        self.begins = Beginning()
        self.report: dict[str, Any] | None = None
        """The relay's latest word on the stream: the JSON of its heartbeat."""
        self.malformed = 0
        """Messages that do not follow the protocol; ignored."""
        self.restarts = 0
        self.repeated = 0
        """Readouts that the log holds a second time; left out."""
        self.log_sequence = 0
        """The log's number of the latest message."""
        self.readout_uid: int | None = None
        self.stride = stride or 1
        self._relay_id: int | None = None
        self._expected = 0
        self._ended: dict[int, int] = {}  # what came next of relays that were followed before
        self._before_joining = 0
        self._readouts = StreamLedger(stride=self.stride)
        self._lost: dict[Place, int] = {}
        self._losses = Losses()
        self._baseline: Counts | None = None  # what the relay had lost before we joined
        self._latest: Counts | None = None
        self._beat: tuple[wire.Header, Counts] | None = None  # that waits until we have read so far
        self._resumed: dict[Source, int] = {}  # after a restart: the last readout_id of each source before it
        self._missed = 0  # since the last delivery
        self._last_ns = 0

    def take(self, stored: Stored, now: Moment, *, recovered: bool = False) -> list[Batch]:
        """Take in the next message of the log; return what is delivered of it. Never raises for what came."""
        if stored.sequence <= self.log_sequence:
            return []
        jumped = bool(self.log_sequence) and stored.sequence > self.log_sequence + 1
        self.log_sequence = stored.sequence
        try:
            batch = messages.parse(stored.data, recovered=recovered)
        except WireError:
            self.malformed += 1
            return []
        assert batch.position is not None
        if self._relay_id != batch.position.relay_id:
            self._follow(batch.position, messages.parse_lost(stored.headers))
        batches = self._deliver(batch, Place.NO_LONGER_KEPT if jumped else Place.RELAY_TO_LOG, now)
        self._note_counts(messages.parse_lost(stored.headers), now)
        self._settle_beat(now)
        if self.readout_uid is None and stored.headers.get(messages.UID, "").isdecimal():
            self.readout_uid = int(stored.headers[messages.UID])
        return batches

    def take_beat(self, data: bytes, now: Moment) -> None:
        """Take in a heartbeat of the relay, as the bridge passes it on: its header and its JSON."""
        try:
            header = wire.parse_message_header(data)
            report = wire.parse_report(data[wire.MESSAGE_HEADER.size :])
            counts = Counts.from_json(report.get("totals"))
        except WireError:
            self.malformed += 1
            return
        self.report = report
        self._beat = header, messages.summed(counts)
        self._settle_beat(now)

    def _settle_beat(self, now: Moment) -> None:
        """Note what a heartbeat counts once all readouts before it are read: not before they are."""
        if self._beat is None:
            return
        header, counts = self._beat
        if header.relay_id == self._relay_id and header.sequence <= self._expected:
            self._beat = None
            self._note_counts(counts, now)

    def _follow(self, first: Position, lost: Counts | None) -> None:
        """Begin with the first message, or with one of another start of the relay."""
        if self._relay_id is None:
            self._begin(first, lost)
        else:
            self.restarts += 1
            self._ended[self._relay_id] = self._expected
            if len(self._ended) > _KEPT_RELAYS:
                del self._ended[next(iter(self._ended))]
            for place, count in self._relay_losses().items():
                self._lost[place] = self._lost.get(place, 0) + count
            self._resumed = {
                source: runs[-1].last_id for source, runs in self._readouts.runs().items() if runs
            }
            back = first.relay_id in self._ended
            self._baseline = self._latest = lost if back else Counts()
            self._expected = self._ended.get(first.relay_id, 0)
        self._relay_id = first.relay_id

    def _begin(self, first: Position, lost: Counts | None) -> None:
        self._baseline = self._latest = Counts() if first.sequence == 0 else lost
        skip = self.begins.skip_to
        self._expected = first.sequence
        if skip is not None and skip.relay_id == first.relay_id and skip.sequence > first.sequence:
            self._expected = self._before_joining = skip.sequence
        elif self.begins.removed:
            self._lost[Place.NO_LONGER_KEPT] = first.sequence
        else:
            self._before_joining = first.sequence

    def _deliver(self, batch: Batch, place: Place, now: Moment) -> list[Batch]:
        """Count a batch, less what is known already, and what is missing before it."""
        assert batch.position is not None
        sequence = batch.position.sequence
        known = min(len(batch), max(0, self._expected - sequence))
        if known:
            first = self.begins.skip_to
            self.repeated += known if first is None or self._expected > first.sequence else 0
            if known == len(batch):
                return []
            batch = batch.part(known, len(batch))
        missing = max(0, sequence - self._expected)
        self._note_loss(place, missing, batch.received_ns)
        self._missed += missing
        self._expected = sequence + known + len(batch)
        self._note_resumed(batch)
        self._missed = 0
        # By the relay's clock: a log is read faster than it was written.
        received = Moment(batch.received_ns / 1e9, now.ns)
        self._readouts.note(batch, received)
        self._last_ns = batch.received_ns
        return [batch]

    def _note_resumed(self, batch: Batch) -> None:
        """Count what a source sent while no relay was there: the step in its readout_ids over the restart."""
        last_id = self._resumed.pop(batch.source, None)
        if last_id is None:
            return
        ahead = distance(last_id, batch.readout_ids[0])
        if 0 < ahead <= PLAUSIBLE_JUMP:
            missing = (ahead - 1) // self.stride - self._missed
            self._note_loss(Place.BEFORE_SOCKET, missing, batch.received_ns)

    def _note_loss(self, place: Place, count: int, ended_ns: int) -> None:
        if count > 0:
            self._lost[place] = self._lost.get(place, 0) + count
            self._losses.append(Loss(place, count, self._last_ns or ended_ns, ended_ns))

    def _note_counts(self, counts: Counts | None, now: Moment) -> None:
        """Note what the relay lost so far; only what came after we joined is ours."""
        if counts is None or self._relay_id is None:
            return
        before = self._relay_losses()
        if self._baseline is None:
            self._baseline = counts
        self._latest = counts
        for place, count in self._relay_losses().items():
            if count > before.get(place, 0):
                more = count - before.get(place, 0)
                self._losses.append(Loss(place, more, self._last_ns or now.ns, now.ns))

    def _relay_losses(self) -> Mapping[Place, int]:
        if self._latest is None or self._baseline is None:
            return {}
        return place_counts(self._latest - self._baseline, Place.RELAY_KERNEL, Place.RELAY_REJECTED)

    def ledger(self) -> Ledger:
        """Return the account as far as it is known."""
        totals = self._readouts.totals()
        lost_at = dict(self._lost)
        for place, count in self._relay_losses().items():
            lost_at[place] = lost_at.get(place, 0) + count
        return Ledger(
            delivered=totals.delivered,
            late=totals.late,
            lost_at={place: lost_at[place] for place in Place if lost_at.get(place)},
            duplicates=totals.duplicates,
            reordered=totals.reordered,
            stray=totals.stray,
            before_joining=self._before_joining,
            runs=totals.runs,
            restarts=self.restarts,
            at_most=bool(self.report and self.report.get("at_most")),
            losses=tuple(self._losses),
            periods=dict(self._losses.periods),
        )
