"""A bandwidth is kept, with as many readouts as fit, whatever the rate does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_relay.thinning import WINDOW_S, Thinning

CAP = 100_000


def play(thinning, phases, tick_s=0.1):
    """Send messages at each rate (bytes/s at stride 1) for so many seconds; return what was sent by then."""
    now_s, sent = 0.0, []
    for rate, seconds in phases:
        for _ in range(round(seconds / tick_s)):
            now_s += tick_s
            size = round(rate * tick_s / thinning.stride)
            thinning.spend(size, now_s)
            sent.append((now_s, size, thinning.stride))
    return sent


def rate_of(sent, begin_s, end_s):
    return sum(size for at_s, size, _ in sent if begin_s < at_s <= end_s) / (end_s - begin_s)


def test_what_fits_is_not_thinned():
    sent = play(Thinning(CAP), [(80_000, 20)])
    assert {stride for _, _, stride in sent} == {1}


@pytest.mark.parametrize("rate", [110_000, 250_000, 1_000_000, 20_000_000])
def test_a_higher_rate_is_thinned_to_the_bandwidth_and_not_far_below(rate):
    sent = play(Thinning(CAP), [(rate, 20)])
    assert 0.4 * CAP < rate_of(sent, 5, 20) <= CAP
    assert {stride for at_s, _, stride in sent if at_s > 10} == {sent[-1][2]}  # it rests


def test_a_burst_costs_little_more_than_the_bandwidth_of_its_first_moment():
    sent = play(Thinning(CAP), [(50_000, 5), (2_000_000, 5)], tick_s=0.01)
    assert rate_of(sent, 5, 6) < 2 * CAP
    assert rate_of(sent, 6, 10) <= CAP


def test_all_comes_again_once_the_rate_has_fallen():
    sent = play(Thinning(CAP), [(1_000_000, 10), (50_000, 10)])
    assert sent[-1][2] == 1
    back_s = next(at_s for at_s, _, stride in sent if at_s > 10 and stride == 1)
    assert 13 <= back_s < 17


def test_a_rate_that_comes_and_goes_keeps_the_larger_stride():
    thinning = Thinning(CAP)
    sent = play(thinning, [(1_000_000, 10), *[(100_000, 1), (1_000_000, 1)] * 5])
    assert min(stride for at_s, _, stride in sent if at_s > 5) > 5


def test_a_window_in_which_nothing_was_sent():
    thinning = Thinning(CAP)
    thinning.spend(0, 1.0)
    thinning.spend(0, 1.0 + WINDOW_S)
    assert thinning.stride == 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 3e6), st.floats(0.1, 5)), min_size=1, max_size=8))
def test_never_more_than_the_bandwidth_and_a_moment_ahead_of_it(phases):
    sent = play(Thinning(CAP), phases, tick_s=0.05)
    spent = 0.0
    for _at_s, size, _ in sent:
        spent = max(0.0, spent - 0.05 * 1.05 * CAP) + size
        assert spent < 3 * CAP + 3e6 * 0.05
