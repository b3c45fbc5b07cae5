"""`make install` and `make uninstall` on a machine without anything but Debian's Python."""

import pytest

from systemd.container import Container, make

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

CONFIG = "/etc/astropix-relay/relay.yaml"


def files(container: Container, directory: str) -> set[str]:
    return set(container.run("find", directory, "-type", "f", "-printf", "/%P\\n").stdout.split())


def test_everyone_may_read_what_the_service_reads(installed: Container) -> None:
    secret = installed.run("find", "/opt/astropix-relay", "/etc/astropix-relay", "!", "-perm", "-o=r").stdout
    assert secret == ""
    assert installed.run("setpriv", "--reuid=nobody", "--clear-groups", "cat", CONFIG).returncode == 0


def test_install_again_keeps_the_configuration_and_uninstall_leaves_only_that(container: Container) -> None:
    stage = "/tmp/stage"
    make(container, "install", f"DESTDIR={stage}")
    container.write(stage + CONFIG, "mine")
    make(container, "install", f"DESTDIR={stage}")
    assert container.run("cat", stage + CONFIG).stdout == "mine"
    venv = f"{stage}/opt/astropix-relay"
    assert container.run("grep", "-rl", stage, f"{venv}/bin", f"{venv}/pyvenv.cfg", check=False).stdout == ""
    make(container, "uninstall", f"DESTDIR={stage}")
    assert files(container, stage) == {CONFIG}


@pytest.mark.parametrize("goal", ["install", "uninstall"])
def test_a_directory_of_others_is_refused(container: Container, goal: str) -> None:
    before = files(container, "/usr/local")
    assert make(container, goal, "PREFIX=/usr/local", check=False).returncode
    assert files(container, "/usr/local") == before
