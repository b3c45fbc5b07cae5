"""Follow one stream of a relay: messages in, batches out, and the account of what did not come.

Pure: `relay.RelayReceiver` owns the sockets and the clock. The relay numbers the readouts that it publishes,
so that a jump in the numbers is a loss between relay and here; the next heartbeat shows the loss of the last
ones. History is asked for what is missing, and what follows is held meanwhile; what history lacks is counted.
What was lost before the relay is in the heartbeats.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from astropix_stream import headers, links, wire
from astropix_stream.arguments import check_whole
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.numbered import NumberedAccount
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.links import Link, Part
from astropix_stream.relay.batches import Taken, batch_of, count_taken
from astropix_stream.relay.recovery import TIMEOUT_S, Inquiry, Window

Start = Literal["live", "oldest"] | int | Position

PLAIN = Link()
_FEW = 8  # readouts in a message that is counted later
_HEARD_S = 2.0  # a heartbeat is due each second


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
    link
        How the relay is to send the readouts. Of what is thinned to a bandwidth, history is not asked.

    Raises
    ------
    ConfigError
        `stream` cannot be a stream's name, or `start` is something else, or not 'live' where the link thins.
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
        link: Link = PLAIN,
    ) -> None:
        if stream is not None:
            try:
                wire.check_stream_name(stream)
            except WireError as error:
                raise ConfigError(str(error)) from None
        if start not in ("live", "oldest") and not isinstance(start, Position) and not _is_count(start):
            raise ConfigError(f"start is 'live', 'oldest' or a number of readouts, not {start!r}")
        if link.thinned and start != "live":
            raise ConfigError("start is 'live' with max_bandwidth: the past would not fit into it")
        self.stream = stream
        self._data_topic = b"" if stream is None else wire.data_topic(stream)
        self.link = link
        self.hello: wire.Hello | None = None
        self.report: dict[str, Any] | None = None
        """The relay's latest word on the stream: the JSON of its heartbeat."""
        self.reported: Position | None = None
        """The number that was next to be given when it said so."""
        self.ready = False
        """A heartbeat or a data message has come: the subscription works."""
        self.malformed = 0
        """Messages that do not follow the protocol; ignored."""
        self.fell_behind = 0
        """Times that recovery was given up, since more was added to the backlog than came out of history."""
        self.thinned = 0
        """Readouts that were left out to keep within the link's bandwidth."""
        self._begun = link.plain  # others begin a moment after the subscription, and say with which number
        self._told_stride = None if stride is None else check_whole("stride", stride, 1)
        self._start = start
        self._relay_id: int | None = None
        self._expected = 0  # the sequence to be delivered next
        self._seen = 0  # all before it was published, as data or heartbeats tell
        self._joined_at = 0  # readouts published before the first one that is ours
        self._live_from = 0  # what history does not have of those before it was never ours either
        self._inquiry = Inquiry(enabled=recover and not link.thinned, timeout_s=recover_timeout)
        self._window = Window()
        self._page_readouts = page_readouts
        self._heard_s = 0.0
        self._recovered = 0
        self._account = NumberedAccount(stride=stride or 1)
        self._unsettled: list[Taken] = []  # taken by `take_few`, and not counted yet

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as far as is known."""
        return self._account.readouts.stride

    @property
    def restarts(self) -> int:
        """Restarts of the relay."""
        return self._account.restarts

    @property
    def missed(self) -> int:
        """Numbers that were given up as lost on the way here, or above the relay."""
        return self._account.lost(Place.RELAY_TO_CLIENT)

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
            The relay has several streams and none was named, or it does not offer such a link.
        """
        self.settle()
        self._heard_s = now.s
        try:
            if not self.link.plain and self.stream is not None and frames[0] == self.link.topic(self.stream):
                return self._take_from_link(frames, now)
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
        self._check_offers(hello)
        self._inquiry.port = hello.history_port
        self._inquiry.begin_again()
        if self.stream is None:
            if not hello.streams:  # it waits for the relays above it; with the next connection it may know
                return
            if len(hello.streams) != 1:
                names = ", ".join(sorted(hello.streams))
                raise ConfigError(f"the relay has several streams, name one: {names}")
            self.stream = next(iter(hello.streams))
            self._data_topic = wire.data_topic(self.stream)
        self._take_stride(hello.strides.get(self.stream))

    def _check_offers(self, hello: wire.Hello) -> None:
        missing = self.link.needs() - hello.offers
        if "thinned" in missing:
            raise ConfigError(f"the relay ({hello.version}) is too old for max_bandwidth")
        if missing:
            raise ConfigError(f"the relay cannot compress; on its host: {links.INSTALL}, and restart it")

    def _take_stride(self, stride: int | None) -> None:
        """Count by what the relay says of the stream, unless we were told otherwise."""
        if self._told_stride is None and stride is not None and stride != self.stride:
            self._account.readouts.stride = stride

    def _take_beat(self, message: wire.BeatMessage, now: Moment) -> list[Batch]:
        counts = Counts.from_json(message.report.get("totals"))
        stride = wire.parse_stride(message.report.get("stride"))
        if not self._begun:
            return []
        batches = self._follow(message.header, now)
        self._seen = max(self._seen, message.header.sequence)
        batches += self._deliver_held(now)
        self._account.take_counts(counts, now.ns)
        self._take_stride(stride)
        self.report = message.report
        self._account.take_hops(message.report)
        self.reported = Position(message.header.relay_id, message.header.sequence)
        self._account.last_ns = now.ns
        return batches

    def _take_data(self, header: wire.Header, payload: bytes, now: Moment) -> list[Batch]:
        batch = batch_of(header, payload)
        batches = self._follow(header, now)
        end = header.sequence + header.count
        if header.sequence == self._expected and not self._window:
            self._seen = max(self._seen, end)
            return batches + self._deliver(header.sequence, batch, now)
        if end <= self._expected or (self._window and header.sequence < self._seen):
            return batches  # known already
        self._seen = max(self._seen, end)
        self._window.add(header.sequence, batch)
        return batches + self._deliver_held(now)

    def _take_from_link(self, frames: Sequence[bytes], now: Moment) -> list[Batch]:
        """Take in a message of a link for slow lines; one without readouts says where the link begins."""
        if len(frames) != 3:
            raise WireError(f"a message of {len(frames)} frames; the protocol's have 3")
        (_, header, payload), part = links.parse_message(frames[0], frames[1], frames[2])
        self._begun = True
        if part is not None:
            return self._take_part(header, payload, part, now)
        if header.count:
            return self._take_data(header, payload, now)
        batches = self._follow(header, now)
        self._seen = max(self._seen, header.sequence)
        return batches + self._deliver_held(now)

    def _take_part(self, header: wire.Header, payload: bytes, part: Part, now: Moment) -> list[Batch]:
        """Deliver what a thinned message brings; what it stands for and does not bring is no loss."""
        kept, end = part.kept(header.sequence), header.sequence + part.covered
        batch = batch_of(header, payload) if kept else None
        batches = self._follow(header, now)
        if end < self._expected or (batch is not None and header.sequence < self._expected):
            return batches  # known already
        self._miss(header.sequence, Place.RELAY_TO_CLIENT, now)
        self._expected, self._seen = end, max(self._seen, end)
        self.thinned += part.covered - len(kept)
        if batch is None:
            self._account.miss(Place.RELAY_TO_CLIENT, 0, now.ns, not_ours=part.covered)
            return batches
        self._account.miss(Place.RELAY_TO_CLIENT, 0, now.ns, not_ours=kept[0] - header.sequence)
        batch = replace(batch, position=None)  # its readouts' numbers do not follow one another
        self._account.delivered(batch, Moment(batch.received_ns / 1e9, now.ns), now.ns)
        self._account.miss(Place.RELAY_TO_CLIENT, 0, now.ns, not_ours=end - 1 - kept[-1])
        return [*batches, batch]

    def take_few(self, frames: Sequence[bytes], s: float, ns: int) -> int:
        """Take in a message if it is a few readouts, live, and just those that come next; return how many.

        See `take_next`.
        """
        taken = self.take_next(frames, s, ns, _FEW)
        if taken is None:
            return 0
        count, _, _, header, payload = taken
        self._unsettled.append((header, payload, count, s, ns))
        return count

    def take_next(
        self, frames: Sequence[bytes], s: float, ns: int, most: int = 0xFFFF
    ) -> wire.Numbered | None:
        """Take in a message if its readouts are live and just those that come next, and at most so many.

        To count them is left to `settle`: with cold caches that costs more than to take them in, and this is
        on the way of each at the rates that people have. For all other messages nothing is done, and None is
        returned: `take` is for these. `s` and `ns` are the two clocks at this moment.
        """
        if len(frames) != 3 or frames[0] != self._data_topic or self._window or self._account.resumed:
            return None
        _, header, payload = frames
        try:
            flags, count, relay_id, sequence = wire.parse_numbers(header)
            if flags or not 0 < count <= most or relay_id != self._relay_id or sequence != self._expected:
                return None
            if count > 1 or not headers.is_readout(payload):
                wire.walk_payload(payload, count)
        except WireError:
            return None
        self._expected += count
        self._seen = max(self._seen, self._expected)
        self._heard_s = s
        self._account.missed, self._account.last_ns = 0, ns
        return count, relay_id, sequence, header, payload

    def settle(self) -> list[tuple[Source, int, Moment]]:
        """Count what `take_few` has returned; return sources, how new their last readouts were, and when."""
        unsettled, self._unsettled = self._unsettled, []
        return count_taken(unsettled, self._account.readouts)

    def request(self, now: Moment) -> bytes | None:
        """Return what to ask of the relay's history now, in a single frame; None for nothing."""
        missing_until = self._missing_until()
        if missing_until is None or self._relay_id is None or self.stream is None:
            return None
        if not self._inquiry.possible(now.s) or not self._inquiry.due(now.s):
            return None
        until = min(missing_until, self._expected + self._page_readouts)
        flags = wire.ZSTD if self.link.compressed else 0
        return self._inquiry.ask(self.stream, self._relay_id, self._expected, until, now.s, flags=flags)

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
        return batches + self._deliver_held(now)

    def _take_page(self, answer: wire.Answer, page: bytes, missing_until: int, now: Moment) -> list[Batch]:
        """Deliver a page; what it should have and has not is gone."""
        batches: list[Batch] = []
        end = missing_until  # of a damaged page, or one that does not come further
        try:
            if answer.flags & wire.ZSTD and self.link.compressed:
                page = links.decompress(page)
            for header, payload in wire.walk_page(page):
                if header.sequence < missing_until:
                    batches += self._deliver(header.sequence, batch_of(header, payload), now)
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

    def _deliver_held(self, now: Moment) -> list[Batch]:
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
        # By the relay's clock: what was in time there is not late because this program was stopped.
        self._account.delivered(batch, Moment(batch.received_ns / 1e9, now.ns), now.ns)
        self._recovered += len(batch) if batch.recovered else 0
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
        self._account.restart(Counts())
        self._expected = self._seen = self._live_from = 0

    def _miss(self, sequence: int, place: Place, now: Moment) -> None:
        """Give up what is missing before this sequence."""
        missed = sequence - self._expected
        if missed <= 0:
            return
        before_joining = max(0, min(sequence, self._live_from) - self._expected)
        self._joined_at += before_joining
        self._account.miss(place, missed - before_joining, now.ns, not_ours=before_joining)
        self._expected = sequence

    def ledger(self) -> Ledger:
        """Return the account as far as it is known."""
        self.settle()
        return self._account.ledger(
            Place.RELAY_TO_CLIENT,
            self.report,
            thinned=self.thinned,
            before_joining=self._joined_at,
            recovered=self._recovered,
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0
