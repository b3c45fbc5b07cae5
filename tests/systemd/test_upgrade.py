"""`make install` over a venv that is the prefix itself, as in 0.1: the service goes on, a rollback works.

0.1 was a distribution of another name, too.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import wheels
from systemd.container import (
    OFFLINE,
    REPOSITORY,
    Container,
    Unit,
    booted,
    make,
    make_tree,
    make_wheelhouse,
    wait_until,
)

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

PREFIX = "/opt/astropix-relay"
CURRENT = f"{PREFIX}/current"
CONFIG = "/etc/astropix-relay/relay.yaml"
DROP_IN = "/etc/systemd/system/astropix-relay@.service.d/mine.conf"
CONFIGURATION = """\
# the operator's own
streams:
  - {name: first, group: 239.1.1.1, port: 5007, interface: lo}
"""

# A path of 0.1, which an operator may have written anywhere.
IN_DROP_IN = f"""\
[Service]
Environment=MINE=1
ExecStartPre={PREFIX}/bin/astropix-relay --version
"""

# The commit of 0.1, which a shallow clone has not.
OLD_COMMIT = "11e2040"

# As much of an old version as an installer meets: distribution, modules, commands, a service that is ready.
OLD_DAEMON = """\
import os, signal, socket, sys
def main():
    if sys.argv[1] != "run":
        return print("astropix-relay {version}")
    def tell(text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.sendto(text, os.environ["NOTIFY_SOCKET"])
    tell(b"READY=1\\nSTATUS=of {version}")
    signal.signal(signal.SIGUSR1, lambda *_: __import__("astropix_relay.imported_late"))
    signal.signal(signal.SIGALRM, lambda *_: tell(b"WATCHDOG=1"))
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    while True:
        signal.pause()
if __name__ == "__main__":
    main()
"""


def old_files(version: str) -> dict[str, str]:
    return {
        "astropix_analysis/__init__.py": f"__version__ = '{version}'\n",
        "astropix_analysis/sock.py": "",
        "astropix_analysis/cli/__init__.py": f"def main():\n    print('apx {version}')\n",
        "astropix_relay/__init__.py": "",
        "astropix_relay/imported_late.py": "import sys\nprint('imported late', file=sys.stderr)\n",
        "astropix_relay/__main__.py": OLD_DAEMON.replace("{version}", version),
        f"astropix_relay-{version}.dist-info/entry_points.txt": (
            "[console_scripts]\n"
            "apx = astropix_analysis.cli:main\n"
            "astropix-relay = astropix_relay.__main__:main\n"
        ),
    }


@dataclass(frozen=True)
class Old:
    """An old version, as it was installed."""

    container: Container
    version: str
    is_stand_in: bool


def install_the_real_one(container: Container) -> None:
    container.run("cp", "-r", "/old/tree", "/root/old")
    container.run("env", *OFFLINE, "WATCHDOG_USEC=", "make", "-C", "/root/old", "install", timeout_s=300)


def install_a_stand_in(container: Container) -> None:
    container.run("python3", "-m", "venv", PREFIX)
    (wheel,) = container.run("sh", "-c", "ls /old/*.whl").stdout.split()
    container.run(f"{PREFIX}/bin/python", "-m", "pip", "install", "--quiet", "--no-index", wheel)
    unit = (REPOSITORY / "config/astropix-relay@.service").read_text().replace("/current/bin/", "/bin/")
    container.write("/usr/local/lib/systemd/system/astropix-relay@.service", unit)
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


@pytest.fixture(params=["0.1", "like 0.1", "like 0.2 before it had versions"])
def old(
    request: pytest.FixtureRequest, container: Container, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Old]:
    """A container of its own, with an old version. `container`: to skip, or fail, where none can boot."""
    folder = tmp_path_factory.mktemp("old")
    folder.chmod(0o755)
    is_stand_in = request.param != "0.1"
    if not unpack_old_tree(folder / "tree") and not is_stand_in:
        pytest.skip(f"this clone has no commit {OLD_COMMIT}")
    version = "0.1.0" if request.param.endswith("0.1") else "0.1.99"
    wheels.write_wheel(folder, "astropix-relay", version, old_files(version))
    binds = {REPOSITORY: "/src", make_wheelhouse(): "/wheels", folder: "/old"}
    with booted(make_tree(), binds=binds) as fresh:
        (install_a_stand_in if is_stand_in else install_the_real_one)(fresh)
        yield Old(fresh, version, is_stand_in)


def test_upgrade_and_uninstall(old: Old) -> None:
    container = old.container
    container.write(CONFIG, CONFIGURATION)
    container.write(DROP_IN, IN_DROP_IN)
    unit = Unit(container, "astropix-relay@relay.service")
    container.run("systemctl", "daemon-reload")
    unit.systemctl("enable", "--now", check=False)
    assert unit.show("ActiveState") == "active", unit.journal()
    assert old.version in container.run(f"{PREFIX}/bin/astropix-relay", "--version").stdout
    old_process = unit.show("MainPID")

    make(container, "install")
    assert (unit.show("ActiveState"), unit.show("MainPID")) == (
        "active",
        old_process,
    )  # until it is restarted
    if old.is_stand_in:
        unit.systemctl("kill", "--signal=USR1", "--kill-who=main")
        wait_until(lambda: "imported late" in unit.journal())
    assert container.run("readlink", CURRENT).stdout.strip() == "versions/0.2.0-1"
    listed = container.run(f"{CURRENT}/bin/python", "-m", "pip", "list", "--disable-pip-version-check").stdout
    assert "astropix-relay " not in listed
    where = "import astropix_analysis as a, astropix_relay, astropix_stream; print(a.__file__)"
    found = container.run(f"{CURRENT}/bin/python", "-I", "-c", where).stdout
    assert "/astropix_stream/documented_names/" in found
    for name in ("apx", "astropix-relay"):
        assert "0.2.0" in container.run(name, "--version").stdout
        assert "0.2.0" in container.run(f"{PREFIX}/bin/{name}", "--version").stdout
    container.run("astropix-relay", "check", CONFIG)
    assert container.run("cat", CONFIG).stdout == CONFIGURATION

    unit.systemctl("restart")
    assert unit.show("ActiveState") == "active", unit.journal()
    assert "MINE=1" in unit.show("Environment")
    url = "tcp://127.0.0.1:5556"
    container.run(f"{CURRENT}/bin/python", "-c", SEND_AND_RECEIVE, url)

    make(container, "rollback")
    unit.systemctl("restart")
    assert unit.show("ActiveState") == "active", unit.journal()
    assert container.run("readlink", CURRENT).stdout.strip() == f"versions/{old.version}-0"
    assert old.version in container.run("astropix-relay", "--version").stdout
    command = container.run("cat", f"/proc/{unit.show('MainPID')}/cmdline").stdout
    assert f"versions/{old.version}-0/bin/" in command

    make(container, "uninstall")
    assert unit.show("ActiveState") == "inactive"
    assert unit.show("LoadState") == "not-found"
    assert container.run("test", "-e", PREFIX, check=False).returncode == 1
    assert container.run("cat", CONFIG, DROP_IN).stdout.startswith(CONFIGURATION)


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
