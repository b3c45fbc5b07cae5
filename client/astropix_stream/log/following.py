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
from astropix_stream.batch import Batch, Position
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.numbered import NumberedAccount
from astropix_stream.counting.places import Place
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
        self.notes: Mapping[str, str] = {}
        """What the relay's operator says of the setup, by names; a text alone has the name ''."""
        self.malformed = 0
        """Messages that do not follow the protocol; ignored."""
        self.repeated = 0
        """Readouts that the log holds a second time; left out."""
        self.log_sequence = 0
        """The log's number of the latest message."""
        self.readout_uid: int | None = None
        self._relay_id: int | None = None
        self._expected = 0
        self._ended: dict[int, int] = {}  # what came next of relays that were followed before
        self._before_joining = 0
        self._account = NumberedAccount(stride=stride or 1)
        self._beat: tuple[wire.Header, Counts] | None = None  # that waits until we have read so far

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as given."""
        return self._account.readouts.stride

    @property
    def restarts(self) -> int:
        """Starts of the relay after the first."""
        return self._account.restarts

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
        lost = messages.parse_lost(stored.headers)
        if self._relay_id != batch.position.relay_id:
            self._follow(batch.position, lost)
        batches = self._deliver(batch, Place.NO_LONGER_KEPT if jumped else Place.RELAY_TO_LOG, now)
        if lost is not None:
            self._account.take_counts(lost, now.ns)
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
        if (notes := wire.parse_notes(report)) != self.notes:
            self.notes = notes
        self._beat = header, messages.summed(counts)
        self._settle_beat(now)

    def _settle_beat(self, now: Moment) -> None:
        """Note what a heartbeat counts once all readouts before it are read: not before they are."""
        if self._beat is None:
            return
        header, counts = self._beat
        if header.relay_id == self._relay_id and header.sequence <= self._expected:
            self._beat = None
            self._account.take_counts(counts, now.ns)
            self._account.take_hops(self.report)

    def _follow(self, first: Position, lost: Counts | None) -> None:
        """Begin with the first message, or with one of another start of the relay."""
        if self._relay_id is None:
            self._begin(first, lost)
        else:
            self._ended[self._relay_id] = self._expected
            if len(self._ended) > _KEPT_RELAYS:
                del self._ended[next(iter(self._ended))]
            self._account.restart(lost if first.relay_id in self._ended else Counts())
            self._expected = self._ended.get(first.relay_id, 0)
        self._relay_id = first.relay_id

    def _begin(self, first: Position, lost: Counts | None) -> None:
        self._account.join(Counts() if first.sequence == 0 else lost)
        skip = self.begins.skip_to
        self._expected = first.sequence
        if skip is not None and skip.relay_id == first.relay_id and skip.sequence > first.sequence:
            self._expected = self._before_joining = skip.sequence
        elif self.begins.removed:
            self._account.lose(Place.NO_LONGER_KEPT, first.sequence, None)
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
        self._account.miss(place, missing, batch.received_ns)
        self._expected = sequence + known + len(batch)
        # By the relay's clock: a log is read faster than it was written.
        self._account.delivered(batch, Moment(batch.received_ns / 1e9, now.ns), batch.received_ns)
        return [batch]

    def ledger(self) -> Ledger:
        """Return the account as far as it is known."""
        return self._account.ledger(Place.RELAY_TO_LOG, self.report, before_joining=self._before_joining)
