"""One stream on its way into the log: read, gather, send, take acknowledgements, begin again where needed."""

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING

from astropix_bridge import log
from astropix_bridge.gathering import Gatherer
from astropix_bridge.inflow import Inflow
from astropix_bridge.log import Link
from astropix_bridge.metrics import StreamSample
from astropix_bridge.model import BridgeConfig
from astropix_bridge.outbox import Anchored, Outbox
from astropix_stream.batch import Position
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.state import State
from astropix_stream.log import access, messages
from astropix_stream.log.access import Connection
from astropix_stream.log.messages import Message

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_log = logging.getLogger(__name__)

_ACK_S = 5.0  # for an acknowledgement, before the log is asked what it has
_OPEN_WITHOUT_LOG_S = 1.0  # after which readouts are gathered though nobody says from where on
_IDLE_S = 0.5  # between looks while nothing happens
_RETRY_S = (0.05, 2.0)
_BEAT_S = 1.0
_SAME_SERVER = 2  # failures in a row, before another server is tried
_PATIENCE = 3  # answers that the log ends before what it had acknowledged, until that is believed


class StreamWriter:
    """Writes one stream into the log.

    Parameters
    ----------
    config
        The bridge's configuration.
    name
        The stream's name.
    readout_uid
        Kind of its readouts.
    link
        The connection to the log.
    """

    def __init__(self, config: BridgeConfig, name: str, readout_uid: int, link: Link) -> None:
        self.config = config
        self.name = name
        self.trouble = "the log was not asked yet"
        """Why nothing is stored; empty while all is well."""
        self._uid = readout_uid
        self._link = link
        self._inflow = Inflow(config, name)
        self._gatherer = Gatherer()
        self._outbox = Outbox(config.buffer)
        self._lost: Counts | None = None  # as the relay told with its latest heartbeat
        self._work = asyncio.Event()
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._acknowledged_s = time.monotonic()
        self._subject = messages.data_subject(config.site, name)
        self._beat_subject = messages.beat_subject(config.site, name)
        self._anchors = self._rewinds = self._duplicates = 0
        self._inbox = ""
        self._fd: int | None = None
        self._stopping = False
        link.on_change(self._work.set)

    async def run(self) -> None:
        """Read and write until this is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._write())
        finally:
            self._forget_fd()
            self._inflow.close()

    async def finish(self, timeout_s: float) -> None:
        """Send what is here, and wait for it to be stored, but not for longer than this."""
        self._take_in()
        for message in self._gatherer.flush():
            self._outbox.add(message)
        self._stopping = True
        self._work.set()
        end_s = time.monotonic() + timeout_s
        while len(self._outbox) and time.monotonic() < end_s and self._link.connection is not None:
            await asyncio.sleep(0.01)

    # -- from the relay

    async def _read(self) -> None:
        begin_s = time.monotonic()
        while not self._inflow.is_open:  # until the log has said from where on, or does not answer
            if time.monotonic() - begin_s > _OPEN_WITHOUT_LOG_S:
                self._open(None)
            await asyncio.sleep(0.02)
        while not self._stopping:
            more = self._take_in()
            if not self._outbox.has_room:
                self._room.clear()
                await access.wait(self._room, _IDLE_S)
                continue
            if more:
                await asyncio.sleep(0)
                continue
            self._flush()
            await self._wait_readable()
            if self.config.batch:
                await asyncio.sleep(self.config.batch)  # what comes meanwhile is taken in one go

    def _take_in(self) -> bool:
        """Take what waits in the receiver, as far as there is room; return whether there may be more."""
        if not self._outbox.has_room:
            return True
        batches, more = self._inflow.drain()
        for batch in batches:
            complete = self._gatherer.add(batch)
            if not self.config.batch:
                complete += self._gatherer.flush()
            self._add(complete)
        return more

    def _flush(self) -> None:
        self._add(self._gatherer.flush())

    def _add(self, complete: list[Message]) -> None:
        for message in complete:
            self._outbox.add(message)
        if complete:
            self._work.set()

    async def _wait_readable(self) -> None:
        self._watch()
        self._readable.clear()
        await access.wait(self._readable, _IDLE_S)

    def _watch(self) -> None:
        fd = self._inflow.fileno()
        self._forget_fd()
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._note_readable)

    def _note_readable(self) -> None:
        self._forget_fd()  # level-triggered: it would be told again and again until it is read
        self._readable.set()

    def _forget_fd(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._fd = None

    def _open(self, end: Position | None) -> None:
        """Open the source at a position, or again; what was gathered comes a second time."""
        self._forget_fd()
        if self._inflow.is_open and self._inflow.numbered_here:
            return
        self._gatherer.flush()
        self._inflow.open(end)
        self._readable.set()

    # -- into the log

    async def _write(self) -> None:
        wait_s, failures = _RETRY_S[0], 0
        while True:
            connection = await self._link.wait()
            began_s = time.monotonic()
            try:
                await self._session(connection)
            except Exception as error:  # whatever nats-py raises: the log may take it in a moment
                permission = self._link.permission if isinstance(error, TimeoutError) else ""
                self._tell(permission or access.describe(error, messages.stream_name(self.name)))
                failures += 1
            self._outbox.fail()
            if time.monotonic() - began_s > 2 * _ACK_S or self._link.connection is not connection:
                failures = 0
            if failures >= _SAME_SERVER:  # it may be cut off from its cluster: another one may answer
                failures = 0
                await self._link.drop(connection)
            wait_s = _RETRY_S[0] if time.monotonic() - began_s > _ACK_S else min(2 * wait_s, _RETRY_S[1])
            await asyncio.sleep(wait_s)

    def _tell(self, words: str) -> None:
        if words != self.trouble:
            _log.warning(
                "%s", f"{self.name}: no log: {words}"
            )  # the log sums up what has the same first value
        self.trouble = words

    async def _session(self, connection: Connection) -> None:
        """Write through one connection until it ends, or the log stops answering."""
        client = connection.client
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", cb=self._take_answer)
        self._inbox = inbox
        try:
            await log.make_streams(connection, self.config, self.name)
            next_beat_s = time.monotonic()
            while self._link.connection is connection:
                if not self._outbox.anchored:
                    await self._anchor(connection)
                await self._send(connection)
                now_s = time.monotonic()
                if now_s >= next_beat_s:
                    next_beat_s = now_s + _BEAT_S
                    await self._send_beat(connection)
                if self._outbox.in_flight and now_s - self._acknowledged_s > _ACK_S:
                    raise TimeoutError("no acknowledgement in time")
                self._work.clear()
                await access.wait(self._work, _IDLE_S)
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def _send(self, connection: Connection) -> None:
        while (sending := self._outbox.send()) is not None:
            message = sending.message
            headers = message.headers(self._uid, self._lost)
            headers[messages.MSG_ID] = sending.msg_id
            headers["Nats-Expected-Last-Sequence"] = str(sending.expected)
            if sending.after:
                headers["Nats-Expected-Last-Msg-Id"] = sending.after
            if self._outbox.in_flight == 1:
                self._acknowledged_s = time.monotonic()
            reply = f"{self._inbox}.{sending.token}"
            await connection.client.publish(self._subject, message.pack(), reply=reply, headers=headers)

    async def _take_answer(self, msg: "Msg") -> None:
        token = msg.subject.rpartition(".")[2]
        if msg.headers and msg.headers.get("Status") == "503":
            self._refuse(token, "the server answers, and JetStream does not")
            return
        try:
            answer = json.loads(msg.data)
            if "error" in answer:
                error = answer["error"]
                wrong_last = error.get("err_code") in log.WRONG_LAST
                words = access.explain_code(error.get("err_code"), str(error.get("description")))
                self._refuse(token, "" if wrong_last else words)
                return
            sequence, duplicate = int(answer["seq"]), bool(answer.get("duplicate"))
        except (ValueError, KeyError, TypeError, AttributeError):
            self._refuse(token, f"an answer that is none: {msg.data[:80]!r}")
            return
        self._acknowledged_s = time.monotonic()
        self._duplicates += duplicate
        stored = self._outbox.messages
        if not self._outbox.acknowledge(token, sequence, duplicate=duplicate):
            self._work.set()
        if self._outbox.messages > stored:
            self._recover()
        if self._outbox.has_room:
            self._room.set()
        if not self._outbox.in_flight or self._outbox.waiting_bytes:
            self._work.set()

    def _refuse(self, token: str, words: str) -> None:
        if self._outbox.fail(token):
            if words:
                self._tell(f"it does not take a message: {words}")
            self._work.set()

    async def _anchor(self, connection: Connection) -> None:
        """Find out where the log ends, and go on from there."""
        if self.trouble.startswith("it does not take"):  # such as a full disk: not at once again
            await asyncio.sleep(_RETRY_S[1])
        end = await log.find_end(connection, self.name)
        for _ in range(_PATIENCE):  # a new leader may not have taken in yet what the old one acknowledged
            if not self._falls_short(end):
                break
            await asyncio.sleep(0.2)
            end = await log.find_end(connection, self.name)
        self._anchors += 1
        anchored = self._outbox.anchor(end.sequence, end.position, numbered_here=self._inflow.numbered_here)
        if anchored is Anchored.REWIND or not self._inflow.is_open:
            if self._inflow.is_open:
                self._rewinds += 1
                where = "is empty" if end.position is None else f"ends at {end.position.sequence}"
                _log.warning("%s: the log %s; asking the relay's history from there on", self.name, where)
            self._open(end.position)
        self._acknowledged_s = time.monotonic()
        # A refused message says more than an anchor that was found: that is told by the next acknowledgement.
        if not self.trouble.startswith("it does not take") or not len(self._outbox):
            self._recover()

    def _falls_short(self, end: log.End) -> bool:
        known, found = self._outbox.acknowledged, end.position
        if known is None or found is None:
            return False
        return known.relay_id == found.relay_id and found.sequence < known.sequence

    def _recover(self) -> None:
        if self.trouble and self._anchors > 1:
            _log.info("%s: stored again", self.name)
        self.trouble = ""

    async def _send_beat(self, connection: Connection) -> None:
        beat = self._inflow.beat()
        if beat is not None:
            data, self._lost = beat
            await connection.client.publish(self._beat_subject, data)

    # -- to watch

    @property
    def state(self) -> State:
        """What the stream is doing."""
        return State.NO_LOG if self.trouble or self._link.trouble else self._inflow.state

    def sample(self) -> StreamSample:
        """Return everything there is to watch of the stream."""
        outbox = self._outbox
        oldest_ns = outbox.oldest_ns
        return StreamSample(
            name=self.name,
            state=self.state,
            stored=outbox.stored,
            messages=outbox.messages,
            bytes=outbox.bytes,
            waiting_messages=len(outbox),
            waiting_bytes=outbox.waiting_bytes,
            waiting_s=0.0 if oldest_ns is None else max(0.0, (time.time_ns() - oldest_ns) / 1e9),
            anchors=self._anchors,
            rewinds=self._rewinds,
            duplicates=self._duplicates,
            lost={place.key: count for place, count in self._inflow.ledger.lost_at.items()},
        )
