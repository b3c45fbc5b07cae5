"""`apx record` as a program, on the loopback interface."""

import json
import signal
import subprocess
import sys

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fileio import apx_open
from astropix_stream.sock import MulticastSender
from programs import Program

APX = (sys.executable, "-m", "astropix_stream.cli")


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


def recording(*words):
    program = Program(*APX, "record", *words)
    program.wait_for("receiving ")
    return program


def send(sender, count, first=0):
    detector = Detector(seed=1)
    datagrams = [detector.readout(first + i, 10**18 + i).to_bytes() for i in range(count)]
    # Trailing padding is no part of a readout object, but of the bytes that are recorded.
    datagrams[0] = (
        datagrams[0][:15] + (len(datagrams[0]) - 18).to_bytes(4, "little") + datagrams[0][19:] + b"\xff"
    )
    for datagram in datagrams:
        assert sender.send_data(datagram)
    return datagrams


def read(path):
    with apx_open(path) as reader:
        datagrams = [raw for raw, _, _ in reader.datagrams()]
    assert reader.leftover_bytes == 0
    return datagrams


def wait_for_readouts(path, count):
    """Wait until others can read so many."""
    for _ in range(200):
        if path.exists() and len(read(path)) >= count:
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"{path} has no {count} readouts")


def test_what_arrives_is_recorded_byte_for_byte(tmp_path, url, sender):
    with recording(url, tmp_path / "run.apx", "--count", 50, "--timeout", 10) as program:
        sent = send(sender, 60)
        assert program.wait() == 0, str(program)
    assert read(tmp_path / "run.apx") == sent[:50]
    assert program.stdout.startswith("recorded 50 readouts, ")
    assert "nothing lost" in program.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_a_clean_end(number, tmp_path, url, sender):
    with recording(url, tmp_path / "run.apx", "--json") as program:
        sent = send(sender, 20)
        wait_for_readouts(tmp_path / "run.apx", 20)
        assert program.stop(number) == 0
    assert read(tmp_path / "run.apx") == sent
    summary = json.loads(program.stdout)
    assert (summary["readouts"], summary["not_written"], summary["stream"]["lost"]) == (20, 0, 0)
    account = json.loads((tmp_path / "run.json").read_text())
    assert account["complete"] is True
    assert account["readouts"] == account["stream"]["delivered"] == 20


def test_a_killed_recorder_has_written_what_came_a_second_ago(tmp_path, url, sender):
    with recording(url, tmp_path / "run.apx") as program:
        sent = send(sender, 20)
        wait_for_readouts(tmp_path / "run.apx", 20)
        assert program.stop(signal.SIGKILL) == -signal.SIGKILL
    assert read(tmp_path / "run.apx") == sent
    assert json.loads((tmp_path / "run.json").read_text())["complete"] is False


def test_two_daqs_have_two_files(tmp_path, url, sender, group, port):
    with recording(url, tmp_path / "run.apx", "--count", 20, "--timeout", 10) as program:
        one = send(sender, 10)
        with MulticastSender(group, port, 0, interface="127.0.0.1") as other:
            two = send(other, 10, first=500)
        assert program.wait() == 0, str(program)
    assert {tuple(read(tmp_path / name)) for name in ("run.apx", "run-2.apx")} == {tuple(one), tuple(two)}
    assert "another source, a file of its own" in program.stderr


def test_a_full_disk(tmp_path, url, sender):
    """A limit on the size of files stands for it: it fails in the same place."""
    words = " ".join((*APX, "record", f"'{url}'", f"{tmp_path}/run.apx"))
    with Program("bash", "-c", f"ulimit -f 8; exec {words}") as program:
        program.wait_for("receiving ")
        sent = send(sender, 300)
        assert program.wait() == 1
    there = read(tmp_path / "run.apx")
    assert 0 < len(there) < 300
    assert there == sent[: len(there)]
    account = json.loads((tmp_path / "run.json").read_text())
    assert account["readouts"] == len(there)
    (message,) = (line for line in program.stderr.splitlines() if "stopped" in line)
    missed = account["stream"]["delivered"] - len(there)
    assert f"{len(there)} whole readouts written, {missed} more received and not written" in message
    assert missed > 0


def run(*words):
    return subprocess.run([*APX, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def test_nothing_came(tmp_path, url):
    done = run("record", url, tmp_path / "run.apx", "--timeout", "0.2")
    assert done.returncode == 1
    assert "nothing was recorded, and no file was written" in done.stdout
    assert f"no readout from {url} in 0.2 s" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists(tmp_path, url, sender):
    (tmp_path / "run.apx").write_text("precious")
    done = run("record", url, tmp_path / "run.apx")
    assert done.returncode == 2
    assert "exists: choose another name, or overwrite it with --force" in done.stderr
    assert (tmp_path / "run.apx").read_text() == "precious"


def test_for_so_many_seconds(tmp_path, url, sender):
    with recording(url, tmp_path / "run.apx", "--seconds", 1) as program:
        sent = send(sender, 5)
        assert program.wait() == 0
    assert read(tmp_path / "run.apx") == sent
