"""Which evidence decides: ids first; clocks between two places that fit, and only where they are clear."""

import pytest

from astropix_stream.batch import Run
from astropix_stream.clock import Moment
from astropix_stream.counting import evidence
from astropix_stream.counting.track import OpenGap, Pending, Track

NOW = Moment(0.0, 0)
STEP = 1000


def track(first, last, *, begin=10**9, window=None):
    """A run whose ids came one by one, each 1000 ns after the one before."""
    size = last - first + 1
    run = Run(1, first, begin, last, begin + (size - 1) * STEP)
    found = Track(run, last, run.last_timestamp, NOW, 0, 0.0, size)
    found.window = (1 << min(size, 65)) - 1 if window is None else window
    return found


def pending(present, *places, **more):
    return Pending([*places], list(range(len(places))), NOW, present, present.size, **more)


@pytest.mark.parametrize(
    ("readout_id", "fit"), [(100, 1), (101, 2), (163, 64), (164, 0), (99, 0), (50, 0), (20, 0), (1 << 30, 0)]
)
def test_what_goes_on_with_a_sequence(readout_id, fit):
    assert evidence.fit(track(0, 99), readout_id, 10**9, 1, loosely=True) == fit


def test_only_the_next_one_goes_on_with_a_sequence_that_ended():
    assert evidence.fit(track(0, 99), 100, 10**9, 1, loosely=False) == 1
    assert evidence.fit(track(0, 99), 101, 10**9, 1, loosely=False) == 0


def test_a_stride_counts_in_strides():
    one = track(0, 10)
    one.last_id = 100
    assert evidence.fit(one, 110, 10**9, 10, loosely=True) == 1
    assert evidence.fit(one, 130, 10**9, 10, loosely=True) == 3


class TestBack:
    """An id behind the highest that did not come: late, or one of another run."""

    def hole(self, *, opened_size=50, joining=False, opened=True):
        one = track(0, 99)
        one.window &= ~(1 << 9)  # 90 did not come
        if opened:
            one.open.append(OpenGap(90, 1, 1, 0, NOW, opened_size, joining))
        return one

    def test_in_an_open_gap_it_is_late(self):
        one = self.hole()
        assert evidence.fit(one, 90, one.last_timestamp - 1, 1, loosely=True) == 9
        assert evidence.fit(one, 90, one.last_timestamp + STEP, 1, loosely=True) == 9

    def test_after_a_pause_it_is_rather_of_another_run(self):
        one = self.hole()
        assert evidence.fit(one, 90, one.last_timestamp + 1000 * STEP, 1, loosely=True) == 0

    def test_newer_where_nothing_is_awaited_it_is_rather_of_another_run(self):
        one = self.hole(opened=False)
        assert evidence.fit(one, 90, one.last_timestamp + STEP, 1, loosely=True) == 0
        assert evidence.fit(one, 90, one.last_timestamp - STEP, 1, loosely=True) == 9

    def test_the_first_of_all_ids_is_rather_that_of_a_run(self):
        one = track(5, 8, window=0b1111)
        one.open.append(OpenGap(0, 5, 5, 0, NOW, 1, True))
        assert evidence.fit(one, 0, 0, 1, loosely=True) == 0
        assert evidence.fit(one, 3, 0, 1, loosely=True) == 5
        assert evidence.fit(one, 3, one.last_timestamp + 1, 1, loosely=True) == 0


class TestBetweenTwo:
    def test_the_nearer_by_its_id(self):
        old, new = track(0, 99), track(0, 5)
        assert evidence.clearest([(3, 0, new), (1, 1, old)], 10**9) is old
        assert evidence.clearest([(1, 0, new), (1, 1, old)], 10**9) is new
        assert evidence.clearest([], 10**9) is None

    def test_by_its_time_where_that_is_clear(self):
        old, new = track(0, 99), track(0, 5, begin=2 * 10**9)
        assert evidence.clearest([(1, 0, new), (3, 1, old)], old.last_timestamp - 1) is old
        assert evidence.clearest([(3, 0, new), (1, 1, old)], new.last_timestamp + STEP) is new

    def test_a_lone_readout_has_no_pace_to_go_by(self):
        old, new = track(0, 0), track(0, 5, begin=2 * 10**9)
        assert evidence.clearest([(1, 0, new), (3, 1, old)], 10**9) is new

    @pytest.mark.parametrize(
        ("last_id", "held", "readout_id", "belongs"),
        [
            (0, 0, 1, True),  # the first of a run came again: a second run
            (0, 0, 2, False),  # a wrong id, and 1 is missing
            (99, 3, 101, False),
            (99, 3, 4, True),
            (99, 90, 100, False),
            (502, 501, 503, False),  # 500 came with a bit flipped
        ],
    )
    def test_pending_or_present(self, last_id, held, readout_id, belongs):
        present = track(0, last_id)
        stamp = present.last_timestamp
        one = pending(present, (held, stamp + STEP))
        assert evidence.is_nearer_to_pending(one, present, readout_id, stamp + 2 * STEP, 1) is belongs

    def test_pending_or_present_by_the_clock(self):
        present = track(0, 1)
        one = pending(present, (0, 10**12))  # an hour later
        assert evidence.is_nearer_to_pending(one, present, 2, 10**12 + STEP, 1)
        one = pending(present, (0, 0))
        assert not evidence.is_nearer_to_pending(one, present, 1, present.last_timestamp + 1, 1)


class TestConfirming:
    @pytest.mark.parametrize(
        ("held", "step", "confirms"),
        [
            (0, 1, True),
            (0, 0, False),
            (0, 64, True),
            (0, -3, True),
            (0, -65, False),
            (0, 1000, True),
            (1 << 31, 64, True),
            (1 << 31, 1000, False),
            (0, (1 << 20) + 1, False),
        ],
    )
    def test_the_more_would_be_lost_the_nearer_it_must_be(self, held, step, confirms):
        one = pending(track(0, 99), (held, 0))
        assert evidence.is_confirmed(one, step, 1, implausible=False) is confirms

    def test_ids_in_no_order_confirm_nothing_from_afar(self):
        one = pending(track(0, 99), (0, 0))
        assert evidence.is_confirmed(one, 1, 1, implausible=True)
        assert not evidence.is_confirmed(one, 1000, 1, implausible=True)


def test_what_follows_again():
    one = pending(track(0, 99), (0, 0), original=0, from_first=True, distance=99)
    one.ordinals = [100]
    assert evidence.may_be_whole(one)
    assert evidence.follows_again(one, 1, 1, 1)
    assert evidence.follows_again(one, 5, 5, 1)
    assert not evidence.follows_again(one, 5, 0, 1)  # before
    assert evidence.follows_again(one, 1, 0, 1)  # the next id, of another run that began alike
    assert not evidence.follows_again(one, 5, 100, 1)  # itself
    one.distance = 20
    assert not evidence.may_be_whole(one)
    assert evidence.follows_again(one, 1, 1, 1)
    assert not evidence.follows_again(one, 5, 5, 1)
    one.places += [(1, 0), (2, 0), (3, 0)]
    assert evidence.follows_again(one, 5, 5, 1)
    one.original = None
    assert not evidence.follows_again(one, 5, 5, 1)
