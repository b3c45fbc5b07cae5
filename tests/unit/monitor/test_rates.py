"""What came when, for weeks, in the memory of an hour."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.rates import LEVELS, ChipRates, RateHistory


def test_rates_of_the_last_minute():
    rates = RateHistory(1000.0)
    for second in range(100):
        rates.add(1000.0 + second, readouts=50, hits=150)
    rates.add(1090.0, lost=7)
    series = rates.last(60.0, 1100.0)
    assert series.width_s == 1
    assert series.begins_s[0] == 1040.0
    assert series.begins_s[-1] == 1098.0  # the last bin may still get more
    assert (series.readouts == 50).all()
    assert (series.hits == 150).all()
    assert series.lost.sum() == 7
    assert series.lost[series.begins_s == 1090.0] == 7
    assert rates.now(1100.0) == (50.0, 150.0)


def test_silence_is_zero_and_not_nothing():
    rates = RateHistory(0.0)
    rates.add(5.0, readouts=10)
    series = rates.last(60.0, 100.0)
    assert len(series.readouts) == 59
    assert series.readouts.sum() == 0
    assert rates.now(100.0) == (0.0, 0.0)


def test_before_the_page_began_nothing_is_known():
    rates = RateHistory(1000.0)
    rates.add(1003.0, readouts=1)
    assert rates.last(600.0, 1010.0).begins_s[0] == 1000.0


def test_what_a_relay_remembers_lies_before_the_page():
    rates = RateHistory(1000.0)
    rates.add(500.0, readouts=600)
    series = rates.last(3600.0, 1010.0)
    assert series.width_s == 10
    assert series.readouts[series.begins_s == 500.0] == 60.0


def test_older_is_coarser():
    rates = RateHistory(0.0)
    for minute in range(0, 3 * 24 * 60):
        rates.add(60.0 * minute, readouts=60, lost=1)
    now = 3 * 24 * 3600.0
    assert [rates.last(window, now).width_s for window in (60, 600, 3600, 86400, 7 * 86400)] == [
        1,
        1,
        10,
        60,
        600,
    ]
    day = rates.last(86400.0, now)
    assert day.readouts.mean() == 1.0
    assert day.lost.sum() == len(day.lost)


def test_too_old_for_a_level_stays_in_the_coarser_ones():
    rates = RateHistory(0.0)
    rates.add(100_000.0, readouts=1)
    rates.add(10.0, readouts=1000)
    assert rates.last(600.0, 100_010.0).readouts.sum() == 1.0
    whole = rates.last(30 * 86400.0, 100_600.0)
    assert np.isclose(whole.readouts.sum() * whole.width_s, 1001)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 1000)), max_size=40), st.floats(0, 1e6))
def test_any_times(counts, now_s):
    rates = RateHistory(now_s)
    for time_s, count in counts:
        rates.add(time_s, readouts=count)
    for window_s in (60.0, 600.0, 3600.0, 86400.0):
        series = rates.last(window_s, now_s)
        assert len(series.begins_s) <= max(size for _, size in LEVELS)
        assert (series.readouts >= 0).all()
    assert min(rates.now(now_s)) >= 0


def test_another_clock():
    """Times go on as those of a clock that shows 700 s less; nothing moves by part of a bin."""
    rates = RateHistory(1000.0)
    rates.add(1005, readouts=50, lost=3)
    rates.shift(-700.4)
    rates.add(320, readouts=20)
    series = rates.last(60, 330.0)
    found = np.flatnonzero(series.readouts)
    assert series.begins_s[found].tolist() == [305.0, 320.0]
    assert series.lost.sum() == 3
    assert rates.now(326.0)[0] == 4.0


def test_a_copy_and_what_is_kept():
    rates = RateHistory(1000.0)
    rates.add(1005, readouts=50)
    rates.shift(100.0)
    twin = rates.copy()
    rates.add(1106, readouts=1)
    began_s, arrays = twin.to_arrays()
    again = RateHistory.from_arrays(began_s, twin.shift_s, arrays)
    for one in (twin, again):
        assert one.last(60, 1110.0).readouts.sum() == 50
    with pytest.raises(ValueError, match="another shape"):
        RateHistory.from_arrays(began_s, 0.0, arrays[:-1])


def test_the_rates_of_a_file_end_with_its_newest_readout():
    rates = RateHistory(1000.0)
    assert rates.end_s(1000.0) == 1000.0
    for second in range(300, 310):
        rates.add(second, readouts=7)
    rates.add(999.0, lost=3)
    series = rates.last(60.0, rates.end_s(1000.0))
    assert series.begins_s.tolist() == list(range(300, 310))
    assert series.readouts.tolist() == [7.0] * 10
    rates.shift(50.0)
    assert rates.last(60.0, rates.end_s(950.0)).readouts.tolist() == [7.0] * 10


class TestChipRates:
    @staticmethod
    def counts(pixels):
        counts = Histograms()
        counts.hit_map[2, 0, 0] = pixels
        return counts

    def test_over_the_last_seconds(self):
        rates = ChipRates()
        for second in range(20):
            rates.note(second, 1, self.counts(100 * second))
            rates.note(second + 0.5, 1, self.counts(0))  # more often than once a second is in vain
        pixels, halves = rates.now(1, 20)
        assert pixels[2] == 100
        assert pixels.sum() == 100
        assert len(halves) == 0

    def test_of_another_run_nothing_is_known(self):
        rates = ChipRates()
        rates.note(0, 1, self.counts(0))
        assert rates.now(1, 0.5) is None
        rates.note(0.1, 2, self.counts(0))
        rates.note(1.1, 2, self.counts(7))
        assert rates.now(2, 2)[0][2] == 7
        assert rates.now(1, 2) is None

    def test_once_nothing_comes_any_more_it_is_unknown(self):
        rates = ChipRates()
        for second in range(3):
            rates.note(second, 1, self.counts(second))
        assert rates.now(1, 3) is not None
        assert rates.now(1, 60) is None
