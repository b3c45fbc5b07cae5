"""The relay and its subscribers on real sockets, on the loopback interface."""

import json
import select
import struct
import sys
import time
from contextlib import ExitStack

import pytest
import zmq

from astropix_relay.configuration.loading import default_config
from astropix_relay.configuration.model import StreamConfig
from astropix_stream import wire
from astropix_stream.errors import ClosedError, ConfigError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from programs import Program
from relays import running

RELAY = (sys.executable, "-m", "astropix_relay", "run", "--interface", "127.0.0.1")


def running_relay(group, port, endpoint="tcp://127.0.0.1:0"):
    return running(default_config(group=group, port=port, interface="127.0.0.1", publish=endpoint))


@pytest.fixture
def relay(group, port):
    with running_relay(group, port) as relay:
        yield relay


@pytest.fixture
def endpoint(relay):
    return relay.publisher.endpoint


def readout(i, data=b"\xbc\x01"):
    return AstroPix4Readout(data, i)


def test_every_readout_arrives_once_and_in_order(endpoint, sender):
    with RelayReceiver(AstroPix4Readout, endpoint, "astropix", timeout=5) as receiver:
        receiver.wait_ready(5)
        sent = [readout(i, bytes([i % 255]) * (i % 90)) for i in range(2000)]
        for each in sent:
            sender.send_readout(each)
        assert [receiver.receive() for _ in sent] == sent
        assert receiver.ledger.delivered == 2000
        assert receiver.ledger.lost == 0


def test_readouts_of_many_streams_each_arrive_once_and_in_order(group, port):
    """Some wait alone in their sockets, some do not: both ways of reading them are taken."""
    groups = {f"s{i}": f"{group.rpartition('.')[0]}.{i}" for i in range(1, 21)}
    streams = [
        StreamConfig(name=name, group=each, port=port, interface="127.0.0.1") for name, each in groups.items()
    ]
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    with running(config.model_copy(update={"streams": tuple(streams)})) as relay, ExitStack() as opened:
        passed = []
        pass_ones = relay._pass_ones

        def counting(*arguments):
            passed.append(pass_ones(*arguments))
            return passed[-1]

        relay._pass_ones = counting
        senders = [
            opened.enter_context(MulticastSender(each, port, 0, interface="127.0.0.1"))
            for each in groups.values()
        ]
        receivers = [
            opened.enter_context(RelayReceiver(AstroPix4Readout, relay.publisher.endpoint, name, timeout=5))
            for name in groups
        ]
        for receiver in receivers:
            receiver.wait_ready(5)
        for i in range(60):
            for n, sender in enumerate(senders):
                sender.send_readout(readout(i, bytes([n])))
                if i < 20:
                    time.sleep(0.0005)  # paces a load; nothing waits for it
        for n, receiver in enumerate(receivers):
            got = [receiver.receive() for _ in range(60)]
            assert [(each.readout_id, each.data()) for each in got] == [(i, bytes([n])) for i in range(60)]
            assert receiver.ledger.lost == 0
        assert max(passed) > 1


def test_history_has_what_is_out(relay, endpoint, sender):
    """What was just published is counted and remembered later, but before anybody is told of it."""
    with RelayReceiver(AstroPix4Readout, endpoint, "astropix", timeout=5) as live, zmq.Context() as context:
        live.wait_ready(5)
        with context.socket(zmq.DEALER) as dealer:
            dealer.rcvtimeo = 5000
            dealer.connect(relay.archive.endpoint)
            for i in range(30):
                sender.send_readout(readout(i))
                assert live.receive().readout_id == i
                dealer.send(wire.pack_request(wire.Request(wire.Ask.LATEST, i, 0, 1, 0, "astropix")))
                assert wire.parse_answer(dealer.recv_multipart()[0]).next == i + 1


def test_nothing_after_ready_is_missed(endpoint, sender):
    """What is published right after a mere connection does not arrive; what follows the first beat does."""
    for i in range(20):
        with RelayReceiver(AstroPix4Readout, endpoint, "astropix", timeout=5) as receiver:
            receiver.wait_ready(5)
            sender.send_readout(readout(i))
            assert receiver.receive().readout_id == i


def test_a_monitor_moves_from_multicast_to_the_relay_by_its_url(endpoint, sender, group, port):
    urls = [f"udp://{group}:{port}?interface=127.0.0.1", f"{endpoint}?stream=astropix", endpoint]
    receivers = [open_receiver(AstroPix4Readout, url, timeout=5) for url in urls]
    try:
        for receiver in receivers[1:]:
            receiver.wait_ready(5)
        for i in range(10):
            sender.send_readout(readout(i))
        for receiver in receivers:
            assert [receiver.receive().readout_id for _ in range(10)] == list(range(10))
    finally:
        for receiver in receivers:
            receiver.close()


def test_plain_zeromq_sees_what_the_document_says(endpoint, sender):
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.rcvtimeo = 5000
        sub.subscribe(b"apx/")
        sub.connect(endpoint)
        hello = wire.parse_hello(sub.recv_multipart()[0])
        assert hello.streams == {"astropix": 4000}
        topic, header, payload = sub.recv_multipart()
        assert topic == b"apx/astropix/beat"
        assert json.loads(payload)["joined"] is True
        sent = readout(5).to_bytes()
        sender.send_data(sent)
        while topic != b"apx/astropix/data":
            topic, header, payload = sub.recv_multipart()
        assert payload == sent
        magic, version, flags, count, relay_id, sequence, _ = struct.unpack_from("<4sBBHQQQ", header)
        assert (magic, version, flags, count, sequence) == (b"APXR", 1, 0, 1, 0)
        assert relay_id == hello.relay_id
        assert header[32:48].hex() == "00000000000000000000ffff7f000001"


def test_a_beat_a_second_without_any_readout(endpoint):
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.rcvtimeo = 3000
        sub.subscribe(b"apx/astropix/beat")
        sub.connect(endpoint)
        times = []
        for _ in range(3):
            sub.recv_multipart()
            times.append(time.monotonic())
        assert times[2] - times[1] < 1.5


def test_broken_datagrams_are_counted_and_everything_else_goes_on(endpoint, sender):
    with RelayReceiver(AstroPix4Readout, endpoint, timeout=5) as receiver:
        receiver.wait_ready(5)
        for junk in (b"", b"hello", b"\xfe\xdc\xba" + bytes(40), readout(0).to_bytes() + b"!"):
            sender.send_data(junk)
        sender.send_readout(readout(1))
        assert receiver.receive().readout_id == 1
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=1.5)  # until the next beat
        assert receiver.report["rejected"] == {"short": 2, "length": 2}


def test_a_relay_that_restarts_is_seen_as_that(group, port, sender, tcp_port):
    endpoint = f"tcp://127.0.0.1:{tcp_port}"
    with RelayReceiver(AstroPix4Readout, endpoint, "astropix", timeout=10) as receiver:
        for start in (0, 100):
            with running_relay(group, port, endpoint):
                while receiver.ledger.restarts < (start > 0):
                    with pytest.raises(ReceiveTimeout):
                        receiver.receive(timeout=0.1)
                receiver.wait_ready(10)
                for i in range(start, start + 100):
                    sender.send_readout(readout(i))
                assert [receiver.receive().readout_id for _ in range(100)] == list(range(start, start + 100))
        assert receiver.ledger.restarts == 1
        assert receiver.ledger.lost == 0


def test_what_a_stopped_subscriber_misses_is_counted_even_at_the_tail(endpoint, sender, monkeypatch):
    """Two small queues overflow while nobody reads; the beat afterwards shows how much went."""
    monkeypatch.setattr("astropix_stream.relay.connection._QUEUE_MESSAGES", 1)
    with RelayReceiver(AstroPix4Readout, endpoint, timeout=3) as receiver:
        receiver.wait_ready(5)
        big = bytes(60_000)
        for i in range(2000):
            sender.send_readout(readout(i, big + b"\1"))
            time.sleep(0.0005)
        ids = [each.readout_id for each in receiver]
        ledger = receiver.ledger
        assert ids == sorted(set(ids))
        assert len(ids) < 2000
        assert ledger.delivered == len(ids)
        assert ledger.delivered + ledger.lost == 2000


def test_fileno_wakes_select_for_what_is_buffered(endpoint, sender):
    with RelayReceiver(AstroPix4Readout, endpoint) as receiver:
        receiver.wait_ready(5)
        fd = receiver.fileno()
        for i in range(500):
            sender.send_readout(readout(i))
        got = []
        while len(got) < 500:
            assert select.select([fd], [], [], 5)[0], "select missed what is buffered"
            try:
                got.append(receiver.receive(timeout=0).readout_id)
            except ReceiveTimeout:
                continue
        assert got == list(range(500))


def test_silence_names_its_cause(endpoint, tcp_port):
    with (
        RelayReceiver(AstroPix4Readout, endpoint, "nosuch") as receiver,
        pytest.raises(ReceiveTimeout, match="the relay has no stream 'nosuch'; it has: astropix"),
    ):
        receiver.wait_ready(1)
    with (
        RelayReceiver(AstroPix4Readout, f"tcp://127.0.0.1:{tcp_port}", "astropix") as receiver,
        pytest.raises(ReceiveTimeout, match="nothing answers there"),
    ):
        receiver.wait_ready(0.3)


def test_wrong_use_has_clear_errors(endpoint):
    with pytest.raises(ConfigError, match="is not tcp://HOST:PORT"):
        RelayReceiver(AstroPix4Readout, "relay:5556")
    with pytest.raises(ConfigError, match="cannot be a stream's name"):
        RelayReceiver(AstroPix4Readout, endpoint, "Not a name")
    receiver = RelayReceiver(AstroPix4Readout, endpoint)
    receiver.close()
    receiver.close()
    with pytest.raises(ClosedError):
        receiver.receive()


def test_a_relay_that_is_not_heard_for_5_seconds_is_connected_to_again(
    group, port, sender, tcp_port, monkeypatch
):
    monkeypatch.setattr("astropix_stream.relay.connection.LOST_AFTER_S", 1.5)
    endpoint = f"tcp://127.0.0.1:{tcp_port}"
    with running_relay(group, port, endpoint):
        receiver = RelayReceiver(AstroPix4Readout, endpoint, timeout=5)
        receiver.wait_ready(5)
        assert receiver.connected
    with receiver:
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=2)
        assert not receiver.connected
        with running_relay(group, port, endpoint):
            while not receiver.connected:
                with pytest.raises(ReceiveTimeout):
                    receiver.receive(timeout=0.1)
            sender.send_readout(readout(7))
            assert receiver.receive().readout_id == 7


class TestCommand:
    def test_stops_when_asked_and_publishes_what_waits(self, group, port, tcp_port):
        options = ("--group", group, "--port", port, "--publish", f"tcp://127.0.0.1:{tcp_port}")
        with Program(*RELAY, *options) as relay:
            relay.wait_for("publishing")
            with (
                RelayReceiver(AstroPix4Readout, f"tcp://127.0.0.1:{tcp_port}", timeout=5) as receiver,
                MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
            ):
                receiver.wait_ready(5)
                for i in range(1000):
                    sender.send_readout(readout(i))
                assert relay.stop() == 0
                assert [receiver.receive().readout_id for _ in range(1000)] == list(range(1000))

    def test_says_in_one_line_why_it_cannot_start(self, relay, endpoint):
        with Program(*RELAY, "--publish", endpoint) as second:
            assert second.wait() == 1
            last = second.stderr.splitlines()[-1]
            assert last.startswith("cannot ")
            assert f"on {endpoint}: address already in use" in last or "history" in last
            assert "Traceback" not in second.stderr

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--port", "99999"), "--port: 99999 is too large"),
            (("--config", "/nowhere.yaml"), "cannot read /nowhere.yaml: No such file"),
            (("--group", "239.1.1"), "--group: "),
        ],
    )
    def test_wrong_options_are_one_line(self, options, words):
        with Program(*RELAY, *options) as relay:
            assert relay.wait() == 2
            assert words in relay.stderr
            assert len(relay.stderr.splitlines()) == 1
