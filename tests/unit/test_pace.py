"""When to read a socket again."""

import pytest

from astropix_analysis.pace import MAX_DELAY, Pace


def test_a_lone_readout_is_followed_by_no_rest():
    pace = Pace()
    assert [pace.rest_s(seconds, 1) for seconds in (0.0, 1.0, 1.0 + 2 * MAX_DELAY)] == [0.0, 0.0, 0.0]


def test_a_drain_that_found_nothing_is_followed_by_no_rest():
    pace = Pace()
    pace.rest_s(0.0, 10)
    assert pace.rest_s(0.0001, 0) == 0.0


def test_readouts_that_waited_together_come_fast():
    assert Pace().rest_s(0.0, 2) == MAX_DELAY


def test_readouts_that_follow_within_the_delay_come_fast():
    pace = Pace()
    pace.rest_s(0.0, 1)
    assert pace.rest_s(0.9 * MAX_DELAY, 1) == MAX_DELAY
    assert pace.rest_s(2.5 * MAX_DELAY, 1) == 0.0


def test_empty_drains_between_do_not_make_readouts_come_fast():
    pace = Pace()
    pace.rest_s(0.0, 1)
    pace.rest_s(0.9 * MAX_DELAY, 0)
    assert pace.rest_s(1.5 * MAX_DELAY, 1) == 0.0


@pytest.mark.parametrize("max_delay_s", [0.0, 0.02])
def test_the_delay_can_be_chosen(max_delay_s):
    assert Pace(max_delay_s).rest_s(0.0, 5) == max_delay_s


def test_at_a_steady_rate_a_drain_takes_what_came_in_a_delay():
    """Simulate 50 000/s: once under way, each drain finds what came during the rest."""
    pace, interval_s = Pace(), 20e-6
    now_s, taken, drains = 0.0, 0, []
    while len(drains) < 50:
        waiting = int(now_s / interval_s) + 1 - taken
        taken += waiting
        drains.append(waiting)
        now_s += pace.rest_s(now_s, waiting) or interval_s
    assert drains[:2] == [1, 1]
    assert {*drains[2:]} <= {49, 50, 51}


def test_no_readout_rests_longer_than_the_delay():
    pace, waited = Pace(), []
    arrivals, now_s = [i * 0.0004 for i in range(100)], 0.0
    while arrivals:
        came = [arrival for arrival in arrivals if arrival <= now_s]
        arrivals = arrivals[len(came) :]
        waited += [now_s - arrival for arrival in came]
        rest_s = pace.rest_s(now_s, len(came))
        now_s = now_s + rest_s if rest_s else max(now_s, arrivals[0] if arrivals else now_s)
    assert max(waited) <= MAX_DELAY + 1e-9
