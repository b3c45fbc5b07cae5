"""`make install` over 0.1, whose distribution had another name: the service goes on, 0.1 is gone."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wheels
from systemd.container import (
    REPOSITORY,
    Container,
    Unit,
    booted,
    make,
    make_tree,
    make_wheelhouse,
)

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

PREFIX = "/opt/astropix-relay"
PYTHON = f"{PREFIX}/bin/python"
CONFIG = "/etc/astropix-relay/relay.yaml"
DROP_IN = "/etc/systemd/system/astropix-relay@.service.d/mine.conf"
CONFIGURATION = """\
# the operator's own
streams:
  - {name: first, group: 239.1.1.1, port: 5007, interface: lo}
"""

# The commit of 0.1, which a shallow clone has not.
OLD_COMMIT = "11e2040"

# As much of 0.1 as an installer meets: its distribution, its modules, its commands, a service that is ready.
OLD_DAEMON = """\
import os, signal, socket, sys
def main():
    if sys.argv[1] != "run":
        return print("astropix-relay 0.1.0")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1\\nSTATUS=of 0.1", os.environ["NOTIFY_SOCKET"])
    signal.pause()
"""
OLD_FILES = {
    "astropix_analysis/__init__.py": "__version__ = '0.1.0'\n",
    "astropix_analysis/sock.py": "",
    "astropix_analysis/cli/__init__.py": "def main():\n    print('apx 0.1.0')\n",
    "astropix_relay/__init__.py": "",
    "astropix_relay/only_in_0_1.py": "",
    "astropix_relay/__main__.py": OLD_DAEMON,
    "astropix_relay-0.1.0.dist-info/entry_points.txt": (
        "[console_scripts]\napx = astropix_analysis.cli:main\nastropix-relay = astropix_relay.__main__:main\n"
    ),
}


def install_the_real_one(container: Container) -> None:
    container.run("cp", "-r", "/old/tree", "/root/old")
    offline = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_NO_CACHE_DIR=1", "WATCHDOG_USEC=")
    container.run("env", *offline, "make", "-C", "/root/old", "install", timeout_s=120)


def install_a_stand_in(container: Container) -> None:
    container.run("python3", "-m", "venv", PREFIX)
    (wheel,) = container.run("sh", "-c", "ls /old/*.whl").stdout.split()
    container.run(PYTHON, "-m", "pip", "install", "--quiet", "--no-index", wheel)
    unit = "/usr/local/lib/systemd/system/astropix-relay@.service"
    container.run("install", "-D", "-m", "644", "/src/config/astropix-relay@.service", unit)
    container.run("systemctl", "daemon-reload")


def unpack_old_tree(folder: Path) -> bool:
    """Unpack 0.1 as it was committed; return whether this clone has it."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", REPOSITORY, "archive", OLD_COMMIT], check=False, capture_output=True
    )
    if archive.returncode == 0:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return archive.returncode == 0


@pytest.fixture(params=[install_the_real_one, install_a_stand_in])
def old(
    request: pytest.FixtureRequest, container: Container, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A container of its own, where 0.1 is installed. `container`: to skip, or fail, where none can boot."""
    folder = tmp_path_factory.mktemp("old")
    folder.chmod(0o755)
    install: Callable[[Container], None] = request.param
    if not unpack_old_tree(folder / "tree") and install is install_the_real_one:
        pytest.skip(f"this clone has no commit {OLD_COMMIT}")
    wheels.write_wheel(folder, "astropix-relay", "0.1.0", OLD_FILES)
    binds = {REPOSITORY: "/src", make_wheelhouse(): "/wheels", folder: "/old"}
    with booted(make_tree(), binds=binds) as fresh:
        install(fresh)
        yield fresh


def installed(container: Container) -> dict[str, str]:
    """Return the distributions in the relay's venv, with their versions."""
    listed = container.run(PYTHON, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    return dict(line.split("==") for line in listed.stdout.split())


def test_upgrade_and_uninstall(old: Container) -> None:
    old.write(CONFIG, CONFIGURATION)
    old.write(DROP_IN, "[Service]\nEnvironment=MINE=1\n")
    unit = Unit(old, "astropix-relay@relay.service")
    old.run("systemctl", "daemon-reload")
    unit.systemctl("enable", "--now", check=False)
    assert unit.show("ActiveState") == "active", unit.journal()
    assert installed(old)["astropix-relay"] == "0.1.0"
    assert "0.1.0" in old.run(f"{PREFIX}/bin/astropix-relay", "--version").stdout

    make(old, "install")
    assert unit.show("ActiveState") == "active"  # the old process, until the operator restarts it
    now = installed(old)
    assert "astropix-relay" not in now
    version = now["astropix-stream"]
    left = old.run("find", PREFIX, "-name", "astropix_relay-0.1*", "-o", "-name", "*_0_1.py").stdout
    assert left == ""
    where = "import astropix_analysis as a, astropix_relay, astropix_stream; print(a.__file__)"
    assert "/astropix_stream/documented_names/" in old.run(PYTHON, "-I", "-c", where).stdout
    for name in ("apx", "astropix-relay"):
        assert version in old.run(f"{PREFIX}/bin/{name}", "--version").stdout
    old.run(f"{PREFIX}/bin/astropix-relay", "check", CONFIG)
    assert old.run("cat", CONFIG).stdout == CONFIGURATION

    unit.systemctl("restart")
    assert unit.show("ActiveState") == "active"
    assert "MINE=1" in unit.show("Environment")
    url = "tcp://127.0.0.1:5556"
    old.run(PYTHON, "-c", SEND_AND_RECEIVE, url)

    make(old, "uninstall")
    assert unit.show("ActiveState") == "inactive"
    assert unit.show("LoadState") == "not-found"
    assert old.run("test", "-e", PREFIX, check=False).returncode == 1
    assert old.run("cat", CONFIG, DROP_IN).stdout.startswith(CONFIGURATION)


# The new library and the new daemon, one after the other.
SEND_AND_RECEIVE = """
import sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import RelayReceiver
from astropix_stream.sock import MulticastSender
with (
    RelayReceiver(AstroPix4Readout, sys.argv[1], timeout=10) as receiver,
    MulticastSender("239.1.1.1", 5007, interface="lo") as sender,
):
    receiver.wait_ready(10)
    for number in range(20):
        sender.send_readout(AstroPix4Readout(b"data", number))
    assert [receiver.receive().readout_id for _ in range(20)] == list(range(20))
    assert receiver.ledger.lost == 0, receiver.ledger
"""
