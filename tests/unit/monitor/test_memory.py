"""What a monitor knows, as bytes and back."""

import json
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numpy")

from astropix_stream.counting.places import Place
from astropix_stream.errors import FormatError
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4
from astropix_stream.monitor import memory
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.histograms import MAX_SPECTRA
from astropix_stream.monitor.memory import MAGIC, MAX_BYTES, pack, unpack
from astropix_stream.monitor.slices import Slices
from unit.monitor.stream import DAQ, OTHER_DAQ, Stream, losing, moment


@pytest.fixture
def stream():
    """Two runs of one DAQ, one of another, a loss and a duplicate."""
    stream = Stream()
    stream.run(0, 50, 1.0)
    stream.tell(1.5, losing(BEFORE_SOCKET=3))
    stream.run(0, 70, 5.0)
    stream.run(10, 5, 6.0, daq=OTHER_DAQ)
    stream.run(70, 5, 7.0)
    return stream


def packed(stream, **more):
    return pack(stream.accumulator.remember(moment(10), {}), more)[0]


def again(data, after_s=20.0, kind=ASTROPIX4):
    accumulator = Accumulator(moment(after_s), "tcp://relay:5556", kind)
    accumulator.resume(unpack(data, kind).memory, moment(after_s))
    return accumulator


def state_of(run):
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(run.counts).items()
        if name not in ("geometry", *run.counts.untouched)
    }


def test_everything_comes_back(stream):
    before, after = stream.accumulator, again(packed(stream))
    assert [state_of(run) for run in after.runs] == [state_of(run) for run in before.runs]
    assert [run.source for run in after.runs] == [DAQ, DAQ, OTHER_DAQ]
    for old, new in zip(before.runs, after.runs, strict=True):
        assert (new.first_id, new.last_id, new.number, new.began_ns) == (
            old.first_id, old.last_id, old.number, old.began_ns,
        )  # fmt: skip
        assert new.last_s == old.last_s, "the clock did not jump"
        assert after.account(new) == before.account(old)
    assert after.present is after.runs[1]
    assert after.runs[0].until is after.runs[1].since, "a loss that is told late is moved for both"
    assert after.tally(0) == before.tally(0)


def test_rates_stand_where_they_stood(stream):
    before = stream.accumulator.rates.last(60, moment(20).s)
    after = again(packed(stream)).rates.last(60, moment(20).s)
    for name in ("begins_s", "readouts", "hits", "lost"):
        assert getattr(after, name).tolist() == getattr(before, name).tolist()
    assert after.readouts.sum() == 130


def course_of(run):
    slices = run.slices.until(run.counts, run.last_timestamp)
    return [
        (one.begin, one.end, one.readouts, *(counted.tolist() for counted in (*one.pixels, *one.spectra)))
        for one in map(parts_of, slices)
    ]


def parts_of(one):
    return SimpleNamespace(
        begin=one.begin,
        end=one.end,
        readouts=one.readouts,
        pixels=(one.pixels.indices, one.pixels.counts),
        spectra=(one.spectra.indices, one.spectra.counts),
    )


def test_the_course_of_a_run_comes_back_and_goes_on():
    stream = Stream()
    for i in range(5):
        stream.run(20 * i, 20, 1.0 + i)
    before = course_of(stream.accumulator.present)
    assert len(before) > 2
    after = Stream()
    after.accumulator = again(packed(stream))
    assert course_of(after.accumulator.present) == before
    after.run(100, 30, 21.0)
    going_on = course_of(after.accumulator.present)
    assert going_on[: len(before)] == before
    assert sum(one[2] for one in going_on) == 130


def test_a_file_of_the_version_before_has_no_course(stream):
    memory_of = stream.accumulator.remember(moment(10), {})
    for run in memory_of.runs:
        run.slices.to_arrays = dict
    data = pack(memory_of, {})[0]
    assert all(course_of(run) == [] for run in again(data).runs)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays["width"].fill(0),
        lambda arrays: arrays["pixels.indices"].fill(1 << 30),
        lambda arrays: arrays["spectra.sizes"].fill(7),
        lambda arrays: arrays.pop("readouts"),
    ],
)
def test_a_course_that_is_none(stream, damage):
    arrays = stream.accumulator.remember(moment(10), {}).runs[0].slices.to_arrays()
    damage(arrays)
    with pytest.raises((KeyError, ValueError)):
        Slices.from_arrays(arrays, stream.accumulator.runs[0].counts)


def test_another_clock(stream):
    """After a reboot the monotonic clock begins anew; the time of day says how long nobody was there."""
    data = packed(stream)
    now = moment(20)._replace(s=7.0)
    accumulator = Accumulator(now)
    accumulator.resume(unpack(data).memory, now)
    assert accumulator.present.last_s == pytest.approx(7.0 - 13.0)
    series = accumulator.rates.last(60, now.s)
    assert series.readouts.sum() == 130
    assert series.begins_s[np.flatnonzero(series.readouts)].tolist() == [-12.0, -8.0, -7.0, -6.0]
    accumulator.rates.add(7.0, readouts=9)
    assert accumulator.rates.last(60, 9.0).readouts.sum() == 139
    assert accumulator.rates.now(9.0)[0] == pytest.approx(9 / 5)
    twice = unpack(pack(accumulator.remember(now, {}), {})[0]).memory.rates
    assert twice.last(60, 9.0).readouts.sum() == 139


def test_a_clock_that_was_set_back_means_no_time_passed(stream):
    data = packed(stream)
    now = moment(20)._replace(ns=moment(-1000).ns)
    accumulator = Accumulator(now)
    accumulator.resume(unpack(data).memory, now)
    assert accumulator.present.last_s == now.s - 3.0, "as when it was saved"


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP], ids=str)
def test_other_kinds(kind):
    accumulator = Accumulator(moment(0), kind=kind)
    stream = Stream(kind=kind)
    stream.run(0, 5, 1.0)
    accumulator = again(packed(stream), kind=kind)
    assert accumulator.present.counts.geometry.kind == kind
    assert accumulator.present.counts.readouts == 5


def test_runs_of_other_settings_are_left_out():
    stream = Stream(kind=ASTROPIX3.configured(tot_window=(5, 9)))
    stream.run(0, 5, 1.0)
    found = unpack(packed(stream), ASTROPIX3)
    assert (found.left_out, found.memory.runs) == (1, [])
    assert (found.memory.present, found.memory.current) == (None, {})
    assert found.memory.tally.held == 5


def test_runs_of_other_histograms_are_left_out(stream, monkeypatch):
    original = memory._state_of
    first = stream.accumulator.runs[0]
    first.counts.cluster_sizes = np.zeros(7)  # of a later program
    data, _ = pack(stream.accumulator.remember(moment(10), {1: first.version}), {})
    assert unpack(data).left_out == 1

    def with_another_number(counts):
        yield from original(counts)
        yield "clusters", 0

    monkeypatch.setattr(memory, "_state_of", with_another_number)
    assert unpack(data).left_out == 3, "this one counts something that the file does not have"


def test_noise_in_more_pixels_than_have_a_fine_spectrum():
    """Their coarse spectra are a large array, of which only what is used is kept."""
    stream = Stream(kind=ASTEP)
    stream.run(0, 5, 1.0)
    counts = stream.accumulator.present.counts
    assert counts.untouched
    assert len(packed(stream)) < 100_000
    counts._used_slots = MAX_SPECTRA
    counts._coarse_spectra[[7, 4711]] = 3
    counts.hit_map.reshape(-1)[[7, 4711]] = 1
    data = packed(stream)
    assert len(data) < 100_000
    after = again(data, kind=ASTEP).present.counts
    assert np.flatnonzero(after._coarse_spectra.any(axis=1)).tolist() == [7, 4711]
    assert after._coarse_spectra[4711].tolist() == counts._coarse_spectra[4711].tolist()


def test_texts_and_numbers_beside_it(stream):
    assert unpack(packed(stream, notes=[{"text": "é"}])).more == {"notes": [{"text": "é"}]}


def test_what_did_not_change_is_packed_once(stream, monkeypatch):
    known = {}
    accumulator = stream.accumulator
    pack(accumulator.remember(moment(10), {}), {}, known)
    assert sorted(known) == [1, 2, 3]
    before = dict(known)
    stream.run(75, 5, 10.5)
    taken = accumulator.remember(moment(11), {number: one.version for number, one in known.items()})
    assert taken.runs[0].counts is accumulator.runs[0].counts
    assert taken.runs[1].counts is not accumulator.runs[1].counts
    data, _ = pack(taken, {}, known)
    assert [known[number] is before[number] for number in (1, 2, 3)] == [True, False, True]
    assert again(data).present.counts.readouts == 80
    accumulator.runs.pop(0)
    pack(accumulator.remember(moment(12), {}), {}, known)
    assert sorted(known) == [2, 3]


def test_the_oldest_runs_go_where_there_is_no_room(stream):
    taken = stream.accumulator.remember(moment(10), {})
    whole, left_out = pack(taken, {})
    assert left_out == 0
    assert len(whole) < 100_000, "empty histograms cost next to nothing"
    smaller, left_out = pack(taken, {}, most=len(whole) - 1)
    assert left_out == 1
    assert [run.number for run in unpack(smaller).memory.runs] == [2, 3]
    assert unpack(smaller).memory.present == 0
    present, left_out = pack(taken, {}, most=len(whole) // 2)
    assert [run.number for run in unpack(present).memory.runs] == [2], "the one that is shown stays longest"
    nothing, left_out = pack(taken, {}, most=0)
    assert left_out == 3
    assert unpack(nothing).memory.runs == []


def test_noise_everywhere_stays_within_the_bound():
    """Nine runs with noise in every pixel and in every bin: as much as there can be."""
    stream = Stream()
    stream.run(0, 5, 1.0)
    counts = stream.accumulator.present.counts
    rng = np.random.default_rng(1)
    counts._used_slots = MAX_SPECTRA
    for array in (counts.hit_map, counts.tot_ticks, counts.spectra, counts._pixel_spectra):
        array[...] = rng.integers(0, 1 << 31, array.shape)
    data, left_out = pack(stream.accumulator.remember(moment(10), {}), {})
    assert len(data) <= MAX_BYTES
    assert left_out in (0, 1)


def test_a_newer_file():
    with pytest.raises(FormatError, match="it is of a newer program: its format is 3, and this one knows 2"):
        unpack(MAGIC + struct.pack("<HII", 3, 0, 0))


def test_a_version_that_never_was():
    data = saved()
    with pytest.raises(FormatError, match="it is damaged"):
        unpack(data[:4] + bytes(2) + data[6:])


@pytest.mark.parametrize("data", [b"", b"APXM", b"PK\3\4" + bytes(100), bytes(1000)])
def test_no_state_at_all(data):
    with pytest.raises(FormatError, match="it is not the state of a monitor"):
        unpack(data)


def test_a_file_that_is_too_large():
    with pytest.raises(FormatError, match="more than a state file has"):
        unpack(bytes(MAX_BYTES + 1))


DATA = None


def saved():
    global DATA  # noqa: PLW0603  (made once)
    if DATA is None:
        stream = Stream()
        stream.run(0, 50, 1.0)
        stream.run(0, 50, 3.0)
        DATA = packed(stream, notes=[])
    return DATA


@given(st.data())
def test_any_damage_is_told(choose):
    """Cut, or with any byte changed: a FormatError, or the same as before."""
    data = saved()
    at = choose.draw(st.integers(0, len(data) - 1))
    if choose.draw(st.booleans()):
        damaged = data[:at]
    else:
        damaged = data[:at] + bytes([data[at] ^ choose.draw(st.integers(1, 255))]) + data[at + 1 :]
    with pytest.raises(FormatError):
        unpack(damaged)


def with_head(change):
    """The file with another head, and the right checksum for it."""
    data = saved()
    size = struct.unpack_from("<I", data, 6)[0]
    head = json.loads(data[14 : 14 + size])
    change(head)
    text = json.dumps(head).encode()
    return (
        MAGIC
        + struct.pack("<HII", 1, len(text), zlib.crc32(text + data[14 + size :]))
        + text
        + data[14 + size :]
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.clear(),
        lambda head: head.update(saved=[1]),
        lambda head: head.update(saved="x"),
        lambda head: head.update(parts=[-1]),
        lambda head: head.update(parts=[1, 2, 3]),
        lambda head: head.update(position=[1]),
        lambda head: head.update(totals={"received": -1}),
        lambda head: head.update(tallies=[]),
        lambda head: head["rates"].update(arrays=[]),
        lambda head: head["rates"]["arrays"][0].__setitem__(2, [1 << 40]),
        lambda head: head["rates"]["arrays"][0].__setitem__(3, 1 << 40),
        lambda head: head["rates"]["arrays"][0].__setitem__(1, "|O"),
        lambda head: head["runs"][0].update(number="x"),
        lambda head: head["runs"][0].update(kind=[]),
        lambda head: head["runs"][0].update(source=None),
        lambda head: head["tally"].update(lost_at=[1]),
        lambda head: head.update(more=3),
    ],
)
def test_a_head_that_is_none_of_ours(change):
    with pytest.raises(FormatError, match="it is damaged"):
        unpack(with_head(change))


def test_a_place_that_nobody_knows_is_left_out():
    data = with_head(lambda head: head["tally"]["lost_at"].update(moon=3, relay_kernel=2))
    assert dict(unpack(data).memory.tally.lost_at) == {Place.RELAY_KERNEL: 2}
