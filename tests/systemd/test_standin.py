"""The unit, its sandbox and systemd.py under a real systemd, with a stand-in for the daemon."""

import subprocess
import time
from collections.abc import Iterator
from itertools import count

import pytest

from systemd.container import REPOSITORY, Container, Unit, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

SENDER = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[2], 0))
for number in range(int(sys.argv[1])):
    sock.sendto(str(number).encode(), ("239.255.42.1", 24242))
    time.sleep(0.01)
"""

STANDIN = """
[Service]
ExecStart=
ExecStart=/usr/bin/python3 /src/tests/systemd/standin.py
ExecReload=
ExecReload=/bin/sh -c 'kill -HUP $MAINPID'
Environment=PYTHONPATH=/src/daemon
WatchdogSec=1
TimeoutAbortSec=1
"""

instances = count()


@pytest.fixture
def unit(installed: Container) -> Iterator[Unit]:
    unit = Unit(installed, f"astropix-relay@standin{next(instances)}.service")
    unit.configure("standin", STANDIN)
    yield unit
    unit.remove()


def send(container: Container, number: int, source: str = "127.0.0.1") -> "subprocess.Popen[bytes]":
    """Send numbered datagrams to the stand-in, 100 a second."""
    return subprocess.Popen(container.command("python3", "-c", SENDER, str(number), source))


def received(unit: Unit) -> list[int]:
    return [int(line.split()[1]) for line in unit.journal() if line.startswith("got ")]


def test_start_is_ready_with_status_journal_and_ctypes(unit: Unit) -> None:
    unit.systemctl("start")
    assert unit.show("ActiveState") == "active"
    assert unit.show("StatusText") == "stored True, watchdog 1.0"
    assert {"journal True", "ctypes 42"} <= set(unit.journal())


def test_the_sandbox_holds(unit: Unit) -> None:
    unit.systemctl("start")
    text = unit.container.run("cat", f"/proc/{unit.show('MainPID')}/status").stdout
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(status["Uid"].split()[0]) >= 61184  # the first of DynamicUser
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077")


@pytest.mark.parametrize(("drop_in", "threshold"), [(None, 12), ("astropix-relay-addresses.conf", 11)])
def test_the_security_score(unit: Unit, drop_in: str | None, threshold: int) -> None:
    if drop_in:
        unit.configure("addresses", (REPOSITORY / "config" / drop_in).read_text())
    unit.container.run("systemd-analyze", "security", f"--threshold={threshold}", unit.name)


@pytest.mark.parametrize("name", ["astropix-relay@relay.service", "astropix-follow@data-runs.service"])
def test_the_unit_has_no_mistake(installed: Container, name: str) -> None:
    done = installed.run("systemd-analyze", "verify", name)
    assert done.stdout + done.stderr == ""


def test_reload_ends_ready(unit: Unit) -> None:
    unit.systemctl("start")
    unit.systemctl("reload")
    wait_until(lambda: (unit.show("StatusText"), unit.show("ActiveState")) == ("reloaded", "active"))


def test_stop_takes_less_than_a_second(unit: Unit) -> None:
    unit.systemctl("start")
    before = time.monotonic()
    unit.systemctl("stop")
    assert time.monotonic() - before < 1
    assert unit.show("Result") == "success"


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_no_datagram_is_lost_over_a_restart(unit: Unit, signal: str) -> None:
    unit.systemctl("start")
    with send(unit.container, 400) as sender:
        wait_until(lambda: len(received(unit)) > 50)
        unit.systemctl("kill", f"--signal={signal}", "--kill-who=main")
        assert sender.wait() == 0
    wait_until(lambda: 399 in received(unit))
    assert unit.show("NRestarts") == "1"
    got = received(unit)
    assert got == sorted(set(got))
    # Killed between recv and print it would lose that one.
    assert len(got) >= (399 if signal == "KILL" else 400)


def test_no_datagram_is_lost_over_systemctl_restart(unit: Unit) -> None:
    unit.systemctl("start")
    with send(unit.container, 100) as sender:
        wait_until(lambda: len(received(unit)) > 20)
        unit.systemctl("restart")
        assert sender.wait() == 0
    wait_until(lambda: 99 in received(unit))
    assert received(unit) == list(range(100))
    assert unit.show("NFileDescriptorStore") == "1"


def test_stop_gives_the_sockets_up(unit: Unit) -> None:
    unit.systemctl("start")
    unit.systemctl("stop")
    assert unit.show("NFileDescriptorStore") == "0"


@pytest.mark.parametrize("signal", ["USR1", "STOP"])
def test_the_watchdog_catches_a_hang(unit: Unit, signal: str) -> None:
    unit.systemctl("start")
    before = time.monotonic()
    unit.systemctl("kill", f"--signal={signal}", "--kill-who=main")
    wait_until(lambda: unit.show("NRestarts") == "1" and unit.show("ActiveState") == "active")
    # WatchdogSec, TimeoutAbortSec and RestartSec, and a second for the rest.
    assert time.monotonic() - before < 1 + 1 + 2 + 1
    assert any("Watchdog timeout" in line for line in unit.journal())


def test_the_secret_is_only_in_the_credentials_directory(unit: Unit) -> None:
    instance = unit.name.removeprefix("astropix-relay@").removesuffix(".service")
    source = f"/etc/credstore/astropix-relay.{instance}.key_secret"
    unit.systemctl("start")
    assert "credentials []" in unit.journal()  # starts without one, too
    unit.container.write(source, "secret")
    unit.container.run("chmod", "0600", source)
    unit.systemctl("restart")
    assert "credentials ['relay.key_secret']" in unit.journal()
    copy = f"/run/credentials/{unit.name}/relay.key_secret"
    found = unit.container.run("find", "/", "/run", "-xdev", "-name", "*key_secret").stdout.split()
    assert set(found) - {copy} == {source}
    as_another = unit.container.run("setpriv", "--reuid=nobody", "--clear-groups", "cat", copy, check=False)
    assert "Permission denied" in as_another.stderr
    unit.systemctl("stop")
    assert unit.container.run("test", "-e", copy, check=False).returncode


def test_addresses_drop_in_keeps_others_out_also_while_the_service_is_dead(unit: Unit) -> None:
    unit.configure("addresses", "[Service]\nIPAddressDeny=any\nIPAddressAllow=127.0.0.2\n")
    unit.systemctl("start")
    unit.systemctl("kill", "--signal=KILL", "--kill-who=main")
    wait_until(lambda: unit.show("SubState") == "auto-restart")
    for source, number in (("127.0.0.1", 5), ("127.0.0.2", 3)):
        with send(unit.container, number, source) as sender:
            assert sender.wait() == 0
    wait_until(lambda: 2 in received(unit))
    assert received(unit) == [0, 1, 2]
