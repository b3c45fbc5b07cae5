"""`make install`, `make rollback` and `make uninstall` on a machine without anything but Debian's Python."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from systemd.container import OFFLINE, Container, Unit, make, wait_until

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

PREFIX = "/opt/astropix-relay"
CONFIG = "/etc/astropix-relay/relay.yaml"
UNIT = "/usr/local/lib/systemd/system/astropix-relay@.service"
SCRIPT = "share/astropix-relay/install.sh"


def files(container: Container, directory: str) -> set[str]:
    return set(container.run("find", directory, "-type", "f", "-printf", "/%P\\n").stdout.split())


def state(container: Container, prefix: str = PREFIX) -> dict[str, str]:
    """Return where the symlinks lead, and which versions there are."""
    script = f"cd {prefix} && readlink current; readlink previous || echo; ls versions"
    current, previous, *versions = container.run("sh", "-c", script).stdout.splitlines()
    return {"current": current, "previous": previous, "versions": " ".join(versions)}


def test_everyone_may_read_what_the_service_reads(installed: Container) -> None:
    secret = installed.run("find", PREFIX, "/etc/astropix-relay", "!", "-perm", "-o=r").stdout
    assert secret == ""
    assert installed.run("setpriv", "--reuid=nobody", "--clear-groups", "cat", CONFIG).returncode == 0


@pytest.mark.parametrize("command", ["astropix-relay", "apx"])
def test_the_commands_are_found(installed: Container, command: str) -> None:
    found = installed.run("sh", "-c", f"command -v {command} && {command} --version").stdout.split()
    assert found[:2] == [f"/usr/local/bin/{command}", command]


@dataclass(frozen=True)
class Staged:
    """Two installs below a DESTDIR: the first one with the bridge, the second one says nothing of it."""

    container: Container
    root: str = "/tmp/stage"


@pytest.fixture(scope="module")
def staged(container: Container) -> Staged:
    staged = Staged(container)
    container.write(f"{staged.root}/usr/local/bin/astropix-relay", "somebody else's")
    make(container, "install-bridge", f"DESTDIR={staged.root}")
    container.write(staged.root + CONFIG, "mine")
    make(container, "install", f"DESTDIR={staged.root}")
    return staged


def test_install_again_keeps_the_configuration(staged: Staged) -> None:
    assert staged.container.run("cat", staged.root + CONFIG).stdout == "mine"
    assert state(staged.container, staged.root + PREFIX) == {
        "current": "versions/0.2.0-2",
        "previous": "versions/0.2.0-1",
        "versions": "0.2.0-1 0.2.0-2",
    }


def test_nothing_names_the_place_where_it_was_built(staged: Staged) -> None:
    venv = f"{staged.root}{PREFIX}/current"
    named = ("grep", "-rl", staged.root, f"{venv}/bin/", f"{venv}/pyvenv.cfg", staged.root + UNIT)
    assert staged.container.run(*named, check=False).stdout == ""
    links = staged.container.run(
        "readlink", f"{staged.root}/usr/local/bin/apx", f"{staged.root}{PREFIX}/current"
    )
    assert links.stdout.split() == [f"{PREFIX}/current/bin/apx", "versions/0.2.0-2"]


def test_extras_are_kept_by_later_installs(staged: Staged) -> None:
    python = f"{staged.root}{PREFIX}/current/bin/python"
    staged.container.run(python, "-c", "import nats")
    assert {
        "/usr/local/lib/systemd/system/astropix-bridge@.service",
        "/etc/astropix-bridge/bridge.yaml",
    } <= files(staged.container, staged.root)
    staged.container.run("test", "-L", f"{staged.root}/usr/local/bin/astropix-bridge")


def test_a_command_of_others_in_the_path_stays(staged: Staged) -> None:
    theirs = staged.container.run("cat", f"{staged.root}/usr/local/bin/astropix-relay").stdout
    assert theirs == "somebody else's"


def test_uninstall_without_the_checkout(staged: Staged) -> None:
    """The configuration is all that it leaves."""
    script = f"{staged.root}{PREFIX}/current/{SCRIPT}"
    staged.container.run("env", f"DESTDIR={staged.root}", script, "uninstall")
    assert files(staged.container, staged.root) == {
        CONFIG,
        "/etc/astropix-bridge/bridge.yaml",
        "/usr/local/bin/astropix-relay",  # of others
    }
    assert staged.container.run("find", staged.root, "-type", "l").stdout == ""


@pytest.mark.parametrize("goal", ["install", "uninstall"])
def test_a_directory_of_others_is_refused(container: Container, goal: str) -> None:
    before = files(container, "/usr/local")
    done = make(container, goal, "PREFIX=/usr/local", check=False)
    assert done.returncode
    assert "/usr/local holds something else" in done.stderr
    assert files(container, "/usr/local") == before


def test_an_older_python_is_told_in_one_line(container: Container) -> None:
    container.write("/run/python3.9", '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    container.run("chmod", "755", "/run/python3.9")
    done = make(container, "install", "PREFIX=/opt/never", "PYTHON=/run/python3.9", check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert len(said) == 1
    assert "Python 3.11 or later is needed; /run/python3.9 is Python 3.9.2" in said[0]


def test_an_unknown_extra_is_told_in_one_line(container: Container) -> None:
    done = make(container, "install", "PREFIX=/opt/never", "EXTRAS=moniter", check=False)
    assert "there is no extra 'moniter'" in done.stderr


@pytest.fixture(scope="module")
def service(installed: Container) -> Iterator[Unit]:
    """A relay that runs while others are installed."""
    unit = Unit(installed, "astropix-relay@goes-on.service")
    installed.write(
        "/etc/astropix-relay/goes-on.yaml", "streams: [{interface: lo}]\nmetrics: {listen: null}\n"
    )
    unit.systemctl("start")
    yield unit
    unit.remove()
    installed.run("rm", "/etc/astropix-relay/goes-on.yaml")


def test_an_install_that_fails_changes_nothing(service: Unit) -> None:
    container = service.container
    before, unit = state(container), container.run("cat", UNIT).stdout
    script = "PIP_FIND_LINKS=/nowhere make -C /src install"  # pip finds no wheel
    done = container.run("env", *OFFLINE, "sh", "-c", script, check=False, timeout_s=300)
    assert done.returncode
    assert "what was installed before is as it was" in done.stderr
    assert (state(container), container.run("cat", UNIT).stdout) == (before, unit)
    service.systemctl("restart")
    assert service.show("ActiveState") == "active"


def test_an_install_that_is_killed_changes_nothing_and_the_next_one_clears_up(service: Unit) -> None:
    container = service.container
    before = state(container)
    number = max(int(name.rpartition("-")[2]) for name in before["versions"].split()) + 1
    half = f"{PREFIX}/versions/0.2.0-{number}"
    script = "echo $$ >/run/installing && exec make -C /src install"
    command = container.command("env", *OFFLINE, "setsid", "sh", "-c", script)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_until(lambda: not container.run("test", "-e", f"{half}/bin/python", check=False).returncode, 60)
        second = make(container, "install", check=False)
        assert "another install, rollback or uninstall is at work" in second.stderr
        container.run("sh", "-c", "kill -9 -$(cat /run/installing)")
    assert state(container)["current"] == before["current"]
    assert container.run("test", "-e", f"{half}/complete", check=False).returncode


@pytest.fixture(scope="module")
def upgraded(service: Unit) -> tuple[str, str]:
    """The version before, and what an install said that had older versions and a broken file beside it."""
    container = service.container
    for number in range(3):
        directory = f"{PREFIX}/versions/0.1.9-{number}"
        container.run("mkdir", "-p", directory)
        container.run("touch", "-d", f"2026-01-0{number + 1}", f"{directory}/complete")
    container.write("/etc/astropix-relay/broken.yaml", "publish: {endpoint: 5556}\n")
    unit = f"{PREFIX}/current/share/astropix-relay/astropix-relay@.service"
    container.run("sh", "-c", f"echo '# of the version before' >>{unit}")
    before = state(container)["current"]
    done = make(container, "install")
    container.run("rm", "/etc/astropix-relay/broken.yaml")
    return before, done.stdout + done.stderr


def test_a_configuration_with_a_mistake_is_told_by_the_install(upgraded: tuple[str, str]) -> None:
    told = [line for line in upgraded[1].splitlines() if "has mistakes" in line]
    file = "/etc/astropix-relay/broken.yaml"
    assert told == [f"warning: {file} has mistakes: astropix-relay check {file}"]


def test_three_versions_are_kept(service: Unit, upgraded: tuple[str, str]) -> None:
    now = state(service.container)
    assert now["previous"] == upgraded[0]
    assert set(now["versions"].split()) == {
        now["current"].removeprefix("versions/"),
        now["previous"].removeprefix("versions/"),
        "0.1.9-2",
    }


def test_a_rollback_brings_back_the_units_too(service: Unit, upgraded: tuple[str, str]) -> None:
    container = service.container
    newer = state(container)["current"]
    assert newer != upgraded[0]
    assert "# of the version before" not in container.run("cat", UNIT).stdout
    make(container, "rollback")
    assert state(container)["current"] == upgraded[0]
    assert "# of the version before" in container.run("cat", UNIT).stdout
    service.systemctl("restart")
    assert service.show("ActiveState") == "active"
    container.run(f"{PREFIX}/current/{SCRIPT}", "rollback")  # forward again
    assert state(container)["current"] == newer


def test_a_version_that_there_is_not_is_told(service: Unit, upgraded: tuple[str, str]) -> None:
    before = state(service.container)
    done = make(service.container, "rollback", "TO=0.1.7-1", check=False)
    assert "there is no version '0.1.7-1'; there are: " in done.stderr
    assert before["current"].removeprefix("versions/") in done.stderr
    assert state(service.container) == before
