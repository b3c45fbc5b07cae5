"""Losses between a relay and its subscribers, on real sockets: history brings back what it holds."""

import json
import select
import signal
import sys

import pytest

from astropix_relay.configuration.loading import load_config
from astropix_stream.counting.places import Place
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from network.hosts import wait_until
from programs import Program
from relays import running

DATA = bytes(range(1, 251)) * 8  # 2 kB, without a padding byte at its end

CLIENT = """
import json, sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import RelayReceiver

count = int(sys.argv[2])
with RelayReceiver(AstroPix4Readout, sys.argv[1], timeout=20) as receiver:
    receiver.wait_ready()
    print("ready")
    ids = [receiver.receive().readout_id for _ in range(count)]
    print("result", json.dumps([ids == list(range(count)), receiver.ledger.recovered, receiver.ledger.lost]))
"""


def running_relay(group, port, endpoint="tcp://127.0.0.1:0", history="64MiB"):
    """A relay whose queue for a subscriber is as small as it can be."""
    return running(
        load_config(
            f"publish: {{subscriber_queue: 256KiB, endpoint: '{endpoint}'}}\n"
            f"history: {{size: {history}}}\n"
            f"streams: [{{group: {group}, port: {port}, interface: 127.0.0.1}}]\n"
        )
    )


@pytest.fixture
def relay(group, port):
    with running_relay(group, port) as relay:
        yield relay


def send(sender, relay, ids, data=DATA):
    """Send, no faster than the relay takes it: nothing is lost before the relay."""
    core = relay.streams[0].core
    expected = core.sequence
    for i in ids:
        sender.send_readout(AstroPix4Readout(data, i))
        expected += 1
        if expected % 100 == 0 or i == ids[-1]:
            wait_until(lambda: core.sequence == expected)  # noqa: B023


def test_a_stopped_subscriber_comes_back_with_nothing_missing(relay, sender):
    with Program(sys.executable, "-c", CLIENT, relay.publisher.endpoint, 20_001) as client:
        client.wait_for("ready")
        client.send_signal(signal.SIGSTOP)
        send(sender, relay, range(20_000))
        client.send_signal(signal.SIGCONT)
        sender.send_readout(AstroPix4Readout(DATA, 20_000))
        whole, recovered, lost = json.loads(client.wait_for("result").removeprefix("result"))
        assert (whole, lost) == (True, 0)
        assert recovered > 5000


def test_a_program_that_did_not_read_for_a_while_gets_everything(relay, sender):
    with RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=5) as receiver:
        receiver.wait_ready(5)
        for begin in (0, 15_000):
            send(sender, relay, range(begin, begin + 15_000))
            assert [receiver.receive().readout_id for _ in range(15_000)] == list(
                range(begin, begin + 15_000)
            )
        assert receiver.ledger.recovered > 10_000
        assert receiver.ledger.lost == 0


def test_what_history_no_longer_holds_is_counted(group, port, sender):
    with (
        running_relay(group, port, history="1MiB") as relay,
        RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=2) as receiver,
    ):
        receiver.wait_ready(5)
        send(sender, relay, range(60_000))
        ids = [readout.readout_id for readout in receiver]
        ledger = receiver.ledger
        assert ids == sorted(set(ids))
        assert ids[-1] == 59_999
        assert ledger.lost_at == {Place.RELAY_TO_CLIENT: 60_000 - len(ids)}
        assert ledger.delivered == len(ids)


def test_without_recovery_everything_that_was_lost_is_counted(relay, sender):
    with RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=2, recover=False) as receiver:
        receiver.wait_ready(5)
        send(sender, relay, range(15_000))
        ids = [readout.readout_id for readout in receiver]
        assert receiver.ledger.lost_at == {Place.RELAY_TO_CLIENT: 15_000 - len(ids)}
        assert receiver.ledger.recovered == 0


@pytest.mark.parametrize(("start", "first"), [("live", 5000), ("oldest", 0), (10, 4990)])
def test_a_late_joiner_begins_where_it_wants(relay, sender, start, first):
    send(sender, relay, range(5000))
    with RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, timeout=5, start=start) as receiver:
        receiver.wait_ready(5)
        sender.send_readout(AstroPix4Readout(DATA, 5000))
        assert [receiver.receive().readout_id for _ in range(first, 5001)] == list(range(first, 5001))
        assert receiver.ledger.before_joining == first
        assert receiver.ledger.lost == 0


def test_fileno_wakes_select_for_what_history_brings(relay, sender):
    with RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, start="oldest") as receiver:
        receiver.wait_ready(5)
        fd = receiver.fileno()
        send(sender, relay, range(15_000))
        got = []
        while len(got) < 15_000:
            assert select.select([fd], [], [], 3)[0], "select missed what is there"
            try:
                got.append(receiver.receive(timeout=0).readout_id)
            except ReceiveTimeout:
                continue
        assert got == list(range(15_000))
        assert receiver.ledger.recovered > 0


def test_a_restarted_relay_is_asked_for_what_it_published_before_we_were_back(group, port, sender, tcp_port):
    endpoint = f"tcp://127.0.0.1:{tcp_port}"
    with RelayReceiver(AstroPix4Readout, endpoint, timeout=10) as receiver:
        with running_relay(group, port, endpoint) as relay:
            receiver.wait_ready(10)
            send(sender, relay, range(100))
            assert [receiver.receive().readout_id for _ in range(100)] == list(range(100))
        with running_relay(group, port, endpoint) as relay:
            send(sender, relay, range(100, 200))  # long before the subscriber has connected again
            assert [receiver.receive().readout_id for _ in range(100)] == list(range(100, 200))
        assert (receiver.ledger.restarts, receiver.ledger.lost) == (1, 0)
        assert receiver.ledger.recovered > 0
