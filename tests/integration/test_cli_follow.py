"""`apx send --follow`: what a DAQ writes to a file is multicast once, and the DAQ notices nothing."""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import HEADER_SIZE, AStepReadout, AstroPix4Readout
from astropix_stream.sock import MulticastReceiver
from programs import Program

APX = (sys.executable, "-m", "astropix_stream.cli")


def frame(number):
    return bytes([10, 1, 0x0C, 0x85, 1, 2, 3]) + number.to_bytes(4, "little")


class Following:
    """Runs followers of one file, one after the other, and collects what they multicast."""

    def __init__(self, path, readout_class, group, port):
        here = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
        self._words = ("send", "--follow", path, "--state", path.parent / "state", *here)
        self.receiver = MulticastReceiver(readout_class, group, port, interface="127.0.0.1")
        self.raws = []
        self.program = None

    def start(self, *more):
        if self.program:
            self.program.close()
        self.program = Program(*APX, *self._words, *more)
        self.program.wait_for("sending what is written")
        return self.program

    def end(self, number=signal.SIGTERM):
        code = self.program.stop(number)
        self.program.close()
        return code

    def take(self, enough, seconds=20.0):
        """Receive until `enough` is true of the data of all distinct readouts, in order of arrival."""
        until = time.monotonic() + seconds
        while not enough(self.data()) and time.monotonic() < until:
            with contextlib.suppress(ReceiveTimeout):
                self.raws.append(self.receiver.receive(timeout=0.1).to_bytes())
        assert enough(self.data())

    def data(self):
        return b"".join(raw[HEADER_SIZE:] for raw in dict.fromkeys(self.raws))

    def ids(self):
        return [int.from_bytes(raw[3:7], "little") for raw in dict.fromkeys(self.raws)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.receiver.close()
        if self.program:
            self.program.close()


def append(path, data):
    with path.open("ab", buffering=0) as file:
        file.write(data)


def apx_readouts(count):
    detector = Detector(seed=1)
    return [detector.readout(i, (1000 + i) * 10**8).to_bytes() for i in range(count)]


def log_line(number):
    return f"{number}\tb'{bytes([0xE0, number]).hex()}{'ff' * 30}'\r\n".encode()


@pytest.mark.parametrize("form", [".bin", ".apx", ".log"])
def test_over_restarts_nothing_is_left_out_and_at_most_the_one_in_flight_comes_again(
    tmp_path, group, port, form
):
    rng = random.Random(form)
    path = tmp_path / f"run{form}"
    readout_class = AStepReadout if form == ".bin" else AstroPix4Readout
    if form == ".bin":
        head, pieces = b"", [frame(i) * rng.choice([1, 5, 150]) for i in range(60)]
        written = b"".join(pieces)
    elif form == ".apx":
        head, pieces = FileHeader(AstroPix4Readout, {}).serialize(), apx_readouts(60)
        written = b"".join(raw[HEADER_SIZE:] for raw in pieces)
    else:
        head, pieces = b"Digital: {'nu1': 0}\r\n Namespace(chipVer=4)\r\n", [log_line(i) for i in range(60)]
        written = b"".join(bytes([0xE0, i]) for i in range(60))
    append(path, head)
    killed = 0
    with Following(path, readout_class, group, port) as following:
        following.start()
        for number, piece in enumerate(pieces):
            cut = rng.randrange(len(piece))
            append(path, piece[:cut])
            if number % 12 == 5:  # within a readout
                sent_by = rng.choice([signal.SIGTERM, signal.SIGKILL])
                killed += sent_by is signal.SIGKILL
                following.end(sent_by)
                following.start()
            append(path, piece[cut:])
        following.take(lambda data: len(data) >= len(written))
        following.end()
        assert following.data() == written
        assert following.ids() == list(range(len(following.ids())))
        assert len(following.raws) - len(set(following.raws)) <= killed
        if form != ".apx":  # the host's clock
            assert abs(int.from_bytes(following.raws[-1][7:15], "little") - time.time_ns()) < 60 * 10**9
        if form == ".bin":
            assert max(map(len, following.raws)) <= 1400


def test_after_sigterm_nothing_comes_twice(tmp_path, group, port):
    path = tmp_path / "run.bin"
    append(path, frame(0) * 500)
    with Following(path, AStepReadout, group, port) as following:
        for number in range(3):
            following.start()
            append(path, frame(number))
            following.take(lambda data, n=number: len(data) == (501 + n) * 11)
            assert following.end() == 0
        following.start()
        with contextlib.suppress(ReceiveTimeout):
            following.raws.append(following.receiver.receive(timeout=0.3).to_bytes())
        assert len(following.raws) == len(set(following.raws))


def test_a_readout_in_flight_comes_again_byte_for_byte(tmp_path, group, port):
    path = tmp_path / "run.bin"
    append(path, frame(1) * 2)
    with Following(path, AStepReadout, group, port) as following:
        following.start()
        following.take(lambda data: len(data) == 22)
        following.end()
        state = json.loads((tmp_path / "state").read_text())
        timestamp = int.from_bytes(following.raws[0][7:15], "little")
        state["flight"] = [0, 22, 0, timestamp]  # as if it had been killed between record and send
        (tmp_path / "state").write_text(json.dumps(state))
        following.start()
        again = following.receiver.receive(timeout=10).to_bytes()
        assert again == following.raws[0]
        append(path, frame(2))
        assert following.receiver.receive(timeout=10).readout_id == 1


def test_it_is_sent_soon(tmp_path, group, port):
    path = tmp_path / "run.bin"
    append(path, b"")
    with Following(path, AStepReadout, group, port) as following:
        following.start()
        delays = []
        for number in range(20):
            append(path, frame(number))
            written_s = time.monotonic()
            following.receiver.receive(timeout=10)
            delays.append(time.monotonic() - written_s)
        assert median(delays) < 0.05


def test_the_writer_notices_nothing(tmp_path, group, port):
    """The file is open for reading only, without a lock; stopped and killed, the follower changes nothing."""
    path = tmp_path / "run.bin"
    append(path, frame(0))
    with Following(path, AStepReadout, group, port) as following:
        program = following.start()
        following.take(lambda data: len(data) == 11)
        process = Path(f"/proc/{program.pid}")
        fds = [fd.name for fd in (process / "fd").iterdir() if os.readlink(fd) == str(path)]
        assert len(fds) == 1
        flags = next(
            line
            for line in (process / f"fdinfo/{fds[0]}").read_text().splitlines()
            if line.startswith("flags")
        )
        assert int(flags.split()[1], 8) & os.O_ACCMODE == os.O_RDONLY
        assert f":{path.stat().st_ino} " not in Path("/proc/locks").read_text()
        with path.open("ab", buffering=0) as daq:
            before = path.stat()
            for number, happens in ((1, signal.SIGSTOP), (2, signal.SIGCONT), (3, signal.SIGKILL), (4, None)):
                if happens is not None:
                    program.send_signal(happens)
                for _ in range(200):
                    assert daq.write(frame(number)) == 11
            after = path.stat()
        assert after.st_size == 11 * 801
        assert (before.st_ino, before.st_mode, before.st_nlink) == (
            after.st_ino,
            after.st_mode,
            after.st_nlink,
        )
        assert path.read_bytes() == frame(0) + b"".join(frame(number) * 200 for number in (1, 2, 3, 4))
        program.wait()
        following.start()
        following.take(lambda data: data == path.read_bytes())


def test_a_folder_means_its_newest_file(tmp_path, group, port):
    folder = tmp_path / "runs"
    folder.mkdir()
    append(folder / "a.bin", frame(1))
    time.sleep(0.02)
    append(folder / "b.bin", frame(2))
    with Following(folder, AStepReadout, group, port) as following:
        following.start()
        following.take(lambda data: data == frame(2))
        following.end()
        append(folder / "b.bin", frame(3))  # while it does not run
        time.sleep(0.02)
        append(folder / "c.bin", frame(4))
        following.start()
        following.take(lambda data: data == frame(2) + frame(3) + frame(4))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("a.bin", "b.bin", "--follow"), "--follow takes one file or folder"),
        (("-", "--follow"), "--follow needs a file"),
        (("a.bin", "--follow", "--loop"), "--loop does not go with --follow"),
        (("a.bin", "--follow", "--from", "middle"), "write beginning or end"),
    ],
)
def test_what_does_not_go_with_following_is_said(words, complaint):
    with Program(*APX, "send", *words) as program:
        assert program.wait() == 2
        assert complaint in program.stderr
        assert program.stderr.count("\n") == 1


def test_two_followers_with_one_state_are_refused(tmp_path, group, port):
    path = tmp_path / "run.bin"
    with Following(path, AStepReadout, group, port) as following:
        following.start()
        with Program(*APX, *following._words) as second:
            assert second.wait() == 2
            assert "another apx send --follow has this state" in second.stderr
