"""The Prometheus metrics of a sample. Pure; `metrics_server` serves them.

docs/operating.md says what each metric means.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)

from astropix_relay.samples import Sample, StreamSample, Turns
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.multicast.intake import Rejection

if TYPE_CHECKING:  # its module reaches sockets
    from astropix_relay.clients.gate import DoorSample

_PREFIX = "astropix_relay_"


def metrics(sample: Sample) -> Iterator[Metric]:
    """Yield the metrics of a sample. Pure."""
    yield InfoMetricFamily(
        _PREFIX + "build",
        "Program version, and the random number of this start.",
        {"version": sample.version, "relay_id": str(sample.relay_id)},
    )
    for stream_metrics in (_stream_counters, _stream_gauges, _source_counters):
        yield from stream_metrics(sample.streams)
    yield from _door_metrics(sample.doors)
    labels = ["stream", "group"]
    sent = [((o.stream, o.group), o.sent) for o in sample.outlets]
    yield _counter("output_sent", "Readouts sent to the group of an output.", labels, sent)
    not_sent = [((o.stream, o.group, why), n) for o in sample.outlets for why, n in o.not_sent.items()]
    yield _counter("output_not_sent", "Readouts that an output did not send.", [*labels, "reason"], not_sent)
    stopped = [((o.stream, o.group), o.stopped) for o in sample.outlets]
    yield _gauge(
        "output_stopped", "1 while an output is stopped, since it would feed a loop.", labels, stopped
    )
    yield _gauge(
        "subscriptions", "Topics subscribed to, by all clients together.", [], [((), sample.subscriptions)]
    )
    yield _counter(
        "ignored_messages", "Messages from clients that were no subscription.", [], [((), sample.ignored)]
    )
    requests = [((status,), count) for status, count in sample.requests.items()]
    yield _counter("history_requests", "Requests for history, by the answer.", ["status"], requests)
    text = "Addresses whose new connections are refused for a while."
    yield _gauge("refused_addresses", text, [], [((), sample.refused_addresses)])
    text = "Lines of the log that were dropped since nobody read it."
    yield _counter("dropped_log_lines", text, [], [((), sample.dropped_log_lines)])
    yield _turns(sample)
    if sample.reassembly_failures is not None:
        yield _counter(
            "reassembly_failures",
            "IP datagrams of this host, for any program, that were given up for a missing fragment.",
            [],
            [((), sample.reassembly_failures)],
        )


def states(sample: Sample) -> Iterator[str]:
    """Yield a line on each stream, for /healthz."""
    for stream in sample.streams:
        yield f"{stream.name}: {stream.report['state']}"


Values = Sequence[tuple[Sequence[str], float]]


def _counter(name: str, text: str, labels: list[str], values: Values) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _gauge(name: str, text: str, labels: list[str], values: Values) -> Metric:
    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _stream_counters(streams: Sequence[StreamSample]) -> Iterator[Metric]:
    def by_stream(name: str, text: str, values: Sequence[float]) -> Metric:
        pairs = zip(streams, values, strict=True)
        return _counter(name, text, ["stream"], [((stream.name,), value) for stream, value in pairs])

    def by_kind(name: str, text: str, label: str, values: Sequence[Mapping[str, float]]) -> Metric:
        pairs = zip(streams, values, strict=True)
        flat = [((s.name, kind), value) for s, kinds in pairs for kind, value in kinds.items()]
        return _counter(name, text, ["stream", label], flat)

    reports = [stream.report for stream in streams]
    received, published = [r["received"] for r in reports], [r["published"] for r in reports]
    yield by_stream("received_readouts", "Valid readouts that came to the socket.", received)
    yield by_stream("published_readouts", "Readouts given a number and published.", published)
    yield by_stream("published_messages", "Messages that carried them.", [s.messages for s in streams])
    yield by_stream(
        "published_bytes", "Bytes of published readouts, headers included.", [s.bytes for s in streams]
    )
    yield by_stream(
        "kernel_dropped_datagrams",
        "Datagrams that the kernel dropped because the receive buffer was full.",
        [r["kernel_dropped"] for r in reports],
    )
    rejected = [dict.fromkeys(map(str, Rejection), 0) | dict(r["rejected"]) for r in reports]
    yield by_kind("rejected_datagrams", "Datagrams that were no readout.", "reason", rejected)
    missing = [_places(r["totals"]) | _between_relays(r) for r in reports]
    yield by_kind("missing_readouts", "Readouts that the DAQ sent and we did not get.", "place", missing)
    thinned = [((s.name,), n) for s in streams if (n := _own_hop(s.report).get("thinned")) is not None]
    text = "Readouts that the relay above left out, to keep within a bandwidth."
    yield _counter("thinned_readouts", text, ["stream"], thinned)
    yield by_kind("rejoins", "Times that the group was joined again.", "cause", [s.rejoins for s in streams])


def _places(counts: Mapping[str, Any]) -> dict[str, float]:
    return {
        Place.BEFORE_SOCKET.key: counts["before_socket"],
        Place.RELAY_KERNEL.key: counts["in_kernel"],
        Place.RELAY_REJECTED.key: sum(counts["rejected"].values()),
    }


def _between_relays(report: Mapping[str, Any]) -> dict[str, float]:
    """Return what was lost on the way here from the relays above, where there are some."""
    key, lost = Place.BETWEEN_RELAYS.key, _own_hop(report).get("lost", {})
    return {key: lost[key]} if key in lost else {}


def _own_hop(report: Mapping[str, Any]) -> Mapping[str, Any]:
    *_, own = report.get("hops") or [{}]
    return own  # type: ignore[no-any-return]


def _stream_gauges(streams: Sequence[StreamSample]) -> Iterator[Metric]:
    def by_stream(name: str, text: str, values: Sequence[float | None]) -> Metric:
        pairs = zip(streams, values, strict=True)
        return _gauge(name, text, ["stream"], [((s.name,), value) for s, value in pairs if value is not None])

    reports = [stream.report for stream in streams]
    yield by_stream(
        "joined", "1 while the group is joined and the link is up.", [r["joined"] for r in reports]
    )
    ages = [r["last_readout_age_s"] for r in reports]
    yield by_stream("last_readout_age_seconds", "Time since the last readout; absent before the first.", ages)
    lags = [r["lag_s"] for r in reports]
    yield by_stream("lag_seconds", "Delay of readouts, less the least in ten minutes.", lags)
    for key, text in (
        ("shared", "Addresses and ports that two DAQs share: each needs its own."),
        ("implausible", "Sources whose readout_ids follow no order; their losses are not counted."),
    ):
        yield by_stream(f"{key}_sources", text, [sum(one[key] for one in r["sources"]) for r in reports])
    queued, limits = [s.memory.queued for s in streams], [s.memory.limit for s in streams]
    yield by_stream("receive_queue_bytes", "Memory of the datagrams that wait in the socket.", queued)
    yield by_stream("receive_queue_limit_bytes", "What it may be before the kernel drops.", limits)
    states = StateSetMetricFamily(_PREFIX + "state", "State of the stream.", labels=["stream"])
    for stream in streams:
        told = {state.value: state == stream.report["state"] for state in State}
        states.add_metric([stream.name], told)
    yield states


def _source_counters(streams: Sequence[StreamSample]) -> Iterator[Metric]:
    sources = [
        ((stream.name, f"{source['address']}:{source['port']}"), source)
        for stream in streams
        for source in stream.report["sources"]
    ]
    for key, text in (
        ("received", "Valid readouts of a source."),
        ("duplicates", "Readouts of a source that came twice."),
        ("reordered", "Readouts of a source that came out of order, in time."),
        ("late", "Readouts of a source that came after they were counted as missing."),
        ("runs", "Runs of a source."),
    ):
        values = [(labels, source[key]) for labels, source in sources]
        yield _counter(f"source_{key}", text, ["stream", "source"], values)
    missing = [((*labels, place), n) for labels, source in sources for place, n in _places(source).items()]
    text = "Readouts that a source sent and we did not get."
    yield _counter("source_missing", text, ["stream", "source", "place"], missing)


def _door_metrics(doors: Sequence["DoorSample"]) -> Iterator[Metric]:
    label = ["endpoint"]
    yield _gauge("clients", "Clients that were let in.", label, [((d.name,), d.clients) for d in doors])
    connections = [((d.name,), d.connections) for d in doors]
    yield _gauge("connections", "TCP connections, those in their handshake included.", label, connections)
    accepted = [((d.name,), d.accepted) for d in doors]
    yield _counter("accepted_connections", "TCP connections so far.", label, accepted)
    failed = [((d.name, cause), count) for d in doors for cause, count in d.failed.items()]
    yield _counter("failed_handshakes", "Clients that did not come in.", ["endpoint", "cause"], failed)
    cut = [((d.name, cause), count) for d in doors for cause, count in d.cut.items()]
    yield _counter("cut_connections", "Connections that the relay ended.", ["endpoint", "cause"], cut)


def _turns(sample: Sample) -> Metric:
    buckets, count = [], 0
    for bound, more in zip((*Turns.BOUNDS, "+Inf"), sample.turns, strict=True):
        count += more
        buckets.append((str(bound), float(count)))
    text = "How long a turn of the loop took, from waking up until it waited again."
    family = HistogramMetricFamily(_PREFIX + "turn_seconds", text, labels=[])
    family.add_metric([], buckets, sample.turns_s)
    return family
