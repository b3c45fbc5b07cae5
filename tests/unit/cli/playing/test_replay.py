"""When readouts are due, on recordings made by hand."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.cli.playing.replay import (
    AT_ONCE,
    BadNetwork,
    Extent,
    Pacing,
    measure,
    repack,
    repeat,
    restamp,
    schedule,
    select,
)
from astropix_stream.fmt import HEADER, MAGIC, AstroPix4Readout

S = 1_000_000_000


def recorded(*seconds, first_id=0):
    """A recording whose readouts have these timestamps."""
    readouts = [
        AstroPix4Readout(b"\xbc", first_id + n, round(at_s * S) + 10 * S) for n, at_s in enumerate(seconds)
    ]
    return [(readout.to_bytes(), readout.readout_id, readout.timestamp) for readout in readouts]


def times(dues):
    return [round(due.after_s, 6) for due in dues]


def ids(dues):
    return [due.readout_id for due in dues]


def test_readouts_are_due_as_they_were_recorded():
    dues = list(schedule([recorded(0, 0.1, 0.5, 20)]))
    assert times(dues) == [0, 0.1, 0.5, 20]
    assert [due.raw for due in dues] == [raw for raw, _, _ in recorded(0, 0.1, 0.5, 20)]


@pytest.mark.parametrize("years", [0.01, 1, 55, 100])
def test_a_clock_that_jumps_forward_is_no_pause(years):
    jump = years * 365 * 86400
    assert times(schedule([recorded(0, 0.1, 0.2 + jump, 0.3 + jump)])) == [0, 0.1, 0.1, 0.2]


def test_one_timestamp_from_the_future_delays_nothing():
    assert times(schedule([recorded(0, 0.1, 9e9, 0.3, 0.4)])) == [0, 0.1, 0.1, 0.1, 0.2]


def test_a_pause_is_left_out_from_a_length_on():
    assert times(schedule([recorded(0, 3600, 3601)])) == [0, 3600, 3601]
    assert times(schedule([recorded(0, 3600, 3601)], max_pause_s=60)) == [0, 0, 1]


def test_readouts_out_of_order_stay_so_and_delay_nothing():
    assert times(schedule([recorded(0, 0.3, 0.2, 0.4)])) == [0, 0.3, 0.3, 0.4]


def test_a_clock_that_was_set_back_causes_no_flood():
    assert times(schedule([recorded(100, 101, 0, 1, 2)])) == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("years_apart", [-30, 30])
def test_files_are_played_one_after_another_whatever_their_dates(years_apart):
    later = recorded(1000 + years_apart, 1001 + years_apart)
    assert times(schedule([recorded(1000, 1002), later])) == [0, 2, 2, 3]


def test_a_selection_begins_at_once():
    dues = list(select(schedule([recorded(0, 1, 5), recorded(0, 1, 2)]), 2, 3))
    assert times(dues) == [0, 0, 1]
    assert ids(dues) == [2, 0, 1]


def test_a_selection_past_the_end_is_empty():
    assert list(select(schedule([recorded(0, 1)]), 2)) == []
    assert measure([]) == Extent()


def test_extent():
    extent = measure(schedule([recorded(0, 1, 4, first_id=7)]))
    assert extent == Extent(3, 4.0, 7, 10 * S, 14 * S)
    assert extent.period_s == 6.0  # the last readout has its interval too
    assert extent.shift_ns == 6 * S


def looped(recording, count):
    def open_pass():
        return schedule([recording])

    return list(islice(repeat(open_pass, measure(open_pass())), count))


def test_passes_follow_each_other_evenly_with_newer_timestamps():
    dues = looped(recorded(0, 1, 2), 7)
    assert times(dues) == [0, 1, 2, 3, 4, 5, 6]
    assert [due.timestamp // S for due in dues] == [10, 11, 12, 13, 14, 15, 16]
    assert ids(dues) == [0, 1, 2, 0, 1, 2, 0]
    for due in dues:
        readout = AstroPix4Readout.from_bytes(due.raw)
        assert (readout.readout_id, readout.timestamp) == (due.readout_id, due.timestamp)


def test_later_passes_of_a_recording_from_within_a_run_are_runs_from_0():
    assert ids(looped(recorded(0, 1, first_id=500), 6)) == [500, 501, 0, 1, 0, 1]


def test_a_new_run_within_the_recording_keeps_its_ids():
    recording = recorded(0, 1, first_id=500) + recorded(2, 3)
    assert ids(looped(recording, 8)) == [500, 501, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("recording", [recorded(0), recorded(0, 0)])
def test_a_recording_without_duration_is_repeated_once_a_second(recording):
    dues = looped(recording, 3 * len(recording))
    assert times(dues)[:: len(recording)] == [0, 1, 2]
    assert [due.timestamp // S for due in dues][:: len(recording)] == [10, 11, 12]


def test_nothing_repeated_is_nothing():
    assert list(repeat(list, Extent())) == []


@pytest.mark.parametrize(
    ("pacing", "expected", "duration_s"),
    [
        (Pacing(), [0, 1, 4], 4),
        (Pacing(speed=2), [0, 0.5, 2], 2),
        (Pacing(speed=AT_ONCE), [0, 0, 0], 0),
        (Pacing(rate=10), [0, 0.1, 0.2], 0.2),
        (Pacing(speed=3, rate=10), [0, 0.1, 0.2], 0.2),
    ],
)
def test_pacing(pacing, expected, duration_s):
    dues = list(schedule([recorded(0, 1, 4)]))
    assert times(pacing.apply(dues)) == expected
    assert pacing.duration_s(measure(dues)) == pytest.approx(duration_s)


@given(st.binary(max_size=60), st.integers(0, 2**40), st.integers(0, 2**70))
def test_repacking_touches_the_header_only(data, readout_id, timestamp):
    """Also data that end in padding, that a readout object would strip."""
    raw = HEADER.pack(MAGIC, 1, 2, len(data)) + data
    changed = repack(raw, readout_id, timestamp)
    assert changed[15:] == raw[15:]
    readout = AstroPix4Readout.from_bytes(changed)
    assert (readout.readout_id, readout.timestamp) == (readout_id % 2**32, timestamp % 2**64)


def test_restamping_keeps_the_readout_id():
    readout = AstroPix4Readout.from_bytes(restamp(AstroPix4Readout(b"\xbc", 7, 8).to_bytes(), 9))
    assert (readout.readout_id, readout.timestamp) == (7, 9)


def carried(network, datagrams):
    return [out for datagram in datagrams for out in network.carry(datagram)] + network.rest()


DATAGRAMS = [bytes([n]) for n in range(200)]


def test_a_network_that_is_not_bad():
    assert carried(BadNetwork(), DATAGRAMS) == DATAGRAMS


def test_every_datagram_lost_doubled_or_swapped():
    assert carried(BadNetwork(loss=1), DATAGRAMS) == []
    assert carried(BadNetwork(duplicate=1), DATAGRAMS[:2]) == [b"\0", b"\0", b"\1", b"\1"]
    assert carried(BadNetwork(reorder=1), DATAGRAMS[:5]) == [b"\1", b"\0", b"\3", b"\2", b"\4"]


def test_a_seed_makes_the_same_bad_network_again():
    def once(seed):
        return carried(BadNetwork(loss=0.1, duplicate=0.1, reorder=0.1, seed=seed), DATAGRAMS)

    assert once(7) == once(7) != once(8)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers())
def test_the_counts_say_what_was_done(loss, duplicate, reorder, seed):
    network = BadNetwork(loss=loss, duplicate=duplicate, reorder=reorder, seed=seed)
    out = carried(network, DATAGRAMS)
    assert len(set(out)) == len(DATAGRAMS) - network.lost
    assert len(out) == len(set(out)) + network.duplicated
    first = list(dict.fromkeys(out))
    assert sum(a > b for a, b in pairwise(first)) == network.reordered
