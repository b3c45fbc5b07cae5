"""The Debian package and the tarball, built here and taken to a machine without a network.

tests/systemd/test_operating.py does with them what docs/operating.md says; here is what may go wrong.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemd.container import (
    OTHER_PYTHON,
    PYTHON,
    REPOSITORY,
    Container,
    Unit,
    booted,
    make,
    make_tree,
    make_wheelhouse,
    repository_files,
)

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

CURRENT = "/opt/astropix-relay/current"
CONFIG = "/etc/astropix-relay/relay.yaml"
RELAY = "astropix-relay@relay.service"


def copy_of_repository(folder: Path, version: str | None = None) -> Path:
    """Copy what is needed to build; as another version, if one is named."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in repository_files():
        if not name.startswith(("docs/", "tests/", "conformance/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, copy / name)
    if version is not None:
        (copy / "client/astropix_stream/_version.py").write_text(f'__version__ = "{version}"\n')
    return copy


def build(checkout: Path, goal: str, **variables: str) -> subprocess.CompletedProcess[str]:
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(make_wheelhouse()), "PYTHON": sys.executable}
    command = ["sh", str(checkout / "packaging/build.sh"), goal]
    done = subprocess.run(
        command, env=os.environ | offline | variables, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def packages(container: Container, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of this version, for two Pythons, and that of the next one."""
    folder = tmp_path_factory.mktemp("packages")
    folder.chmod(0o755)
    for name, version, pythons in (("old", None, f"{PYTHON} {OTHER_PYTHON}"), ("new", "0.3.0rc1", PYTHON)):
        (folder / name).mkdir()
        checkout = copy_of_repository(folder / name, version)
        said = build(checkout, "deb", PYTHONS=pythons).stdout.split()[-1]
        shutil.move(checkout / said, folder / f"{name}.deb")
    return folder


@pytest.fixture(scope="module")
def debian(packages: Path) -> Iterator[Container]:
    """A machine of its own, without any of ours, that sees the packages."""
    with booted(make_tree(), binds={packages: "/packages", REPOSITORY: "/src"}) as fresh:
        yield fresh


def apt(container: Container, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--assume-yes", "--quiet")
    return container.run(*quiet, *words, check=check, timeout_s=300)


def field(deb: Path, name: str) -> str:
    done = subprocess.run(["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_package_says_for_which_pythons_it_has_wheels(packages: Path) -> None:
    minor = int(OTHER_PYTHON.split(".")[1]) + 1
    assert f"python3 (>= {PYTHON}), python3 (<< 3.{minor}~)" in field(packages / "old.deb", "Depends")
    assert field(packages / "old.deb", "Version") == "0.2.0-1"
    assert field(packages / "new.deb", "Version") == "0.3.0~rc1-1"


def test_wheels_for_several_pythons(packages: Path, tmp_path: Path) -> None:
    """For each of them pip finds all that it needs in the tarball alone."""
    checkout = packages / "old/checkout"
    name = build(checkout, "wheelhouse", PYTHONS=f"{PYTHON} {OTHER_PYTHON}").stdout.split()[-1]
    with tarfile.open(checkout / name) as archive:
        assert all(member.uid == member.gid == 0 for member in archive)
        archive.extractall(tmp_path, filter="data")
    (wheels,) = tmp_path.glob("*/wheels")
    for python in (PYTHON, OTHER_PYTHON):
        target = (
            "--python-version",
            python,
            "--only-binary=:all:",
            "--target",
            tmp_path / "nowhere",
            "--dry-run",
        )
        pip = (
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--find-links",
            wheels,
            *target,
        )
        subprocess.run([*pip, "astropix-stream[nats]==0.2.0"], check=True)


def test_the_package_is_upgraded_and_downgraded(debian: Container) -> None:
    apt(debian, "install", "/packages/old.deb")
    unit = Unit(debian, RELAY)
    assert unit.show("ActiveState") == "inactive"  # nothing starts by itself
    debian.write(CONFIG, "# mine\nstreams: [{interface: lo}]\n")
    unit.systemctl("enable", "--now")
    first = unit.show("MainPID")

    apt(debian, "install", "/packages/new.deb")
    assert unit.show("ActiveState") == "active"
    assert unit.show("MainPID") != first
    assert unit.show("NRestarts") == "0"
    assert debian.run("cat", CONFIG).stdout.startswith("# mine")
    assert "0.3.0rc1" in debian.run("astropix-relay", "--version").stdout
    assert debian.run("readlink", CURRENT).stdout.strip() == "versions/0.3.0rc1-1"

    apt(debian, "install", "--allow-downgrades", "/packages/old.deb")
    assert unit.show("ActiveState") == "active"
    assert "0.2.0" in debian.run("astropix-relay", "--version").stdout


def test_another_python_is_taken_up(debian: Container) -> None:
    """The trigger of a new /usr/bin/python3; the environment of an old one is played by a renamed folder."""
    before = debian.run("readlink", CURRENT).stdout
    debian.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    debian.run("dpkg", "--triggers-only", "--pending")
    assert debian.run("readlink", CURRENT).stdout == before  # it is the same Python
    debian.run("mv", f"{CURRENT}/lib/python{PYTHON}", f"{CURRENT}/lib/python3.10")
    assert debian.run("astropix-relay", "--version", check=False).returncode
    debian.run("dpkg-trigger", "--by-package=python3-minimal", "/usr/bin/python3")
    debian.run("dpkg", "--triggers-only", "--pending", timeout_s=300)
    assert debian.run("readlink", CURRENT).stdout != before
    assert "0.2.0" in debian.run("astropix-relay", "--version").stdout
    assert Unit(debian, RELAY).show("ActiveState") == "active"


def test_the_package_and_make_install_keep_apart(
    debian: Container, installed: Container, packages: Path
) -> None:
    done = make(debian, "install", check=False)
    assert done.returncode
    assert "the Debian package is installed here" in done.stderr

    with (packages / "old.deb").open("rb") as deb:
        subprocess.run(installed.command("sh", "-c", "cat >/tmp/relay.deb"), stdin=deb, check=True)
    refused = installed.run("dpkg", "--install", "/tmp/relay.deb", check=False)
    assert refused.returncode
    assert "was installed here by 'make install' or install.sh" in refused.stderr
    assert re.search(r"install\.sh uninstall$", refused.stderr, re.MULTILINE)
    assert "0.2.0" in installed.run("astropix-relay", "--version").stdout
    status = installed.run("dpkg", "--status", "astropix-relay", check=False).stdout
    assert "install ok installed" not in status


def test_the_package_is_purged(debian: Container) -> None:
    unit = Unit(debian, RELAY)
    debian.run("touch", "/etc/astropix-relay/other.yaml")
    apt(debian, "purge", "astropix-relay")
    assert (unit.show("ActiveState"), unit.show("LoadState")) == ("inactive", "not-found")
    left = debian.run("find", "/opt", "/etc", "/usr", "/var/lib/private", "-name", "astropix*").stdout.split()
    assert left == ["/etc/astropix-relay"]
    assert debian.run("ls", "/etc/astropix-relay").stdout.split() == ["other.yaml"]  # not the package's
