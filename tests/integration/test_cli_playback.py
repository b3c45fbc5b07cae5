"""`apx playback` as a program: on a terminal with its keys, in a pipe, and for programs."""

import json
import signal
import subprocess
import sys

import pytest

from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import AstroPix4Readout
from programs import TIMEOUT
from terminals import Terminal

APX = (sys.executable, "-m", "astropix_stream.cli")
ALTERNATE, NORMAL, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
HIT = bytes.fromhex("e08056e80da85403")


@pytest.fixture
def path(tmp_path):
    """A file of 40 readouts, of which the last is cut; the one with the id 105 ends within a hit."""
    path = tmp_path / "run [1].apx"
    readouts = [
        AstroPix4Readout(b"\xbc\xbc" + HIT * (i % 3) + HIT[: 5 * (i == 5)] + b"", 100 + i, 10**18 + i * 10**6)
        for i in range(40)
    ]
    header = FileHeader(AstroPix4Readout, {})
    path.write_bytes(header.serialize() + b"".join(readout.to_bytes() for readout in readouts)[:-1])
    return path


def apx(*args, **more):
    return subprocess.run(
        [*APX, "playback", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        **more,
    )


def test_keys_step_through_a_file(path):
    with Terminal(*APX, "playback", path, "--start", "3") as terminal:
        text = terminal.read_until("q quit")
        assert ALTERNATE in text
        assert "[3] readout 103" in text
        for keys, expected in (
            (b"n", r"\[4\] readout 104, "), (b"\x1b[D", r"\[3\] readout 103, "),
            (b"/1", "search readout_id: 1"),
            (b"20\r", r"\[20\] readout 120, "), (b"/7\r", "no readout has the id 7; they go from 100 to 138"),
            (b"g", r"\[0\] readout 100, "), (b"e", r"\[5\] readout 105, "), (b"n", r"\[6\] readout 106, "),
            (b"G", r"\[38\] readout 138, "), (b"n", "this is the last readout"),
            (b"g ", r"\[1\] readout 101, "),
        ):  # fmt: skip
            terminal.press(keys)
            terminal.read_until(expected)
        terminal.resize(60, 12)
        terminal.read_until(r"\[1\] readout 101")
        terminal.press(b"q")
        end = terminal.read_until("bytes of an incomplete readout")
        assert end.index(NORMAL) < end.index("bytes of an incomplete readout")
        assert SHOW_CURSOR in end
        assert terminal.process.wait(TIMEOUT) == 2
        assert terminal.is_as_it_was()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_is_left_as_it_was(path, number):
    with Terminal(*APX, "playback", path) as terminal:
        terminal.read_until("q quit")
        terminal.process.send_signal(number)
        terminal.read_until("\x1b\\[\\?1049l")
        assert terminal.process.wait(TIMEOUT) == 0
        assert terminal.is_as_it_was()


def test_elsewhere_all_of_it_is_text(path):
    done = apx(path)
    assert done.returncode == 2
    assert done.stderr == (f"apx: {path}: truncated: 20 bytes of an incomplete readout at its end\n")
    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("[")] == [
        f"[{i}] readout {100 + i}" for i in range(39)
    ]
    assert "    10  hit 1      e0 80 56 e8 0d a8 54 03" in lines
    assert "\x1b" not in done.stdout


def test_a_part_of_it_as_records(path):
    done = apx(path, "--start", 5, "--count", 2, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["index"] for record in records] == [5, 6]
    assert records[0]["decoding"] == ["VALID_EXTRA_BYTES"]
    assert [len(record["hits"]) for record in records] == [2, 0]


def test_standard_input_is_a_file_too(path):
    with path.open("rb") as file:
        done = apx("-", "--count", 1, stdin=file)
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "     0  idle       bc bc")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run [1].apx", "--start", "39"], "no readout to show: it has 39, and --start counts from 0; "),
        (["no.apx"], "No such file or directory"),
        (["."], "is a directory, not a file of readouts"),
        (["/dev/null"], "the file is empty"),
        (["run [1].apx", "--kind", "astropix5"], "did you mean astropix"),
    ],
)
def test_wrong_input_is_one_line(path, args, told):
    done = apx(*args, cwd=path.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr


def test_a_reader_that_ends_is_no_error(path):
    command = " ".join([*APX, "playback", f"'{path}'"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("[0] readout 100, ")
