"""What the commands have in common that receive: several URLs, --count, sources that are not there."""

import json
import signal
import sys
import time

import pytest

from astropix_relay.configuration.loading import default_config
from astropix_stream.fileio import apx_open
from astropix_stream.fmt import AstroPix4Readout
from ports import free_port_pair
from programs import TIMEOUT, Program
from relays import running

APX = (sys.executable, "-m", "astropix_stream.cli")


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


@pytest.fixture
def service(group, port):
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    with running(config) as started:
        yield started


@pytest.fixture
def relay(service):
    return service.publisher.endpoint


def wait_for_subscribers(service, count):
    """Wait until so many subscribe to the stream: what is published before is not theirs."""
    deadline_s = time.monotonic() + TIMEOUT
    while service.publisher.subscriptions < 2 * count:  # to its hello, and to the stream
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def send(sender, *readout_ids):
    for readout_id in readout_ids:
        readout = AstroPix4Readout(b"\xbc\xbc", readout_id, 10**18 + readout_id * 10**6)
        assert sender.send_readout(readout)


def send_while_stopped(program, sender, *readout_ids):
    """Let all of them wait for the program, so that it reads them at once."""
    program.process.send_signal(signal.SIGSTOP)
    send(sender, *readout_ids)
    program.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("way", ["url", "relay"])
@pytest.mark.parametrize(
    ("readout_ids", "told"),
    [
        (range(14), "nothing lost of 2"),
        ((0, 1, 5, *range(6, 17)), "nothing lost of 2"),
        ((0, 4, *range(5, 17)), "3 lost of 5: 3 before the socket"),
        ((0, 4, *range(9, 21)), "3 lost of 5: 3 before the socket"),
    ],
)
def test_a_count_says_what_was_lost_until_then(way, readout_ids, told, request, service, sender):
    source = request.getfixturevalue(way)
    with Program(*APX, "receive", source, "--count", 2, "--timeout", 15) as program:
        program.wait_for("receiving ")
        if way == "relay":
            wait_for_subscribers(service, 1)
        send_while_stopped(program, sender, *readout_ids)
        assert program.wait() == 0, str(program)
    assert len(program.stdout.splitlines()) == 2
    assert f"{source}: {told}" in program.stderr


def test_a_count_says_so_for_programs_and_in_a_recording(tmp_path, url, sender):
    path = tmp_path / "run.apx"
    words = ("--count", 3, "--timeout", 15, "--json")
    with (
        Program(*APX, "receive", url, *words) as receive,
        Program(*APX, "record", url, path, *words) as record,
    ):
        for program in (receive, record):
            program.wait_for("receiving ")
            program.process.send_signal(signal.SIGSTOP)
        send(sender, 0, 2, 3, *range(7, 20))
        for program in (receive, record):
            program.process.send_signal(signal.SIGCONT)
            assert program.wait() == 0, str(program)
    (account,) = json.loads(receive.stderr.splitlines()[-1])["sources"]
    recorded = json.loads(record.stdout)
    for one in (account, recorded["stream"], json.loads(path.with_suffix(".json").read_text())["stream"]):
        assert (one["delivered"], one["lost"], one["lost_at"]) == (3, 1, {"before_socket": 1})
    assert recorded["readouts"] == 3
    with apx_open(path) as reader:
        assert [readout.readout_id for readout in reader] == [0, 2, 3]


def test_duplicates_are_not_among_the_count_where_they_are_left_out(url, sender):
    with Program(*APX, "receive", url, "--hits", "--count", 3, "--timeout", 15) as program:
        program.wait_for("receiving ")
        send_while_stopped(program, sender, 0, 1, 1, 1, 2, 3, 4)
        assert program.wait() == 0, str(program)
    assert [line for line in program.stdout.splitlines() if "readout" in line][-1].count("2") >= 1
    assert "3 readouts, 0 hits; 2 duplicates left out" in program.stderr
    assert f"{url}: nothing lost of 3; 2 duplicates" in program.stderr


def test_several_urls_are_paths_to_one_stream(url, service, relay, sender, tmp_path):
    path = tmp_path / "run.apx"
    words = ("--count", 10, "--timeout", 15)
    with (
        Program(*APX, "receive", relay, url, *words) as receive,
        Program(*APX, "record", relay, url, path, *words) as record,
        Program(*APX, "top", relay, url, "--json") as top,
    ):
        for program, ready in ((receive, "receiving from"), (record, "receiving from"), (top, "quiet")):
            program.wait_for(ready)
        wait_for_subscribers(service, 3)
        send(sender, *range(10))
        assert (receive.wait(), record.wait()) == (0, 0), f"{receive}\n{record}"
        top.wait_for('"delivered": 10')
        top.stop(signal.SIGINT)
    assert len(receive.stdout.splitlines()) == 10
    assert f"{relay} and {url}: nothing lost of 10" in receive.stderr
    assert "recorded 10 readouts" in record.stdout
    (account,) = json.loads(top.stderr.splitlines()[-1])["sources"]
    assert len(account["paths"]) == 2


def test_separate_urls_are_streams_beside_one_another(url, service, relay, sender):
    with Program(*APX, "receive", relay, url, "--separate", "--count", 20, "--timeout", 15) as program:
        program.wait_for("receiving from")
        wait_for_subscribers(service, 1)
        send(sender, *range(10))
        assert program.wait() == 0, str(program)
    lines = program.stdout.splitlines()
    assert len(lines) == 20
    assert sum(line.startswith(f"{url}: ") for line in lines) == 10


COMMANDS = {
    "receive": ("receive", "{url}", "--timeout", 1),
    "record": ("record", "{url}", "{path}", "--timeout", 1),
    "top": ("top", "{url}", "--seconds", 1),
    "monitor": ("monitor", "{url}", "--listen", "127.0.0.1:0"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", ["unknown stream", "dead"])
def test_a_source_that_is_not_there_is_told_with_its_cause(command, case, relay, tmp_path):
    if case == "dead":
        source = f"tcp://127.0.0.1:{free_port_pair()}"
        told = f"{source} refuses the connection: nothing listens there; try `apx doctor {source}`"
    else:
        source = f"{relay}?stream=none"
        told = f"{source}: the relay has no stream 'none'; it has: astropix; try `apx doctor '{source}'`"
    names = {"url": source, "path": tmp_path / "x.apx"}
    with Program(*APX, *(str(word).format(**names) for word in COMMANDS[command])) as program:
        assert told in program.wait_for("try `apx doctor")
        if command == "monitor":
            program.wait_for("the page is at")
            program.process.send_signal(signal.SIGINT)
        code = program.wait()
    assert code == (0 if command == "monitor" else 1)
    assert "nothing lost of 0" not in program.stdout + program.stderr


def test_a_dead_path_beside_one_that_works_is_told(url, sender):
    dead = f"tcp://127.0.0.1:{free_port_pair()}"
    with Program(*APX, "receive", dead, url, "--count", 2, "--timeout", 15) as program:
        told = program.wait_for("still trying")
        send(sender, 0, 1)
        assert program.wait() == 0, str(program)
    assert told.startswith(f"warning: {dead} refuses the connection: nothing listens there; try `apx doctor")
    assert len(program.stdout.splitlines()) == 2


def test_two_relays_of_the_same_streams_have_a_row_for_each_stream(group, port):
    config = default_config(group=group, port=port, interface="127.0.0.1", publish="tcp://127.0.0.1:0")
    streams = [
        config.streams[0],
        config.streams[0].model_copy(update={"name": "other", "group": "239.1.2.3"}),
    ]
    config = config.model_copy(update={"streams": streams})
    with running(config) as one, running(config) as other:
        endpoints = [relay.publisher.endpoint for relay in (one, other)]
        with Program(*APX, "top", *endpoints, "--json", "--seconds", "1.5") as top:
            assert top.wait() == 0, str(top)
        with Program(*APX, "top", *endpoints, "udp://239.1.1.1:5007?interface=127.0.0.1") as unclear:
            assert unclear.wait() == 2
    names = {json.loads(line)["url"] for line in top.stdout.splitlines()}
    assert names == {
        " and ".join(f"{endpoint}?stream={name}" for endpoint in endpoints) for name in ("astropix", "other")
    }
    assert "is a path to one stream, and there are several: astropix, other" in unclear.stderr
