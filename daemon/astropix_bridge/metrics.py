"""What there is to watch: the Prometheus metrics of a sample. Pure; `astropix_daemon` serves them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)

from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State

_PREFIX = "astropix_bridge_"


class StreamSample(NamedTuple):
    """A stream on its way into the log."""

    name: str
    state: State
    stored: int
    messages: int
    bytes: int
    waiting_messages: int
    waiting_bytes: int
    waiting_s: float
    anchors: int
    rewinds: int
    duplicates: int
    lost: Mapping[str, int]


class MirrorSample(NamedTuple):
    """A mirror of a beam line's stream, as the hub's server tells of it."""

    name: str
    behind: int
    """Messages that the beam line had more, when it was last heard."""
    silent_s: float
    """Since it was last heard; -1: never."""


class Sample(NamedTuple):
    """Everything at one moment; nothing in it changes any more."""

    at_s: float
    version: str
    connected: bool
    connections: int
    streams: Sequence[StreamSample]
    mirrors: Sequence[MirrorSample] = ()
    started_s: float = 0.0
    """Unix time of the start."""


_COUNTERS = (
    ("stored_readouts", "stored", "Readouts that the log has acknowledged."),
    ("stored_messages", "messages", "Messages that carried them."),
    ("stored_bytes", "bytes", "Bytes of stored readouts, headers included."),
    ("anchors", "anchors", "Times that the log was asked where it ends."),
    ("rewinds", "rewinds", "Times that the relay was asked again for what the log did not have."),
    ("duplicates", "duplicates", "Messages that the log had already, as it said."),
)
_GAUGES = (
    ("waiting_messages", "waiting_messages", "Messages that are not acknowledged."),
    ("waiting_bytes", "waiting_bytes", "Bytes of readouts in them."),
    ("waiting_seconds", "waiting_s", "Age of the oldest of them."),
)


def metrics(sample: Sample) -> Iterator[Metric]:
    """Yield the metrics of a sample."""
    yield InfoMetricFamily(_PREFIX + "build", "Program version.", {"version": sample.version})
    started = GaugeMetricFamily(_PREFIX + "start_time_seconds", "Unix time of the start.")
    started.add_metric([], sample.started_s)
    yield started
    connected = GaugeMetricFamily(_PREFIX + "connected", "1 while a server of the log is connected.")
    connected.add_metric([], float(sample.connected))
    yield connected
    connections = CounterMetricFamily(_PREFIX + "connections", "Connections to the log so far.")
    connections.add_metric([], sample.connections)
    yield connections
    for name, key, text in _COUNTERS:
        counter = CounterMetricFamily(_PREFIX + name, text, labels=["stream"])
        for stream in sample.streams:
            counter.add_metric([stream.name], getattr(stream, key))
        yield counter
    for name, key, text in _GAUGES:
        gauge = GaugeMetricFamily(_PREFIX + name, text, labels=["stream"])
        for stream in sample.streams:
            gauge.add_metric([stream.name], getattr(stream, key))
        yield gauge
    text = "Readouts that were lost on the way to the bridge, by place."
    lost = CounterMetricFamily(_PREFIX + "missing_readouts", text, labels=["stream", "place"])
    for stream in sample.streams:
        for place in Place:  # those of 0, too: Prometheus sees no increase in a series that has just begun
            lost.add_metric([stream.name, place.key], stream.lost.get(place.key, 0))
    yield lost
    state = StateSetMetricFamily(_PREFIX + "state", "State of the stream.", labels=["stream"])
    for stream in sample.streams:
        state.add_metric([stream.name], {word.value: word == stream.state for word in State})
    yield state
    if sample.mirrors:
        text = "Messages that a mirror is behind the beam line, as of when that was last heard."
        behind = GaugeMetricFamily(_PREFIX + "mirror_behind_messages", text, labels=["stream"])
        text = "Since a mirror last heard the beam line; -1: never."
        silent = GaugeMetricFamily(_PREFIX + "mirror_silent_seconds", text, labels=["stream"])
        for mirror in sample.mirrors:
            behind.add_metric([mirror.name], mirror.behind)
            silent.add_metric([mirror.name], mirror.silent_s)
        yield behind
        yield silent


def states(sample: Sample) -> Iterator[str]:
    """Yield a line on each stream, for /healthz."""
    for stream in sample.streams:
        yield f"{stream.name}: {stream.state}"
    for mirror in sample.mirrors:
        heard = f"{mirror.behind} messages behind {mirror.silent_s:.0f} s ago"
        yield f"{mirror.name}: mirror, {'waiting for the beam line' if mirror.silent_s < 0 else heard}"
