"""astropix-follow@ under a real systemd: what a DAQ writes is multicast, each readout once, over restarts."""

from collections.abc import Iterator

import pytest

from programs import Program
from systemd.container import Container, Unit, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(300)]

PYTHON = "/opt/astropix-relay/current/bin/python"
GROUP = "239.1.1.77"
FOLDER = "/data/two words/runs"  # its instance is escaped

# A DAQ: appends readouts argv[2] to argv[3] to the file argv[1], 100 a second, each at once.
DAQ = """
import sys, time
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout
path, first, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if first == 0:
    apx_open(path, "wb", FileHeader(AstroPix4Readout, {})).close()
with open(path, "ab", buffering=0) as file:
    for number in range(first, end):
        file.write(AstroPix4Readout(b"data", number, number).to_bytes())
        time.sleep(0.01)
"""

MONITOR = """
import sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver
with MulticastReceiver(AstroPix4Readout, sys.argv[1], interface="lo") as receiver:
    print("ready", flush=True)
    for readout in receiver:
        print("got", readout.readout_id, flush=True)
"""


@pytest.fixture
def unit(installed: Container) -> Iterator[Unit]:
    installed.run("mkdir", "-p", FOLDER)
    installed.write("/etc/default/astropix-follow", f'APX_SEND="--interface lo --ttl 0 --group {GROUP}"\n')
    instance = installed.run("systemd-escape", "--path", FOLDER).stdout.strip()
    unit = Unit(installed, f"astropix-follow@{instance}.service")
    yield unit
    unit.remove()
    installed.run("rm", "-rf", "/data", "/etc/default/astropix-follow", "/var/lib/private/astropix-follow")


def write(container: Container, first: int, end: int, name: str = "run1.apx") -> Program:
    return Program(*container.command(PYTHON, "-c", DAQ, f"{FOLDER}/{name}", str(first), str(end)))


def received(monitor: Program) -> list[int]:
    return [int(line.split()[1]) for line in monitor.stdout.splitlines() if line.startswith("got ")]


def test_a_growing_file_is_sent_once_over_restarts_and_a_crash(unit: Unit) -> None:
    container = unit.container
    with Program(*container.command(PYTHON, "-c", MONITOR, GROUP)) as monitor:
        monitor.wait_for("ready")
        with write(container, 0, 300) as daq:
            unit.systemctl("start")
            monitor.wait_for("got 20")
            unit.systemctl("restart")
            assert daq.wait() == 0
            monitor.wait_for("got 299")
        assert received(monitor) == list(range(300))
        assert unit.show("NRestarts") == "0"

        unit.systemctl("stop")
        with write(container, 300, 320) as daq:  # while nobody follows
            assert daq.wait() == 0
        unit.systemctl("start")
        monitor.wait_for("got 319")
        assert received(monitor) == list(range(320))

        with write(container, 320, 420) as daq:
            monitor.wait_for("got 340")
            unit.systemctl("kill", "--signal=KILL", "--kill-who=main")
            assert daq.wait() == 0
        monitor.wait_for("got 419")
        got = received(monitor)
        assert sorted(set(got)) == list(range(420))
        assert len(got) <= 421  # the readout that was being sent may come again
        wait_until(lambda: (unit.show("NRestarts"), unit.show("ActiveState")) == ("1", "active"))


def test_the_newest_file_of_the_folder_is_followed(unit: Unit) -> None:
    container = unit.container
    with write(container, 0, 20) as daq:
        assert daq.wait() == 0
    unit.systemctl("start")
    with Program(*container.command(PYTHON, "-c", MONITOR, GROUP)) as monitor:
        monitor.wait_for("ready")
        with write(container, 0, 30, "run2.apx") as daq:
            assert daq.wait() == 0
        monitor.wait_for("got 29")


def test_a_folder_that_is_missing_is_told_in_the_journal_and_tried_again(unit: Unit) -> None:
    unit.container.run("rm", "-rf", FOLDER)
    unit.systemctl("start", check=False)
    wait_until(lambda: any(FOLDER in line for line in unit.journal()))
    assert not any("Traceback" in line for line in unit.journal())
    unit.container.run("mkdir", "-p", FOLDER)
    with Program(*unit.container.command(PYTHON, "-c", MONITOR, GROUP)) as monitor:
        monitor.wait_for("ready")
        with write(unit.container, 0, 10) as daq:
            assert daq.wait() == 0
        monitor.wait_for("got 9")
    state = unit.container.run("find", "/var/lib/private/astropix-follow", "-type", "f").stdout
    assert state
