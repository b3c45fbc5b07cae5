"""A sequence of ids: what of its end came, and which of its gaps close when."""

import pytest

from astropix_stream.batch import Run
from astropix_stream.clock import Moment
from astropix_stream.counting.track import CLOSE_AFTER_READOUTS, LONG_GAP, OpenGap, Pending, Track


def at(seconds):
    return Moment(seconds, 0)


@pytest.fixture
def track():
    return Track(Run(1, 0, 0, 0, 0), 0, 0, at(0.0), 0, 0.0)


def gap(track, first_id, missing, seconds=0.0):
    found = OpenGap(first_id, missing, missing, 0, at(seconds), track.size, False)
    track.open.append(found)
    return found


def test_the_window_holds_the_last_65(track):
    track.advance(0, 3)
    assert (track.window, track.size) == (0b1111, 4)
    track.advance(2, 1)
    assert track.window == 0b1111001
    track.advance(1000, 1)
    assert track.window == 1
    track.advance(0, 1000)
    assert track.window == (1 << 65) - 1


def test_a_short_gap_closes_after_64_readouts_and_a_long_one_after_a_second(track):
    short, long = gap(track, 1, 5), gap(track, 10, LONG_GAP + 1)
    track.advance(0, CLOSE_AFTER_READOUTS)
    assert track.take_due(at(0.5)) == [short]
    assert track.take_due(at(1.0)) == [long]
    assert not track.open


def test_the_gap_of_an_id(track):
    first, second = gap(track, 1, 5), gap(track, (1 << 32) - 2, 4)
    assert track.gap_of(5) is first
    assert track.gap_of(6) is None
    assert track.gap_of((1 << 32) - 1) is second
    assert track.gap_of(1) is second  # over the end of the counter; the latest one first


def test_a_gap_has_room_for_what_explains_it(track):
    found = gap(track, 1, 3)
    found.drops = 1
    found.rejected["magic"] = 1
    assert (found.room, found.has_room) == (1, True)
    found.drops = 2
    assert (found.room, found.has_room) == (0, False)
    found.missing = 1  # the others came after all
    assert found.room == 0


def test_a_gap_may_wait_longer_and_never_shorter(track):
    found = gap(track, 1, 3)
    found.wait_until(0.5)
    assert track.take_due(at(0.9)) == []
    found.wait_until(3.25)
    assert track.take_due(at(3.2)) == []
    assert track.take_due(at(3.25)) == [found]


def test_the_usual_step_is_the_smaller_of_the_last_two_in_a_row(track):
    for step in (100, 300):
        track.advance(step - 1, 1)
        track.note_step(step)
    assert track.usual_step == 100
    track.advance(0, 5)  # in order, by another way
    assert track.usual_step == 0
    track.advance(299, 1)
    track.note_step(300)
    assert track.usual_step == 0


def test_what_is_pending_knows_whether_the_run_went_on(track):
    one = Pending([(7, 0)], [3], at(0.0), track, track.size)
    assert (one.went_on, one.repeats) == (0, False)
    track.advance(0, 2)
    assert one.went_on == 2
    one.original = 0
    assert one.repeats
