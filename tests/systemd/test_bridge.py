"""The bridge as a service, under a real systemd, with a relay and a NATS server beside it."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import Program
from systemd.container import Container, Unit, wait_until
from systemd.test_service import PYTHON, send

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

RELAY = "/etc/astropix-relay/log.yaml"
CONFIG = "/etc/astropix-bridge/test.yaml"
PASSWORD = "/etc/credstore/astropix-bridge.test.password"
STREAMS = "streams: [{name: first, interface: lo}]\n"
BRIDGE = """
streams: [first]
nats: {user: bridge, password_file: /run/credentials/astropix-bridge@test.service/password}
"""
SERVER = """
listen: 127.0.0.1:4222
jetstream { store_dir: /run/nats }
authorization { users: [{ user: bridge, password: change-me }] }
"""
READER = """
import sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
log = "nats://bridge:change-me@127.0.0.1?stream=first&start=oldest"
with open_receiver(AstroPix4Readout, log) as receiver:
    for number in range(int(sys.argv[1])):
        assert receiver.receive(timeout=20).readout_id == number
"""


@pytest.fixture(scope="module")
def log(installed: Container) -> Iterator[Container]:
    """A container with a relay and a log."""
    binary = Path(sys.executable).with_name("nats-server").read_bytes()
    script = "cat >/run/nats-server && chmod 755 /run/nats-server"
    subprocess.run(installed.command("sh", "-c", script), input=binary, check=True)
    installed.write("/run/nats.conf", SERVER)
    installed.write(RELAY, STREAMS)
    installed.write(PASSWORD, "change-me\n")
    relay = Unit(installed, "astropix-relay@log.service")
    relay.systemctl("start")
    with Program(*installed.command("/run/nats-server", "-c", "/run/nats.conf")) as server:
        server.wait_for("Server is ready")
        yield installed
    relay.remove()
    installed.run("rm", RELAY, PASSWORD)


@pytest.fixture
def bridge(log: Container) -> Iterator[Unit]:
    unit = Unit(log, "astropix-bridge@test.service")
    log.write(CONFIG, BRIDGE)
    unit.systemctl("start")
    yield unit
    unit.remove()
    log.run("rm", CONFIG)


def test_it_stores_through_reload_restart_and_kill(bridge: Unit) -> None:
    with send(bridge.container, count=300) as sender:
        wait_until(lambda: bridge.show("StatusText") == "first live")
        bridge.systemctl("reload")
        bridge.systemctl("restart")
        bridge.systemctl("kill", "--signal=KILL")
        wait_until(lambda: (bridge.show("NRestarts"), bridge.show("ActiveState")) == ("1", "active"))
        assert sender.wait() == 0
    bridge.container.run(PYTHON, "-c", READER, "300")
    bridge.container.write(CONFIG, "batch: never\n")
    assert bridge.systemctl("reload", check=False).returncode != 0  # and the journal says why
    assert any("batch: 'never' is not a duration" in line for line in bridge.journal())
    assert bridge.show("ActiveState") == "active"
    began_s = time.monotonic()
    bridge.systemctl("stop")
    assert (bridge.show("Result"), time.monotonic() - began_s < 5) == ("success", True)


def test_its_sandbox_holds(bridge: Unit) -> None:
    text = bridge.container.run("cat", f"/proc/{bridge.show('MainPID')}/status").stdout
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(status["Uid"].split()[0]) >= 61184  # the first of DynamicUser
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077")
    assert "change-me" not in "".join(bridge.journal())


def test_it_is_no_more_exposed_than_the_relay(bridge: Unit) -> None:
    def exposure(name: str) -> float:
        told = bridge.container.run("systemd-analyze", "security", name).stdout
        return float(re.search(r"exposure level for \S+ ([0-9.]+)", told, re.IGNORECASE)[1])

    assert exposure(bridge.name) <= exposure("astropix-relay@log.service")
    verified = bridge.container.run("systemd-analyze", "verify", bridge.name)
    assert verified.stdout + verified.stderr == ""
