"""What the metrics say is what happened; and scraping harms nobody."""

import http.client
import json
import re
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from astropix_relay import metrics
from astropix_relay.configuration.model import Config
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from relays import running
from zmtp import Peer

ROOT = Path(__file__).parents[2]


def running_relay(group, port, **more):
    config = Config.model_validate(
        {
            "streams": [{"group": group, "port": port, "interface": "127.0.0.1"}],
            **more,
            "publish": {"endpoint": "tcp://127.0.0.1:0", **more.get("publish", {})},
        }
    )
    return running(config)


@pytest.fixture
def relay(group, port, tcp_port):
    with running_relay(group, port, metrics={"listen": f"127.0.0.1:{tcp_port}"}) as relay:
        yield relay


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scrape(port):
    """The metrics as a dictionary of (name, *label values in order of their names)."""
    found = {}
    for family in text_string_to_metric_families(get(port, "/metrics")[1]):
        for sample in family.samples:
            labels = [value for _, value in sorted(sample.labels.items())]
            found[sample.name.removeprefix("astropix_relay_"), *labels] = sample.value
    return found


def scrape_until(port, key, value, timeout=5.0):
    deadline = time.monotonic() + timeout
    while True:
        found = scrape(port)
        if found.get(key) == value or time.monotonic() > deadline:
            assert found.get(key) == value
            return found
        time.sleep(0.05)


def test_what_happened_is_told(relay, group, port, tcp_port):
    with (
        RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=5) as receiver,
        MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
    ):
        receiver.wait_ready(5)
        for i in (0, 1, 2, 5, 6):
            sender.send_readout(AstroPix4Readout(b"12345", i))
        sender.send_data(b"rubbish")
        for _ in range(5):
            receiver.receive()
        host, source_port = sender._socket.getsockname()
        source = f"127.0.0.1:{source_port}"
        found = scrape_until(tcp_port, ("missing_readouts_total", "before_socket", "astropix"), 2.0)
        assert host
        expected = {
            ("received_readouts_total", "astropix"): 5,
            ("published_readouts_total", "astropix"): 5,
            ("published_bytes_total", "astropix"): 5 * 24,
            ("rejected_datagrams_total", "short", "astropix"): 1,
            ("kernel_dropped_datagrams_total", "astropix"): 0,
            ("source_received_total", source, "astropix"): 5,
            ("source_missing_total", "before_socket", source, "astropix"): 2,
            ("joined", "astropix"): 1,
            ("state", "losing", "astropix"): 1,
            ("state", "live", "astropix"): 0,
            ("clients", "publish"): 1,
            ("subscriptions",): 2,
        }
        assert {key: found.get(key) for key in expected} == expected
        assert 0 <= found["last_readout_age_seconds", "astropix"] < 5
        assert found["receive_queue_limit_bytes", "astropix"] > 100_000
        assert found["turn_seconds_count",] > 0
        assert found["process_resident_memory_bytes",] > 1 << 20


def test_clients_that_did_not_come_in_are_counted_by_cause(group, port, tcp_port):
    listen, publish = {"listen": f"127.0.0.1:{tcp_port}"}, {"max_clients": 1}
    with (
        running_relay(group, port, metrics=listen, publish=publish) as relay,
        Peer(relay.publisher.endpoint) as peer,
    ):
        peer.shake_hands()
        with Peer(relay.publisher.endpoint) as other, pytest.raises((ConnectionError, AssertionError)):
            other.shake_hands()
        third = Peer(relay.publisher.endpoint)
        third.sendall(b"\xff")
        third.reset()
        found = scrape_until(tcp_port, ("failed_handshakes_total", "aborted", "publish"), 1.0)
        assert found["failed_handshakes_total", "full", "publish"] == 1
        assert found["clients", "publish"] == 1
        assert found["accepted_connections_total", "publish"] == 3


def test_kernel_drops_are_told_without_a_further_datagram(group, port, tcp_port, monkeypatch):
    """The socket overflows while the loop is held up, and nothing comes after that."""
    with running_relay(group, port, metrics={"listen": f"127.0.0.1:{tcp_port}"}) as relay:
        held, go_on = threading.Event(), threading.Event()
        inlet = relay.streams[0].inlet
        read = inlet.read

        def hold():
            held.set()
            go_on.wait(10)
            return read()

        monkeypatch.setattr(inlet, "read", hold)
        with MulticastSender(group, port, 0, interface="127.0.0.1") as sender:
            readout = AstroPix4Readout(bytes(60_000), 0)
            sender.send_readout(readout)  # only a socket that has something is read
            assert held.wait(5)
            limit = inlet.memory().limit
            while not inlet.memory().dropped:
                sender.send_readout(readout)
        dropped = inlet.memory().dropped
        assert inlet.memory().queued > limit / 2
        monkeypatch.setattr(inlet, "read", read)
        go_on.set()
        scrape_until(tcp_port, ("kernel_dropped_datagrams_total", "astropix"), dropped)
        ledger = relay.streams[0].core.ledger
        assert ledger.kernel_dropped < dropped, "the ledger waits for the place among the datagrams"


def test_a_second_relay_on_the_host_goes_without(relay, group, port, tcp_port, caplog):
    with running_relay(group, port, metrics={"listen": f"127.0.0.1:{tcp_port}"}) as second:
        assert second.metrics is None
    assert f"no metrics: cannot listen on 127.0.0.1:{tcp_port}" in caplog.text


def test_every_metric_is_explained_and_the_dashboard_knows_them(relay):
    names = {
        family.name
        for family in metrics.metrics(relay.telling.sample())
        if family.name.startswith("astropix_relay_")
    }
    assert len(names) > 25
    text = (ROOT / "docs/operating.md").read_text()
    assert [name for name in sorted(names) if name.removeprefix("astropix_relay_") not in text] == []
    dashboard = json.loads((ROOT / "config/grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for expression in expressions for name in re.findall(r"astropix_relay_\w+", expression)}
    assert {re.sub(r"_(total|bucket|info)$", "", name) for name in used} <= names | {"astropix_relay_build"}
