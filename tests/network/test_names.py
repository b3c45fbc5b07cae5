"""A relay by name, over IPv6 and IPv4; groups and interfaces in any spelling; the doctor says the same."""

import contextlib
import select
import sys

import pytest

from astropix_stream.doctor import examination
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastReceiver, MulticastSender
from astropix_stream.url import parse_url

PORT = 25707


@pytest.fixture
def hosts(lab):
    relay, monitor = lab.hosts("relay", "monitor")
    lab.lan(relay, monitor)
    return relay, monitor


@pytest.fixture
def named(hosts, monkeypatch):
    """Names as /etc/hosts would give them: of one family, of both, and some that lead nowhere."""
    relay, _ = hosts
    table = {
        "relay4": (relay.address,),
        "relay6": (relay.address6,),
        "both": (relay.address6, relay.address),
        "reverse": (relay.address, relay.address6),
        "far": ("fd00:1::99", "10.0.1.99", relay.address6, relay.address),
    }
    monkeypatch.setattr("astropix_stream.names.resolve", lambda host: table.get(host, ()))
    return table


@contextlib.contextmanager
def relay_on(host, endpoint, *more):
    argv = (
        sys.executable,
        "-m",
        "astropix_relay",
        "run",
        "--interface",
        "eth0",
        "--publish",
        endpoint,
        *more,
    )
    with host.start(*argv) as program:
        program.line = program.wait_for("publishing on")
        yield program
        assert program.stop() == 0


def receives(host, url):
    """Whether a receiver gets as far as a beat; and history, by the same way."""
    with host.inside(), RelayReceiver(AstroPix4Readout, url) as receiver:
        try:
            receiver.wait_ready(2.5)
        except ReceiveTimeout:
            return False
        return True


def diagnosis(host, url):
    with host.inside():
        return [verdict for verdict in examination.examine_relay(parse_url(url)) if verdict.is_wrong]


NAMES = ("relay4", "relay6", "both", "reverse")


@pytest.mark.parametrize(
    ("listens_on", "reached"),
    [
        ("tcp://*:25707", {"relay4", "relay6", "both", "reverse"}),
        ("tcp://[::]:25707", {"relay4", "relay6", "both", "reverse"}),
        ("tcp://0.0.0.0:25707", {"relay4", "both", "reverse"}),
        ("tcp://[fd00:1::1]:25707", {"relay6", "both", "reverse"}),
    ],
)
def test_each_address_of_a_name_is_tried_and_the_doctor_agrees(hosts, named, listens_on, reached):
    relay, monitor = hosts
    with relay_on(relay, listens_on) as program:
        assert ("IPv6 and IPv4" in program.line) == (listens_on in ("tcp://*:25707", "tcp://[::]:25707"))
        found = {name for name in NAMES if receives(monitor, f"tcp://{name}:{PORT}")}
        healthy = {name for name in NAMES if not [
            verdict for verdict in diagnosis(monitor, f"tcp://{name}:{PORT}")
            if verdict.fault in ("nothing-listens", "no-answer", "not-a-relay", "no-hello")
        ]}  # fmt: skip
        assert found == healthy == reached


def test_another_program_at_the_first_address_is_passed_by(hosts, named):
    relay, monitor = hosts
    server = (
        "import socket\n"
        f"s = socket.create_server(('{relay.address6}', {PORT}), family=socket.AF_INET6)\n"
        "print('ready', flush=True)\n"
        "while True: s.accept()[0].close()"
    )
    with relay.start_python(server) as other, relay_on(relay, f"tcp://{relay.address}:{PORT}"):
        other.wait_for("ready")
        assert receives(monitor, f"tcp://both:{PORT}")
        assert not [v for v in diagnosis(monitor, f"tcp://both:{PORT}") if v.fault == "not-a-relay"]


def test_a_relay_that_comes_back_on_the_other_family_is_found_and_asked_for_history(hosts, named):
    """Also by a program that only waits for the descriptor it was given."""
    relay, monitor = hosts
    with monitor.inside():
        receiver = RelayReceiver(AstroPix4Readout, f"tcp://both:{PORT}", start="oldest")
        fileno = receiver.fileno()

    def read(until):
        with monitor.inside():
            for _ in range(200):
                select.select([fileno], [], [], 0.1)
                with contextlib.suppress(ReceiveTimeout):
                    receiver.receive(timeout=0)
                if until():
                    return
        raise AssertionError(receiver._trouble())

    with receiver:
        with relay_on(relay, f"tcp://{relay.address}:{PORT}"):
            read(lambda: receiver.ready)
        with relay_on(relay, f"tcp://[{relay.address6}]:{PORT}"):
            with monitor.inside(), MulticastSender(interface="eth0") as sender:
                for i in range(5):
                    sender.send_readout(AstroPix4Readout(b"\xbc\x01", i))
            read(lambda: receiver.ledger.restarts and receiver.ledger.delivered == 5)


def test_addresses_that_do_not_answer_are_passed_by(hosts, named):
    relay, monitor = hosts
    with (
        relay_on(relay, f"tcp://{relay.address}:{PORT}"),
        monitor.inside(),
        RelayReceiver(AstroPix4Readout, f"tcp://far:{PORT}") as receiver,
    ):
        receiver.wait_ready(15)


@pytest.mark.parametrize("name", ["relay4", "both"])
def test_any_number_of_connections_that_came_to_nothing_are_outlived(hosts, named, name, monkeypatch):
    """What ZeroMQ tells of the end of each must not hold up its thread."""
    monkeypatch.setattr("astropix_stream.relay.connection.LOST_AFTER_S", 0.3)
    monkeypatch.setattr("astropix_stream.relay.connection._CONNECT_MS", 100)
    relay, monitor = hosts
    with relay_on(relay, "tcp://*:25707"):
        monitor.nft(
            "add table inet t; add chain inet t in { type filter hook input priority 0; policy drop; }"
        )
        with monitor.inside(), RelayReceiver(AstroPix4Readout, f"tcp://{name}:{PORT}") as receiver:
            sockets = []
            while len(sockets) < 6:
                if receiver._connection.socket not in sockets:
                    sockets.append(receiver._connection.socket)
                with contextlib.suppress(ReceiveTimeout):
                    receiver.receive(timeout=0.1)
            monkeypatch.undo()
            monitor.nft("delete table inet t")
            receiver.wait_ready(10)


def test_an_unknown_name_is_said_and_found_once_it_is_known(hosts, named, monkeypatch):
    relay, monitor = hosts
    monkeypatch.setattr("astropix_stream.names._ASK_AGAIN_S", 0.1)
    with (
        relay_on(relay, "tcp://*:25707"),
        monitor.inside(),
        RelayReceiver(AstroPix4Readout, f"tcp://later:{PORT}") as receiver,
    ):
        with pytest.raises(ReceiveTimeout, match="no address is known for the name 'later'"):
            receiver.wait_ready(0.5)
        named["later"] = named["both"]
        receiver.wait_ready(5)


def test_metrics_listen_on_both(hosts, tmp_path):
    relay, monitor = hosts
    path = tmp_path / "relay.yaml"
    path.write_text(
        "metrics: {listen: '*:9108'}\npublish: {endpoint: 'tcp://*:25707'}\nstreams: [{interface: eth0}]\n"
    )
    with relay.start(sys.executable, "-m", "astropix_relay", "run", "--config", path) as program:
        program.wait_for("publishing on")
        code = (
            "import sys, urllib.request\n"
            "for host in sys.argv[1:]: print(urllib.request.urlopen(f'http://{host}:9108/metrics').status)"
        )
        assert monitor.python(code, relay.address, f"[{relay.address6}]").split() == ["200", "200"]
        assert program.stop() == 0


@pytest.mark.parametrize("group", ["FF02::7", "ff02:0::7", "ff15:0:0::7", "FF15::7"])
def test_a_group_in_any_spelling(hosts, group):
    daq, monitor = hosts
    with (
        monitor.inside(),
        MulticastReceiver(AstroPix4Readout, group, 5007, interface="eth0", timeout=5) as receiver,
    ):
        assert receiver.connected
        assert receiver.address()[0] == group.lower().replace(":0:0::", "::").replace(":0::", "::")
        with daq.inside(), MulticastSender(group, 5007, interface="eth0") as sender:
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", 1))
        assert receiver.receive().readout_id == 1
        url = parse_url(f"udp://[{group}]:5007?interface=eth0")
        facts = examination.read_group(url, 0.3)
        assert facts.listening.is_listed
        assert [owner for owner in facts.owners if owner.address == receiver.address()[0]]
        wrong = [v.fault for v in examination.judge_group(facts) if v.is_wrong]
        assert not {"not-a-member", "no-route", "cannot-join"} & set(wrong)


@pytest.mark.parametrize("name", ["eth0", "daq0", "the-network-of-the-detector", "eth0:daq", "10.0.1.102"])
def test_the_doctor_takes_every_name_that_a_receiver_takes(hosts, name):
    _, monitor = hosts
    monitor.ip("link property add dev eth0 altname daq0 altname the-network-of-the-detector")
    monitor.ip("address add 10.0.1.102/24 dev eth0 label eth0:daq")
    with monitor.inside():
        with MulticastReceiver(AstroPix4Readout, interface=name) as receiver:
            assert receiver.connected
        facts = examination.read_group(parse_url(f"udp://239.1.1.1:5007?interface={name}"), 0.3)
        assert facts.interface == "eth0"
        wrong = [v.fault for v in examination.judge_group(facts) if v.is_wrong]
        assert not {"no-route", "no-interface"} & set(wrong)


def test_the_relay_takes_them_too(hosts):
    relay, _ = hosts
    relay.ip("link property add dev eth0 altname the-network-of-the-detector")
    relay.ip("address add 10.0.1.102/24 dev eth0 label eth0:daq")
    for name in ("the-network-of-the-detector", "eth0:daq"):
        argv = (sys.executable, "-m", "astropix_relay", "run", "--interface", name)
        with relay.start(*argv) as program:
            assert "eth0" in program.wait_for("receiving 239.1.1.1:5007 on")
            program.wait_for("publishing on")
            assert program.stop() == 0
