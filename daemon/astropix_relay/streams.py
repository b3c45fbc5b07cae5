"""The streams' ways through the relay: the way in of each, and what is published of it."""

import logging
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from astropix_relay.clients.endpoints import Endpoints
from astropix_relay.clients.handover import Handover
from astropix_relay.configuration.loading import Changes
from astropix_relay.configuration.model import Config, StreamConfig
from astropix_relay.core import StreamCore
from astropix_relay.history import History
from astropix_relay.inlet import Inlet
from astropix_relay.outlet import Outlets
from astropix_stream import __version__, clock, wire
from astropix_stream.counting.hops import Hop
from astropix_stream.links import Link
from astropix_stream.multicast.datagrams import make_buffer
from astropix_stream.wire import Waiting

if TYPE_CHECKING:  # without such streams, none of what listens to relays is imported
    from astropix_relay.forwarding import ForwardingCore
    from astropix_relay.upstream import Upstream


_log = logging.getLogger(__name__)

_TELL_WAITING_S = 10.0  # for a relay above; most are heard within half a second


class GroupStream(NamedTuple):
    """The way of a stream that comes from a group."""

    inlet: Inlet
    core: StreamCore

    def filenos(self) -> list[int]:
        """Return the descriptors that tell that something has come."""
        fileno = self.inlet.fileno()
        return [] if fileno is None else [fileno]

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up another configuration."""
        self.inlet.reconfigure(config)
        self.core.ledger.stride = config.stride

    def numbers_stay(self, config: StreamConfig) -> bool:
        """Whether the numbers can go on with another configuration."""
        return not config.upstreams

    def told(self) -> tuple[int | None, int]:
        """Return the kind of its readouts, None where that is not known yet, and its stride."""
        return self.inlet.config.readout_uid, self.core.ledger.stride

    @property
    def waits_for(self) -> str:
        """What is awaited before anybody is told of the stream: nothing."""
        return ""

    @property
    def notes(self) -> Mapping[str, str]:
        """What its setup is, as the configuration says."""
        return self.inlet.config.notes


class CascadeStream(NamedTuple):
    """The way of a stream that comes from other relays."""

    inlet: "Upstream"
    core: "ForwardingCore"

    def filenos(self) -> list[int]:
        """Return the descriptors that tell that something has come."""
        return self.inlet.filenos()

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up other relays; one that is opened now begins where the others are."""
        self.inlet.note_position(self.core.confluence.at)
        self.inlet.reconfigure(config)
        self.core.use_paths(config.upstreams)

    def numbers_stay(self, config: StreamConfig) -> bool:
        """Whether the numbers can go on with another configuration: those of what is thinned are ours."""
        return bool(config.upstreams) and config.thinned == self.inlet.config.thinned

    def told(self) -> tuple[int | None, int]:
        """Return the kind of its readouts, None where that is not known yet, and its stride."""
        return self.inlet.readout_uid if self.core.known else None, self.inlet.stride or 1

    @property
    def waits_for(self) -> str:
        """What is awaited before anybody is told of the stream; empty once nothing is."""
        if self.told()[0] is not None:
            return ""
        stage = "its relay has not told the kind of the readouts" if self.core.known else self.core.waits_for
        return f"{self.inlet.membership}; {stage}" if stage else self.inlet.membership

    @property
    def notes(self) -> Mapping[str, str]:
        """What its setup is, as the relays above say."""
        return self.inlet.notes


Stream = GroupStream | CascadeStream


class Facts(NamedTuple):
    """What new connections are told of a stream; `readout_uid` is None where it is not known yet."""

    name: str
    relay_id: int
    readout_uid: int | None
    stride: int
    notes: Mapping[str, str]
    waits_for: str
    hops: tuple[Hop, ...]


def _facts_of(stream: Stream) -> Facts:
    waits_for, core = stream.waits_for, stream.core
    hops = stream.core.hops_so_far() if waits_for and isinstance(stream, CascadeStream) else ()
    return Facts(core.name, core.relay_id, *stream.told(), stream.notes, waits_for, hops)


class Streams:
    """The streams that there are, by a configuration that may change while the relay runs.

    Parameters
    ----------
    config
        What is the same for all streams.
    relay_id
        Random number of this start of the relay.
    endpoints
        Where they are published.
    histories
        By the streams' names; each stream that is opened puts its own there.
    handover
        Where their sockets are kept.
    offers
        What there is for slow lines.

    Attributes
    ----------
    all : list of GroupStream or CascadeStream
        In the configuration's order.
    groups, cascades : list
        Those that come from a group, and those that come from other relays.
    """

    def __init__(
        self,
        config: Config,
        relay_id: int,
        endpoints: Endpoints,
        histories: dict[str, History],
        handover: Handover,
        *,
        offers: frozenset[str] = frozenset(),
    ) -> None:
        self._history_size = config.history.size
        self._relay_id = relay_id
        self._endpoints = endpoints
        self._histories = histories
        self._handover = handover
        self._offers = offers
        self._host = socket.gethostname()
        self._buffer = make_buffer()
        self._removed: dict[str, Stream] = {}
        self._waiting: dict[str, tuple[float, str]] = {}  # since when, and what was logged of it
        self._use([])

    def _use(self, streams: list[Stream]) -> None:
        self.all = streams
        self.groups = [stream for stream in streams if isinstance(stream, GroupStream)]
        self.cascades = [stream for stream in streams if isinstance(stream, CascadeStream)]

    @property
    def address(self) -> str:
        """Where we publish, as others reach it as far as we know."""
        endpoint = self._endpoints.publisher.endpoint
        return endpoint.replace("//0.0.0.0:", f"//{self._host}:").replace("//[::]:", f"//{self._host}:")

    def topics(self) -> tuple[bytes, ...]:
        """Return all that is published of the streams; of slow lines, what does not depend on a number."""
        names = [stream.core.name for stream in self.all]
        compressed = map(Link(compressed=True).topic, names)
        return (*map(wire.data_topic, names), *map(wire.beat_topic, names), *compressed)

    def facts(self) -> list[Facts]:
        """Return what is known of each stream; of those that come from other relays it may change."""
        return [_facts_of(stream) for stream in self.all]

    def pack_hello(self) -> bytes:
        """Say which streams there are; of one that no relay above has told yet nothing is known."""
        facts = self.facts()
        known = [one for one in facts if one.readout_uid is not None]
        streams = {one.name: one.readout_uid for one in facts if one.readout_uid is not None}
        strides = {one.name: one.stride for one in known}
        relay_ids = {one.name: one.relay_id for one in known}
        notes = {one.name: one.notes for one in facts}
        waiting = {
            one.name: Waiting(one.waits_for, tuple(hop.to_json() for hop in one.hops))
            for one in facts
            if one.waits_for
        }
        port = self._endpoints.history_port
        told = (self._relay_id, __version__, streams, port, strides, relay_ids, notes, self._offers, waiting)
        return wire.pack_hello(wire.Hello(*told))

    def tell_waiting(self, now_s: float) -> None:
        """Log which streams nobody is told of, if that lasts, and that it has ended."""
        for stream in self.cascades:
            name, words = stream.core.name, stream.waits_for
            since_s, told = self._waiting.pop(name, (now_s, ""))
            if words and words != told and now_s - since_s >= _TELL_WAITING_S:
                _log.warning("stream %s: nobody is told of it, it waits: %s", name, words)
                told = words
            elif told and not words:
                _log.info("stream %s: it waits no longer", name)
            if words:
                self._waiting[name] = (since_s, told)

    def refuse_loops(self, outlets: Outlets) -> None:
        """Stop inputs and outputs that feed themselves."""
        for inlet, core in self.cascades:
            for url, names in core.loops().items():
                inlet.stop(url, f"a loop: it is fed by us ({names} -> {self.address})")
            for source in core.sources_above():
                outlets.refuse_loop(source, core.name)
        if outlets.all:
            for _, joined in self.groups:
                for source in joined.ledger.sources():
                    outlets.refuse_loop(source, joined.name)

    def open(self, configs: Sequence[StreamConfig]) -> None:
        """Open the first ones; none is joined before its inlet is checked."""
        self._use([self._add(config) for config in configs])

    def take_up(self, changes: Changes, configs: Sequence[StreamConfig]) -> None:
        """Add, remove and change streams, so that they are as in `configs`."""
        before = {stream.core.name: stream for stream in self.all}
        for config in changes.removed:
            self._remove(before.pop(config.name))
        for config in changes.changed:
            stream = before[config.name]
            if stream.numbers_stay(config):
                stream.reconfigure(config)
            else:  # its numbers are no longer those of before
                self._remove(stream)
                before[config.name] = self._add(config)
        for config in changes.added:
            before[config.name] = self._add(config)
        self._use([before[config.name] for config in configs])

    def _add(self, config: StreamConfig) -> Stream:
        """Open a stream. One that was there before goes on with its numbers: the relay is the same."""
        if self._history_size:
            self._histories[config.name] = History(self._history_size)
        stream = self._make(config)
        old = self._removed.pop(config.name, None)
        if isinstance(old, GroupStream) and isinstance(stream, GroupStream):
            old.core.history = stream.core.history
            if stream.core.history is not None:
                stream.core.history.next = old.core.sequence
            stream = old
            stream.reconfigure(config)
        elif old is not None and config.thinned and old.core.relay_id == stream.core.relay_id:
            stream.core.sequence = old.core.sequence
            if stream.core.history is not None:
                stream.core.history.next = old.core.sequence
        return stream

    def _make(self, config: StreamConfig) -> Stream:
        options: dict[str, Any] = {
            "history": self._histories.get(config.name),
            "history_port": self._endpoints.history_port,
            "host": self._host,
            "address": self.address,
        }
        if config.upstreams:
            from astropix_relay.forwarding import ForwardingCore  # noqa: PLC0415  (few relays need it)
            from astropix_relay.upstream import Upstream  # noqa: PLC0415

            upstream = Upstream(config, oldest=bool(self._history_size))
            options["thinned"] = config.thinned
            return CascadeStream(
                upstream, ForwardingCore(config.name, self._relay_id, config.upstreams, **options)
            )
        core = StreamCore(config.name, self._relay_id, stride=config.stride, **options)
        return GroupStream(Inlet(config, self._handover, core.replace_socket, self._buffer), core)

    def _remove(self, stream: Stream) -> None:
        stream.inlet.close()
        stream.core.membership(False, "removed from the relay's configuration")
        if stream.core.known:
            self._endpoints.publisher.publish(stream.core.beat(clock.now()))
        self._histories.pop(stream.core.name, None)
        stream.core.history = None
        self._removed[stream.core.name] = stream

    def close(self) -> None:
        """Close all sockets; those that are kept for the next process stay joined."""
        for stream in self.all:
            stream.inlet.let_go()
