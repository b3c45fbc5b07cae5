"""The metrics of a sample, without a relay or a server."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from astropix_relay.clients.gate import DoorSample
from astropix_relay.metrics import metrics
from astropix_relay.samples import OutletSample, Sample, StreamSample, Turns
from astropix_stream.counting.hops import Hop
from astropix_stream.multicast.sockets import SocketMemory

LOST = {"before_socket": 3, "in_kernel": 4, "rejected": {"short": 1, "length": 2}}
SOURCE = LOST | {
    "address": "10.0.0.1", "port": 40_000, "received": 90, "duplicates": 1, "reordered": 2, "late": 3,
    "runs": 4, "shared": True, "implausible": False,
}  # fmt: skip
REPORT = {
    "state": "losing", "received": 100, "published": 99, "kernel_dropped": 5, "rejected": {"short": 7},
    "joined": True, "last_readout_age_s": None, "lag_s": 0.25, "sources": [SOURCE], "totals": LOST,
}  # fmt: skip
TURNS = Turns()


def sample(**changes):
    stream = StreamSample("astropix", REPORT, 80, 9000, SocketMemory(512, 4096, 5), {"silence": 2})
    door = DoorSample("publish", 2, 3, 4, {"full": 5}, {"too much sent": 12})
    whole = Sample(0.0, "1.2", 77, [stream], [door], 6, 8, {"ok": 9}, TURNS.counts, TURNS.total_s, 10, 13, 14)
    output = OutletSample("astropix", "239.1.1.1:5007", 15, {"ENOBUFS": 16})
    whole = whole._replace(outlets=[output])
    return whole._replace(**changes)


def values(taken):
    """The metrics as Prometheus reads them: a dictionary of (name, *label values in order of their names)."""

    class Registry:
        def collect(self):
            return metrics(taken)

    found = {}
    for family in text_string_to_metric_families(generate_latest(Registry()).decode()):
        for one in family.samples:
            labels = [value for _, value in sorted(one.labels.items())]
            found[one.name.removeprefix("astropix_relay_"), *labels] = one.value
    return found


def test_every_figure_of_a_sample_is_there():
    expected = {
        ("build_info", "77", "1.2"): 1,
        ("received_readouts_total", "astropix"): 100,
        ("published_readouts_total", "astropix"): 99,
        ("published_messages_total", "astropix"): 80,
        ("published_bytes_total", "astropix"): 9000,
        ("kernel_dropped_datagrams_total", "astropix"): 5,
        ("rejected_datagrams_total", "short", "astropix"): 7,
        ("missing_readouts_total", "before_socket", "astropix"): 3,
        ("missing_readouts_total", "relay_kernel", "astropix"): 4,
        ("missing_readouts_total", "relay_rejected", "astropix"): 3,
        ("rejoins_total", "silence", "astropix"): 2,
        ("cut_connections_total", "too much sent", "publish"): 12,
        ("refused_addresses",): 13,
        ("dropped_log_lines_total",): 14,
        ("output_sent_total", "239.1.1.1:5007", "astropix"): 15,
        ("output_not_sent_total", "239.1.1.1:5007", "ENOBUFS", "astropix"): 16,
        ("rejected_datagrams_total", "magic", "astropix"): 0,
        ("joined", "astropix"): 1,
        ("lag_seconds", "astropix"): 0.25,
        ("shared_sources", "astropix"): 1,
        ("implausible_sources", "astropix"): 0,
        ("receive_queue_bytes", "astropix"): 512,
        ("receive_queue_limit_bytes", "astropix"): 4096,
        ("state", "losing", "astropix"): 1,
        ("state", "live", "astropix"): 0,
        ("source_received_total", "10.0.0.1:40000", "astropix"): 90,
        ("source_duplicates_total", "10.0.0.1:40000", "astropix"): 1,
        ("source_reordered_total", "10.0.0.1:40000", "astropix"): 2,
        ("source_late_total", "10.0.0.1:40000", "astropix"): 3,
        ("source_runs_total", "10.0.0.1:40000", "astropix"): 4,
        ("source_missing_total", "relay_rejected", "10.0.0.1:40000", "astropix"): 3,
        ("clients", "publish"): 2,
        ("connections", "publish"): 3,
        ("accepted_connections_total", "publish"): 4,
        ("failed_handshakes_total", "full", "publish"): 5,
        ("subscriptions",): 6,
        ("ignored_messages_total",): 8,
        ("history_requests_total", "ok"): 9,
        ("reassembly_failures_total",): 10,
    }
    found = values(sample())
    assert {key: found.get(key) for key in expected} == expected


def test_what_is_not_known_is_absent():
    found = values(sample(reassembly_failures=None))
    assert ("last_readout_age_seconds", "astropix") not in found
    assert ("reassembly_failures_total",) not in found


@pytest.mark.parametrize(
    ("thinned", "lost", "expected"),
    [(None, None, {}), (0, 2, {"thinned": 0, "lost": 2}), (7, None, {"thinned": 7})],
)
def test_of_a_stream_from_relays_what_was_lost_and_left_out_on_the_way_here(thinned, lost, expected):
    """Of the last hop alone: what was left out above it is in the metrics of the relay there."""
    own = Hop(2, "roma", "", lost={} if lost is None else {"between_relays": lost}, thinned=thinned)
    hops = [Hop(1, "a", "", thinned=5), own]
    stream = sample().streams[0]
    report = stream.report | {"hops": [hop.to_json() for hop in hops]}
    found = values(sample(streams=[stream._replace(report=report)]))
    keys = {
        "thinned": ("thinned_readouts_total", "astropix"),
        "lost": ("missing_readouts_total", "between_relays", "astropix"),
    }
    assert {name: found[key] for name, key in keys.items() if key in found} == expected


def test_turns_are_counted_in_buckets():
    turns = Turns()
    for seconds in (0.00005, 0.0001, 0.002, 5.0):
        turns.note(seconds)
    assert sum(turns.counts) == 0, "not before count"
    turns.count()
    turns.count()
    found = values(sample(turns=turns.counts, turns_s=turns.total_s))
    buckets = [found["turn_seconds_bucket", bound] for bound in ("0.0001", "0.001", "0.003", "1.0", "+Inf")]
    assert buckets == [2, 2, 3, 3, 4]
    assert (found["turn_seconds_count",], found["turn_seconds_sum",]) == (4, 0.00005 + 0.0001 + 0.002 + 5.0)
