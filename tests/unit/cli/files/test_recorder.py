"""Files that a recording goes into, told batch by batch."""

import errno
import json
from itertools import accumulate

import pytest

from astropix_stream.batch import Batch, Source
from astropix_stream.cli.files.recorder import Recorder
from astropix_stream.cli.files.splitting import Splitting
from astropix_stream.clock import Moment
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import apx_open
from astropix_stream.fmt import AstroPix4Readout

DAQ, OTHER = Source("10.0.0.2", 40000), Source("10.0.0.3", 40000)
URL = "udp://239.1.1.1:5007"
SIZE = 19 + 4  # bytes of a readout here


def moment(s=0.0):
    return Moment(s, round(s * 1e9))


def batch(*readout_ids, source=DAQ, at_ns=0):
    raws = [AstroPix4Readout(b"\xbc\x01\x02\x03", i, at_ns + i).to_bytes() for i in readout_ids]
    ends = list(accumulate(map(len, raws)))
    return Batch(source, 0, b"".join(raws), list(readout_ids), [at_ns + i for i in readout_ids], ends)


def recorder(path, splitting=None, *, force=False):
    return Recorder(path, URL, splitting or Splitting(), lambda: {"lost": 3}, force=force)


def ids(path):
    with apx_open(path) as reader:
        found = [readout.readout_id for readout in reader]
        assert reader.leftover_bytes == 0
    return found


def account(path):
    return json.loads(path.with_suffix(".json").read_text())


def names(folder):
    return sorted(path.name for path in folder.glob("*.apx"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.apx"


def test_datagrams_byte_for_byte_and_the_account(path):
    recording = recorder(path)
    one = batch(5, 6)
    recording.take(one, moment(1))
    recording.take(batch(7), moment(2))
    recording.close(moment(3))
    with apx_open(path) as reader:
        assert b"".join(raw for raw, _, _ in reader.datagrams()) == one.payload + batch(7).payload
        assert reader.header["readout_uid"] == 4000
        assert (reader.header["source"], reader.header["url"]) == (str(DAQ), URL)
        assert reader.header["start_time"] == "1970-01-01T00:00:01.000+00:00"
    told = account(path)
    assert told["complete"] is True
    assert (told["readouts"], told["first_readout_id"], told["last_readout_id"]) == (3, 5, 7)
    assert told["bytes"] == path.stat().st_size == recording.size
    assert told["stream"] == {"lost": 3}


def test_no_file_before_the_first_readout(path, tmp_path):
    recording = recorder(path)
    recording.tick(moment())
    recording.close(moment())
    assert list(tmp_path.iterdir()) == []


def test_a_second_source_has_a_file_of_its_own(path, tmp_path):
    recording = recorder(path)
    for source in (DAQ, OTHER, DAQ, OTHER):
        recording.take(batch(1, 2, source=source), moment())
    recording.close(moment())
    assert names(tmp_path) == ["run-2.apx", "run.apx"]
    assert ids(path) == ids(tmp_path / "run-2.apx") == [1, 2, 1, 2]
    with apx_open(tmp_path / "run-2.apx") as reader:
        assert reader.header["source"] == str(OTHER)


def test_runs(path, tmp_path):
    recording = recorder(path, Splitting(runs=True))
    recording.take(batch(7, 8, 9), moment())
    later = batch(0, 1, at_ns=1000)
    recording.take(later, moment())
    both = batch(2, at_ns=1000), batch(0, 1, 2, at_ns=2000)
    recording.take(
        Batch(
            DAQ,
            0,
            both[0].payload + both[1].payload,
            [2, 0, 1, 2],
            [*both[0].timestamps, *both[1].timestamps],
            [SIZE, 2 * SIZE, 3 * SIZE, 4 * SIZE],
        ),
        moment(),
    )
    recording.close(moment())
    assert [ids(tmp_path / name) for name in ("run.apx", "run-2.apx", "run-3.apx")] == [
        [7, 8, 9],
        [0, 1, 2],
        [0, 1, 2],
    ]


def test_without_splitting_runs_follow_each_other(path, tmp_path):
    recording = recorder(path)
    recording.take(batch(7, 8), moment())
    recording.take(batch(0, 1, at_ns=1000), moment())
    recording.close(moment())
    assert names(tmp_path) == ["run.apx"]
    assert ids(path) == [7, 8, 0, 1]


def test_size(path, tmp_path):
    header = len(_header(path.parent / "probe.apx"))
    recording = recorder(path, Splitting(size=header + 3 * SIZE))
    recording.take(batch(*range(8)), moment())
    recording.take(batch(8), moment())
    recording.close(moment())
    assert [ids(tmp_path / name) for name in ("run.apx", "run-2.apx", "run-3.apx")] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
    ]
    assert all((tmp_path / name).stat().st_size <= header + 3 * SIZE for name in names(tmp_path))


def _header(path):
    recording = recorder(path)
    recording.take(batch(1), moment())
    recording.close(moment())
    data = path.read_bytes()[:-SIZE]
    path.unlink()
    return data


def test_a_readout_larger_than_the_size_has_a_file(path, tmp_path):
    recording = recorder(path, Splitting(size=10))
    recording.take(batch(0, 1, 2), moment())
    recording.close(moment())
    assert [ids(tmp_path / name) for name in ("run.apx", "run-2.apx", "run-3.apx")] == [[0], [1], [2]]


def test_time(path, tmp_path):
    recording = recorder(path, Splitting(seconds=60))
    for at_s in (0, 59, 60, 200):
        recording.take(batch(at_s), moment(at_s))
    recording.close(moment(200))
    assert [ids(tmp_path / name) for name in ("run.apx", "run-2.apx", "run-3.apx")] == [[0, 59], [60], [200]]


def test_at_most(path):
    recording = recorder(path)
    recording.take(batch(1, 2, 3), moment(), 2)
    recording.close(moment())
    assert ids(path) == [1, 2]
    assert recording.not_written == 0


def test_nothing_is_overwritten(path, tmp_path):
    path.touch()
    with pytest.raises(
        ConfigError, match=r"run\.apx exists: choose another name, or overwrite it with --force"
    ):
        recorder(path)
    path.unlink()
    path.with_suffix(".json").touch()
    with pytest.raises(ConfigError, match=r"run\.json exists"):
        recorder(path)
    path.with_suffix(".json").unlink()
    (tmp_path / "run-2.apx").write_text("another")
    recording = recorder(path)
    for source in (DAQ, OTHER):
        recording.take(batch(1, source=source), moment())
    recording.close(moment())
    assert (tmp_path / "run-2.apx").read_text() == "another"
    assert ids(tmp_path / "run-3.apx") == [1]


def test_force(path):
    path.write_bytes(b"x" * 1000)
    recording = recorder(path, force=True)
    recording.take(batch(1), moment())
    recording.close(moment())
    assert ids(path) == [1]


@pytest.mark.parametrize(
    ("name", "error"), [("run.json", ConfigError), ("run", ConfigError), ("none/run.apx", FileNotFoundError)]
)
def test_no_name_for_a_file(tmp_path, name, error):
    with pytest.raises(error):
        recorder(tmp_path / name)


def test_the_system_has_every_readout_within_a_second(path):
    recording = recorder(path)
    recording.take(batch(1), moment(0))
    recording.tick(moment(0.1))
    recording.take(batch(2), moment(0.4))
    recording.tick(moment(0.6))
    assert ids(path) == [1, 2]
    told = account(path)
    assert told["complete"] is False
    recording.tick(moment(3))
    assert account(path)["readouts"] == 2
    recording.close(moment(3))


class FullDisk:
    """Stands for a part's file: takes so many bytes, then nothing."""

    def __init__(self, writer, room):
        self._file = writer._file
        self._room = room
        self._waiting = b""

    def write(self, raw):
        self._waiting += raw

    def flush(self):
        taken, self._waiting = self._waiting[: self._room], self._waiting[self._room :]
        self._file.write(taken)
        self._room -= len(taken)
        if self._waiting:
            raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()


@pytest.mark.parametrize(("room", "kept"), [(0, []), (1, []), (SIZE, [1]), (3 * SIZE - 1, [1, 2])])
@pytest.mark.parametrize("end", ["tick", "close"])
def test_a_full_disk_leaves_whole_readouts(path, room, kept, end):
    recording = recorder(path)
    recording.take(batch(0), moment(0))
    recording.tick(moment(1))
    part = recording.parts[0]
    part._writer = FullDisk(part._writer, room)
    recording.take(batch(1, 2, 3), moment(2))
    if end == "tick":
        recording.tick(moment(3))
        recording.take(batch(4, 5), moment(3))
        recording.tick(moment(4))
    recording.close(moment(4))
    assert ids(path) == [0, *kept]
    assert recording.error.errno == errno.ENOSPC
    assert recording.readouts == 1 + len(kept)
    assert recording.not_written == 3 - len(kept) + (2 if end == "tick" else 0)
    told = account(path)
    assert (told["readouts"], told["complete"]) == (recording.readouts, False)


def test_every_source_has_its_file_but_not_for_ever(path, tmp_path):
    recording = recorder(path)
    for n in range(100):
        recording.take(batch(1, source=Source("10.0.0.2", 1 + n)), moment(n))
    assert len(recording._open_parts()) == 64
    assert account(path)["complete"] is True
    recording.close(moment(100))
    assert len(names(tmp_path)) == 100
