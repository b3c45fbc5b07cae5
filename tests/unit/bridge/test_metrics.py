"""The bridge's metrics of a sample, without a bridge."""

from prometheus_client import generate_latest

from astropix_bridge.metrics import MirrorSample, Sample, StreamSample, metrics, states
from astropix_stream.counting.state import State

STREAM = StreamSample("astropix", State.NO_LOG, 10, 2, 500, 3, 600, 1.5, 4, 1, 5, {"before_socket": 7})
SAMPLE = Sample(1.0, "9.9", True, 3, [STREAM], started_s=5.0)
HUB = Sample(1.0, "9.9", True, 3, [], [MirrorSample("astropix", 12, 3.2), MirrorSample("other", 0, -1.0)])


def lines(sample):
    class Registry:
        def collect(self):
            return metrics(sample)

    return generate_latest(Registry()).decode().splitlines()


def test_every_figure_is_there():
    for line in (
        'astropix_bridge_build_info{version="9.9"} 1.0',
        "astropix_bridge_connected 1.0",
        "astropix_bridge_start_time_seconds 5.0",
        "astropix_bridge_connections_total 3.0",
        'astropix_bridge_stored_readouts_total{stream="astropix"} 10.0',
        'astropix_bridge_stored_messages_total{stream="astropix"} 2.0',
        'astropix_bridge_stored_bytes_total{stream="astropix"} 500.0',
        'astropix_bridge_waiting_messages{stream="astropix"} 3.0',
        'astropix_bridge_waiting_bytes{stream="astropix"} 600.0',
        'astropix_bridge_waiting_seconds{stream="astropix"} 1.5',
        'astropix_bridge_anchors_total{stream="astropix"} 4.0',
        'astropix_bridge_rewinds_total{stream="astropix"} 1.0',
        'astropix_bridge_duplicates_total{stream="astropix"} 5.0',
        'astropix_bridge_missing_readouts_total{place="before_socket",stream="astropix"} 7.0',
        'astropix_bridge_missing_readouts_total{place="relay_to_client",stream="astropix"} 0.0',
        'astropix_bridge_state{astropix_bridge_state="no log",stream="astropix"} 1.0',
        'astropix_bridge_state{astropix_bridge_state="live",stream="astropix"} 0.0',
    ):
        assert line in lines(SAMPLE)
    assert not any("mirror" in line for line in lines(SAMPLE))


def test_a_hub_has_figures_of_its_mirrors():
    assert {
        'astropix_bridge_mirror_behind_messages{stream="astropix"} 12.0',
        'astropix_bridge_mirror_silent_seconds{stream="astropix"} 3.2',
        'astropix_bridge_mirror_silent_seconds{stream="other"} -1.0',
    } <= set(lines(HUB))


def test_health_tells_each_streams_state():
    assert list(states(SAMPLE)) == ["astropix: no log"]
    assert list(states(HUB)) == [
        "astropix: mirror, 12 messages behind 3 s ago",
        "other: mirror, waiting for the beam line",
    ]
