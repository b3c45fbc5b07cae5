"""Readouts of another kind than AstroPix 4, through a relay that says so, and through commands."""

import json
import subprocess
import sys
from itertools import islice

import pytest

from astropix_relay.configuration.loading import load_config
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import ASTEP, ASTROPIX3, AstroPix4Readout
from astropix_stream.opening import open_receiver
from programs import Program
from relays import running

APX = (sys.executable, "-m", "astropix_stream.cli")
UNKNOWN = 77  # a kind that no class decodes
BOTH = "the readouts are kind 77, and AstroPix4Readout decodes AstroPix 4 (4000)"


class AnyBytes:
    """A class of readouts that takes what comes."""

    @staticmethod
    def from_bytes(data):
        return data


@pytest.fixture
def url(group, port):
    stream = {
        "name": "astropix",
        "group": group,
        "port": port,
        "interface": "127.0.0.1",
        "readout_uid": UNKNOWN,
    }
    text = json.dumps(
        {"streams": [stream], "publish": {"endpoint": "tcp://127.0.0.1:0"}, "metrics": {"listen": None}}
    )
    with running(load_config(text)) as relay:
        yield relay.publisher.endpoint


def readout(i):
    return AstroPix4Readout(b"\xbc\x20\x01\x02\x03\x04", i, 10**18 + i)


def test_a_class_that_does_not_fit_is_refused_until_told_to_go_on(url, sender):
    with open_receiver(AstroPix4Readout, url, timeout=5) as receiver:
        for _ in range(2):
            with pytest.raises(ConfigError) as error:
                receiver.receive()
            assert str(error.value).endswith(f"{BOTH}; any_kind=True takes them all the same")
        assert receiver.readout_uid == UNKNOWN
    for readout_class, options in ((AstroPix4Readout, {"any_kind": True}), (AnyBytes, {})):
        with open_receiver(readout_class, url, timeout=5, **options) as receiver:
            receiver.wait_ready(5)
            sender.send_readout(readout(0))
            assert receiver.receive() in (readout(0), readout(0).to_bytes())


def test_one_of_several_ways_says_it_too(url, group, port):
    ways = [f"udp://{group}:{port}?interface=127.0.0.1", url]
    with (
        open_receiver(AstroPix4Readout, ways, timeout=5) as receiver,
        pytest.raises(ConfigError, match="kind 77"),
    ):
        receiver.receive()


def test_of_multicast_nobody_says_it(group, port):
    with open_receiver(
        AstroPix4Readout, f"udp://{group}:{port}?interface=127.0.0.1", any_kind=True
    ) as receiver:
        assert receiver.readout_uid is None


def test_record_writes_the_relays_kind(url, sender, tmp_path):
    path = tmp_path / "run.apx"
    with Program(*APX, "record", url, path, "--count", 20, "--timeout", 10) as program:
        program.wait_for("receiving ")
        for i in range(40):
            sender.send_readout(readout(i))
            subprocess.run(["sleep", "0.02"], check=True)
        assert program.wait() == 0, str(program)
    with apx_open(path) as file:
        assert (file.header.readout_uid, len(list(file.datagrams()))) == (UNKNOWN, 20)
        assert file.header["astropix_stream"]["stream"]["lost"] == 0


def test_record_does_not_believe_a_person_who_says_otherwise(url, sender, tmp_path):
    with Program(*APX, "record", url, tmp_path / "run.apx", "--readout-uid", 3000) as program:
        program.wait_for("receiving ")
        for i in range(100):
            sender.send_readout(readout(i))
            if program.process.poll() is not None:
                break
            subprocess.run(["sleep", "0.05"], check=True)
        assert program.wait() == 2
    assert "the readouts are kind 77, --kind says AstroPix 3 (3000)" in program.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--hits"], ["--hits", "--kind", "astropix4"], []])
def test_readouts_of_an_unknown_kind_are_printed_without_hits(url, sender, options):
    with Program(*APX, "receive", url, "--count", 3, "--timeout", 10, *options) as program:
        program.wait_for("receiving ")
        for i in range(100):
            sender.send_readout(readout(i))
            if program.process.poll() is not None:
                break
            subprocess.run(["sleep", "0.05"], check=True)
        assert program.wait() == 0, str(program)
    assert program.stdout.startswith("readout ")
    assert ("  not decoded: the uid 77 is unknown\n" in program.stdout) is (options == ["--hits"])
    assert ("  decoding: " in program.stdout) is (options[1:2] == ["--kind"])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "v77.apx"
    with apx_open(path, "wb", FileHeader(UNKNOWN, {})) as writer:
        writer.write(b"".join(readout(i).to_bytes() for i in range(10)))
    return path


def run(*words):
    return subprocess.run([*APX, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def test_send_plays_any_kind(file, group, port):
    ways = f"udp://{group}:{port}?interface=127.0.0.1"
    with open_receiver(AnyBytes, ways, timeout=5) as receiver:
        done = run("send", file, "--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
        assert (done.returncode, done.stdout.startswith("sent 10 readouts")) == (0, True)
        assert [receiver.receive() for _ in range(10)] == [readout(i).to_bytes() for i in range(10)]


def test_a_file_of_an_unknown_kind(file, tmp_path):
    done = run("info", file)
    assert done.returncode == 0
    assert "hits          not decoded: the readouts are kind 77\n" in done.stdout
    assert json.loads(run("info", file, "--json").stdout)["hits"] is None
    done = run("convert", file, tmp_path / "hits.csv")
    assert (done.returncode, done.stderr) == (
        2,
        f"apx: {file}: no class of readouts has the uid 77; there is 3000 (AstroPix3Readout), 3100 "
        "(AStepReadout), 4000 (AstroPix4Readout); say with --kind what to take them for\n",
    )
    assert list(tmp_path.iterdir()) == [file]
    assert run("convert", file, tmp_path / "hits.csv", "--kind", "4000").returncode == 0


def test_a_file_that_does_not_say_its_kind(tmp_path):
    path = tmp_path / "early.apx"
    path.write_bytes(b'%APXDF\x0c\x00\x00\x00{"args": {}}' + readout(3).to_bytes())
    told = f"warning: {path}: the header does not say the kind of readouts; taken for AstroPix 4 (4000)\n"
    assert run("convert", path, tmp_path / "hits.csv").stderr == told
    done = run("info", path)
    assert (done.returncode, done.stderr) == (0, told)


def test_a_file_of_each_kind_is_converted(tmp_path):
    for kind, first in ((ASTROPIX3, "chip_id"), (ASTEP, "layer")):
        path = tmp_path / f"{kind.slug}.apx"
        run("simulate", "--kind", kind.slug, "--count", 50, "--seed", 1, "--output", path)
        hits = int(json.loads(run("info", path, "--json").stdout)["hits"])
        for ending in (".csv", ".npz", ".parquet"):
            done = run("convert", path, tmp_path / f"{kind.slug}{ending}", "--json")
            assert json.loads(done.stdout)["hits"] == hits > 200
        header, names, *rows = (tmp_path / f"{kind.slug}.csv").read_text().splitlines()
        assert header.startswith(f'#{{"readout_uid": {kind.uid}')
        assert names.split(",") == list(kind.types)
        assert names.startswith(first)
        assert len(rows) == hits


def test_multicast_is_decoded_as_a_person_says(group, port, sender):
    there = f"udp://{group}:{port}?interface=127.0.0.1"
    detector = Detector(seed=1, kind=ASTEP)
    with Program(
        *APX, "receive", there, "--hits", "--kind", "astep", "--count", 20, "--timeout", 10
    ) as program:
        program.wait_for("receiving ")
        hits = 0
        for _, one in islice(detector.readouts(), 20):
            sender.send_readout(one)
            hits += len(one.decode())
        assert program.wait() == 0
    assert program.stdout.count("  hit ") == hits
    assert "layer 1, chip 0, row " in program.stdout
