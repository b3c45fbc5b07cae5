"""How long readouts may gather: where they come fast, and never a lone one."""

import pytest

from astropix_stream.gathering import GATHER_S, Gathering


def rests(gathering, apart_s, looks=20, begin_s=100.0):
    """Readouts come evenly; return for how long each look but the first two is followed by a rest."""
    now_s, told_s, found = begin_s, begin_s, []
    for _ in range(looks):
        now_s = max(gathering.until_s, told_s + apart_s)
        count = int((now_s - told_s + 1e-9) / apart_s)
        told_s += count * apart_s
        gathering.note(now_s, count)
        found.append(gathering.left_s(now_s))
    return found[2:]


@pytest.mark.parametrize("rate", [1, 10, 200, 399])
def test_readouts_that_are_half_of_the_time_apart_are_never_held(rate):
    assert rests(Gathering(), 1 / rate) == [0.0] * 18


@pytest.mark.parametrize("rate", [500, 1000, 2000, 50_000])
def test_faster_ones_gather(rate):
    assert rests(Gathering(), 1 / rate) == pytest.approx([GATHER_S] * 18)


def test_0_turns_it_off():
    gathering = Gathering(0.0)
    assert rests(gathering, 1e-5) == [0.0] * 18
    assert not gathering.one_by_one, "however fast they come"


def test_slow_ones_are_taken_one_by_one_and_fast_ones_together():
    gathering = Gathering()
    assert not gathering.one_by_one, "before anything came"
    rests(gathering, 1 / 200)
    assert gathering.one_by_one
    rests(gathering, 1 / 1000, begin_s=600.0)
    assert not gathering.one_by_one


def test_where_more_may_wait_there_is_no_rest():
    gathering = Gathering()
    for i in range(4):
        gathering.note(100.0 + 0.001 * i, 1, more=True)
        assert gathering.left_s(100.0 + 0.001 * i) == 0.0
    gathering.note(100.004, 1)
    assert gathering.left_s(100.004) == pytest.approx(GATHER_S)


def test_the_first_ones_after_a_pause_are_not_held():
    gathering = Gathering()
    rests(gathering, 1e-3)
    gathering.note(200.0, 1)
    assert gathering.left_s(200.0) == 0.0


def test_a_rest_in_which_nothing_came_is_the_last():
    gathering = Gathering()
    rests(gathering, 1e-3)
    assert gathering.left_s(gathering.until_s) == 0.0


def test_a_rest_ends_before_what_waits_takes_all_the_room():
    gathering = Gathering()
    for i in range(4):
        gathering.note(100.0 + 0.001 * i, 50, fill=0.5)
    assert gathering.left_s(100.003) == pytest.approx(0.002)


def test_no_rest_is_longer_than_is_safe():
    gathering = Gathering(0.1)
    gathering.safe_s = 0.003
    assert rests(gathering, 1e-3) == pytest.approx([0.003] * 18)


def test_a_rest_never_outlasts_a_step_of_the_clock():
    gathering = Gathering()
    rests(gathering, 1e-3)
    assert gathering.left_s(gathering.until_s - 3600) == GATHER_S
