"""The programs in examples/, ready to run; what a machine lacks skips their tests, and fails them in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
FLAGS = ["-O2", "-Wall", "-Wextra", "-Werror"]


class Missing(Exception):
    """A tool that is not on this machine."""


def skip_or_fail(error):
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


def tool(*names):
    """Return the path of the first of these programs that there is."""
    for name in names:
        if path := shutil.which(name):
            return path
    raise Missing(f"there is no {' or '.join(names)}")


def in_c(folder):
    """Build the subscriber in C; return its command."""
    compiler = tool("cc", "gcc", "clang")
    for header, package in (("zmq.h", "libzmq3-dev"), ("zstd.h", "libzstd-dev")):
        found = subprocess.run(
            [compiler, "-E", "-include", header, "-"], input=b"", capture_output=True, check=False
        )
        if found.returncode:
            raise Missing(f"there is no {header} ({package})")
    for name, options, libraries in (
        ("plain", (), ("-lzmq",)),
        ("subscriber", ("-DZSTD",), ("-lzmq", "-lzstd")),
    ):
        command = [compiler, *FLAGS, *options, "-o", folder / name, EXAMPLES / "subscriber.c", *libraries]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return [str(folder / "subscriber")]


def in_javascript(folder):
    """Install what the subscriber in JavaScript needs; return its command."""
    node, npm = tool("node", "nodejs"), tool("npm")
    for name in ("subscriber.js", "zstd.js", "package.json"):
        shutil.copy(EXAMPLES / name, folder)
    # The package brings libzmq for this platform with it: nothing is to be compiled, no script to be run.
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise Missing(f"npm install failed: {(done.stderr or done.stdout)[-500:]}")
    return [node, str(folder / "subscriber.js")]


def in_pyzmq(_):
    """Return the command of the subscriber in plain pyzmq."""
    return [sys.executable, str(EXAMPLES / "subscriber.py")]


def our_receiver(_):
    """Return the command of our own receiver, which prints the same report."""
    return [sys.executable, str(ROOT / "tests/conformance/receiver.py")]


SUBSCRIBERS = {"C": in_c, "JavaScript": in_javascript, "pyzmq": in_pyzmq}
CLIENTS = {**SUBSCRIBERS, "RelayReceiver": our_receiver}
