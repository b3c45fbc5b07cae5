"""`apx top` as a program: on a terminal, in a pipe, and for programs."""

import contextlib
import json
import re
import signal
import subprocess
import sys

import pytest

from astropix_relay.configuration.loading import default_config
from programs import TIMEOUT, Program
from relays import running
from terminals import Terminal

APX = (sys.executable, "-m", "astropix_stream.cli")
ALTERNATE, NORMAL, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


@pytest.fixture
def simulated(group, port):
    def start(*options):
        here = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
        return Program(*APX, "simulate", *here, "--rate", 200, *options)

    return start


def records(program):
    return [json.loads(line) for line in program.stdout.splitlines()]


def test_a_record_each_second_and_stream(url, simulated):
    with simulated(), Program(*APX, "top", url, url, "--separate", "--json", "--seconds", "3.5") as top:
        assert top.wait() == 0, str(top)
    found = records(top)
    assert len(found) == 6
    assert {record["url"] for record in found} == {url}
    last = found[-1]
    assert (last["state"], last["lost"]) == ("live", 0)
    assert 100 < last["readouts_per_s"] < 300
    assert last["hits_per_s"] > last["readouts_per_s"]
    assert last["bytes_per_s"] > 1000
    assert last["last_readout_age_s"] < 1
    sources = json.loads(top.stderr)["sources"]
    assert [source["lost"] for source in sources] == [0, 0]


def test_losses_show_by_place(url, simulated):
    with simulated("--loss", "20%", "--seed", 1), Program(*APX, "top", url) as top:
        line = top.wait_for("losing: ")
        assert re.search(r"lost: \d+ before the socket", line)
        assert top.stop(signal.SIGINT) == 0
    assert re.fullmatch(rf"{re.escape(url)}: \d+ lost of .* before the socket.*", top.stdout.splitlines()[-1])


def test_nothing_arrives(url):
    with Program(*APX, "top", url, "tcp://127.0.0.1:1", "--separate", "--seconds", "1.5") as top:
        assert top.wait() == 0, str(top)
    quiet, unreachable, *_ = top.stdout.splitlines()
    assert f"{url}  quiet: 0.0/s readouts, 0.0/s hits, last none yet, lost: none" in quiet
    assert "tcp://127.0.0.1:1  no network" in unreachable


def test_a_relay_that_was_never_there_is_an_error():
    with Program(*APX, "top", "tcp://127.0.0.1:1", "--seconds", "0.5") as top:
        assert top.wait() == 1, str(top)
    said = "apx: tcp://127.0.0.1:1 refuses the connection: nothing listens there; try `apx doctor tcp://127.0.0.1:1`"
    assert top.stderr.splitlines()[-1] == said


@contextlib.contextmanager
def relay_of_two_streams(group, port):
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    stream = config.streams[0]
    streams = [stream, stream.model_copy(update={"name": "other", "group": "239.1.2.3"})]
    with running(config.model_copy(update={"streams": streams})) as relay:
        yield relay.publisher.endpoint


def test_a_relay_without_a_stream_stands_for_all_of_them(group, port, simulated):
    with relay_of_two_streams(group, port) as endpoint, simulated() as daq:
        with Program(*APX, "top", endpoint, "--json", "--seconds", "2.5") as top:
            assert top.wait() == 0, str(top)
        daq.stop(signal.SIGINT)
    states = {record["url"]: record["state"] for record in records(top)}
    assert states == {f"{endpoint}?stream=astropix": "live", f"{endpoint}?stream=other": "quiet"}


def test_a_reader_that_ends_is_no_error(url):
    command = " ".join([*APX, "top", f"'{url}'", "--json"])
    done = subprocess.run(
        ["bash", "-c", f"{command} --seconds 4 | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "Traceback" not in done.stderr


def frame_width(text):
    """Width of the rule below the table's head."""
    return max(len(rule) for rule in re.findall("─+", text))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_is_left_as_it_was(url, number):
    with Terminal(*APX, "top", url) as terminal:
        drawn = terminal.read_until("(?s)quiet.*Ctrl-C ends")
        assert ALTERNATE in drawn
        assert frame_width(drawn) == 100
        terminal.resize(70, 12)
        assert frame_width(terminal.read_until("Ctrl-C ends")) == 70
        terminal.process.send_signal(number)
        end = terminal.read_until("no readout came")
        assert end.index(NORMAL) < end.index("no readout came")
        assert SHOW_CURSOR in end
        assert terminal.process.wait(TIMEOUT) == 0
        assert terminal.is_as_it_was()


def test_a_stopped_one_gives_the_terminal_back(url):
    """Here it goes on at once: the kernel stops nobody without a shell that could continue it."""
    with Terminal(*APX, "top", url) as terminal:
        terminal.read_until("Ctrl-C ends")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.read_until(f"(?s){re.escape(NORMAL)}.*{re.escape(ALTERNATE)}.*quiet")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("no readout came")
        assert terminal.process.wait(TIMEOUT) == 0
