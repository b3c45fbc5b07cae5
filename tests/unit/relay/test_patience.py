"""How long to wait for what does not come."""

from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.relay.patience import Patience


def test_a_stop_counts_for_half_at_most():
    patience = Patience(4.0)
    patience.renew(100.0)
    assert patience.next_look_s() == 2.0
    assert not patience.spent(1100.0)
    assert not patience.spent(1101.5)
    assert patience.next_look_s() == 0.5
    assert patience.spent(1102.0)
    patience.renew(2000.0)
    assert not patience.spent(2001.0)


def test_who_never_looked_has_all_of_it():
    patience = Patience(4.0)
    assert [patience.spent(1e6 + step) for step in range(5)] == [False, False, False, False, True]
    assert patience.next_look_s() == 0.0


@given(st.integers(1, 60), st.integers(0, 1_000_000), st.integers(0, 20))
def test_who_looks_when_told_to_is_done_in_the_time_and_not_before(limit_s, now_s, renewed):
    patience = Patience(limit_s)
    for _ in range(renewed):
        patience.renew(now_s)
        now_s += limit_s / 4  # exact in binary, as are the halves
        assert not patience.spent(now_s)
    patience.renew(now_s)
    end_s = now_s + limit_s
    while not patience.spent(now_s):
        assert now_s < end_s
        assert patience.next_look_s() > 0
        now_s += patience.next_look_s()
    assert now_s == end_s
