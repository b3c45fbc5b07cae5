"""The programs in examples/ with a real relay, encrypted, killed and started again, and with each other."""

import json
import signal
import sys
import time

import pytest
import yaml

import examples
from astropix_relay.configuration.loading import load_config
from astropix_stream import keys
from astropix_stream.fmt import AstroPix4Readout
from examples import EXAMPLES, SUBSCRIBERS
from integration.test_relay import running_relay
from ports import free_port_pair
from programs import Program
from relays import running

RATE = 500  # readouts per second
MONITORS = ("monitor.py", "asyncio_monitor.py")


@pytest.fixture(scope="module", params=SUBSCRIBERS)
def command(request, tmp_path_factory):
    try:
        return SUBSCRIBERS[request.param](tmp_path_factory.mktemp(request.param))
    except examples.Missing as error:
        examples.skip_or_fail(error)


@pytest.fixture
def files(tmp_path):
    """Keys of an encrypted relay and of a client on its list."""
    for name in ("relay", "client"):
        keys.write_pair(tmp_path, name)
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients/client.key").write_bytes((tmp_path / "client.key").read_bytes())
    return tmp_path


@pytest.fixture
def configuration(files, group, port):
    path, tcp_port = files / "relay.yaml", free_port_pair()
    value = {
        "streams": [{"name": "astropix", "group": group, "port": port, "interface": "127.0.0.1"}],
        "publish": {"endpoint": f"tcp://127.0.0.1:{tcp_port}"},
        "security": {"client_keys": str(files / "clients"), "secret_key": str(files / "relay.key_secret")},
        "metrics": {"listen": None},
    }
    path.write_text(yaml.safe_dump(value))
    return path, f"tcp://127.0.0.1:{tcp_port}"


def relay(path):
    return Program(sys.executable, "-m", "astropix_relay", "run", "--config", path)


def reports(program):
    lines = [line for line in program.stdout.splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in lines]


def wait_until(condition, program, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not (program.stdout and condition(reports(program)[-1])):
        assert time.monotonic() < deadline, str(program)[-3000:]
        assert program.process.poll() is None, program
        time.sleep(0.05)
    return reports(program)[-1]


class Daq:
    """Multicasts readouts with ids that go on, a given number at a given rate."""

    def __init__(self, sender):
        self.sender, self.next_id = sender, 0

    def send(self, count):
        for _ in range(count):
            self.sender.send_readout(AstroPix4Readout(b"\xbc\x01", self.next_id))
            self.next_id += 1
            time.sleep(1 / RATE)


def test_every_readout_is_accounted_for_over_a_killed_relay_with_encryption(
    command, configuration, files, sender
):
    path, endpoint = configuration
    daq = Daq(sender)
    with relay(path) as first:
        first.wait_for("publishing on")
        keys_of = (files / "relay.key", files / "client.key_secret")
        with Program(*command, endpoint, "astropix", *keys_of) as subscriber:
            while not (subscriber.stdout and reports(subscriber)[-1]["count"]):
                daq.send(1)  # what is published before the subscription works does not arrive
                assert daq.next_id < 20 * RATE, subscriber
            daq.send(300)
            wait_until(lambda report: report["delivered"][-1] == daq.next_id - 1, subscriber)
            first_id = reports(subscriber)[-1]["delivered"][0]
            first.stop(signal.SIGKILL)
            daq.send(150)  # to nobody
            with relay(path) as second:
                second.wait_for("publishing on")
                daq.send(500)  # the first of them before the subscriber is back: history has them
                sent = daq.next_id - first_id

                def accounted(report):
                    return report["count"] + sum(report["lost"].values()) == sent

                report = wait_until(
                    lambda report: report["delivered"][-1] == daq.next_id - 1 and accounted(report),
                    subscriber,
                )
            assert report["restarts"] == 1
            assert report["lost"]["relay_to_client"] == 0  # the new relay's history had what was missed
            assert report["lost"]["before_socket"] >= 150
            assert not subscriber.stderr


def test_what_a_relay_compresses_is_read(command, group, port, sender):
    """Without history, which would bring what a subscriber cannot unpack."""
    config = load_config(
        f"streams: [{{group: {group}, port: {port}, interface: 127.0.0.1}}]\n"
        "publish: {endpoint: 'tcp://127.0.0.1:0'}\nhistory: {size: 0}\nmetrics: {listen: null}"
    )
    with running(config) as relaying:
        with Program(*command, "--zstd", relaying.publisher.endpoint, "astropix") as subscriber:
            deadline = time.monotonic() + 15
            while b"apxz/astropix/data" not in relaying._lines._lines.get("astropix", {}):
                assert time.monotonic() < deadline, subscriber
                time.sleep(0.02)
            for i in range(600):
                sender.send_readout(AstroPix4Readout(bytes([i % 7]) * (i % 300), i))
                time.sleep(1e-3 if i % 20 == 0 else 0)
            report = wait_until(lambda report: report["count"] == 600, subscriber)
            assert sum(report["lost"].values()) == 0
            assert not subscriber.stderr


def test_a_client_that_is_not_on_the_list_gets_nothing(command, configuration, files, sender):
    path, endpoint = configuration
    keys.write_pair(files, "mallory")
    with relay(path) as running:
        running.wait_for("publishing on")
        with Program(
            *command, endpoint, "astropix", files / "relay.key", files / "mallory.key_secret"
        ) as mallory:
            running.wait_for("refused a client")
            Daq(sender).send(50)
            assert reports(mallory) == [] or reports(mallory)[-1]["count"] == 0


@pytest.mark.parametrize("name", MONITORS)
@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_the_daq_and_the_monitors(way, name, group, port):
    send = (EXAMPLES / "daq.py", "--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
    with running_relay(group, port) as relaying:
        direct = f"udp://{group}:{port}?interface=127.0.0.1"
        url = direct if way == "udp" else relaying.publisher.endpoint
        with (
            Program(sys.executable, EXAMPLES / name, url) as monitor,
            Program(sys.executable, *send, "--rate", 300) as daq,
        ):
            assert "chip" in monitor.wait_for("{'chip")
            assert daq.stop(signal.SIGINT) == 0
            assert int(daq.stdout.split()[1]) > 100
            assert monitor.stop(signal.SIGINT) == 0
            assert "readouts received, nothing lost of" in monitor.stdout
            assert (daq.stderr, monitor.stderr) == ("", "")


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_says_what_is_wrong_in_one_line(name):
    with Program(sys.executable, EXAMPLES / name, "239.1.1.1") as monitor:
        assert monitor.wait() == 1
        assert monitor.stderr.startswith(f"{name}: ")
        assert monitor.stderr.count("\n") == 1
