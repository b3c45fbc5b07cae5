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


class Sample(NamedTuple):
    """Everything at one moment; nothing in it changes any more."""

    at_s: float
    version: str
    connected: bool
    connections: int
    streams: Sequence[StreamSample]


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
        for place, count in stream.lost.items():
            lost.add_metric([stream.name, place], count)
    yield lost
    state = StateSetMetricFamily(_PREFIX + "state", "State of the stream.", labels=["stream"])
    for stream in sample.streams:
        state.add_metric([stream.name], {word.value: word == stream.state for word in State})
    yield state


def states(sample: Sample) -> Iterator[str]:
    """Yield a line on each stream, for /healthz."""
    for stream in sample.streams:
        yield f"{stream.name}: {stream.state}"
