"""One stream over two ways, on real sockets: whatever one of them does, nothing is missing or doubled."""

import select
import sys
import threading
import time

import pytest

from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.merged import MergedReceiver
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastReceiver
from integration.test_recovery import DATA, running_relay, send
from ports import free_port_pair
from programs import Program

RELAY = (sys.executable, "-m", "astropix_relay", "run", "--interface", "127.0.0.1")


@pytest.fixture
def relays(group, port):
    with running_relay(group, port) as one, running_relay(group, port) as other:
        yield one, other


def endpoints(relays):
    return [relay.publisher.endpoint for relay in relays]


def wait_all_ready(merged):
    for receiver in merged.receivers:
        if isinstance(receiver, RelayReceiver):
            receiver.wait_ready(10)


def test_two_relays_are_one_stream(relays, sender):
    urls = [f"{endpoint}?stream=astropix" for endpoint in endpoints(relays)]
    with open_receiver(AstroPix4Readout, urls, timeout=5) as merged:
        assert isinstance(merged, MergedReceiver)
        wait_all_ready(merged)
        for i in range(500):
            sender.send_readout(AstroPix4Readout(DATA, i))
        assert [merged.receive().readout_id for _ in range(500)] == list(range(500))
        with pytest.raises(ReceiveTimeout):
            merged.receive(timeout=1.5)  # a beat shows the slower one what its small queue lost
        ledger = merged.ledger
        assert (ledger.delivered, ledger.lost, ledger.runs) == (500, 0, 1)
        assert sum(path.first for path in ledger.paths) == sum(path.later for path in ledger.paths) == 500
        assert [path.name for path in ledger.paths] == [f"{one}?stream=astropix" for one in endpoints(relays)]
        assert [path["first"] for path in ledger.to_json()["paths"]] == [path.first for path in ledger.paths]


def test_a_relay_and_multicast_of_which_one_loses(relays, sender, group, port):
    """While nobody reads, the small buffer of the socket overflows; the relay's history has it all."""
    urls = [f"udp://{group}:{port}?interface=127.0.0.1", endpoints(relays)[0]]
    with (
        MulticastReceiver(
            AstroPix4Readout, group, port, interface="127.0.0.1", receive_buffer=200_000
        ) as direct,
        RelayReceiver(AstroPix4Readout, urls[1]) as relayed,
        MergedReceiver(AstroPix4Readout, [direct, relayed], timeout=5) as merged,
    ):
        wait_all_ready(merged)
        send(sender, relays[0], range(20_000))
        ids = [merged.receive().readout_id for _ in range(20_000)]
        assert sorted(ids) == list(range(20_000))
        send(sender, relays[0], range(20_000, 20_100))  # after which the loss on the one path is seen
        assert [merged.receive().readout_id for _ in range(100)] == list(range(20_000, 20_100))
        ledger = merged.ledger
        assert (ledger.delivered, ledger.lost) == (20_100, 0)
        assert ledger.paths[0].ledger.lost_at
        assert ledger.paths[1].ledger.lost == 0
    with open_receiver(AstroPix4Readout, urls, timeout=5) as merged:
        wait_all_ready(merged)
        sender.send_readout(AstroPix4Readout(b"\1", 1))
        assert merged.receive().readout_id == 1


def test_one_path_is_enough(group, port, sender, tcp_port):
    dead = f"tcp://127.0.0.1:{tcp_port}"
    with (
        running_relay(group, port) as relay,
        open_receiver(AstroPix4Readout, [dead, relay.publisher.endpoint], timeout=5) as merged,
    ):
        merged.wait_ready(5)
        assert merged.ready
        for i in range(100):
            sender.send_readout(AstroPix4Readout(b"\1", i))
        assert [merged.receive().readout_id for _ in range(100)] == list(range(100))
    with (
        open_receiver(AstroPix4Readout, [dead]) as merged,
        pytest.raises(ReceiveTimeout, match="no path works: tcp"),
    ):
        merged.wait_ready(0.2)


def test_fileno_wakes_select(relays, sender):
    with open_receiver(AstroPix4Readout, endpoints(relays)) as merged:
        wait_all_ready(merged)
        fd = merged.fileno()
        got = []
        for i in range(1000):
            sender.send_readout(AstroPix4Readout(b"\1", i))
        while len(got) < 1000:
            assert select.select([fd], [], [], 5)[0]
            try:
                got.append(merged.receive(timeout=0).readout_id)
            except ReceiveTimeout:
                continue
        assert got == list(range(1000))


def test_what_cannot_be_opened_leaves_nothing_open(relays):
    with pytest.raises(ConfigError, match="relay: a file is read alone"):
        open_receiver(AstroPix4Readout, [endpoints(relays)[0], "relay"])
    with pytest.raises(ConfigError, match="at least one"):
        open_receiver(AstroPix4Readout, [])


def test_a_relay_receiver_has_one_relay(relays):
    with pytest.raises(TypeError, match=r"one endpoint, not \['tcp.*open_receiver\("):
        RelayReceiver(AstroPix4Readout, endpoints(relays))


def test_each_relay_killed_in_turn_loses_and_doubles_nothing(group, port, sender):
    """A relay that starts again is asked for what it published before the subscriber was back.

    It has 3 s for that: from its start, while the other is there, to the end of the other.
    """
    count, every = 9000, 2000
    commands = [
        (*RELAY, "--group", group, "--port", port, "--publish", f"tcp://127.0.0.1:{base}")
        for base in (free_port_pair(), free_port_pair())
    ]
    relays = [Program(*command) for command in commands]

    def load():
        began = time.monotonic()
        for i in range(count):
            time.sleep(max(0.0, began + i / 1000 - time.monotonic()))
            sender.send_readout(AstroPix4Readout(DATA[:200], i))
            if i % every == every - 1 and i < count - every:
                killed = i // every % 2
                relays[1 - killed].wait_for("publishing")
                relays[killed].close()
                relays[killed] = Program(*commands[killed])

    try:
        urls = [command[-1] for command in commands]
        with open_receiver(AstroPix4Readout, urls, timeout=10) as merged:
            wait_all_ready(merged)
            thread = threading.Thread(target=load)
            thread.start()
            ids = [merged.receive().readout_id for _ in range(count)]
            thread.join()
            # In order as far as a path that comes back had caught up when the other one was killed.
            assert sorted(ids) == list(range(count))
            with pytest.raises(ReceiveTimeout):
                merged.receive(timeout=2)
            ledger = merged.ledger
            assert (ledger.delivered, ledger.lost, ledger.runs) == (count, 0, 1)
            assert ledger.restarts >= 3
    finally:
        for relay in relays:
            relay.close()
