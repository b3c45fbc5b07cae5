"""The thread that reads a log: connect, ask JetStream for messages in order, begin again where it was.

An ephemeral consumer of JetStream's sends what is pulled from it, and forgets us when its node dies. Each
message carries the consumer's number and the log's: where one of the consumer's is missing, or nothing comes
any more, a new consumer goes on behind the last message that came. So nothing is read twice or left out,
whatever happens to nodes and connections.
"""

import asyncio
import contextlib
import datetime
import json
import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from astropix_stream import wire
from astropix_stream.batch import Position
from astropix_stream.errors import WireError
from astropix_stream.log import access, messages
from astropix_stream.log.access import Access, Connection
from astropix_stream.log.following import Beginning
from astropix_stream.log.messages import Stored

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js.api import StreamInfo

_log = logging.getLogger(__name__)

_PULL = 256  # messages asked for at once; the next ones are asked for when half of them have come
_MAX_WAITING = 32 << 20  # bytes that wait for the program, before no more are asked for
_EXPIRES_S = 30.0  # of a request that is not filled
_HEARTBEAT_S = 1.0  # of the consumer, while it has nothing to send
_SILENT_S = 3.5  # after which the consumer is taken for lost
_INACTIVE_S = 60.0  # after which the server forgets a consumer
_RETRY_S = (0.1, 2.0)  # between attempts, growing
_STABLE_S = 5.0
_CANCEL_S = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read.

    `start` is 'oldest', 'live', a number of readouts, or a time, ns since the Unix epoch.
    """

    site: str
    stream: str | None
    start: str | int | datetime.datetime


@dataclass(frozen=True, slots=True)
class Began:
    """The first answer of the log: its stream's name, and where reading begins."""

    stream: str
    beginning: Beginning
    pending: int
    """Messages that are there already."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat of the relay."""

    data: bytes


Item = Stored | Beat | Began


class Reader:
    """Reads a log in a thread of its own, and keeps what came until `take` is called.

    Parameters
    ----------
    where
        The log.
    wanted
        What to read of it.
    """

    def __init__(self, where: Access, wanted: Wanted) -> None:
        self.trouble = "not connected yet"
        """Why nothing can arrive; empty while all is well."""
        self.refused = ""
        """Why no server lets us in, if that is so and none ever did."""
        self._access, self._wanted = where, wanted
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # What is kept from one connection to the next.
        self._stream = wanted.stream
        self._next: int | None = None  # the log's number to go on with; None before the first answer
        self._created = ""  # when the stream was made
        self._was_in = False
        self._discovered: tuple[tuple[str, int], ...] = ()  # the servers of the cluster, as one of them told
        self._thread = threading.Thread(target=self._run, name="astropix log", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return a descriptor that is readable while something waits."""
        return self._readable

    def take(self) -> list[Item]:
        """Return what has come since the last call."""
        with self._lock:
            items, self._items, self._waiting = list(self._items), deque(), 0
            if items:
                os.read(self._readable, 1)
        if items and not self._closing:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._more.set)
        return items

    def close(self) -> None:
        """End the thread and its connection; a second call does nothing."""
        if self._closing:
            return
        self._closing = True
        while self._thread.is_alive():  # nats-py swallows a cancellation here and there
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
            self._thread.join(_CANCEL_S)
        os.close(self._readable)
        os.close(self._writable)

    def _put(self, item: Item, size: int = 0) -> None:
        with self._lock:
            if not self._items:
                os.write(self._writable, b"!")
            self._items.append(item)
            self._waiting += size

    def _run(self) -> None:
        runner = asyncio.Runner(loop_factory=lambda: self._loop)
        with runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._main())

    async def _main(self) -> None:
        self._task = asyncio.current_task()
        wait_s, known = _RETRY_S[0], self._access
        while not self._closing:
            began_s = time.monotonic()
            try:
                await self._session(known)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._note(error)
            else:
                self._note(ConnectionError("the connection ended"))
            known = replace(known, servers=tuple(dict.fromkeys((*self._access.servers, *self._discovered))))
            wait_s = _RETRY_S[0] if time.monotonic() - began_s > _STABLE_S else min(2 * wait_s, _RETRY_S[1])
            await asyncio.sleep(wait_s)

    def _note(self, error: Exception) -> None:
        name = messages.STREAM_PREFIX + (self._stream or "…")
        words = access.describe(error, name)
        if access.is_refusal(error) and not self._was_in:
            self.refused = f"{self._access}: {words}"
        if words != self.trouble:
            level = logging.WARNING if self._next is not None else logging.DEBUG
            _log.log(level, "%s: %s", self._access, words)
        self.trouble = words

    async def _session(self, known: Access) -> None:
        """Read through one connection until it ends."""
        ended = asyncio.Event()

        async def closed() -> None:
            ended.set()
            self._more.set()

        complaints: list[Exception] = []

        async def complain(error: Exception) -> None:
            complaints.append(error)

        connection = await access.connect(known, "astropix reader", closed=closed, complain=complain)
        self._was_in, self.refused = True, ""
        try:
            self._discovered = tuple(connection.known_servers())
            stream = await self._find_stream(connection)
            await self._begin(connection, stream)
            await self._follow_beats(connection, stream)
            while not (ended.is_set() or self._closing):
                await _Consumer(self, connection, messages.stream_name(stream), ended).read()
        except Exception:
            if complaints and "permissions" in str(complaints[-1]).lower():
                raise complaints[-1] from None
            raise
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(), access.CONNECT_S)

    async def _find_stream(self, connection: Connection) -> str:
        if self._stream is None:
            answer = json.loads((await _ask(connection, "STREAM.NAMES", {})).data)
            names = [name for name in answer.get("streams") or () if name.startswith(messages.STREAM_PREFIX)]
            if len(names) != 1:
                have = (
                    ", ".join(sorted(name.removeprefix(messages.STREAM_PREFIX) for name in names)) or "none"
                )
                raise WireError(f"name one stream of the log with ?stream=NAME; it has: {have}")
            self._stream = names[0].removeprefix(messages.STREAM_PREFIX)
        return self._stream

    async def _begin(self, connection: Connection, stream: str) -> None:
        """Find out where to begin, the first time; later, that what we follow is still the same log."""
        info = await connection.context.stream_info(messages.stream_name(stream))
        created = str(info.created)
        if self._next is None or created != self._created:  # the first time, or deleted and made again
            first, self._created = self._next is None, created
            beginning = await self._find_beginning(
                connection, info, self._wanted.start if first else "oldest"
            )
            assert self._next is not None
            self._put(Began(stream, beginning, info.state.last_seq + 1 - self._next))

    async def _find_beginning(
        self, connection: Connection, info: "StreamInfo", start: str | int | datetime.datetime
    ) -> Beginning:
        state, skip_to = info.state, None
        first, after = max(1, state.first_seq), state.last_seq + 1
        if start == "live":
            self._next = after
        elif start == "oldest":
            self._next = first
        elif isinstance(start, datetime.datetime):
            self._next = await self._sequence_at(connection, first, after, start)
        else:
            assert isinstance(start, int)
            self._next, skip_to = await self._sequence_back(connection, first, after, start)
        # Only what was asked for and is gone is missed.
        asked_for_more = start == "oldest" or self._next == first
        return Beginning(removed=asked_for_more and start != "live" and first > 1, skip_to=skip_to)

    async def _header(self, connection: Connection, sequence: int) -> tuple[int, wire.Header] | None:
        """Return the first message of ours from this number of the log's on, and its header; or None."""
        name = messages.stream_name(self._stream or "")
        while True:
            try:
                answer = await connection.context.get_msg(name, sequence, next=True, subject=">")
            except Exception as error:
                if access.error_code(error) == access.NO_MESSAGE:
                    return None
                raise
            try:
                return answer.seq or sequence, messages.parse_header(answer.data or b"")
            except WireError:  # somebody else's
                sequence = (answer.seq or sequence) + 1

    async def _sequence_at(self, connection: Connection, low: int, high: int, when: datetime.datetime) -> int:
        """Find the first message whose readouts were received at a time or later, by bisection."""
        wanted_ns = int(when.timestamp() * 1e9)
        while low < high:
            middle = (low + high) // 2
            found = await self._header(connection, middle)
            if found is not None and found[1].received_ns < wanted_ns:
                low = max(middle, found[0]) + 1
            else:
                high = middle
        return low

    async def _newest(self, connection: Connection, first: int, after: int) -> tuple[int, wire.Header] | None:
        """Return the last message of ours, and its header; or None."""
        step = 1
        while after > first:
            at = max(first, after - step)
            if (found := await self._header(connection, at)) is not None:
                while (later := await self._header(connection, found[0] + 1)) is not None:
                    found = later
                return found
            if at == first:
                break
            step *= 2
        return None

    async def _sequence_back(
        self, connection: Connection, first: int, after: int, count: int
    ) -> tuple[int, Position | None]:
        """Find the message with which the latest `count` readouts begin, and the readout in it."""
        last = await self._newest(connection, first, after) if count > 0 else None
        if last is None:
            return after, None
        end, newest = last
        wanted = newest.sequence + newest.count - count
        step = 0
        while True:
            at = max(first, end - step)
            found = await self._header(connection, at)
            header = newest if found is None else found[1]
            if header.relay_id != newest.relay_id:
                return max(first, end + 1 - count), None  # each message holds at least one readout
            if header.sequence <= wanted or at == first:
                return at, Position(newest.relay_id, max(0, wanted))
            step = 2 * step or 1

    async def _follow_beats(self, connection: Connection, stream: str) -> None:
        subject = messages.beat_subject(self._wanted.site, stream)

        async def take(msg: "Msg") -> None:
            self._put(Beat(msg.data), len(msg.data))

        await connection.client.subscribe(subject, cb=take)
        with contextlib.suppress(Exception):  # there may be none yet, or we may not ask
            last = await connection.context.get_last_msg(messages.BEATS, subject)
            if last.data:
                self._put(Beat(last.data), len(last.data))


class _Consumer:
    """One consumer of JetStream's, from the number to go on with, until it is lost."""

    def __init__(self, reader: Reader, connection: Connection, name: str, ended: asyncio.Event) -> None:
        self._reader = reader
        self._connection = connection
        self._name = name
        self._ended = ended
        self._asked = 0  # messages that were asked for and have not come
        self._sequence = 0  # of the consumer's own numbers
        self._lost = False
        self._heard_s = time.monotonic()
        self._failure: Exception | None = None

    async def read(self) -> None:
        reader, client = self._reader, self._connection.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=self._take)
        consumer = await self._create()
        subject = f"{self._connection.prefix}.CONSUMER.MSG.NEXT.{self._name}.{consumer}"
        reader.trouble = ""
        self._heard_s = time.monotonic()
        try:
            while not (self._lost or self._ended.is_set() or reader._closing):
                reader._more.clear()
                if self._asked <= _PULL // 2 and reader._waiting < _MAX_WAITING:
                    await self._pull(client, subject, inbox)
                await access.wait(reader._more, _HEARTBEAT_S)
                if self._asked and time.monotonic() - self._heard_s > _SILENT_S:
                    break
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()
            with contextlib.suppress(Exception):
                await client.publish(f"{self._connection.prefix}.CONSUMER.DELETE.{self._name}.{consumer}")
        if self._failure is not None:
            raise self._failure

    async def _create(self) -> str:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy  # noqa: PLC0415

        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._reader._next,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
            num_replicas=1,
        )
        return (await self._connection.context.add_consumer(self._name, config)).name

    async def _pull(self, client: Any, subject: str, inbox: str) -> None:
        count = _PULL - self._asked
        self._asked += count
        if time.monotonic() - self._heard_s > _HEARTBEAT_S:
            self._heard_s = time.monotonic()  # nothing was asked for: nothing could be heard
        request = {
            "batch": count,
            "expires": int(_EXPIRES_S * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
        }
        await client.publish(subject, json.dumps(request).encode(), reply=inbox)

    async def _take(self, msg: "Msg") -> None:
        self._heard_s = time.monotonic()
        if not msg.reply.startswith("$JS.ACK."):
            self._take_status(msg)
            return
        if self._lost:
            return
        tokens = msg.reply.split(".")
        at = 5 if len(tokens) == 9 else 7  # before nats-server 2.10 without domain and account
        sequence, own, pending = int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 3])
        self._asked -= 1
        if own != self._sequence + 1:
            self._lost = True  # something was lost on the way: again, from a new consumer
            self._reader._more.set()
            return
        self._sequence = own
        reader = self._reader
        reader._put(Stored(sequence, pending, msg.headers or {}, msg.data), len(msg.data))
        reader._next = sequence + 1
        if self._asked <= _PULL // 2:
            reader._more.set()

    def _take_status(self, msg: "Msg") -> None:
        """Note what the server says instead of a message."""
        status = (msg.headers or {}).get("Status", "")
        if status == "100":  # idle heartbeat
            return
        if status == "408":  # a request has expired
            self._asked = max(
                0, self._asked - int((msg.headers or {}).get("Nats-Pending-Messages", self._asked))
            )
        elif status:
            self._lost = True  # the consumer, its node or its leadership is gone
        self._reader._more.set()


async def _ask(connection: Connection, what: str, request: dict[str, Any]) -> "Msg":
    data = json.dumps(request).encode()
    return await connection.client.request(f"{connection.prefix}.{what}", data, timeout=5.0)
