"""In which order a relay's addresses are tried."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.relay.candidates import ROUND_S, Candidates


def test_one_after_the_other_and_round_again_after_a_moment():
    candidates = Candidates(["a", "b", "c"], 0.0)
    tried = [candidates.address]
    while candidates.failed(0.01):
        tried.append(candidates.address)
    assert tried == ["a", "b", "c"]
    assert candidates.is_last
    assert not candidates.failed(ROUND_S - 0.01)
    assert candidates.failed(ROUND_S)
    assert (candidates.address, candidates.is_last) == ("a", False)


def test_what_worked_is_the_first_of_the_next_round():
    candidates = Candidates(["a", "b", "c"], 0.0)
    candidates.failed(0.0)
    candidates.worked(5.0)
    assert candidates.failed(9.0)
    assert candidates.failed(9.0)
    assert (candidates.address, candidates.is_last) == ("a", True)
    assert candidates.failed(9.0)  # the round began at 5
    assert candidates.address == "b"


def test_a_single_address_is_all_there_is():
    candidates = Candidates(["a"], 0.0)
    assert (candidates.several, candidates.is_last) == (False, True)
    assert not candidates.failed(99.0)


@given(st.integers(2, 5), st.lists(st.floats(0.0, 0.3), max_size=50))
def test_every_address_has_its_turn_and_no_round_is_shorter_than_it_may_be(count, steps):
    candidates, now_s, changes = Candidates([str(i) for i in range(count)], 0.0), 0.0, []
    for step in steps:
        now_s += step
        if candidates.failed(now_s):
            changes.append((now_s, candidates.address))
    assert [address for _, address in changes] == [str((i + 1) % count) for i in range(len(changes))]
    rounds = [0.0, *(at for at, address in changes if address == "0")]
    assert all(later - earlier >= ROUND_S for earlier, later in pairwise(rounds))
