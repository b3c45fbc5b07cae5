"""A file as a source: what it gives, how it ends, and how it is followed."""

import asyncio
import select
import time

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.file_receiver import FileReceiver
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import AStepReadout, AstroPix4Readout
from astropix_stream.opening import open_receiver

S = 1_000_000_000


def recording(count, first=0):
    detector = Detector(seed=1)
    return [detector.readout(first + i, (1000 + i) * S // 10).to_bytes() for i in range(count)]


def write(path, raws, tail=b""):
    path.write_bytes(FileHeader(AstroPix4Readout, {}).serialize() + b"".join(raws) + tail)
    return path


def frame(number):
    return bytes([10, 1, 0x0C, 0x85, 1, 2, 3]) + number.to_bytes(4, "little")


def test_a_file_is_a_source_that_ends(tmp_path):
    raws = recording(50)
    path = write(tmp_path / "run.apx", raws)
    with open_receiver(AstroPix4Readout, str(path)) as receiver:
        assert [readout.to_bytes() for readout in receiver] == raws
        assert receiver.ended
        assert receiver.readout_uid == 4000
        with pytest.raises(ReceiveTimeout, match="ends here"):
            receiver.receive()  # at once, though the receiver has no timeout
        assert (receiver.ledger.delivered, receiver.ledger.lost) == (50, 0)


def test_what_is_missing_in_a_file_is_counted(tmp_path):
    raws = recording(50)
    with open_receiver(AstroPix4Readout, str(write(tmp_path / "run.apx", raws[:20] + raws[23:]))) as receiver:
        assert len(list(receiver)) == 47
        assert receiver.ledger.lost == 3


def test_a_file_that_is_cut_gives_what_is_whole(tmp_path, caplog):
    with open_receiver(
        AstroPix4Readout, str(write(tmp_path / "run.apx", recording(5), b"\xfe\xdc"))
    ) as receiver:
        assert len(list(receiver)) == 5
    assert "2 bytes left over" in caplog.text


def test_tasks_read_a_file_to_its_end(tmp_path):
    async def count(receiver):
        return len([readout async for readout in receiver])

    with open_receiver(AstroPix4Readout, str(write(tmp_path / "run.apx", recording(50)))) as receiver:
        assert asyncio.run(count(receiver)) == 50


def test_its_descriptor_is_readable_until_the_end(tmp_path):
    with open_receiver(AstroPix4Readout, str(write(tmp_path / "run.apx", recording(2)))) as receiver:
        assert select.select([receiver], [], [], 0)[0]
        list(receiver)
        assert not select.select([receiver], [], [], 0)[0]


def test_another_kind_is_refused_unless_any_will_do(tmp_path):
    path = str(write(tmp_path / "run.apx", recording(2)))
    with pytest.raises(ConfigError, match=r"AstroPix 4 \(4000\), not of A-STEP \(3100\)"):
        open_receiver(AStepReadout, path)
    with open_receiver(AStepReadout, path, any_kind=True) as receiver:
        assert receiver.readout_uid == 4000


def test_a_file_is_no_path_beside_others(tmp_path):
    with pytest.raises(ConfigError, match="a file is read alone"):
        open_receiver(AstroPix4Readout, ["a.apx", "udp://239.1.1.1:5007"])


def test_an_address_without_scheme_is_no_file():
    with pytest.raises(ConfigError, match=r"a group is udp://239.1.1.1:5007"):
        open_receiver(AstroPix4Readout, "239.1.1.1:5007")


def take(receiver, count, seconds=5):
    """Receive readouts until there are so many."""
    until = time.monotonic() + seconds
    raws = []
    while len(raws) < count and time.monotonic() < until:
        try:
            raws.append(receiver.receive(timeout=0.2).to_bytes())
        except ReceiveTimeout:
            continue
    return raws


def test_half_a_readout_is_waited_for(tmp_path):
    raws = recording(3)
    path = write(tmp_path / "run.apx", raws[:1], raws[1][:7])
    with FileReceiver(AstroPix4Readout, path, follow=True) as receiver:
        assert take(receiver, 1) == raws[:1]
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=0.1)
        with path.open("ab") as file:
            file.write(raws[1][7:] + raws[2])
        assert take(receiver, 2) == raws[1:]


@pytest.mark.parametrize("start", ["beginning", "end"])
def test_following_begins_with_what_is_there_or_with_what_comes(tmp_path, start):
    raws = recording(9)
    path = write(tmp_path / "run.apx", raws[:4], raws[4][:9])
    with FileReceiver(AstroPix4Readout, path, follow=True, start=start) as receiver:
        first = take(receiver, 4) if start == "beginning" else []
        if start == "end":
            with pytest.raises(ReceiveTimeout):
                receiver.receive(timeout=0.1)
        with path.open("ab") as file:
            file.write(raws[4][9:] + b"".join(raws[5:]))
        assert first + take(receiver, 5) == (raws if start == "beginning" else raws[4:])


def test_rotation_and_truncation_are_followed(tmp_path):
    raws = recording(9)
    path = write(tmp_path / "run.apx", raws[:2])
    with FileReceiver(AstroPix4Readout, path, follow=True) as receiver:
        assert take(receiver, 2) == raws[:2]
        path.rename(tmp_path / "run.apx.1")
        with (tmp_path / "run.apx.1").open("ab") as file:  # the writer has not noticed
            file.write(raws[2])
        write(path, raws[3:5])
        assert take(receiver, 3) == raws[2:5]
        write(path, raws[5:6])  # truncates
        assert take(receiver, 1) == raws[5:6]


def test_a_file_may_come_later(tmp_path):
    raws = recording(2)
    path = tmp_path / "run.apx"
    with FileReceiver(AstroPix4Readout, path, follow=True, start="end") as receiver:
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=0.05)
        write(path, raws)
        assert take(receiver, 2) == raws


def test_of_a_folder_the_newest_file_is_followed_and_each_newer_one(tmp_path):
    raws = recording(6)
    write(tmp_path / "a.apx", raws[:1])
    time.sleep(0.02)  # file times are no finer than some ms
    write(tmp_path / "b.apx", raws[1:2])
    (tmp_path / "notes.txt").write_text("no readouts")
    with FileReceiver(AstroPix4Readout, tmp_path, follow=True) as receiver:
        assert take(receiver, 1) == raws[1:2]
        write(tmp_path / "0.apx", raws[2:4])
        time.sleep(0.02)
        write(tmp_path / "c.apx", raws[4:])
        assert take(receiver, 4) == raws[2:]


def test_frames_are_given_soon_with_the_time_and_consecutive_ids(tmp_path):
    path = tmp_path / "run.bin"
    path.write_bytes(frame(0) * 3)
    with FileReceiver(AStepReadout, path, follow=True, start="end", timeout=5) as receiver:
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=0.1)
        for number in range(3):
            with path.open("ab") as file:
                file.write(frame(number))
            readout = receiver.receive()
            assert (readout.readout_id, readout.data()) == (number, frame(number))
            assert abs(readout.timestamp - time.time_ns()) < 2 * S
        assert receiver.readout_uid == 3100


def test_a_followed_file_wakes_who_waits_on_its_descriptor(tmp_path):
    raws = recording(2)
    path = write(tmp_path / "run.apx", raws[:1])
    with FileReceiver(AstroPix4Readout, path, follow=True) as receiver:
        assert take(receiver, 1) == raws[:1]
        receiver.fileno()
        with path.open("ab") as file:
            file.write(raws[1])
        assert select.select([receiver], [], [], 5)[0]
        assert take(receiver, 1) == raws[1:]


def test_standard_input_is_not_followed():
    with pytest.raises(ConfigError, match="nothing to follow"):
        FileReceiver(AstroPix4Readout, "-", follow=True)
