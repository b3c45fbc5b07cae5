"""A real systemd to test against: a Debian tree from debootstrap, booted by systemd-nspawn.

The tree is cached and never written to (``--volatile=overlay``), so every boot starts from the same state and
takes half a second. The container has its own network with nothing but lo.
"""

import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")

_numbers = itertools.count()  # of the containers of one run

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("ASTROPIX_TEST_CACHE", "/var/tmp/astropix-relay-tests"))

SUITE = "bookworm"
PYTHON = "3.11"  # bookworm's, for which the wheels must be
PACKAGES = "systemd,dbus,iproute2,make,procps,python3,python3-venv,sudo"
OTHER_PYTHON = "3.13"  # for which there are wheels, too
EXTRAS = "nats"

# Each program that the host must have, and Debian's package of it.
PROGRAMS = {
    "debootstrap": "debootstrap",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}

BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class UnavailableError(Exception):
    """This machine cannot boot the container; the text says why."""


@dataclass(frozen=True)
class Container:
    """A booted container: its PID 1 as the host sees it."""

    leader: int

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs argv in all of the container's namespaces, in a clean environment."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", f"--target={self.leader}", "--all", "env", "--ignore-environment", path, *argv]

    def run(self, *argv: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*argv), check=False, text=True, capture_output=True, timeout=timeout_s
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def write(self, path: str, text: str) -> None:
        script = 'mkdir -p "${1%/*}" && cat >"$1"'
        subprocess.run(self.command("sh", "-c", script, "sh", path), input=text, text=True, check=True)


@dataclass(frozen=True)
class Unit:
    """One service in the container."""

    container: Container
    name: str

    def systemctl(self, verb: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.container.run("systemctl", verb, *options, self.name, check=check)

    def show(self, name: str) -> str:
        """Return a property, as ``systemctl show`` names it."""
        return self.systemctl("show", f"--property={name}", "--value").stdout.strip()

    def journal(self) -> list[str]:
        """Return what the service and systemd logged of it since boot."""
        self.container.run("journalctl", "--sync")
        return self.container.run("journalctl", f"--unit={self.name}", "--output=cat").stdout.splitlines()

    def configure(self, name: str, text: str) -> None:
        """Write a drop-in, for the next start."""
        self.container.write(f"/etc/systemd/system/{self.name}.d/{name}.conf", text)
        self.container.run("systemctl", "daemon-reload")

    def remove(self) -> None:
        """Stop the service and forget it, drop-ins included."""
        self.systemctl("stop", check=False)
        self.systemctl("reset-failed", check=False)
        self.container.run("rm", "-rf", f"/etc/systemd/system/{self.name}.d")
        self.container.run("systemctl", "daemon-reload")


def repository_files() -> list[str]:
    """Return the paths of all files that a checkout has, those that are new and not ignored among them."""
    trusted = ("-c", "safe.directory=*")  # in CI the checkout may be another user's
    listed = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(
        ["git", *trusted, "-C", str(REPOSITORY), *listed], capture_output=True, text=True, check=True
    )
    return sorted(name for name in done.stdout.split("\0") if name and (REPOSITORY / name).is_file())


OFFLINE = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "PIP_NO_CACHE_DIR=1")


def make(container: Container, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run make in the repository, without a network and with the umask of a strict administrator."""
    script = ("sh", "-c", 'umask 077 && make -C /src "$@"', "sh", *arguments)
    return container.run("env", *OFFLINE, *script, check=check, timeout_s=300)


def wait_until(probe: Callable[[], T], timeout_s: float = 10) -> T:
    """Return the first true value of the probe; for what systemd tells only to those who ask."""
    deadline = time.monotonic() + timeout_s
    while not (value := probe()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)
    return value


def check_host() -> None:
    """Raise UnavailableError if something is missing that can be told beforehand."""
    if os.geteuid():
        raise UnavailableError("needs root")
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if missing:
        raise UnavailableError(f"missing here: apt-get install {' '.join(missing)}")


def make_tree() -> Path:
    """Return the root directory for containers, made by debootstrap at the first call on a machine."""
    return _cached(f"{SUITE}-{_digest(PACKAGES)}", _debootstrap)


def make_wheelhouse() -> Path:
    """Return a directory with every wheel that `make install` needs: the container has no network."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    return _cached(f"wheels-{PYTHON}-{OTHER_PYTHON}-{_digest(text)}", _download_wheels)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Make a directory once; under its name it is complete, whatever happened while it was made."""
    final = CACHE / name
    if not final.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            made = Path(scratch, "made")
            make(made)
            try:
                made.rename(final)
            except OSError:
                if not final.exists():  # else another run has made it meanwhile
                    raise
    return final


def _debootstrap(tree: Path) -> None:
    # With mounts of its own: what a failed run leaves mounted must be gone when the directory is removed.
    _make("unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(tree))


def _download_wheels(directory: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"][EXTRAS]
    # nkeys has no wheel on PyPI.
    _make(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={directory}", "nkeys")
    for python, more in ((PYTHON, project["build-system"]["requires"]), (OTHER_PYTHON, [])):
        here = (f"--find-links={directory}", f"--dest={directory}")
        for_tree = ("--only-binary=:all:", f"--python-version={python}", *here)
        _make(sys.executable, "-m", "pip", "download", "--quiet", *for_tree, *wanted, *more)


def _make(*argv: str) -> None:
    done = subprocess.run(argv, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise UnavailableError(f"{' '.join(argv)} exited with {done.returncode}: {done.stdout[-2000:]}")


@contextmanager
def booted(tree: Path, *, binds: dict[Path, str]) -> Iterator[Container]:
    """Boot the tree, with directories of the host (key) visible read-only in the container (value)."""
    with (
        tempfile.TemporaryDirectory(prefix="astropix-nspawn-") as scratch,
        _control_group() as group,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications,
        Path(scratch, "console").open("w+") as console,
        ExitStack() as opened,
    ):
        notifications.bind(f"{scratch}/notify")
        environ = {"NOTIFY_SOCKET": f"{scratch}/notify", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with subprocess.Popen(
            # The shell moves itself first: all that nspawn makes is then below this group.
            [
                "sh",
                "-c",
                'echo $$ >"$0/cgroup.procs" && exec systemd-nspawn "$@"',
                group,
                *_options(tree, binds),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=os.environ | environ,
        ) as nspawn:
            try:
                container = Container(_wait_for_boot(notifications, nspawn, console))
                opened.enter_context(_read_on(notifications))
                # A membership on lo needs both.
                container.run("ip", "link", "set", "lo", "multicast", "on")
                container.run("ip", "route", "add", "239.0.0.0/8", "dev", "lo")
                yield container
            finally:
                _stop(nspawn)


def _options(tree: Path, binds: dict[Path, str]) -> list[str]:
    """Return nspawn's options: a container that leaves no trace on the host, nor in the tree."""
    return [
        *("--quiet", "--boot", "--private-network", "--register=no", "--keep-unit", "--link-journal=no"),
        *("--read-only", "--volatile=overlay", "--console=pipe", "--notify-ready=yes"),
        "--system-call-filter=bpf",  # else IPAddressDeny= is ignored in the container, silently
        *(f"--bind-ro={source}:{target}" for source, target in binds.items()),
        f"--machine=astropix-{os.getpid()}-{next(_numbers)}",
        f"--directory={tree}",
    ]


def _wait_for_boot(notifications: socket.socket, nspawn: "subprocess.Popen[bytes]", console: IO[str]) -> int:
    """Return the PID of the container's systemd when that has said READY=1, which nspawn passes on."""
    notifications.settimeout(1)
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    said: dict[str, str] = {}
    while "READY" not in said:
        if nspawn.poll() is not None or time.monotonic() > deadline:
            console.seek(0)
            raise UnavailableError(f"systemd-nspawn does not boot here: {console.read()[-2000:]}")
        with suppress(TimeoutError):
            said |= dict(line.split("=", 1) for line in notifications.recv(4096).decode().splitlines())
    return int(said["X_NSPAWN_LEADER_PID"])


@contextmanager
def _read_on(notifications: socket.socket) -> Iterator[None]:
    """Read what PID 1 says after boot, too: with a full queue it waits for room, and everything with it.

    systemd tells its state for each service that starts or stops; after 40 minutes of tests it hung.
    """
    stopping = threading.Event()

    def read() -> None:
        while not stopping.is_set():
            with suppress(TimeoutError):
                notifications.recv(4096)

    notifications.settimeout(0.2)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        stopping.set()
        reader.join()


def _stop(nspawn: "subprocess.Popen[bytes]") -> None:
    nspawn.terminate()  # passed on as a request for an orderly shutdown
    try:
        nspawn.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        nspawn.kill()


@contextmanager
def _control_group() -> Iterator[Path]:
    """Make a control group of our own, which ends everything in it at the end."""
    group = _unified_hierarchy() / f"astropix-test-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "cgroup.kill").write_text("1")
        # rmdir is refused until the last process has been reaped.
        wait_until(lambda: "populated 0" in (group / "cgroup.events").read_text())
        for path, _, _ in os.walk(group, topdown=False):
            Path(path).rmdir()


def _unified_hierarchy() -> Path:
    """Return where this process's own group of cgroup v2 is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    if not points or not own:
        raise UnavailableError("no control groups version 2 are mounted here")
    return Path(points[0] + own[0])
