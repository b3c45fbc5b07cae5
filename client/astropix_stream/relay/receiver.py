"""Receive a stream of readouts from a relay, over ZeroMQ: for monitors on networks without multicast."""

import itertools
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import zmq

from astropix_stream import clock, fitting, headers, keys, links, wire, zeromq
from astropix_stream.arguments import check_seconds, check_whole
from astropix_stream.batch import Batch, Position
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.relay.connection import LOST_AFTER_S, Connection
from astropix_stream.relay.recovery import TIMEOUT_S
from astropix_stream.relay.subscription import Start, Subscription
from astropix_stream.url import SourceUrl
from astropix_stream.wire import HELLO_TOPIC, WITHOUT_END, Hello, Waiting, beat_topic, stream_prefix

_log = logging.getLogger(__name__)

R = TypeVar("R")

_FEW_FOR_S = 1.0  # between looks at all else, while readouts come one by one
_MIN_WAIT_S = 0.02  # that is worth to tell ZeroMQ of
_MANY = 64  # messages taken together, where they come fast


class RelayReceiver(Receiver[R]):
    """Receives a stream from a relay, with the interface of `sock.MulticastReceiver`.

    It connects, and connects again, by itself. What is lost on the way is asked of the relay's history and
    delivered in order; what is lost for good, and where, is in `ledger`.

    Parameters
    ----------
    readout_class
        Class of the readouts to return: `fmt.AstroPix4Readout`, or any with ``from_bytes(bytes)``.
    endpoint
        The relay's address: ``tcp://HOST:PORT``. Of a name with several addresses, IPv6 and IPv4, each is
        tried. Several relays of the same readouts are for `open_receiver`.
    stream
        The stream's name; by default the only one that the relay has.
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.
    stride
        The DAQ multicasts one readout in `stride`: ids that grow by this are no loss. By default what the
        relay says of the stream.
    recover
        Whether to ask the relay's history, if it has one, for what was lost on the way: after a stall of this
        program or of the network. A program that is always slower than the stream still loses readouts.
    recover_timeout
        Seconds that a page of history may take while the relay is heard; meanwhile what is live waits.
    start
        With what to begin: ``'live'``, the ``'oldest'`` that history holds, or the latest N readouts; or the
        `batch.Position` at which an earlier receiver ended.
    server_key, key_file
        For a relay with encryption: its public key (the 40 characters, or the file with them), and our file
        NAME.key_secret, which none but its owner may read.
    any_kind
        Take the readouts even if the relay says that they are of another kind than `readout_class`.
    page_readouts
        How many to ask of history at once, at most: a page of 1 MiB may take a tenth of a second to take in.
    compress
        ``'zstd'`` for a slow line: the relay sends what has gathered in 0.1 s, compressed. It needs the extra
        ``[zstd]`` here and there.
    max_bandwidth
        Bytes per second, or a text such as ``'2Mbit/s'``: the relay sends as many readouts as fit, evenly
        spaced. `ledger` has the others as *thinned*; what is lost on such a link is not asked of history.

    Raises
    ------
    TypeError
        The endpoint is not a text.
    ConfigError
        The endpoint is not an address, the stream's name cannot be one, or `start` or a key is wrong. Later,
        from `receive` and `wait_ready`: the relay says that the readouts are of another kind.
    RefusedError
        Later, from `receive` and `wait_ready`: the relay refuses this client. Call again to keep trying.
    """

    def __init__(
        self,
        readout_class: type[R],
        endpoint: str,
        stream: str | None = None,
        *,
        timeout: float | None = None,
        stride: int | None = None,
        recover: bool = True,
        recover_timeout: float = TIMEOUT_S,
        start: Start = "live",
        server_key: str | Path | None = None,
        key_file: str | Path | None = None,
        any_kind: bool = False,
        page_readouts: int = WITHOUT_END,
        compress: Literal["zstd"] | None = None,
        max_bandwidth: str | int | None = None,
    ) -> None:
        super().__init__(readout_class, timeout=timeout)
        if not isinstance(endpoint, str):
            raise TypeError(
                f"a RelayReceiver has one endpoint, not {endpoint!r}; "
                "open_receiver(readout_class, [url, url]) merges several"
            )
        client_keys = keys.read_client_keys(server_key, key_file)
        link = links.parse_link(compress, max_bandwidth)
        if link.compressed:
            links.check_installed()
        self._endpoint = endpoint
        self._any_kind = any_kind
        self._misfit = ""
        check_seconds("recover_timeout", recover_timeout)
        check_whole("page_readouts", page_readouts, 1)
        self._subscription = Subscription(
            stream,
            stride=stride,
            recover=recover,
            recover_timeout=recover_timeout,
            start=start,
            page_readouts=page_readouts,
            link=link,
        )
        self._drained = True
        self._first: list[bytes] | None = None  # read already, when the next drain begins
        self._heard_s = 0.0  # by `_take_few`, and not noted yet
        self._few_until_s = 0.0
        self._subscribed = stream is not None
        self._connection = Connection(
            endpoint,
            client_keys,
            [HELLO_TOPIC, *self._topics()],
            opened=self._note_opened,
            closing=self._note_closing,
        )

    @classmethod
    def from_url(cls, readout_class: type[R], source: SourceUrl, /, **options: Any) -> Self:
        """Open the source of a URL ``tcp://…``."""
        return cls(readout_class, source.endpoint, **source.options, **options)

    def address(self) -> str:
        """Return the relay's endpoint."""
        return self._endpoint

    @property
    def stream(self) -> str | None:
        """The stream's name; None until the relay has told it."""
        return self._subscription.stream

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many: as given, or as the relay says; 1 until it has."""
        return self._subscription.stride

    @property
    def ready(self) -> bool:
        """Whether the subscription has worked: a heartbeat or a data message came."""
        return self._subscription.ready

    @property
    def connected(self) -> bool:
        """Whether the relay is heard: a message came in the last 3 s."""
        return self._connection.connected and not self._connection.absent

    @property
    def trouble(self) -> str:
        """Why readouts cannot arrive, as far as is known; empty while the relay is heard on the stream."""
        if self.ready:
            return "" if self.connected else "the relay is not heard any more"
        return self._trouble()

    @property
    def report(self) -> dict[str, Any] | None:
        """What the relay last said of the stream: the JSON of its heartbeat (docs/protocol.md), or None."""
        return self._subscription.report

    @property
    def readout_uid(self) -> int | None:
        """The kind of the stream's readouts; None until the relay has told it."""
        hello = self._subscription.hello
        return None if hello is None else hello.streams.get(self._subscription.stream or "")

    @property
    def notes(self) -> Mapping[str, str]:
        """What the relay's operator says of the stream's setup, by names; a text alone has the name ''."""
        hello = self._subscription.hello
        return {} if hello is None else hello.notes.get(self._subscription.stream or "", {})

    @property
    def position(self) -> Position | None:
        """The relay's number of the readout that `receive_batch` returns next; None before it was heard."""
        return (self._batches[0].position if self._batches else None) or self._subscription.position

    @property
    def live_from(self) -> int:
        """The relay's number of the first readout that was published after we came."""
        return self._subscription.live_from

    @property
    def reported(self) -> Position | None:
        """The relay's number that was next to be given when it sent `report`; None before it."""
        return self._subscription.reported

    @property
    def thinned(self) -> int | None:
        """Readouts that were left out to keep within `max_bandwidth`; None where there is no such limit."""
        return self._subscription.thinned if self._subscription.link.thinned else None

    @property
    def missed(self) -> int:
        """Numbers that were given up as lost on the way here, or above the relay."""
        return self._subscription.missed

    @property
    def streams(self) -> dict[str, int] | None:
        """The relay's streams, each with its kind of readouts (a uid); None before the relay has greeted."""
        hello = self._subscription.hello
        return None if hello is None else hello.streams

    @property
    def waiting(self) -> Waiting | None:
        """What the relay itself waits for before it has the stream; None if it has it, or never will."""
        hello, stream = self._subscription.hello, self._subscription.stream or ""
        return None if hello is None or stream in hello.streams else hello.waiting.get(stream)

    @property
    def ledger(self) -> Ledger:
        """What was delivered so far, and what was lost where."""
        self._settle()
        return self._subscription.ledger()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the subscription works: until the first heartbeat or data message.

        Readouts that arrive meanwhile are kept for `receive`.

        Raises
        ------
        ReceiveTimeout
            It did not within `timeout` seconds; the text says what is known.
        """
        deadline = self._deadline(timeout)
        while not self._subscription.ready:
            self._take_in(0.0)  # the heartbeat may be here, and the next one comes a second later
            if self._subscription.ready:
                break
            left = None if deadline is None else max(0.0, deadline - clock.now().s)
            self._take_in(left)
            if left == 0.0 and not self._subscription.ready:
                raise ReceiveTimeout(f"no heartbeat from {self}: {self._trouble()}; try `apx doctor {self}`")
        self._tell_readiness()

    def _trouble(self) -> str:
        hello, stream = self._subscription.hello, self._subscription.stream
        way = self._connection.way
        if way.address is None:
            return f"no address is known for the name {way.host!r}"
        if hello is None:
            return "nothing answers there, or it is not a relay"
        if stream not in hello.streams:
            return _why_absent(stream, hello)
        if self._subscription.link.thinned:
            return "the relay greets, but sends nothing: it serves a few different max_bandwidth at once"
        return "the relay greets, but the stream is silent"

    def _topics(self) -> list[bytes]:
        """Return what to subscribe to for the stream, once its name is known."""
        stream, link = self._subscription.stream, self._subscription.link
        if stream is None:
            return []
        return [stream_prefix(stream)] if link.plain else [beat_topic(stream), link.topic(stream)]

    @property
    def state(self) -> State:
        """What the stream is doing; also that its relay hears none of the relays above it."""
        state = super().state
        cut_off = self.connected and (self.report or {}).get("state") == State.UPSTREAM_LOST
        return State.UPSTREAM_LOST if cut_off else state

    def _can_arrive(self) -> bool:
        return self.connected and (self.report or {}).get("joined") is not False

    def _watched_fds(self) -> list[int]:
        return self._connection.filenos()

    def _unread(self) -> bool:
        return not self._drained

    def _note_opened(self, fd: int) -> None:
        if self._readiness is not None:
            self._readiness.watch(fd)

    def _note_closing(self, fd: int) -> None:
        if self._readiness is not None:
            self._readiness.forget(fd)

    def _close(self) -> None:
        self._connection.close()

    def _check_kind(self) -> None:
        """Refuse readouts that the class would decode to hits that no pixel had."""
        self._misfit = "" if self._any_kind else fitting.misfit(self._readout_class, self.readout_uid)
        if self._misfit:
            raise ConfigError(f"{self}: {self._misfit}; any_kind=True takes them all the same")

    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        if self._misfit:
            self._check_kind()
        self._settle()
        self._few_until_s = time.monotonic() + _FEW_FOR_S
        if self._first is None:
            self._rest(timeout_s)
        batches = self._drain()
        if batches or timeout_s == 0.0:
            return batches
        self._connection.wait(timeout_s)
        # What is live goes out at once; all else has its turn with the next call.
        return self._take_live(clock.now()) or self._drain()

    def _take_few(self, deadline: float | None) -> list[R]:
        """Wait for a message; return its readouts if they are a few, and just those that come next.

        All else is looked at once a second, with the heartbeat, or as soon as something else comes.
        """
        now_s, connection = time.monotonic(), self._connection
        wait_s = _FEW_FOR_S if deadline is None else min(_FEW_FOR_S, deadline - now_s)
        busy = connection.history is not None or self._gathering.until_s > now_s or now_s > self._few_until_s
        if busy or wait_s < _MIN_WAIT_S or not connection.connected or self._misfit or self._closed:
            return []
        try:
            frames = connection.receive(math.ceil(wait_s * 1000))
        except zmq.Again:
            return []
        s = time.monotonic()
        count = self._subscription.take_few(frames, s, time.time_ns())
        if not count:
            self._first = frames
            return []
        self._drained = False
        self._heard_s = s
        self._gathering.note(s, 1)
        if count == 1:
            return self._make(frames[2:])
        ids, timestamps, ends = headers.columns_of(frames[2], count)
        if self._from_payload is not None:
            return self._from_payload(frames[2], ends, ids, timestamps)
        return self._make(frames[2][begin:end] for begin, end in itertools.pairwise((0, *ends)))

    def take_next(self, most: int, s: float, ns: int) -> list[wire.Numbered]:
        """Return at most `most` messages as they came, with live readouts that are just those that come next.

        For a relay, which passes them on as they are; they are not counted here. If there is none,
        `receive_batch` is to be called: all else waits, or nothing. `s` and `ns` are the two clocks.
        """
        found: list[wire.Numbered] = []
        connection, drained = self._connection, False
        if connection.history is not None or self._first is not None or self._batches:
            return found
        if not connection.connected:
            return found
        while len(found) < most and not drained:
            try:
                frames = zeromq.receive(connection.socket, zmq.NOBLOCK)
            except zmq.Again:
                break
            taken = self._subscription.take_next(frames, s, ns)
            if taken is None:
                self._first = frames
                break
            found.append(taken)
            drained = not zeromq.has_message(connection.socket)
        if found:
            self._heard_s = s
        if drained != self._drained:
            self._drained = drained
            self._tell_readiness()
        return found

    def _settle(self) -> None:
        """Count what `_take_few` has handed out."""
        for source, timestamp, now in self._subscription.settle():
            self._tracker.received(source, timestamp, now)
        if self._heard_s:
            self._connection.note_heard(self._heard_s)
            self._heard_s = 0.0

    def _drain(self) -> list[Batch]:
        """Take what waits. Nothing is said to be overdue before that: this process may have been stopped."""
        now = clock.now()
        self._drained = True
        batches = self._take_live(now)
        batches += self._take_history(now)
        if self._drained:
            batches += self._subscription.tick(now)
            if not batches:
                refusal = self._connection.look(now.s)
                if refusal is not None:
                    raise RefusedError(f"{self}: the relay refuses this client: {refusal}")
            if self._connection.check_heard(now.s):
                _log.warning("%s: nothing heard for %.0f s; reconnecting", self, LOST_AFTER_S)
        return batches

    def _take_live(self, now: Moment) -> list[Batch]:
        # As a rule one message at a time: to look for the next one costs as much as to take it in.
        most, count, connection = 1 if self._gathering.one_by_one else _MANY, 0, self._connection
        batches: list[Batch] = []
        while len(batches) < most:
            try:
                frames = self._first or zeromq.receive(connection.socket, zmq.NOBLOCK)
            except zmq.Again:
                break
            self._first = None
            count += 1
            if connection.note_heard(now.s):
                _log.info("receiving from %s", self)
            taken = self._subscription.take(frames, now)
            if not self._subscribed and self._subscription.stream is not None:
                self._subscribed = True
                connection.subscribe(self._topics())
            if not taken:
                self._check_kind()
            batches += taken
        if batches:
            self._drained = False
        if count:
            self._gathering.note(now.s, count, more=len(batches) >= _MANY)
        return batches

    def _take_history(self, now: Moment) -> list[Batch]:
        """Take a page if one has come; the next one is asked for before this one is handed out."""
        batches: list[Batch] = []
        while not batches:
            self._ask(now)
            frames = self._connection.take_answer()
            if frames is None:
                return batches
            batches = self._take_answer(frames, now)
        self._ask(now)
        self._drained = False
        return batches

    def _take_answer(self, frames: list[bytes], now: Moment) -> list[Batch]:
        before = self._subscription.fell_behind
        batches = self._subscription.take_answer(frames, now)
        if self._subscription.fell_behind > before == 0:
            _log.warning("%s: this program is slower than the stream; it loses what it cannot take", self)
        return batches

    def _ask(self, now: Moment) -> None:
        request = self._subscription.request(now)
        if request is not None:
            self._connection.ask(request, self._subscription.history_port or 0)

    def __str__(self) -> str:
        stream = self._subscription.stream
        return self._endpoint + (f"?stream={stream}" if stream else "")


def _why_absent(stream: str | None, hello: Hello) -> str:
    """Return why the relay does not have the stream."""
    waiting = hello.waiting.get(stream or next(iter(hello.waiting), ""))
    if waiting is not None:
        return f"the relay itself waits for the stream: {waiting.words}"
    if stream is None:
        return "the relay has no streams"
    return f"the relay has no stream {stream!r}; it has: {', '.join(sorted(hello.streams)) or 'none'}"
