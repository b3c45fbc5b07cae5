"""What every test has: fresh groups and ports, a check that nothing is left behind, rules of the markers."""

import contextlib
import functools
import itertools
import os
import random
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from astropix_stream.sock import MulticastSender
from ports import free_port, free_port_pair

# How long an example takes says something of the machine only, which runs other tests beside.
settings.register_profile(
    "tests",
    max_examples=50,  # a second look at each property; many more were run when it was written
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# For who changes what a property is about: pytest --hypothesis-profile=thorough tests/unit/…
settings.register_profile("thorough", settings.get_profile("tests"), max_examples=1000)
# The same examples on each run, for a figure that does not change by itself (tests/coverage_by_file.py).
settings.register_profile("same", settings.get_profile("tests"), derandomize=True, max_examples=20)
settings.load_profile("tests")

TESTS = Path(__file__).parent
_numbers = itertools.count()
SHARED = TESTS.parents[1] / "shared"
FDS = Path("/proc/self/fd")


def pytest_collection_modifyitems(items):
    for item in items:
        for name in ("network", "browser"):
            if TESTS / name in item.path.parents:
                item.add_marker(name)


def pytest_runtest_setup(item):
    for name, why_not in (("network", why_no_namespaces), ("browser", why_no_browser)):
        if item.get_closest_marker(name) and (reason := why_not()):
            # In CI such a test that does not run is a failure: nobody reads the list of skipped tests.
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    if item.get_closest_marker("shared") and not SHARED.is_dir():
        pytest.skip(f"there is no {SHARED}")


@functools.cache
def why_no_namespaces():
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [program for program in ("ip", "tc", "nft") if shutil.which(program) is None]:
        return f"network namespaces need iproute2 and nftables: there is no {' '.join(missing)}"
    # Root in a container may not be allowed to.
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or None


def why_no_browser():
    if missing := [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]:
        return f"browser tests need Debian's chromium and chromium-driver: there is no {' '.join(missing)}"
    return None


@pytest.fixture
def group():
    """An IPv4 group that no other test uses, nor one that runs beside this."""
    return "239.{}.{}.{}".format(*(random.randrange(1, 255) for _ in range(3)))


@pytest.fixture
def group6():
    """The same for IPv6; for namespaces, since a host's lo has no route to IPv6 groups."""
    return f"ff15::{random.randrange(1, 1 << 16):x}:{random.randrange(1, 1 << 16):x}"


@pytest.fixture
def port():
    """A UDP port that is free."""
    return free_port(socket.SOCK_DGRAM)


@pytest.fixture
def tcp_port():
    """A TCP port that is free, and the next one too: a relay serves history there."""
    return free_port_pair()


@pytest.fixture
def sender(group, port):
    """Sends to the group on the loopback interface."""
    with MulticastSender(group, port, 0, interface="127.0.0.1") as sender:
        yield sender


@pytest.fixture(autouse=True)
def own_state(monkeypatch, tmp_path_factory):
    """Let no page of a test find what the page of another one has saved."""
    folder = tmp_path_factory.getbasetemp() / f"state-{next(_numbers)}"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Fail a test that leaves a thread, a child process or an open file or socket."""
    threads, children, files = set(threading.enumerate()), child_processes(), open_files()
    yield
    left_threads = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left_threads:
        thread.join(1)  # one that was told to end may need a moment
    left = {
        "threads": [thread for thread in left_threads if thread.is_alive()],
        "child processes": child_processes() - children,
        "files or sockets": open_files() - files,
    }
    assert not any(left.values()), f"left behind: {left}"


def child_processes():
    """PIDs of this process's children, those that nobody has waited for included."""
    found = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            found.update(map(int, path.read_text().split()))
    return found


def open_files():
    """What the open descriptors stand for, as (number, target)."""
    found = set()
    for entry in FDS.iterdir() if FDS.is_dir() else ():
        try:
            found.add((int(entry.name), os.readlink(entry)))
        except OSError:  # the descriptor of this very listing
            continue
    return found
