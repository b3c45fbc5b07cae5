"""Recovered readouts leave at no more than the rate, live ones at once, all in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.pacing import MAX_HELD_BYTES, TRIAL_S, Pacer


def test_what_is_live_goes_out_at_once():
    pacer = Pacer(10)
    assert pacer.take([b"1", b"2"], 0, recovered=False) == [b"1", b"2"]
    assert pacer.due_s() == float("inf")


def test_a_recovered_burst_takes_its_time_and_what_is_live_waits_behind_it():
    pacer, sent = Pacer(10), []
    assert pacer.take([b"%d" % i for i in range(20)], 5, recovered=True) == ()
    assert pacer.take([b"live"], 5, recovered=False) == ()
    now = 5.0
    while pacer.due_s() < float("inf"):
        now = max(now, pacer.due_s())
        sent += [(now, data) for data in pacer.due(now + 1e-9)]
    assert [data for _, data in sent] == [*(b"%d" % i for i in range(20)), b"live"]
    assert 1.9 <= sent[-1][0] - 5 <= 2.1
    assert pacer.take([b"again"], now, recovered=False) == [b"again"]


def test_few_leave_before_the_trial_is_over_and_the_others_in_order_after_it():
    pacer = Pacer(1000, trial=50)
    first = pacer.take(_datagrams(0, 40), 5, recovered=False)
    assert first == _datagrams(0, 40)
    assert pacer.take(_datagrams(40, 100), 5.1, recovered=False) == ()
    sent = drained(pacer, 5.1)
    assert [data for _, data in sent] == _datagrams(40, 100)
    assert sum(now < 5 + TRIAL_S for now, _ in sent) == 10
    assert pacer.take([b"live"], 9, recovered=False) == [b"live"]


def drained(pacer, now):
    """Return what leaves, and when, until nothing is held."""
    sent = []
    while pacer.due_s() < float("inf"):
        now = max(now, pacer.due_s()) + 1e-6
        sent += [(now, data) for data in pacer.due(now)]
    return sent


@pytest.mark.parametrize(
    ("daq_rate", "expected"), [(1_000, 5_000), (4_000, 5_000), (4_800, 6_000), (20_000, 25_000)]
)
def test_a_daq_that_is_faster_than_the_rate_is_caught_up_with(daq_rate, expected):
    """A recovered second, and what is live meanwhile: the backlog ends, however fast the DAQ is."""
    pacer, sent, number = Pacer(5_000), [], 0
    for _ in range(50):  # 2 s, recovered at one moment
        pacer.take(
            _datagrams(number, daq_rate // 25), 100.0, recovered=True, received_ns=when(number, daq_rate)
        )
        number += daq_rate // 25
    assert pacer.rate == pytest.approx(expected, rel=0.05)
    now = 100.0
    while pacer.due_s() < float("inf") and now < 130:
        now += 0.005
        sent += pacer.due(now)
        sent += pacer.take(
            _datagrams(number, daq_rate // 200), now, recovered=False, received_ns=when(number, daq_rate)
        )
        number += daq_rate // 200
    assert sent == _datagrams(0, number)
    assert len(sent) <= (now - 100) * expected * 1.1


def when(number, rate):
    return 10**18 + number * 10**9 // rate


def test_what_may_wait_is_bounded_and_the_oldest_is_given_up():
    pacer = Pacer(10)
    datagram = bytes(1 << 20)
    pacer.take([datagram] * 20, 0, recovered=True)
    assert pacer.skipped == 20 - (MAX_HELD_BYTES // ((1 << 20) + 100))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 0.5)), max_size=30),
    st.integers(1, 1000),
    st.sampled_from([7, float("inf")]),
)
def test_the_order_stays_and_nothing_is_sent_twice(steps, rate, trial):
    pacer, sent, now, number = Pacer(rate, trial=trial), [], 0.0, 0
    for count, recovered, later in steps:
        now += later
        sent += pacer.due(now)
        sent += pacer.take(_datagrams(number, count), now, recovered=recovered)
        number += count
    while pacer.due_s() < float("inf"):
        now = max(now, pacer.due_s()) + 1e-6
        sent += pacer.due(now)
    assert sent == _datagrams(0, number)


def _datagrams(begin, count):
    return [b"%d" % i for i in range(begin, begin + count)]
