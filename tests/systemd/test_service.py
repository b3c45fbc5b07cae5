"""The relay as a service: installed, started, reloaded, killed, hung, stopped by a real systemd."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from programs import Program
from systemd.container import Container, Unit, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

PYTHON = "/opt/astropix-relay/current/bin/python"
CONFIG = "/etc/astropix-relay/test.yaml"
ENDPOINT = "tcp://127.0.0.1:5556"

CONFIGURATION = """
streams:
  - {name: first, group: 239.1.1.1, port: 5007, interface: lo}
"""
SECOND_STREAM = """\
  - {name: second, group: 239.1.1.2, port: 5007, interface: lo}
"""

DROP_IN = """
[Service]
WatchdogSec=2
TimeoutAbortSec=1
Environment=PYTHONPATH=/run/faults
"""

# Loaded by the service's Python before anything else, so that the daemon needs no hook to be hung.
HANG_ON_SIGUSR1 = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
"""

# Readouts from argv[1] on, argv[2] of them, 100 a second, to the group argv[3].
SENDER = """
import sys, time
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender
first, count = int(sys.argv[1]), int(sys.argv[2])
with MulticastSender(group=sys.argv[3], interface="lo") as sender:
    for number in range(first, first + count):
        sender.send_readout(AstroPix4Readout(b"data", number))
        time.sleep(0.01)
"""

SUBSCRIBER = """
import sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import RelayReceiver
with RelayReceiver(AstroPix4Readout, sys.argv[1], sys.argv[2]) as receiver:
    receiver.wait_ready(10)
    print("ready", flush=True)
    for readout in receiver:
        print("got", readout.readout_id, flush=True)
"""


@pytest.fixture
def relay(installed: Container) -> Iterator[Unit]:
    unit = Unit(installed, "astropix-relay@test.service")
    installed.write(CONFIG, CONFIGURATION)
    installed.write("/run/faults/sitecustomize.py", HANG_ON_SIGUSR1)
    unit.configure("test", DROP_IN)
    unit.systemctl("start")
    yield unit
    unit.remove()


def send(container: Container, *, first: int = 0, count: int, group: str = "239.1.1.1") -> Program:
    return Program(*container.command(PYTHON, "-c", SENDER, str(first), str(count), group))


@contextmanager
def subscribed(container: Container, stream: str = "first") -> Iterator[Program]:
    with Program(*container.command(PYTHON, "-c", SUBSCRIBER, ENDPOINT, stream)) as subscriber:
        subscriber.wait_for("ready")
        yield subscriber


def received(subscriber: Program) -> list[int]:
    return [int(line.split()[1]) for line in subscriber.stdout.splitlines() if line.startswith("got ")]


def assert_relays(container: Container, stream: str = "first", group: str = "239.1.1.1") -> None:
    with subscribed(container, stream) as subscriber, send(container, count=3, group=group) as sender:
        assert sender.wait() == 0
        subscriber.wait_for("got 2")
        assert received(subscriber) == [0, 1, 2]


def restarted(relay: Unit) -> bool:
    return (relay.show("NRestarts"), relay.show("ActiveState")) == ("1", "active")


def test_start_is_ready_and_relays(relay: Unit) -> None:
    assert relay.show("ActiveState") == "active"
    assert_relays(relay.container)


def test_status_tells_rate_subscribers_and_membership(relay: Unit) -> None:
    wanted = r"(?=.*\b\d\d+ readouts/s)(?=.*\b[1-9] subscri)(?=.*\blo\b)"
    with subscribed(relay.container), send(relay.container, count=300):
        wait_until(lambda: re.match(wanted, relay.show("StatusText")))


def test_the_journal_has_priorities(relay: Unit) -> None:
    relay.container.write(CONFIG, CONFIGURATION.replace("239.1.1.1", "127.0.0.1"))
    relay.systemctl("restart")
    relay.container.run("journalctl", "--sync")
    warnings = ("journalctl", f"--unit={relay.name}", "--output=cat", "--priority=warning..warning")
    lines = relay.container.run(*warnings).stdout.splitlines()
    assert any("streams[0].group" in line for line in lines)
    assert not any(line.startswith("<") for line in relay.journal())


def test_a_good_reload_takes_up_a_stream_and_disturbs_no_other(relay: Unit) -> None:
    pid = relay.show("MainPID")
    with subscribed(relay.container) as subscriber, send(relay.container, count=200) as sender:
        subscriber.wait_for("got 50")
        relay.container.write(CONFIG, CONFIGURATION + SECOND_STREAM)
        relay.systemctl("reload")
        assert_relays(relay.container, "second", "239.1.1.2")
        assert sender.wait() == 0
        subscriber.wait_for("got 199")
        assert received(subscriber) == list(range(200))
    assert relay.show("MainPID") == pid


def test_a_bad_reload_fails_and_the_old_configuration_stays(relay: Unit) -> None:
    pid = relay.show("MainPID")
    relay.container.write(CONFIG, CONFIGURATION.replace("port:", "prot:"))
    assert relay.systemctl("reload", check=False).returncode
    assert any("did you mean 'port'?" in line for line in relay.journal())
    assert (relay.show("ActiveState"), relay.show("MainPID")) == ("active", pid)
    assert_relays(relay.container)


def test_after_kill_9_it_is_back_and_nothing_in_the_sockets_is_lost(relay: Unit) -> None:
    with subscribed(relay.container) as subscriber, send(relay.container, count=500) as sender:
        subscriber.wait_for("got 50")
        relay.systemctl("kill", "--signal=KILL", "--kill-who=main")
        assert sender.wait() == 0
        subscriber.wait_for("got 499")
        # What was read and not yet delivered dies with the process: at 100 Hz that is one readout.
        assert len(set(received(subscriber))) >= 499
    assert restarted(relay)


def test_a_restart_loses_no_readout(relay: Unit) -> None:
    with subscribed(relay.container) as subscriber, send(relay.container, count=500) as sender:
        subscriber.wait_for("got 50")
        relay.systemctl("restart")
        assert sender.wait() == 0
        subscriber.wait_for("got 499")
        assert sorted(set(received(subscriber))) == list(range(500))


@pytest.mark.parametrize("signal", ["USR1", "STOP"])
def test_the_watchdog_catches_a_hang(relay: Unit, signal: str) -> None:
    before = time.monotonic()
    relay.systemctl("kill", f"--signal={signal}", "--kill-who=main")
    wait_until(lambda: restarted(relay))
    # WatchdogSec, TimeoutAbortSec and RestartSec, and two seconds for the start.
    assert time.monotonic() - before < 2 + 1 + 2 + 2
    assert any("Watchdog timeout" in line for line in relay.journal())
    assert_relays(relay.container)


def test_stop_takes_less_than_a_second(relay: Unit) -> None:
    with subscribed(relay.container):
        before = time.monotonic()
        relay.systemctl("stop")
        assert time.monotonic() - before < 1
    assert relay.show("Result") == "success"


def test_a_transient_relay_needs_no_unit(installed: Container) -> None:
    options = ("--unit=transient", "--service-type=notify", "-p", "DynamicUser=yes", "-p", "WatchdogSec=20")
    relay = (
        "/opt/astropix-relay/current/bin/astropix-relay",
        "run",
        "--group",
        "239.1.1.1",
        "--publish",
        ENDPOINT,
    )
    installed.run("systemd-run", *options, *relay)
    try:
        assert Unit(installed, "transient.service").show("ActiveState") == "active"
        assert_relays(installed, "astropix")
    finally:
        installed.run("systemctl", "stop", "transient.service")
