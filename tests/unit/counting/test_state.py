"""The state of a stream in one word."""

import pytest

from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.state import State, StateTracker

DAQ, OTHER = Source("10.0.1.1", 40000), Source("10.0.1.9", 40001)
EPOCH_NS = 1_700_000_000_000_000_000
HOUR_S = 3600.0


def at(seconds, wall_step_s=0.0):
    return Moment(seconds, EPOCH_NS + round((seconds + wall_step_s) * 1e9))


class Stream:
    """A stream whose readouts take `latency_s` to come; `daq_step_s` is how far the DAQ's clock is off."""

    def __init__(self):
        self.tracker = StateTracker()
        self.now = at(0)

    def run(self, begin_s, end_s, *, latency_s=0.001, daq_step_s=0.0, wall_step_s=0.0, source=DAQ):
        seconds = begin_s
        while seconds < end_s:
            self.now = at(seconds, wall_step_s)
            stamp_ns = EPOCH_NS + round((seconds - latency_s + daq_step_s) * 1e9)
            self.tracker.received(source, stamp_ns, self.now)
            seconds += 1.0

    def state(self):
        return self.tracker.state(self.now, connected=True)


@pytest.fixture
def stream():
    return Stream()


def test_quiet_before_the_first_readout_and_three_seconds_after_the_last(stream):
    assert stream.state() == State.QUIET
    assert stream.tracker.age_s(at(0)) is None
    assert stream.tracker.lag_s == 0.0
    stream.run(0, 1)
    assert stream.state() == State.LIVE
    assert stream.tracker.state(at(3.0), connected=True) == State.LIVE
    assert stream.tracker.state(at(3.1), connected=True) == State.QUIET
    assert stream.tracker.age_s(at(3.1)) == pytest.approx(3.1)


def test_no_network_comes_before_all_else(stream):
    stream.run(0, 5)
    stream.tracker.lost(7, at(4))
    assert stream.tracker.state(at(5), connected=False) == State.NO_NETWORK


def test_losing_for_ten_seconds_after_a_loss(stream):
    stream.tracker.lost(3, at(0))
    stream.tracker.lost(3, at(8))  # no further loss
    stream.run(0, 20)
    assert stream.tracker.state(at(9.9), connected=True) == State.LOSING
    assert stream.tracker.state(at(10), connected=True) == State.LIVE
    stream.tracker.lost(4, at(19))
    assert stream.state() == State.LOSING


def test_no_loss_is_no_loss(stream):
    stream.run(0, 2)
    stream.tracker.lost(0, at(1))
    assert stream.state() == State.LIVE


def test_lagging_when_readouts_take_two_seconds_longer_than_the_fastest(stream):
    stream.run(0, 30, latency_s=0.1)
    stream.run(30, 40, latency_s=2.0)
    assert stream.state() == State.LIVE
    stream.run(40, 50, latency_s=2.2)
    assert stream.state() == State.LAGGING
    assert stream.tracker.lag_s == pytest.approx(2.1, abs=1e-3)
    stream.run(50, 60, latency_s=0.2)
    assert stream.state() == State.LIVE


def test_the_fastest_of_ten_minutes_is_what_counts(stream):
    stream.run(0, 30, latency_s=0.1)
    stream.run(35, 590, latency_s=5.0)  # they stalled, and stay late
    assert stream.state() == State.LAGGING
    stream.run(590, 700, latency_s=5.0)  # longer than ten minutes ago it was faster: nobody remembers
    assert stream.state() == State.LIVE


def test_the_fastest_may_come_at_any_time(stream):
    stream.run(0, 10, latency_s=5.0)
    stream.run(10, 20, latency_s=0.1)
    stream.run(25, 30, latency_s=5.0)
    assert stream.tracker.lag_s == pytest.approx(4.9, abs=1e-3)


def test_a_long_run_takes_bounded_memory(stream):
    stream.run(0, 2000)
    assert len(stream.tracker._lags[DAQ]._least) <= 11


@pytest.mark.parametrize("offset_s", [-10 * 365 * 24 * HOUR_S, -HOUR_S, 0.0, HOUR_S])
def test_clocks_that_differ_and_old_files_are_no_lag(stream, offset_s):
    stream.run(0, 30, daq_step_s=offset_s)
    assert stream.state() == State.LIVE
    assert stream.tracker.lag_s == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_setting_our_clock_is_no_lag(stream, step_s):
    stream.run(0, 30)
    stream.run(30, 60, wall_step_s=step_s)
    assert stream.state() == State.LIVE


@pytest.mark.parametrize("step_s", [-HOUR_S, -3.0, 3.0, HOUR_S])
def test_setting_the_daqs_clock_is_no_lag(stream, step_s):
    stream.run(0, 30)
    stream.run(30, 60, daq_step_s=step_s)
    assert stream.state() == State.LIVE


def test_one_forged_timestamp_is_no_lag(stream):
    stream.run(0, 30)
    stream.run(30, 31, daq_step_s=1000 * HOUR_S)
    stream.run(31, 40)
    assert stream.state() == State.LIVE


def test_the_source_that_lags_most_decides_while_it_is_heard(stream):
    stream.run(0, 1, source=OTHER)
    stream.run(0, 10)
    stream.run(10, 11, source=OTHER, latency_s=5)
    stream.run(10, 12)
    assert stream.state() == State.LAGGING
    stream.run(12, 20)
    assert stream.state() == State.LIVE


def test_any_number_of_sources_takes_bounded_memory(stream):
    for port in range(1000):
        stream.run(port, port + 1, source=Source("10.0.0.1", port))
    assert len(stream.tracker._lags) <= 64
    assert stream.state() == State.LIVE


def test_the_words_are_those_of_the_documentation():
    assert [str(state) for state in State] == [
        "no network",
        "no log",
        "upstream lost",
        "losing",
        "lagging",
        "quiet",
        "live",
    ]
