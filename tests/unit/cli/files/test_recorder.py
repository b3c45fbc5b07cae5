"""Files that a recording goes into, told batch by batch."""

import errno
import json
import shutil
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


def test_a_json_file_of_somebody_else_takes_a_number_too(path, tmp_path):
    (tmp_path / "run-2.json").write_text("mine")
    (tmp_path / "run-4.json").symlink_to(tmp_path / "nowhere")
    recording = recorder(path, Splitting(size=1))
    for readout_id in range(3):
        recording.take(batch(readout_id), moment())
    recording.close(moment())
    assert names(tmp_path) == ["run-3.apx", "run-5.apx", "run.apx"]
    assert (tmp_path / "run-2.json").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_no_file_of_another_name_is_touched(path, tmp_path):
    mine = [tmp_path / name for name in ("run.json.new", ".run.json.part", "run.apx.new")]
    for there in mine:
        there.write_text("mine")
    recording = recorder(path)
    recording.take(batch(1), moment())
    recording.tick(moment(3))
    recording.close(moment(3))
    assert [there.read_text() for there in mine] == ["mine"] * 3
    assert len(list(tmp_path.iterdir())) == 5


def record(path, count, *, force):
    recording = recorder(path, Splitting(size=1), force=force)
    for readout_id in range(count):
        recording.take(batch(readout_id), moment())
    recording.close(moment())


def test_force_replaces_a_longer_recording_with_all_its_parts(path, tmp_path):
    record(path, 12, force=False)
    assert len(names(tmp_path)) == 12
    record(path, 3, force=True)
    assert names(tmp_path) == ["run-2.apx", "run-3.apx", "run.apx"]
    assert sorted(there.name for there in tmp_path.glob("*.json")) == ["run-2.json", "run-3.json", "run.json"]


def test_force_removes_nothing_before_there_is_something_to_put_in_its_place(path, tmp_path):
    record(path, 3, force=False)
    recorder(path, Splitting(size=1), force=True).close(moment())
    assert ids(path) == [0]
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("name", ["run-2.apx", "run-17.apx"])
def test_force_leaves_alone_what_is_no_part_of_the_recording(path, tmp_path, name):
    record(path, 1, force=False)
    record(tmp_path / name, 1, force=False)
    with pytest.raises(ConfigError, match=f"{name} would be among the new parts"):
        record(path, 3, force=True)
    recording = recorder(path, force=True)  # without --split it stands among nothing
    for source in (DAQ, OTHER):
        recording.take(batch(5, source=source), moment())
    recording.close(moment())
    assert ids(tmp_path / name) == [0]
    assert len(names(tmp_path)) == 3


def test_other_names_are_no_parts(path, tmp_path):
    others = ["run-x.apx", "run-02.apx", "run-1.apx", "run-2.txt", "run-.apx", "rune-2.apx", "run-2-3.apx"]
    for name in others:
        (tmp_path / name).write_text("mine")
    record(path, 1, force=False)
    record(path, 2, force=True)
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_the_account_is_in_the_header_too(path):
    stream = {"lost": 3, "lost_at": {"before_socket": 3}, "losses": [1] * 100, "paths": []}
    recording = Recorder(path, URL, Splitting(), lambda: stream, force=False, kind=lambda: 3000)
    recording.take(batch(1), moment(1))
    recording.tick(moment(2))
    with apx_open(path) as reader:  # a recorder that is killed now leaves this
        assert reader.header["astropix_stream"]["complete"] is False
        assert [readout_id for _, readout_id, _ in reader.datagrams()] == [1]
    recording.take(batch(2), moment(3))
    recording.close(moment(4))
    with apx_open(path) as reader:
        assert reader.header["readout_uid"] == 3000
        ours = reader.header["astropix_stream"]
        assert ours["stream"] == {"lost": 3, "lost_at": {"before_socket": 3}}
        assert ours["complete"] is True
        assert [readout_id for _, readout_id, _ in reader.datagrams()] == [1, 2]
    assert account(path)["bytes"] == path.stat().st_size


def test_an_account_that_does_not_fit_is_beside_the_file_only(path):
    recording = Recorder(path, URL, Splitting(), lambda: {"lost": 1, "more": "x" * 9000}, force=False)
    recording.take(batch(1, 2), moment(1))
    recording.close(moment(4))
    assert ids(path) == [1, 2]
    assert account(path)["stream"]["lost"] == 1


def test_another_kind_begins_a_file(path, tmp_path):
    kinds = [4000]
    recording = Recorder(path, URL, Splitting(), dict, force=False, kind=lambda: kinds[0])
    recording.take(batch(1), moment())
    kinds[0] = 3000
    recording.take(batch(2), moment())
    recording.close(moment())
    headers = []
    for name in ("run.apx", "run-2.apx"):
        with apx_open(tmp_path / name) as reader:
            headers.append(reader.header["readout_uid"])
    assert headers == [4000, 3000]


@pytest.mark.parametrize("gone", ["folder", "file"])
def test_what_is_deleted_meanwhile_is_made_again_and_told(tmp_path, caplog, gone):
    caplog.set_level("INFO")
    path = tmp_path / "night" / "run.apx"
    path.parent.mkdir()
    recording = recorder(path)
    recording.take(batch(1, 2), moment(0))
    recording.tick(moment(3))
    if gone == "folder":
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    recording.tick(moment(6))
    recording.take(batch(3, 4, 5), moment(7))
    recording.close(moment(8))
    assert ids(path.with_name("run-2.apx")) == [3, 4, 5]
    assert (recording.readouts, recording.deleted, recording.not_written) == (3, 2, 2)
    assert f"{path} was deleted, with 2 readouts; going on in a new file" in caplog.text
    assert ("the folder" in caplog.text) is (gone == "folder")


def test_a_file_that_is_moved_meanwhile_goes_on(path, tmp_path):
    recording = recorder(path)
    recording.take(batch(1), moment(0))
    recording.tick(moment(3))
    path.rename(tmp_path / "moved.apx")
    recording.take(batch(2), moment(4))
    recording.tick(moment(6))
    recording.close(moment(8))
    assert ids(tmp_path / "moved.apx") == [1, 2]
    assert recording.deleted == 0


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
