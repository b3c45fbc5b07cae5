"""The rules of what may import what (`lint-imports`, run by make lint) hold, and each can be broken."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# What is added to which module, and the contract that this breaks.
BREAKING = {
    "astropix_stream/numbers.py": ("import socket", "What calls itself pure reaches no socket"),
    "astropix_stream/headers.py": (
        "from astropix_stream.multicast import sockets",  # not directly
        "What calls itself pure reaches no socket",
    ),
    "astropix_stream/keys.py": ("import astropix_relay.core", "The library never imports the daemon"),
    "astropix_relay/core.py": ("import astropix_bridge", "The relay is passive"),
    "astropix_bridge/__init__.py": (
        "import astropix_relay.core",
        "The bridge is a client of the relay, no part of it",
    ),
    "astropix_stream/fileio.py": ("import numpy", "The DAQ side needs the standard library alone"),
    "astropix_stream/fmt/framing.py": ("from astropix_stream import wire", "The floors of the library"),
    "astropix_relay/history.py": ("from astropix_relay import core", "The floors of the daemon"),
    "astropix_stream/cli/files/tables.py": (
        "from astropix_stream.cli import convert\nfrom astropix_stream.cli import files",
        "No circles",
    ),
}


@pytest.fixture
def tree(tmp_path):
    for source in (REPOSITORY / "client/astropix_stream", *(REPOSITORY / "daemon").glob("astropix_*")):
        shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(tree):
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("Contracts: ") for line in lines), done.stdout + done.stderr
    # After that word it may say how many imports a contract ignores.
    broken = [line.partition(" BROKEN")[0] for line in lines if " BROKEN" in line]
    assert bool(broken) == bool(done.returncode)
    return broken


def test_they_hold(tree):
    assert broken_contracts(tree) == []


@pytest.mark.parametrize("module", BREAKING)
def test_each_can_be_broken(tree, module):
    line, contract = BREAKING[module]
    path = tree / module
    path.write_text(path.read_text() + f"\n{line}\n")
    assert any(name.startswith(contract) for name in broken_contracts(tree))
