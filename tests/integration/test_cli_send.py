"""`apx send`, `apx simulate` and `apx receive` as programs, on the loopback interface."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from itertools import islice

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout, find_kind
from astropix_stream.sock import MulticastReceiver
from programs import Program

APX = (sys.executable, "-m", "astropix_stream.cli")
S = 1_000_000_000


@pytest.fixture
def here(group, port):
    """Options that keep what is sent on this host."""
    return ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)


@pytest.fixture
def url(group, port):
    return f"udp://{group}:{port}?interface=127.0.0.1"


@pytest.fixture
def receiver(group, port):
    with MulticastReceiver(AstroPix4Readout, group, port, interface="127.0.0.1", timeout=10) as receiver:
        yield receiver


def write(path, seconds, *, tail=b""):
    """Write a file whose readouts have these timestamps."""
    detector = Detector(seed=1)
    raws = [detector.readout(i, round((at + 1000) * S)).to_bytes() for i, at in enumerate(seconds)]
    # Trailing padding is no part of a readout object, but of the bytes that are sent.
    raws[0] = raws[0][:15] + (len(raws[0]) - 18).to_bytes(4, "little") + raws[0][19:] + b"\xff"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        writer.write(b"".join(raws) + tail)
    return raws


def run(*words):
    return subprocess.run(
        [*APX, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def arrived(receiver, count):
    datagrams = []
    while len(datagrams) < count:
        datagrams += receiver.receive_batch().datagrams()
    return datagrams


def test_files_are_sent_byte_for_byte(tmp_path, here, receiver):
    one, two = (write(tmp_path / name, [0, 0.01, 0.02]) for name in ("1.apx", "2.apx"))
    done = run("send", tmp_path / "1.apx", tmp_path / "2.apx", *here, "--json")
    assert done.returncode == 0, done.stderr
    assert arrived(receiver, 6) == one + two
    summary = json.loads(done.stdout)
    assert (summary["sent"], summary["bytes"]) == (6, sum(map(len, one + two)))
    assert summary["not_sent"] == {}


def test_original_timing(tmp_path, here, receiver):
    write(tmp_path / "run.apx", [0, 0.1, 0.4])
    with Program(*APX, "send", tmp_path / "run.apx", *here) as program:
        received = [receiver.receive_batch().received_ns for _ in range(3)]
        assert program.wait() == 0
    assert (received[1] - received[0]) / S == pytest.approx(0.1, abs=0.05)
    assert (received[2] - received[0]) / S == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("words", [["--speed", "max"], ["--speed", "1e6"], ["--rate", "1e5"]])
def test_faster(words, tmp_path, here, receiver):
    raws = write(tmp_path / "run.apx", [0, 1000, 2000, 3000])
    done = run("send", tmp_path / "run.apx", *here, *words, "--start", 1, "--count", 2)
    assert done.returncode == 0
    assert done.stdout.startswith("sent 2 readouts, ")
    assert arrived(receiver, 2) == raws[1:3]


def test_a_bad_network_loses_what_it_says(tmp_path, here, receiver):
    raws = write(tmp_path / "run.apx", [i / 1000 for i in range(200)])
    words = ("--loss", "10%", "--duplicate", "5%", "--reorder", "5%", "--seed", 7, "--json")
    summary = json.loads(run("send", tmp_path / "run.apx", *here, *words).stdout)
    datagrams = arrived(receiver, summary["sent"])
    assert len(set(datagrams)) == len(raws) - summary["left_out"]
    ledger = receiver.ledger
    assert 0 < ledger.duplicates == summary["duplicated"]
    assert 0 < ledger.reordered <= summary["swapped"]  # a readout that came twice hides its swap
    assert 0 < ledger.lost <= summary["left_out"]


def test_loop_is_a_sequence_of_runs_until_ctrl_c(tmp_path, here, receiver):
    raws = write(tmp_path / "run.apx", [0, 0.01])
    with Program(*APX, "send", tmp_path / "run.apx", *here, "--loop") as program:
        datagrams = arrived(receiver, 10)
        assert program.stop(signal.SIGINT) == 0
    assert program.stdout.startswith("sent ")
    assert datagrams[:2] == raws
    assert len(set(datagrams)) == len(datagrams)
    assert receiver.ledger.lost == 0
    assert receiver.ledger.runs >= 5


def test_now_restamps(tmp_path, here, receiver):
    write(tmp_path / "run.apx", [0, 0.01])
    assert run("send", tmp_path / "run.apx", *here, "--now").returncode == 0
    batch = receiver.receive_batch()
    assert 0 <= batch.received_ns - batch.timestamps[0] < S


def test_ctrl_c_before_the_end(tmp_path, here, receiver):
    write(tmp_path / "run.apx", [0, 1000])
    with Program(*APX, "send", tmp_path / "run.apx", *here) as program:
        receiver.receive()
        program.wait_for("next readout in ")
        assert program.stop(signal.SIGINT) == 130
    assert program.stdout.startswith("sent 1 readout, ")
    assert "Traceback" not in program.stderr


def test_a_truncated_file_is_sent_as_far_as_it_goes(tmp_path, here, receiver):
    raws = write(tmp_path / "run.apx", [0, 0.01], tail=AstroPix4Readout(b"\xbc" * 9, 2).to_bytes()[:-1])
    done = run("send", tmp_path / "run.apx", *here)
    assert done.returncode == 2
    assert arrived(receiver, 2) == raws
    assert done.stdout.startswith("sent 2 readouts")
    assert "truncated: 27 bytes of an incomplete readout at its end" in done.stderr


def test_a_damaged_file_is_sent_up_to_the_damage(tmp_path, here, receiver):
    raws = write(tmp_path / "run.apx", [0, 0.01], tail=b"x" * 100)
    done = run("send", tmp_path / "run.apx", *here)
    assert done.returncode == 2
    assert arrived(receiver, 2) == raws
    assert "not a readout at byte" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_what_the_network_does_not_take_is_told(tmp_path, port):
    write(tmp_path / "run.apx", [0, 0, 0])
    done = run("send", tmp_path / "run.apx", "--group", "255.255.255.255", "--port", port, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["not_sent"] == {"EACCES": 3}


@contextmanager
def receiving(*words):
    """Run `apx receive`; ready when it has joined."""
    with Program(*APX, "receive", *words) as program:
        program.wait_for("receiving ")
        yield program


def test_simulated_readouts_are_printed(here, url):
    with receiving(url, "--count", 20, "--timeout", 10) as program:
        done = run("simulate", *here, "--count", 20, "--rate", 500, "--seed", 1)
        assert program.wait() == 0
    assert done.returncode == 0
    assert done.stdout.startswith("sent 20 readouts, ")
    lines = program.stdout.splitlines()
    assert [line.split(" at ")[0] for line in lines] == [f"readout {i}" for i in range(20)]
    assert "nothing lost of 20" in program.stderr


@pytest.mark.parametrize("kind", ["astropix4", "astropix3", "astep"])
def test_each_kind_is_simulated(here, url, kind):
    with receiving(url, "--count", 10, "--timeout", 10, "--json") as program:
        done = run("simulate", *here, "--kind", kind, "--chips", 3, "--count", 10, "--rate", 500, "--seed", 1)
        assert program.wait() == 0
    assert f"simulated readouts of {find_kind(kind)}, not those of a detector" in done.stderr
    detector = Detector(seed=1, rate=500, kind=find_kind(kind), chips=3)
    data = [bytes.fromhex(json.loads(line)["data"]) for line in program.stdout.splitlines()]
    assert data == [one.data().rstrip(b"\xff") for _, one in islice(detector.readouts(), 10)]


def test_simulated_readouts_stay_on_this_machine(group, port):
    """Without --interface: the same group is that of a real DAQ."""
    there = f"udp://{group}:{port}?interface=127.0.0.1"
    with receiving(there, "--count", 3, "--timeout", 10) as program:
        done = run("simulate", "--group", group, "--port", port, "--count", 3)
        assert program.wait() == 0
    assert f"sending to {group}:{port} from 127.0.0.1 (lo)" in done.stderr


def test_simulated_readouts_to_another_machine_need_an_interface():
    done = run("simulate", "--group", "192.0.2.7", "--count", 1)
    assert done.returncode == 2
    assert done.stderr == (
        "apx: 192.0.2.7 is not on this machine: name the --interface to send simulated readouts there\n"
    )


def test_a_simulated_file_says_so(tmp_path):
    path = tmp_path / "run.apx"
    words = ("simulate", "--kind", "astropix3", "--output", path, "--seed", 5)
    done = run(*words, "--count", 20)
    assert (done.returncode, done.stdout) == (
        0, f"20 simulated readouts of AstroPix 3 (3000) written to {path}\n",
    )  # fmt: skip
    with apx_open(path) as file:
        assert file.header["readout_uid"] == 3000
        assert file.header["simulated"] == {"seed": 5, "rate": 100.0, "hits": 3.0, "chips": 1}
        readouts = list(file)
    assert [readout.readout_id for readout in readouts] == list(range(20))
    assert readouts[1].timestamp - readouts[0].timestamp == 10_000_000
    for more, told in (("--count", 1), f"{path} exists"), ((), "--output needs --count or --seconds"):
        again = run(*words, *more)
        assert again.returncode == 2
        assert told in again.stderr
    assert json.loads(run(*words, "--count", 1, "--force", "--json").stdout) == {
        "file": str(path), "readouts": 1, "readout_uid": 3000,
    }  # fmt: skip


def test_readouts_as_json(here, url, group, port):
    with receiving(url, "--count", 5, "--timeout", 10, "--json") as program:
        run("simulate", *here, "--count", 5, "--seed", 1)
        assert program.wait() == 0
    records = [json.loads(line) for line in program.stdout.splitlines()]
    expected = [readout.hex() for _, readout in islice(Detector(seed=1).readouts(), 5)]
    assert [record["data"] for record in records] == expected
    assert [record["readout_id"] for record in records] == list(range(5))
    assert {record["source"].split(":")[0] for record in records} == {"127.0.0.1"}
    summary = json.loads(program.stderr.splitlines()[-1])
    assert summary["readouts"] == 5
    assert summary["sources"][0]["lost"] == 0


def test_hits_as_json_have_the_documented_columns(here, url):
    with receiving(url, "--count", 5, "--timeout", 10, "--json", "--hits") as program:
        run("simulate", *here, "--count", 5, "--seed", 1)
        assert program.wait() == 0
    records = [json.loads(line) for line in program.stdout.splitlines()]
    assert [tuple(record)[3:] for record in records] == [AstroPix4Hit.ATTRIBUTE_NAMES] * len(records)
    assert len(records) == json.loads(program.stderr.splitlines()[-1])["hits"] > 5


def test_a_hit_split_between_readouts_is_put_together(group, port, url, tmp_path, here):
    """By the source's previous readout; the hit is that of a real run, see test_simulation."""
    hit = bytes.fromhex("e0401eac0dccc200")
    with apx_open(tmp_path / "run.apx", "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for i, data in enumerate((b"\xbc" + hit[:5], hit[5:] + b"\xbc")):
            writer.write(AstroPix4Readout(data, i, i).to_bytes())
    with receiving(url, "--count", 2, "--timeout", 10, "--hits") as program:
        run("send", tmp_path / "run.apx", *here)
        assert program.wait() == 0
    assert "hit 0 of readout 1: chip 0, column 9, row 0, TOT 224.10 us" in program.stdout
    assert "ORPHAN_BYTES_MATCHED" in program.stdout


def test_two_sources_at_once(here, url, port):
    other = f"udp://239.255.1.7:{port}?interface=127.0.0.1"
    with receiving(url, other, "--separate", "--count", 6, "--timeout", 10, "--json") as program:
        program.wait_for("receiving 239.255.1.7")
        for words in (here, ("--group", "239.255.1.7", *here[2:])):
            run("simulate", *words, "--count", 3)
        assert program.wait() == 0
    assert [json.loads(line)["url"] for line in program.stdout.splitlines()] == [url] * 3 + [other] * 3


def test_readouts_through_a_relay(here, group, port, tcp_port):
    endpoint = f"tcp://127.0.0.1:{tcp_port}"
    words = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--publish", endpoint)
    with (
        Program(sys.executable, "-m", "astropix_relay", "run", *words),
        receiving(endpoint, "--count", 10, "--timeout", 10) as program,
    ):
        run("simulate", *here, "--count", 10)
        assert program.wait() == 0
    assert program.stdout.count("\n") == 10
    assert "nothing lost of 10" in program.stderr


def test_nothing_in_time(url):
    done = run("receive", url, "--timeout", 0.2)
    assert done.returncode == 1
    assert f"no readout from {url} in 0.2 s" in done.stderr


def test_no_relay_in_time(tcp_port):
    done = run("receive", f"tcp://127.0.0.1:{tcp_port}", "--timeout", 0.2)
    assert done.returncode == 1
    assert "refuses the connection: nothing listens there" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_receiving_ends_with_a_summary(number, url, here):
    with receiving(url) as program:
        run("simulate", *here, "--count", 3)
        program.wait_for("readout 2 ")
        assert program.stop(number) == 0
    assert "nothing lost of 3" in program.stderr


def test_a_reader_that_has_had_enough(url, here):
    with Program("sh", "-c", f"{' '.join(APX)} receive '{url}' | head -n 1") as program:
        program.wait_for("receiving ")
        with Program(*APX, "simulate", *here):
            assert program.wait() == 0
    assert program.stdout.startswith("readout 0 ")
    assert program.stdout.count("\n") == 1
    assert "nothing lost of " in program.stderr
    assert "Error" not in program.stderr
