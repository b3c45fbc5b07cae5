"""Recovered readouts leave at no more than the rate, live ones at once, all in order."""

from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.pacing import MAX_HELD_BYTES, Pacer


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


def test_what_may_wait_is_bounded_and_the_oldest_is_given_up():
    pacer = Pacer(10)
    datagram = bytes(1 << 20)
    pacer.take([datagram] * 20, 0, recovered=True)
    assert pacer.skipped == 20 - (MAX_HELD_BYTES // ((1 << 20) + 100))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 0.5)), max_size=30),
    st.integers(1, 1000),
)
def test_the_order_stays_and_nothing_is_sent_twice(steps, rate):
    pacer, sent, now, number = Pacer(rate), [], 0.0, 0
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
