"""The relay's loop: wait, read the clock, call the core, send.

One thread owns every socket. Decisions are in `core` (what is published), `inlet` (when to join), `gate` (who
is let in) and `archive` (what is answered); here is only the order of things.
"""

import contextlib
import logging
import math
import secrets
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from astropix_daemon.addresses import parse_listen_address
from astropix_daemon.metrics_server import MetricsServer
from astropix_relay.clients import connections
from astropix_relay.clients.archive import Archive
from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Handover, Listener
from astropix_relay.clients.publisher import Publisher
from astropix_relay.clients.security import Clients, load_clients, load_secret
from astropix_relay.configuration.loading import Changes, differences
from astropix_relay.configuration.model import Config, StreamConfig
from astropix_relay.core import StreamCore
from astropix_relay.forwarding import ForwardingCore
from astropix_relay.history import History
from astropix_relay.host import logs, queues, reloads, systemd
from astropix_relay.inlet import Inlet
from astropix_relay.metrics import Sample, StreamSample, Turns, metrics, states
from astropix_relay.outlet import Outlets
from astropix_relay.streams import CascadeStream, GroupStream, Stream
from astropix_relay.upstream import Upstream
from astropix_stream import __version__, clock, wire
from astropix_stream.errors import ConfigError
from astropix_stream.gathering import Gathering
from astropix_stream.multicast.datagrams import fill, make_buffer, safe_rest_s
from astropix_stream.multicast.rejoining import Cause

_log = logging.getLogger(__name__)

_CHECK_INTERVAL_S = 1.0  # between looks at the memberships
# While readouts come, all else is attended to so often; it takes 60 us, and 140 with cold caches.
_ATTEND_INTERVAL_S = 0.1
_MAX_READS = 16  # of one socket before the others have their turn
_MAX_READY = 64  # descriptors looked at in a turn
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
        # 53 bits, since JSON numbers lose the rest in many languages
        self.relay_id = secrets.randbits(53)
        self._clients: Clients = {}
        self._gathering = Gathering(config.publish.max_delay)
        self._buffer = make_buffer()
        self._watched: dict[int, Stream] = {}
        self._poller: select.epoll | None = None
        self._due_s = 0.0  # when to attend to all else than readouts
        self._asked = False  # something came from a client
        self._next_check_s = 0.0
        self._told = (time.monotonic(), 0)
        self._stopping = False
        self._load = load or (lambda: config)
        self._reload_asked = False
        self._removed: dict[str, Stream] = {}
        self._handover = Handover()
        self._host = socket.gethostname()
        self._hello = b"apx/hello\0{}"
        self._use([])
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
        self.metrics = _open_metrics(config)
        if self.metrics is not None:
            opened.callback(self.metrics.close)
        self.gate = self._open_gate(context, config)
        opened.callback(self.gate.close)
        size = config.history.size
        self.histories = {stream.name: History(size) for stream in config.streams} if size else {}
        self.archive = self._open_archive(opened, context, config)
        self.publisher = self._open_publisher(opened, context, config)
        self._use([self._open_stream(stream) for stream in config.streams])
        opened.callback(self._close_inlets)
        opened.callback(self._close_poller)
        self.outlets = Outlets(config.outputs)
        opened.callback(self.outlets.close)
        self._check_inlets(starting=True)
        self._greet()
        self._handover.close_rest()

    def _open_gate(self, context: "zmq.Context[zmq.Socket[bytes]]", config: Config) -> Gate:
        publish, security = config.publish, config.security
        options: dict[str, Any] = {"max_clients": publish.max_clients, "never_refuse": publish.never_refuse}
        if security is None:
            return Gate(context, **options)
        self._clients = load_clients(security)
        return Gate(context, **options, pair=load_secret(security), provider=self._clients.get)

    def _open_listener(self, opened: contextlib.ExitStack, endpoint: str, key: str) -> Listener:
        listener = Listener(endpoint, self._handover, key)
        opened.callback(listener.close)
        return listener

    def _open_archive(
        self, opened: contextlib.ExitStack, context: "zmq.Context[zmq.Socket[bytes]]", config: Config
    ) -> Archive | None:
        endpoint = config.history_endpoint()
        if endpoint is None:
            return None
        listener = self._open_listener(opened, endpoint, "history.endpoint")
        archive = Archive(context, listener, self.relay_id, self.histories, self.gate)
        opened.callback(archive.close)
        return archive

    def _open_publisher(
        self, opened: contextlib.ExitStack, context: "zmq.Context[zmq.Socket[bytes]]", config: Config
    ) -> Publisher:
        listener = self._open_listener(opened, config.publish.endpoint, "publish.endpoint")
        queue = config.publish.subscriber_queue
        publisher = Publisher(context, listener, self._hello, queue, self.gate)
        opened.callback(publisher.close)
        return publisher

    def _pack_hello(self) -> bytes:
        """Say which streams there are; of one that no relay above has told yet nothing is known."""
        told = {stream.core.name: stream.told() for stream in self.streams}
        streams = {name: uid for name, (uid, _) in told.items() if uid is not None}
        strides = {name: told[name][1] for name in streams}
        relay_ids = {s.core.name: s.core.relay_id for s in self.streams if s.core.name in streams}
        port = self._history_port()
        return wire.pack_hello(wire.Hello(self.relay_id, __version__, streams, port, strides, relay_ids))

    def _greet(self) -> None:
        """Let new connections be told what is known now."""
        hello = self._pack_hello()
        if hello != self._hello:
            self._hello = hello
            self.publisher.greet(hello)

    def _use(self, streams: list[Stream]) -> None:
        self.streams = streams
        self._groups = [stream for stream in streams if isinstance(stream, GroupStream)]
        self._cascades = [stream for stream in streams if isinstance(stream, CascadeStream)]

    def _open_stream(self, config: StreamConfig) -> Stream:
        options: dict[str, Any] = {
            "history": self.histories.get(config.name),
            "history_port": self._history_port(),
            "host": self._host,
            "address": self._address(),
        }
        if config.upstreams:
            upstream = Upstream(config, oldest=bool(self.config.history.size))
            return CascadeStream(
                upstream, ForwardingCore(config.name, self.relay_id, config.upstreams, **options)
            )
        core = StreamCore(config.name, self.relay_id, stride=config.stride, **options)
        return GroupStream(Inlet(config, self._handover, core.replace_socket, self._buffer), core)

    def _address(self) -> str:
        """Return where we publish, as others reach it as far as we know."""
        return self.publisher.endpoint.replace("//0.0.0.0:", f"//{self._host}:").replace(
            "//[::]:", f"//{self._host}:"
        )

    def _history_port(self) -> int | None:
        return None if self.archive is None else self.archive.port

    def run(self) -> None:
        """Relay until `stop` is called; then publish what still waits, and close."""
        endpoint = self.publisher.endpoint
        _log.info("publishing on %s%s", endpoint, connections.families(endpoint))
        try:
            while not self._stopping:
                if self._reload_asked:
                    self._reload()
                readable = self._listen(self._due_s)
                began_s = time.monotonic()
                self._drain(readable)
                now_s = time.monotonic()
                if now_s >= self._due_s:
                    self._attend()
                    now_s = time.monotonic()
                self._turns.note(now_s - began_s)
                # Let readouts that follow soon gather: a burst is then one wake, one system call and one
                # message. A lone readout has gone out before.
                left_s = self._gathering.left_s(now_s)
                if left_s > 0:
                    time.sleep(left_s)
            systemd.notify(STOPPING=1)
            self._drain(self.streams)
            self._beat(final=True)
            self.publisher.flush(_FLUSH_S)
        finally:
            self.close()

    def status(self) -> str:
        """Return in one line what happened since the last call, for ``systemctl status``."""
        (then_s, before), now_s = self._told, time.monotonic()
        published = sum(stream.core.sequence for stream in self.streams)
        self._told = (now_s, published)
        return "; ".join(
            (
                f"{(published - before) / max(now_s - then_s, 1e-3):.0f} readouts/s",
                f"{self.publisher.subscriptions} subscriptions",
                *(f"{stream.core.name} {stream.inlet.membership}" for stream in self.streams),
            )
        )

    def sample(self) -> Sample:
        """Return everything there is to watch, as of now; called by the loop's thread."""
        now = clock.now()
        return Sample(
            at_s=now.s,
            version=__version__,
            relay_id=self.relay_id,
            streams=[_sample_stream(stream, now) for stream in self.streams],
            outlets=self.outlets.sample(),
            doors=[door.sample(now.s) for door in self.gate.doors.values()],
            subscriptions=self.publisher.subscriptions,
            ignored=self.publisher.ignored,
            requests={} if self.archive is None else self.archive.requests(),
            turns=tuple(self._turns.counts),
            turns_s=self._turns.total_s,
            refused_addresses=self.gate.bans.count(now.s),
            dropped_log_lines=0 if self._log is None else self._log.dropped,
            reassembly_failures=queues.reassembly_failures(),
        )

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

    def _close_inlets(self) -> None:
        for stream in self.streams:
            stream.inlet.let_go()

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
            self._take_up_clients(clients)
            reloads.answer("")
        systemd.notify(READY=1)

    def _take_up_outputs(self, new: Config) -> None:
        changed = new.outputs != self.config.outputs or new.streams != self.config.streams
        self.outlets.reconfigure(new.outputs, retry=changed)
        self.config = self.config.model_copy(update={"outputs": new.outputs})

    def _take_up(self, changes: Changes, streams: tuple[StreamConfig, ...]) -> None:
        for key in changes.restart:
            _log.warning("%s: the change waits for a restart", key, extra=logs.ALWAYS)
        before = {stream.core.name: stream for stream in self.streams}
        for config in changes.removed:
            self._remove_stream(before.pop(config.name))
        for config in changes.changed:
            if _is_cascade(before[config.name]) == bool(config.upstreams):
                before[config.name].reconfigure(config)
            else:  # its numbers are no longer those of before
                self._remove_stream(before.pop(config.name))
                before[config.name] = self._add_stream(config)
        for config in changes.added:
            before[config.name] = self._add_stream(config)
        self._use([before[config.name] for config in streams])
        # What waits for a restart stays as it was, so that the next reload names it again.
        self.config = self.config.model_copy(update={"streams": streams})
        self._check_inlets()
        self._greet()
        counts = (len(changes.added), len(changes.removed), len(changes.changed))
        _log.info("reloaded; streams: %d added, %d removed, %d changed", *counts)

    def _add_stream(self, config: StreamConfig) -> Stream:
        """Open a stream. One that was there before goes on with its numbers: the relay is the same."""
        if self.config.history.size:
            self.histories[config.name] = History(self.config.history.size)
        stream = self._open_stream(config)
        old = self._removed.pop(config.name, None)
        if old is not None and isinstance(old, GroupStream) and isinstance(stream, GroupStream):
            old.core.history = stream.core.history
            if stream.core.history is not None:
                stream.core.history.next = old.core.sequence
            stream = old
            stream.reconfigure(config)
        return stream

    def _remove_stream(self, stream: Stream) -> None:
        stream.inlet.close()
        stream.core.membership(False, "the relay's configuration has it no more")
        if stream.core.known:
            self.publisher.publish(stream.core.beat(clock.now()))
        self.histories.pop(stream.core.name, None)
        stream.core.history = None
        self._removed[stream.core.name] = stream

    def _take_up_clients(self, clients: Clients) -> None:
        removed = [name for key, name in self._clients.items() if key not in clients]
        added = [name for key, name in clients.items() if key not in self._clients]
        self._clients = clients
        self.gate.provider = clients.get
        if added:
            _log.info("clients now allowed: %s", ", ".join(added))
        if removed:
            _log.info("clients no longer allowed: %s; all connections are closed", ", ".join(removed))
            self.publisher.drop_clients()
            if self.archive is not None:
                self.archive.drop_clients()

    def _drain(self, streams: Sequence[Stream]) -> None:
        """Publish what waits in these sockets, and note how long to let more gather."""
        groups = [stream for stream in streams if isinstance(stream, GroupStream)]
        count, full, now_s = 0, 0.0, 0.0
        emptied = len(streams) < _MAX_READY
        for inlet, core in groups:
            filled = 0.0
            for _ in range(_MAX_READS):
                drained = inlet.read()
                if drained.sizes:
                    now = clock.now()
                    for message in core.take(drained, now):
                        self.publisher.publish(message)
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
        self._gathering.note(now_s, count if emptied else 0, full)
        if len(groups) < len(streams):
            self._forward()

    def _forward(self) -> None:
        """Publish what the relays above have. What is left over keeps their descriptors readable."""
        for inlet, core in self._cascades:
            arrived = inlet.read()
            now = clock.now()
            for _, _, batch in arrived.brought:
                self.outlets.refuse_loop(batch.source, core.name)
            messages = core.forward(arrived.brought, arrived.standings, now)
            for message in messages:
                self.publisher.publish(message)
            self.outlets.send(core.name, messages, now.s)
            if arrived.brought:
                self._due_s = min(self._due_s, now.s + _ATTEND_INTERVAL_S)

    def _refuse_loops(self) -> None:
        """Stop inputs and outputs that feed themselves."""
        for inlet, core in self._cascades:
            for url, way in core.ways().items():
                if any(hop.id == self.relay_id for hop in way):
                    names = " -> ".join(hop.address or hop.name for hop in way)
                    inlet.stop(url, f"a loop: it is fed by us ({names} -> {self._address()})")
            for source in core.sources_above():
                self.outlets.refuse_loop(source, core.name)
        if self.outlets.all:
            for _, joined in self._groups:
                for source in joined.ledger.sources():
                    self.outlets.refuse_loop(source, joined.name)

    def _answer_subscriptions(self) -> None:
        for prefix in self.publisher.take_subscriptions():
            for stream in self.streams:
                stream.core.subscribed(prefix)

    def _beat(self, *, final: bool = False) -> None:
        now = clock.now()
        for _, core in self.streams:
            beat = core.beat(now) if final and core.known else core.tick(now)
            if beat is not None:
                self.publisher.publish(beat)
        if self._cascades:
            self._greet()
        if now.s >= self._next_check_s:
            self._refuse_loops()
            self._check_inlets()
            self._turns.count()
            if self.metrics is not None:
                self.metrics.sample = self.sample()
            if self._log is not None:
                self._log.tick()
            # Here, in the loop's own thread, it says that the loop goes on.
            systemd.notify(WATCHDOG=1, STATUS=self.status())

    def _check_inlets(self, *, starting: bool = False) -> None:
        now_s = time.monotonic()
        self._next_check_s = now_s + _CHECK_INTERVAL_S
        self.outlets.check()
        for inlet, core in self.streams:
            inlet.check(now_s, starting=starting)
            core.membership(inlet.joined, inlet.membership + self.outlets.troubles(core.name))
            core.kernel_dropped = inlet.memory().dropped
        self._watch()

    def _watch(self) -> None:
        """Watch every descriptor. All anew, since a socket that took another's place has its number."""
        self._close_poller()
        self._watched = {
            number: stream for stream in self.streams if (number := stream.inlet.fileno()) is not None
        }
        self._gathering.safe_s = min(
            (
                safe_rest_s(stream.inlet.granted_buffer)
                for stream in self._groups
                if stream.inlet.fileno() is not None
            ),
            default=0.0,
        )
        self._poller = select.epoll()
        for fd in (
            self._wake.fileno(),
            self.publisher.fileno(),
            *self.gate.filenos(),
            self.archive and self.archive.fileno(),
            *self._watched,
        ):
            if fd is not None:
                self._poller.register(fd, select.EPOLLIN)

    def _close_poller(self) -> None:
        if self._poller is not None:
            self._poller.close()

    def _listen(self, until_s: float) -> list[Stream]:
        """Wait for the next of whatever comes; return the streams that have something.

        That something came from a client is noted.
        """
        assert self._poller is not None
        streams = []
        for fd, _ in self._poller.poll(max(0.0, until_s - time.monotonic()), _MAX_READY):
            stream = self._watched.get(fd)
            if stream is None:
                self._asked, self._due_s = True, 0.0
            else:
                streams.append(stream)
        return streams

    def _attend(self) -> None:
        """Do what else there is to do than to pass readouts on: beats, and what clients ask for."""
        now_s = time.monotonic()
        if self._asked or now_s >= self._answer_due_s(now_s):
            self._asked = False
            self.gate.attend(now_s)
            if self.archive is not None:
                for _, core in self.streams:
                    core.settle()  # into the histories that are asked
                self.archive.answer()
        if self._cascades:
            self._forward()  # also to look after connections that tell nothing
        self._beat()
        self._answer_subscriptions()  # after the last send, which may have taken in what the descriptor tells
        self._due_s = min(self._answer_due_s(now_s), self._next_check_s, *self._beats_due_s())
        self._due_s = min(self._due_s, self.outlets.pump(now_s))

    def _answer_due_s(self, now_s: float) -> float:
        """Return when to answer clients, whatever the descriptors say: these tell only once."""
        if self.publisher.pending or self.gate.pending:
            return now_s
        return math.inf if self.archive is None else self.archive.due_s()

    def _beats_due_s(self) -> list[float]:
        return [stream.core.beat_due_s() for stream in self.streams]


def _is_cascade(stream: Stream) -> bool:
    return isinstance(stream, CascadeStream)


def _sample_stream(stream: Stream, now: clock.Moment) -> StreamSample:
    inlet, core = stream
    report = core.report(now)
    rejoins = {str(cause): inlet.rejoins[cause] for cause in Cause}
    return StreamSample(core.name, report, core.messages, core.bytes, inlet.memory(), rejoins)


def _open_metrics(config: Config) -> MetricsServer[Sample] | None:
    """Serve metrics; a relay that cannot, such as the second one on a host, relays all the same."""
    listen = config.metrics.listen
    if listen is None:
        return None
    try:
        server = MetricsServer(parse_listen_address(listen), metrics, states)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _log.warning("no metrics: cannot listen on %s (metrics.listen): %s", listen, reason)
        return None
    _log.info("metrics on %s", server.url)
    return server
