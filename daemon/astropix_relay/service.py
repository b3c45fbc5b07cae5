"""The relay's loop: wait, read the clock, call the core, send.

One thread owns every socket. Decisions are in `core` (what is published), `inlet` (when to join), `gate` (who
is let in) and `archive` (what is answered); here is only the order of things.
"""

import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard

import zmq

from astropix_relay.clients import connections
from astropix_relay.clients.endpoints import Endpoints
from astropix_relay.clients.handover import Handover
from astropix_relay.clients.security import load_clients
from astropix_relay.configuration.loading import Changes, differences
from astropix_relay.configuration.model import Config, StreamConfig
from astropix_relay.core import Message, StreamCore
from astropix_relay.descriptors import MAX_READY, Descriptors
from astropix_relay.history import History
from astropix_relay.host import logs, reloads, systemd
from astropix_relay.host.memory import Returning
from astropix_relay.outlet import Outlets
from astropix_relay.samples import Turns
from astropix_relay.slow_lines import SlowLines
from astropix_relay.streams import CascadeStream, GroupStream, Stream, Streams
from astropix_relay.telling import Telling, open_metrics
from astropix_stream import clock, links
from astropix_stream.batch import drained_one
from astropix_stream.errors import ConfigError
from astropix_stream.gathering import Gathering
from astropix_stream.multicast.datagrams import fill, safe_rest_s
from astropix_stream.multicast.survey import Survey

_log = logging.getLogger(__name__)

_CHECK_INTERVAL_S = 1.0  # between looks at the memberships
# While readouts come, all else is attended to so often; it takes 60 us, and 140 with cold caches.
_ATTEND_INTERVAL_S = 0.2
_MAX_READS = 16  # of one socket before the others have their turn
_REFUSED = "reload refused: the old configuration stays"
_FLUSH_S = 0.5  # for what is queued at the end to leave


class Relay:
    """Joins the groups of its streams and publishes what arrives, until `stop`.

    Parameters
    ----------
    config
        What to relay, and where to publish it.
    load
        Reads the configuration again, for `reload`.
    log
        Sums up problems; the loop has it do so each second.

    Raises
    ------
    OSError
        An endpoint cannot be bound, or a stream's socket cannot be opened for a reason that will not pass by
        itself.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config] | None = None,
        log: logs.SummingHandler | None = None,
    ) -> None:
        self.config = config
        self._log = log
        self._turns = Turns()
        self._returning = Returning()
        # 53 bits, since JSON numbers lose the rest in many languages
        self.relay_id = int.from_bytes(os.urandom(8)) >> 11
        self._gathering = Gathering(config.publish.max_delay)
        self._are_few = False  # the sockets that were read last had hardly more than one readout each
        self._due_s = 0.0  # when to attend to all else than readouts
        self._asked = False  # something came from a client
        self._next_check_s = 0.0
        self._stopping = False
        self._load = load or (lambda: config)
        self._reload_asked = False
        self._handover = Handover()
        self._hello = b"apx/hello\0{}"
        self._lines = SlowLines(zstd=links.installed())
        try:
            with contextlib.ExitStack() as opened:
                self._open(opened, config)
                self._opened = opened.pop_all()
        except BaseException:
            self._handover.let_go_all()
            raise

    def _open(self, opened: contextlib.ExitStack, config: Config) -> None:
        """Open everything; what is opened last is closed first."""
        opened.enter_context(systemd.reserved())
        self._handover.let_go_except(
            (config.publish.endpoint, config.history_endpoint()), (stream.name for stream in config.streams)
        )
        context: zmq.Context[zmq.Socket[bytes]] = opened.enter_context(zmq.Context(connections.IO_THREADS))
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        opened.callback(self._wake.close)
        opened.callback(self._waker.close)
        # Closed after the publisher: what is on its way to subscribers waits for nothing.
        self.metrics = open_metrics(config)
        if self.metrics is not None:
            opened.callback(self.metrics.close)
        histories: dict[str, History] = {}
        self.endpoints = Endpoints(
            context, config, self._handover, relay_id=self.relay_id, histories=histories, hello=self._hello
        )
        opened.callback(self.endpoints.close)
        self.publisher, self.archive = self.endpoints.publisher, self.endpoints.archive
        self.gate = self.endpoints.gate
        self._streams = Streams(
            config, self.relay_id, self.endpoints, histories, self._handover, offers=self._lines.offers
        )
        opened.callback(self._streams.close)
        self._streams.open(config.streams)
        self._descriptors = Descriptors((self._wake.fileno(), *self.endpoints.filenos()))
        opened.callback(self._descriptors.close)
        self.outlets = Outlets(config.outputs)
        opened.callback(self.outlets.close)
        self.telling = Telling(
            self.relay_id, self.endpoints, self._streams, self.outlets, turns=self._turns, log=self._log
        )
        self._check_inlets(starting=True)
        self._greet()
        self._handover.close_rest()

    def _greet(self) -> None:
        """Let new connections be told what is known now."""
        self.publisher.topics, self._facts = self._streams.topics(), self._streams.facts()
        hello = self._streams.pack_hello()
        if hello != self._hello:
            self._hello = hello
            self.publisher.greet(hello)

    @property
    def streams(self) -> list[Stream]:
        """The streams that there are."""
        return self._streams.all

    def run(self) -> None:
        """Relay until `stop` is called; then publish what still waits, and close."""
        endpoint = self.publisher.endpoint
        _log.info("publishing on %s%s", endpoint, connections.families(endpoint))
        self._returning.tick(0)  # what reading the configuration took
        try:
            now_s = time.monotonic()
            while not self._stopping:
                if self._reload_asked:
                    self._reload()
                readable = self._listen(self._due_s - now_s)
                began_s = time.monotonic()
                self._pass_on(readable)
                now_s = time.monotonic()
                if now_s >= self._due_s:
                    self._attend()
                    now_s = time.monotonic()
                self._turns.note(now_s - began_s)
                # Let readouts that follow soon gather: a burst is then one wake, one system call and one
                # message. A lone readout has gone out before.
                if (until_s := self._gathering.until_s) > now_s:
                    time.sleep(self._gathering.left_s(now_s))
                    now_s = until_s
            systemd.notify(STOPPING=1)
            self._drain(self.streams)
            self._beat(final=True)
            self.publisher.flush(_FLUSH_S)
        finally:
            self.close()

    def stop(self) -> None:
        """End `run`; may be called from a signal handler or another thread."""
        self._stopping = True
        self._awake()

    def reload(self) -> None:
        """Take up what has changed in the configuration, soon; may be called as `stop`."""
        self._reload_asked = True
        self._awake()

    def _awake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"!")

    def close(self) -> None:
        """Close every socket; a second call does nothing."""
        self._opened.close()

    def _reload(self) -> None:
        """Take up new streams and client keys, as a whole or not at all."""
        self._reload_asked = False  # before the byte is read, so that a signal in between is not forgotten
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(1024)
        systemd.notify_reloading()
        try:
            new = self._load()
            security = self.config.security
            clients = load_clients(security, refuse_broken=True) if security else {}
        except (ConfigError, OSError) as error:
            for line in str(error).splitlines():
                _log.error("%s", line, extra=logs.ALWAYS)
            _log.error("%s", _REFUSED, extra=logs.ALWAYS)
            reloads.answer(f"{error}\n{_REFUSED}")
        else:
            self._take_up_outputs(new)
            self._take_up(differences(self.config, new), new.streams)
            self.endpoints.use_clients(clients)
            reloads.answer("")
        systemd.notify(READY=1)

    def _take_up_outputs(self, new: Config) -> None:
        changed = new.outputs != self.config.outputs or new.streams != self.config.streams
        self.outlets.reconfigure(new.outputs, retry=changed)
        self.config = self.config.model_copy(update={"outputs": new.outputs})

    def _take_up(self, changes: Changes, streams: tuple[StreamConfig, ...]) -> None:
        for key in changes.restart:
            _log.warning("%s: the change waits for a restart", key, extra=logs.ALWAYS)
        self._streams.take_up(changes, streams)
        # What waits for a restart stays as it was, so that the next reload names it again.
        self.config = self.config.model_copy(update={"streams": streams})
        self._check_inlets()
        self._greet()
        counts = (len(changes.added), len(changes.removed), len(changes.changed))
        _log.info("reloaded; streams: %d added, %d removed, %d changed", *counts)

    def _pass_on(self, streams: Sequence[Stream]) -> None:
        """Publish what waits in these sockets, and note how long to let more gather."""
        alone, several = self._gathering.one_by_one, len(streams) > 1
        if self._lines or not (alone or (several and self._are_few)) or not _are_groups(streams):
            self._are_few = self._drain(streams) < 2 * len(streams)
            return
        count = self._pass_ones(streams, alone)
        if not alone:
            left = self._listen(0.0)  # one system call tells of all sockets whether they are empty
            self._are_few = 2 * len(left) <= len(streams)
            self._drain(left, count)

    def _pass_ones(self, streams: Sequence[GroupStream], alone: bool) -> int:
        """Publish one readout of each of these sockets, on the shortest way; return how many.

        They are published last: ZeroMQ's thread then wakes, and might interrupt what is still to be done.
        """
        messages: list[Message] = []
        for inlet, core in streams:
            one = inlet.read_one()
            if one is None:
                continue
            s, ns = time.monotonic(), time.time_ns()
            message = core.take_one(one, s, ns)
            messages += (message,) if message else core.take(drained_one(*one), clock.Moment(s, ns))
            if alone:
                self._due_s = min(self._due_s, s + _ATTEND_INTERVAL_S)
                self._gathering.note(s, 1, more=True)  # as far as is known: the next look tells
        self._publish_all(messages)
        return len(messages)

    def _drain(self, streams: Sequence[Stream], count: int = 0) -> int:
        """Publish all that waits in these sockets; return how many readouts that were.

        `count` is how many were published in this turn before.
        """
        groups = [stream for stream in streams if isinstance(stream, GroupStream)]
        full, now_s = 0.0, time.monotonic()
        emptied = len(streams) < MAX_READY
        for inlet, core in groups:
            filled = 0.0
            for _ in range(_MAX_READS):
                drained = inlet.read()
                if drained.sizes:
                    now = clock.now()
                    messages = core.take(drained, now)
                    self._publish_all(messages)
                    if self._lines:
                        self._publish_all(self._lines.take(core.name, messages, now.s))
                    now_s, count = now.s, count + len(drained.sizes)
                    filled += fill(drained, inlet.granted_buffer)
                if drained.exhausted:
                    break
            else:
                emptied = False
            full = max(full, filled)
        if count:
            self._due_s = min(self._due_s, now_s + _ATTEND_INTERVAL_S)
            # Never rest while a socket holds datagrams: its buffer would overflow.
            self._gathering.note(now_s, count, full, more=not emptied)
        if len(groups) < len(streams):
            for stream in dict.fromkeys(streams):  # each once, of several relays above may have something
                if isinstance(stream, CascadeStream) and not self._forward_next(stream):
                    self._forward(stream)
        return count

    def _forward_next(self, stream: CascadeStream) -> bool:
        """Publish what relays above sent as it is, on the shortest way; return whether something came so."""
        inlet, core = stream
        if not core.passes_on:
            return False
        s, ns = time.monotonic(), time.time_ns()
        found = inlet.take_next(s, ns)
        messages, left = core.pass_on(found, s, ns)
        self._send(core, messages, s)
        if left:
            brought = [inlet.as_brought(url, taken) for url, taken in left]
            self._send(core, core.forward(brought, inlet.standings(), clock.Moment(s, ns)), s)
        return bool(found)

    def _forward(self, stream: CascadeStream) -> None:
        """Publish what the relays above have. What is left over keeps their descriptors readable."""
        inlet, core = stream
        arrived = inlet.read()
        now = clock.now()
        messages = core.forward(arrived.brought, arrived.standings, now)
        self._send(core, messages, now.s)
        if not messages:  # a hello, a heartbeat or history: what we tell of the stream may be different now
            self._due_s = 0.0

    def _send(self, core: StreamCore, messages: Sequence[Message], now_s: float) -> None:
        """Publish what came from relays above, and send it to where it is wanted besides."""
        if not messages:
            return
        self._publish_all(messages)
        if self._lines:
            self._publish_all(self._lines.take(core.name, messages, now_s))
        if self.outlets.all:
            self.outlets.send(core.name, messages, now_s)
        self._due_s = min(self._due_s, now_s + _ATTEND_INTERVAL_S)

    def _answer_subscriptions(self) -> None:
        for begins, prefix in self.publisher.take_subscriptions():
            if not begins:
                self._lines.unsubscribed(prefix)
                continue
            for stream in self.streams:
                stream.core.subscribed(prefix)
            numbers = {s.core.name: (s.core.relay_id, s.core.sequence) for s in self.streams if s.core.known}
            self._publish_all(self._lines.subscribed(prefix, numbers, time.monotonic()))

    def _publish_all(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.publisher.publish(message)

    def _beat(self, *, final: bool = False) -> None:
        now = clock.now()
        if self._streams.cascades and self._streams.facts() != self._facts:
            self._greet()
        for _, core in self.streams:
            beat = core.beat(now) if final and core.known else core.tick(now)
            if beat is not None:
                self._publish_all(self._lines.before_heartbeat(core.name, beat, now.s))
                self.publisher.publish(beat)
        if now.s >= self._next_check_s:
            self._streams.refuse_loops(self.outlets)
            self._check_inlets()
            self._turns.count()
            self._returning.tick(self.gate.ended)
            if self.metrics is not None:
                self.metrics.sample = self.telling.sample()
            if self._log is not None:
                self._log.tick()
            # Here, in the loop's own thread, it says that the loop goes on.
            systemd.notify(WATCHDOG=1, STATUS=self.telling.status())

    def _check_inlets(self, *, starting: bool = False) -> None:
        now_s = time.monotonic()
        self._next_check_s = now_s + _CHECK_INTERVAL_S
        self.outlets.check()
        survey = Survey()
        for stream in self.streams:
            inlet, core = stream
            inlet.check(now_s, survey, starting=starting)
            words = stream.waits_for or inlet.membership
            core.membership(inlet.joined, words + self.outlets.troubles(core.name))
            core.kernel_dropped = inlet.memory().dropped
        self._streams.tell_waiting(now_s)
        self._watch()

    def _watch(self) -> None:
        if self._descriptors.watch(self.streams):
            self._gathering.safe_s = min(
                (
                    safe_rest_s(stream.inlet.granted_buffer)
                    for stream in self._streams.groups
                    if stream.inlet.fileno() is not None
                ),
                default=0.0,
            )

    def _listen(self, wait_s: float) -> list[Stream]:
        """Wait for the next of whatever comes, at most so long; return the streams that have something.

        That something came from a client is noted.
        """
        watched = self._descriptors
        assert watched.poller is not None
        streams = []
        for fd, _ in watched.poller.poll(max(0.0, wait_s), MAX_READY):
            stream = watched.streams.get(fd)
            if stream is None:
                self._asked, self._due_s = True, 0.0
            else:
                streams.append(stream)
        return streams

    def _attend(self) -> None:
        """Do what else there is to do than to pass readouts on: heartbeats, and what clients ask for."""
        now_s = time.monotonic()
        if self._asked or now_s >= self._answer_due_s(now_s):
            self._asked = False
            self.gate.attend(now_s)
            if self.archive is not None:
                for _, core in self.streams:
                    core.settle()  # into the histories that are asked
                self.archive.answer()
        for stream in self._streams.cascades:
            self._forward(stream)  # also to look after connections that tell nothing
        self._publish_all(self._lines.due(now_s))
        self._beat()
        self._answer_subscriptions()  # after the last send, which may have taken in what the descriptor tells
        self._due_s = min(self._answer_due_s(now_s), self._next_check_s, *self._beats_due_s())
        self._due_s = min(self._due_s, self.outlets.pump(now_s), self._lines.due_s())

    def _answer_due_s(self, now_s: float) -> float:
        """Return when to answer clients, whatever the descriptors say: these tell only once."""
        if self.publisher.pending or self.gate.pending:
            return now_s
        return math.inf if self.archive is None else self.archive.due_s()

    def _beats_due_s(self) -> list[float]:
        return [stream.core.beat_due_s() for stream in self.streams]


def _are_groups(streams: Sequence[Stream]) -> TypeGuard[Sequence[GroupStream]]:
    return all(isinstance(stream, GroupStream) for stream in streams)
