"""Several ways to one stream: each number once and in order; restarts, gaps, and two origins."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.confluence import TWO_ORIGINS_AFTER_S, WAIT_S, Confluence, Standing
from astropix_stream.batch import Batch, Position, Source

R, S = 7, 8  # relay_ids


def batch(begin, end, relay_id=R):
    count = end - begin
    ids = range(begin, end)
    return Batch(
        Source("10.0.0.1", 4000), 0, bytes(count), ids, [0] * count, range(1, count + 1),
        position=Position(relay_id, begin),
    )  # fmt: skip


def numbers(batches):
    return [(b.position.relay_id, b.position.sequence + i) for b in batches for i in range(len(b))]


def standing(at, relay_id=R, connected=True, live_from=0):
    return Standing(connected, Position(relay_id, at), live_from)


def test_a_later_copy_is_left_out_and_an_overlap_is_trimmed():
    confluence = Confluence()
    assert numbers(confluence.take(batch(5, 8), 5, 0)) == [(R, 5), (R, 6), (R, 7)]
    assert confluence.take(batch(5, 8), 5, 0) == []
    assert numbers(confluence.take(batch(6, 10), 5, 0)) == [(R, 8), (R, 9)]
    assert (confluence.later, confluence.missing, confluence.at) == (5, 0, Position(R, 10))


def test_a_gap_of_one_path_waits_for_the_other():
    confluence = Confluence()
    confluence.take(batch(0, 3), 0, 0)
    confluence.stand({"a": standing(3), "b": standing(3)}, 0)
    assert confluence.take(batch(5, 6), 0, 0) == []
    assert confluence.stand({"a": standing(6), "b": standing(3)}, 0) == []
    assert numbers(confluence.take(batch(3, 6), 0, 1)) == [(R, 3), (R, 4), (R, 5)]
    assert confluence.missing == 0


@pytest.mark.parametrize(
    ("other", "later_s"),
    [(standing(6), 0), (standing(3, connected=False), 0), (standing(3), WAIT_S), (standing(0, S), WAIT_S)],
    ids=["has it neither", "is gone", "does not bring it", "has not followed yet"],
)
def test_a_gap_that_nobody_fills_is_counted(other, later_s):
    confluence = Confluence()
    confluence.take(batch(0, 3), 0, 0)
    confluence._before.add(S)
    confluence.stand({"a": standing(3), "b": standing(3)}, 0)
    assert confluence.take(batch(5, 6), 0, 0) == []
    assert numbers(confluence.stand({"a": standing(6), "b": other}, later_s)) == [(R, 5)]
    assert confluence.missing == 2


def test_what_is_not_to_be_had_is_given_up_also_where_nothing_follows():
    confluence = Confluence()
    confluence.stand({"a": Standing(True, Position(R, 0), 40)}, 0)  # history is asked for 0 to 39
    assert confluence.at == Position(R, 0)
    confluence.stand({"a": standing(40, live_from=40), "b": Standing(True)}, 5)  # and did not answer
    assert (confluence.at, confluence.missing) == (Position(R, 40), 0)
    confluence.stand({"a": standing(44, live_from=40), "b": standing(41)}, 6)  # heartbeats tell of 44
    assert (confluence.at, confluence.missing) == (Position(R, 41), 1)
    confluence.stand({"a": standing(44, live_from=40), "b": standing(41, connected=False)}, 6)
    assert (confluence.at, confluence.missing) == (Position(R, 44), 4)
    confluence.stand({"a": standing(50, connected=False)}, 6)
    assert confluence.at == Position(R, 44)


def test_what_was_published_before_we_came_is_no_loss():
    confluence = Confluence()
    confluence.take(batch(0, 3), 10, 0)
    confluence.take(batch(12, 13), 10, 0)
    confluence.stand({"a": standing(13)}, 0)
    assert confluence.missing == 2  # 10 and 11


def test_a_restart_of_the_origin_begins_at_0_and_the_rest_of_before_is_dropped():
    confluence = Confluence()
    confluence.take(batch(90, 100), 90, 0)
    confluence.stand({"a": standing(100), "b": standing(100)}, 0)
    assert confluence.take(batch(2, 4, S), 0, 0) == []
    assert numbers(confluence.stand({"a": standing(4, S), "b": standing(4, S)}, 0)) == [(S, 2), (S, 3)]
    assert confluence.take(batch(100, 101), 90, 0) == []
    assert (confluence.missing, confluence.restarts, confluence.later) == (2, 1, 1)
    assert not confluence.two_origins


def test_paths_that_go_on_telling_two_relays_are_two_origins():
    confluence = Confluence()
    both = {"a": standing(5, R), "b": standing(5, S)}
    confluence.stand(both, 0)
    confluence.stand(both, TWO_ORIGINS_AFTER_S - 0.1)
    assert not confluence.two_origins
    confluence.stand(both, TWO_ORIGINS_AFTER_S)
    assert confluence.two_origins


def test_a_path_that_begins_at_another_relay_is_a_second_origin_at_once():
    confluence = Confluence()
    confluence.stand({"a": standing(5, R, live_from=5)}, 0)
    confluence.take(batch(50, 51, S), 50, 0)
    assert confluence.two_origins


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(0, 2)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_of_any_two_ways_what_comes_out_is_what_either_had_in_order(steps, random):
    """Each path brings parts of the numbers, in order, with gaps."""
    at, had, confluence = {"a": 0, "b": 0}, set(), Confluence()
    given = numbers(confluence.stand({"a": standing(0), "b": standing(0)}, 0))
    for first, count, gap in steps:
        path = "a" if first else "b"
        begin = at[path] + gap
        at[path] = begin + count
        had |= set(range(begin, at[path]))
        given += numbers(confluence.take(batch(begin, at[path]), 0, 0))
        given += numbers(confluence.stand({name: standing(n) for name, n in at.items()}, 0))
    given += numbers(confluence.stand({name: standing(n) for name, n in at.items()}, WAIT_S))
    assert all(one < other for one, other in pairwise(given))
    assert {n for _, n in given} == had
    assert confluence.missing == max(had, default=-1) + 1 - len(had)


def test_a_batch_without_a_number_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="without a position"):
        Confluence().take(replace(batch(0, 1), position=None), 0, 0)
