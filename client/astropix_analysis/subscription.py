"""Follow one stream of a relay: messages in, batches out, and the account of what did not come.

Pure: `relay.RelayReceiver` owns the sockets and the clock. The relay numbers the readouts that it publishes,
so that a jump in the numbers is a loss between relay and here, also at the tail, where the next beat shows
it. What was lost before the relay is in the beats.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from astropix_analysis import wire
from astropix_analysis.clock import Moment
from astropix_analysis.errors import ConfigError, WireError
from astropix_analysis.ledger import Counts, Ledger, Loss, Place, Source, StreamLedger, place_counts
from astropix_analysis.receiver import Batch
from astropix_analysis.sequencing import KEPT_GAPS, PLAUSIBLE_JUMP, distance


class Subscription:
    """One stream of one relay, as its messages tell.

    Parameters
    ----------
    stream
        The stream's name; None takes the only one that the relay has.
    stride
        The DAQ multicasts one readout in `stride`.

    Raises
    ------
    ConfigError
        `stream` cannot be a stream's name.
    """

    def __init__(self, stream: str | None, *, stride: int = 1) -> None:
        if stream is not None:
            try:
                wire.check_stream_name(stream)
            except WireError as error:
                raise ConfigError(str(error)) from None
        self.stream = stream
        self.hello: wire.Hello | None = None
        self.report: dict[str, Any] | None = None
        """The relay's latest word on the stream: the JSON of its beat."""
        self.ready = False
        """A beat or a data message has come: the subscription works."""
        self.malformed = 0
        """Messages that do not follow the protocol; ignored."""
        self.restarts = 0
        self._stride = stride
        self._relay_id: int | None = None
        self._expected: int | None = None
        self._joined_at = 0
        self._readouts = StreamLedger(stride=stride)
        self._lost: dict[Place, int] = {}  # what is known here, and from relays that are gone
        self._losses: deque[Loss] = deque(maxlen=KEPT_GAPS)
        self._baseline: Counts | None = None  # the relay's counts when we joined
        self._latest: Counts | None = None
        self._last_ns = 0
        self._resumed: dict[Source, int] = {}  # after a restart: the last readout_id of each source before it

    def take(self, frames: Sequence[bytes], now: Moment) -> list[Batch]:
        """Take in one message; return the readouts that can be delivered. Never raises for what came.

        Raises
        ------
        ConfigError
            The relay has several streams and none was named.
        """
        try:
            message = wire.parse_message(frames)
            if isinstance(message, wire.Hello):
                self._take_hello(message)
                return []
            if message.stream != self.stream:
                return []
            if isinstance(message, wire.BeatMessage):
                return self._take_beat(message, now)
            return self._take_data(message, now)
        except WireError:
            self.malformed += 1
            return []

    def _take_hello(self, hello: wire.Hello) -> None:
        self.hello = hello
        if self.stream is None:
            if len(hello.streams) != 1:
                names = ", ".join(sorted(hello.streams)) or "none"
                raise ConfigError(f"the relay has several streams, name one: {names}")
            self.stream = next(iter(hello.streams))

    def _take_beat(self, message: wire.BeatMessage, now: Moment) -> list[Batch]:
        counts = Counts.from_json(message.report.get("totals"))
        self._follow(message.header, now)
        self._note_lost_until(message.header.sequence, now)
        self._note_relay_counts(counts, now)
        self.report = message.report
        self._last_ns = now.ns
        return []

    def _take_data(self, message: wire.DataMessage, now: Moment) -> list[Batch]:
        header = message.header
        readout_ids, timestamps, ends = wire.walk_payload(message.payload, header.count)
        self._follow(header, now)
        if header.sequence < (self._expected or 0):
            return []  # known already
        self._note_lost_until(header.sequence, now)
        self._expected = header.sequence + header.count
        self._note_resumed(header.source, readout_ids[0], now)
        self._readouts.received(header.source, readout_ids, timestamps, now)
        self._last_ns = now.ns
        replayed = bool(header.flags & wire.REPLAYED)
        return [
            Batch(header.source, header.received_ns, message.payload, readout_ids, timestamps, ends, replayed)
        ]

    def _follow(self, header: wire.Header, now: Moment) -> None:
        """Recognise the first message, and a relay that was started anew."""
        if self._relay_id == header.relay_id:
            return
        if self._relay_id is None:
            self._expected = self._joined_at = header.sequence
        else:
            self._follow_restart()
        self._relay_id = header.relay_id
        self.ready = True

    def _follow_restart(self) -> None:
        """Begin anew at 0, as the relay's numbers do; all that it counts is ours: we were there before."""
        self.restarts += 1
        for place, count in self._relay_losses().items():
            self._lost[place] = self._lost.get(place, 0) + count
        self._baseline, self._latest = Counts(), Counts()
        self._expected = 0
        self._resumed = {source: runs[-1].last_id for source, runs in self._readouts.runs().items() if runs}

    def _note_resumed(self, source: Source, readout_id: int, now: Moment) -> None:
        """Count what a source sent while no relay was there: the step in its readout_ids over the restart."""
        last_id = self._resumed.pop(source, None)
        if last_id is None:
            return
        ahead = distance(last_id, readout_id)
        if 0 < ahead <= PLAUSIBLE_JUMP:
            self._note_loss(Place.BEFORE_SOCKET, (ahead - 1) // self._stride, now)

    def _note_lost_until(self, sequence: int, now: Moment) -> None:
        assert self._expected is not None
        if sequence > self._expected:
            self._note_loss(Place.RELAY_TO_CLIENT, sequence - self._expected, now)
            self._expected = sequence

    def _note_loss(self, place: Place, count: int, now: Moment) -> None:
        if count > 0:
            self._lost[place] = self._lost.get(place, 0) + count
            self._losses.append(Loss(place, count, self._last_ns or now.ns, now.ns))

    def _note_relay_counts(self, counts: Counts, now: Moment) -> None:
        """Note what the relay lost; only what came after we joined is ours."""
        before = self._relay_losses()
        if self._baseline is None:
            self._baseline = counts
        self._latest = counts
        for place, count in self._relay_losses().items():
            if count > before.get(place, 0):
                self._losses.append(
                    Loss(place, count - before.get(place, 0), self._last_ns or now.ns, now.ns)
                )

    def _relay_losses(self) -> dict[Place, int]:
        if self._latest is None or self._baseline is None:
            return {}
        return place_counts(self._latest - self._baseline, Place.RELAY_KERNEL, Place.RELAY_REJECTED)

    def ledger(self, now: Moment) -> Ledger:
        """Return the account as far as it is known."""
        self._readouts.tick(now)
        totals = self._readouts.totals()
        lost_at = dict(self._lost)
        for place, count in self._relay_losses().items():
            lost_at[place] = lost_at.get(place, 0) + count
        return Ledger(
            delivered=totals.delivered + totals.late,
            lost_at={place: lost_at[place] for place in Place if lost_at.get(place)},
            duplicates=totals.duplicates,
            reordered=totals.reordered,
            stray=totals.stray,
            before_joining=self._joined_at,
            runs=totals.runs,
            restarts=self.restarts,
            at_most=bool(self.report and self.report.get("at_most")),
            losses=tuple(self._losses),
        )
