"""The servers' files of config/nats; what they do together is in tests/matrix/log_rows.py (log_site)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATS_SERVER = Path(sys.executable).parent / "nats-server"
FILES = sorted(path for path in (ROOT / "config/nats").glob("*.conf") if path.stem != "accounts")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_server_file_is_right(file):
    command = [NATS_SERVER, "-t", "-c", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr


def test_all_files_were_looked_at():
    assert len(FILES) == 6
