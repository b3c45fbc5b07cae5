"""Follow one stream of a relay: messages in, batches out, and the account of what did not come.

Pure: `relay.RelayReceiver` owns the sockets and the clock. The relay numbers the readouts that it publishes,
so that a jump in the numbers is a loss between relay and here; the next heartbeat shows the loss of the last
ones. History is asked for what is missing, and what follows is held meanwhile; what history lacks is counted.
What was lost before the relay is in the heartbeats.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from astropix_stream import headers, wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.hops import HopLosses, parse_hops
from astropix_stream.counting.ledger import Counts, Ledger, StreamLedger, place_counts
from astropix_stream.counting.losses import Loss, Losses, Period
from astropix_stream.counting.places import Place
from astropix_stream.counting.track import PLAUSIBLE_JUMP, distance
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.relay.recovery import TIMEOUT_S, Inquiry, Window

Start = Literal["live", "oldest"] | int | Position

_FEW = 8  # readouts in a message that is counted later
_TOGETHER = 32  # such messages are counted at once
_HEARD_S = 2.0  # a heartbeat is due each second

_Few = tuple[bytes, bytes, int, float, int]
"""A message that is counted later: header, payload, how many readouts, and both clocks when it was taken."""


class Subscription:
    """One stream of one relay, as its messages tell.

    Parameters
    ----------
    stream
        The stream's name; None takes the only one that the relay has.
    stride
        The DAQ multicasts one readout in `stride`; None for what the relay says of the stream.
    recover
        Ask the relay's history for what was lost, where it has one.
    recover_timeout
        Seconds to wait for a page of history, while what is live is held back.
    start
        With what to begin: 'live', the 'oldest' that history holds, or the latest N readouts. With a
        `Position`: where an earlier subscription ended; the oldest if the relay was started since.
    page_readouts
        How many to ask of history at once, at most, for a program that must not be held up by a whole page.

    Raises
    ------
    ConfigError
        `stream` cannot be a stream's name, or `start` is something else.
    """

    def __init__(
        self,
        stream: str | None,
        *,
        stride: int | None = None,
        recover: bool = True,
        recover_timeout: float = TIMEOUT_S,
        start: Start = "live",
        page_readouts: int = wire.WITHOUT_END,
    ) -> None:
        if stream is not None:
            try:
                wire.check_stream_name(stream)
            except WireError as error:
                raise ConfigError(str(error)) from None
        if start not in ("live", "oldest") and not isinstance(start, Position) and not _is_count(start):
            raise ConfigError(f"start is 'live', 'oldest' or a number of readouts, not {start!r}")
        self.stream = stream
        self._data_topic = b"" if stream is None else wire.data_topic(stream)
        self.hello: wire.Hello | None = None
        self.report: dict[str, Any] | None = None
        """The relay's latest word on the stream: the JSON of its heartbeat."""
        self.reported: Position | None = None
        """The number that was next to be given when it said so."""
        self.ready = False
        """A heartbeat or a data message has come: the subscription works."""
        self.malformed = 0
        """Messages that do not follow the protocol; ignored."""
        self.restarts = 0
        self.fell_behind = 0
        """Times that recovery was given up, since more was added to the backlog than came out of history."""
        self._told_stride = stride
        self._start = start
        self._relay_id: int | None = None
        self._expected = 0  # the sequence to be delivered next
        self._seen = 0  # all before it was published, as data or heartbeats tell
        self._joined_at = 0  # readouts published before the first one that is ours
        self._live_from = 0  # what history does not have of those before it was never ours either
        self._inquiry = Inquiry(enabled=recover, timeout_s=recover_timeout)
        self._window = Window()
        self._page_readouts = page_readouts
        self._heard_s = 0.0
        self._recovered = 0
        self._readouts = StreamLedger(stride=stride or 1)
        self._lost: dict[Place, int] = {}  # what is known here, and from relays that are gone
        self._losses = Losses()
        self._hop_losses = HopLosses()
        self._baseline: Counts | None = None  # the relay's counts when we joined
        self._latest: Counts | None = None
        self._last_ns = 0
        self._resumed: dict[Source, int] = {}  # after a restart: the last readout_id of each source before it
        self._missed = 0  # given up since the last delivery
        self._unsettled: list[_Few] = []  # taken by `take_few`, and not counted yet

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as far as is known."""
        return self._readouts.stride

    @property
    def position(self) -> Position | None:
        """The number of the readout that is delivered next; None before the relay was heard."""
        return None if self._relay_id is None else Position(self._relay_id, self._expected)

    @property
    def live_from(self) -> int:
        """The number of the first readout that was published after we came; those before it are history."""
        return self._live_from

    @property
    def history_port(self) -> int | None:
        """The TCP port at which the relay's history is asked; None without."""
        return self._inquiry.port

    def take(self, frames: Sequence[bytes], now: Moment) -> list[Batch]:
        """Take in one message; return the readouts that can be delivered. Never raises for what came.

        Raises
        ------
        ConfigError
            The relay has several streams and none was named.
        """
        self.settle()
        self._heard_s = now.s
        try:
            message = wire.parse_message(frames)
            if isinstance(message, wire.Hello):
                self._take_hello(message)
                return []
            if message.stream != self.stream:
                return []
            if isinstance(message, wire.BeatMessage):
                return self._take_beat(message, now)
            return self._take_data(message.header, message.payload, now)
        except WireError:
            self.malformed += 1
            return []

    def _take_hello(self, hello: wire.Hello) -> None:
        self.hello = hello
        self._inquiry.port = hello.history_port
        self._inquiry.begin_anew()
        if self.stream is None:
            if not hello.streams:  # it waits for the relays above it; with the next connection it may know
                return
            if len(hello.streams) != 1:
                names = ", ".join(sorted(hello.streams))
                raise ConfigError(f"the relay has several streams, name one: {names}")
            self.stream = next(iter(hello.streams))
            self._data_topic = wire.data_topic(self.stream)
        self._take_stride(hello.strides.get(self.stream))

    def _take_stride(self, stride: int | None) -> None:
        """Count by what the relay says of the stream, unless we were told otherwise."""
        if self._told_stride is None and stride is not None and stride != self._readouts.stride:
            self._readouts.stride = stride

    def _take_beat(self, message: wire.BeatMessage, now: Moment) -> list[Batch]:
        counts = Counts.from_json(message.report.get("totals"))
        stride = wire.parse_stride(message.report.get("stride"))
        batches = self._follow(message.header, now)
        self._seen = max(self._seen, message.header.sequence)
        batches += self._settle(now)
        self._note_relay_counts(counts, now)
        self._take_stride(stride)
        self.report = message.report
        self._hop_losses.take(parse_hops(message.report))
        self.reported = Position(message.header.relay_id, message.header.sequence)
        self._last_ns = now.ns
        return batches

    def _take_data(self, header: wire.Header, payload: bytes, now: Moment) -> list[Batch]:
        batch = _batch(header, payload)
        batches = self._follow(header, now)
        end = header.sequence + header.count
        if header.sequence == self._expected and not self._window:
            self._seen = max(self._seen, end)
            return batches + self._deliver(header.sequence, batch, now)
        if end <= self._expected or (self._window and header.sequence < self._seen):
            return batches  # known already
        self._seen = max(self._seen, end)
        self._window.add(header.sequence, batch)
        return batches + self._settle(now)

    def take_few(self, frames: Sequence[bytes], s: float, ns: int) -> int:
        """Take in a message if it is a few readouts, live, and just those that come next; return how many.

        To count them is left to `settle`: with cold caches that costs more than to take them in, and this is
        on the way of each at the rates that people have. For all other messages nothing is done, and 0 is
        returned: `take` is for these. `s` and `ns` are the two clocks at this moment.
        """
        if len(frames) != 3 or frames[0] != self._data_topic or self._window or self._resumed:
            return 0
        _, header, payload = frames
        try:
            flags, count, relay_id, sequence = wire.parse_numbers(header)
            if flags or not 0 < count <= _FEW or relay_id != self._relay_id or sequence != self._expected:
                return 0
            if count > 1 or not headers.is_readout(payload):
                wire.walk_payload(payload, count)
        except WireError:
            return 0
        self._expected += count
        self._seen = max(self._seen, self._expected)
        self._missed = 0
        self._heard_s, self._last_ns = s, ns
        self._unsettled.append((header, payload, count, s, ns))
        return count

    def settle(self) -> list[tuple[Source, int, Moment]]:
        """Count what `take_few` has returned; return sources, how new their last readouts were, and when."""
        unsettled, self._unsettled = self._unsettled, []
        return [
            self._count(messages[at : at + _TOGETHER])
            for messages in _by_source(unsettled)
            for at in range(0, len(messages), _TOGETHER)
        ]

    def _count(self, messages: Sequence[_Few]) -> tuple[Source, int, Moment]:
        """Count messages of one source as one, if that goes on where the last ended; else each by itself."""
        data, _, _, s, ns = messages[-1]
        last = wire.parse_message_header(data)
        payload, count = b"".join([one[1] for one in messages]), sum([one[2] for one in messages])
        batch = Batch(last.source, last.received_ns, payload, *headers.columns_of(payload, count))
        ids, timestamp = batch.readout_ids, batch.timestamps[-1]
        if not self._readouts.goes_on((batch,), ids, timestamp, Moment(last.received_ns / 1e9, ns)):
            for data, payload, _, _, then_ns in messages:
                header = wire.parse_message_header(data)
                self._readouts.note(_batch(header, payload), Moment(header.received_ns / 1e9, then_ns))
        return last.source, timestamp, Moment(s, ns)

    def request(self, now: Moment) -> bytes | None:
        """Return what to ask of the relay's history now, in a single frame; None for nothing."""
        missing_until = self._missing_until()
        if missing_until is None or self._relay_id is None or self.stream is None:
            return None
        if not self._inquiry.possible(now.s) or not self._inquiry.due(now.s):
            return None
        until = min(missing_until, self._expected + self._page_readouts)
        return self._inquiry.ask(self.stream, self._relay_id, self._expected, until, now.s)

    def take_answer(self, frames: Sequence[bytes], now: Moment) -> list[Batch]:
        """Take in an answer of the relay's history; return the readouts that can be delivered."""
        try:
            if len(frames) != 2:
                raise WireError(f"an answer of {len(frames)} frames; the protocol's have 2")
            answer = wire.parse_answer(frames[0])
        except WireError:
            self.malformed += 1
            return []
        missing_until = self._missing_until()
        if not self._inquiry.answered(answer) or missing_until is None:
            return []
        if answer.status != wire.AnswerStatus.OK or answer.relay_id != self._relay_id:
            return self._release(Place.RELAY_TO_CLIENT, now)
        batches = self._take_page(answer, frames[1], missing_until, now)
        if self._inquiry.falls_behind(answer.next - self._expected, now.s):
            self.fell_behind += 1
            return batches + self._release(Place.CLIENT_QUEUE, now)
        return batches + self._settle(now)

    def _take_page(self, answer: wire.Answer, page: bytes, missing_until: int, now: Moment) -> list[Batch]:
        """Deliver a page; what it should have and has not is gone."""
        batches: list[Batch] = []
        end = missing_until  # of a damaged page, or one that does not come further
        try:
            for header, payload in wire.walk_page(page):
                if header.sequence < missing_until:
                    batches += self._deliver(header.sequence, _batch(header, payload), now)
            if answer.end > answer.begin or self._expected < answer.end:
                end = min(answer.end, missing_until)
        except WireError:
            self.malformed += 1
        self._miss(end, Place.RELAY_TO_CLIENT, now)
        return batches

    def tick(self, now: Moment) -> list[Batch]:
        """Wait no longer for a page that does not come; return what was held for it."""
        if self._inquiry.times_out(now.s, heard=now.s - self._heard_s < _HEARD_S):
            return self._release(Place.RELAY_TO_CLIENT, now)
        return []

    def _missing_until(self) -> int | None:
        """Return the end of the gap that delivery stands at; None if there is none."""
        until = self._window.begin if self._window else self._seen
        return until if until > self._expected else None

    def _settle(self, now: Moment) -> list[Batch]:
        """Deliver what is held, up to the next gap that history may fill."""
        batches: list[Batch] = []
        while self._missing_until() is None or not self._inquiry.possible(now.s):
            self._miss(self._missing_until() or 0, Place.RELAY_TO_CLIENT, now)
            if not self._window:
                self._inquiry.stop()
                break
            batches += self._deliver(*self._window.take(), now)
        return batches

    def _release(self, place: Place, now: Moment) -> list[Batch]:
        """Deliver all that is held; what is missing before and between was lost at `place`."""
        batches: list[Batch] = []
        self._inquiry.stop()
        while self._window:
            self._miss(self._window.begin, place, now)
            batches += self._deliver(*self._window.take(), now)
        self._miss(self._seen, place, now)
        return batches

    def _deliver(self, sequence: int, batch: Batch, now: Moment) -> list[Batch]:
        """Count a batch, less what is known already, and what is missing before it."""
        end = sequence + len(batch)
        if end <= self._expected:
            return []
        self._miss(sequence, Place.RELAY_TO_CLIENT, now)
        if sequence < self._expected:
            batch = batch.part(self._expected - sequence, len(batch))
        self._expected = end
        self._note_resumed(batch.source, batch.readout_ids[0], now)
        self._missed = 0
        # By the relay's clock: what was in time there is not late because this program was stopped.
        received = Moment(batch.received_ns / 1e9, now.ns)
        self._readouts.note(batch, received)
        self._recovered += len(batch) if batch.recovered else 0
        self._last_ns = now.ns
        return [batch]

    def _follow(self, header: wire.Header, now: Moment) -> list[Batch]:
        """Recognise the first message, and a relay that was restarted; return what was held until then."""
        if self._relay_id == header.relay_id:
            return []
        batches: list[Batch] = []
        if self._relay_id is None:
            self._join(header.relay_id, header.sequence)
        else:
            batches = self._release(Place.RELAY_TO_CLIENT, now)  # its history is gone with it
            self._follow_restart()
        self._relay_id = header.relay_id
        self.ready = True
        return batches

    def _join(self, relay_id: int, sequence: int) -> None:
        """Begin where we were told to; the first message tells where the stream is now."""
        if isinstance(self._start, Position):
            back = sequence - (self._start.sequence if self._start.relay_id == relay_id else 0)
        else:
            back = self._start if isinstance(self._start, int) else sequence if self._start == "oldest" else 0
        self._expected = self._joined_at = max(0, sequence - back)
        self._live_from = self._seen = sequence

    def _follow_restart(self) -> None:
        """Begin again at 0, as the relay's numbers do; all that it counts is ours: we were there before."""
        self.restarts += 1
        for place, count in self._relay_losses().items():
            self._lost[place] = self._lost.get(place, 0) + count
        self._baseline, self._latest = Counts(), Counts()
        self._expected = self._seen = self._live_from = 0
        self._resumed = {source: runs[-1].last_id for source, runs in self._readouts.runs().items() if runs}

    def _note_resumed(self, source: Source, readout_id: int, now: Moment) -> None:
        """Count what a source sent while no relay was there: the step in its readout_ids over the restart.

        What the relays did publish, but not to us, is known by their numbers and counted already.
        """
        last_id = self._resumed.pop(source, None)
        if last_id is None:
            return
        ahead = distance(last_id, readout_id)
        if 0 < ahead <= PLAUSIBLE_JUMP:
            missing = (ahead - 1) // self._readouts.stride - self._missed
            self._note_loss(Place.BEFORE_SOCKET, missing, now)

    def _miss(self, sequence: int, place: Place, now: Moment) -> None:
        """Give up what is missing before this sequence."""
        missed = sequence - self._expected
        if missed <= 0:
            return
        before_joining = max(0, min(sequence, self._live_from) - self._expected)
        self._joined_at += before_joining
        self._note_loss(place, missed - before_joining, now)
        self._missed += missed
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

    def ledger(self) -> Ledger:
        """Return the account as far as it is known."""
        self.settle()
        totals = self._readouts.totals()
        lost_at = dict(self._lost)
        for place, count in self._relay_losses().items():
            lost_at[place] = lost_at.get(place, 0) + count
        hops, periods = self._between_relays(lost_at)
        return Ledger(
            delivered=totals.delivered,
            late=totals.late,
            lost_at={place: lost_at[place] for place in Place if lost_at.get(place)},
            duplicates=totals.duplicates,
            reordered=totals.reordered,
            stray=totals.stray,
            before_joining=self._joined_at,
            runs=totals.runs,
            recovered=self._recovered,
            restarts=self.restarts,
            at_most=bool(self.report and self.report.get("at_most")),
            losses=tuple(self._losses),
            remarks=_remarks(self.report),
            periods={**self._losses.periods, **periods},
            hops=hops,
        )

    def _between_relays(self, lost_at: dict[Place, int]) -> tuple[dict[str, int], dict[Place, Period]]:
        """Move what relays above lost out of what is missing here: our numbers show both alike.

        Return how many were lost on which hop, and when.
        """
        hops: dict[str, int] = {}
        periods: dict[Place, Period] = {}
        for where, count, period in self._hop_losses.lost():
            here = min(count, lost_at.get(Place.RELAY_TO_CLIENT, 0))
            if here:
                lost_at[Place.RELAY_TO_CLIENT] -= here
                lost_at[Place.BETWEEN_RELAYS] = lost_at.get(Place.BETWEEN_RELAYS, 0) + here
                hops[where] = here
                known = periods.get(Place.BETWEEN_RELAYS)
                periods[Place.BETWEEN_RELAYS] = known | period if known else period
        return hops, periods


def _by_source(messages: Sequence[_Few]) -> Iterator[Sequence[_Few]]:
    """Yield messages that follow each other from one source, together."""
    for _, together in groupby(messages, lambda message: message[0][wire.SOURCE_BYTES]):
        yield [*together]


def _remarks(report: dict[str, Any] | None) -> tuple[str, ...]:
    remarks = report.get("remarks") if report else None
    return tuple(filter(str.isprintable, map(str, remarks))) if isinstance(remarks, list) else ()


def _batch(header: wire.Header, payload: bytes) -> Batch:
    columns = wire.walk_payload(payload, header.count)
    position = Position(header.relay_id, header.sequence)
    replayed = bool(header.flags & wire.REPLAYED)
    return Batch(header.source, header.received_ns, payload, *columns, replayed, position=position)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0
