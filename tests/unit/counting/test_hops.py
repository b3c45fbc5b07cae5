"""The relays on the way, as beats tell them; anything from outside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.counting.hops import (
    MAX_HOPS,
    Hop,
    HopLosses,
    is_fed_without,
    joined_hops,
    numbered_alike,
    parse_hops,
)

A = Hop(1, "relay-a", "tcp://a:5556")
B = Hop(2, "relay-roma", "tcp://roma:5556", (1,), {"between_relays": 3}, 10, 20, 0.5, 0.1)


def test_hops_survive_the_round_trip():
    report = json.loads(json.dumps({"hops": [A.to_json(), B.to_json()]}))
    assert parse_hops(report) == (A, B)


def test_a_way_that_leads_only_through_one_relay_is_told_from_one_that_is_fed_besides():
    """1 - 2 - 3 - 4, and 4 feeds 2, too."""
    one, two, three, four = Hop(1, "", ""), Hop(2, "", "", (1, 4)), Hop(3, "", "", (2,)), Hop(4, "", "", (3,))
    ring = (one, two, three, four)
    assert [is_fed_without(ring, relay) for relay in (1, 2, 3, 4, 9)] == [False, False, False, False, True]
    assert is_fed_without((one, four, two), 3)  # as 3 sees it: 2 is fed by 1
    unfed = (Hop(2, "", "", (4,)), three, four)
    assert not is_fed_without(unfed, 9)
    assert is_fed_without((*unfed[1:], Hop(2, "", "", (4, 0))), 3)  # by one that nobody hears yet
    assert is_fed_without((), 1) is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
broken = st.fixed_dictionaries(
    {"id": st.integers(0, 5)}, optional={key: json_values for key in A.to_json() if key != "id"}
)


@given(json_values | st.fixed_dictionaries({"hops": st.lists(broken | json_values, max_size=40)}))
def test_any_beat_gives_hops_or_none(report):
    hops = parse_hops(report)
    assert len(hops) <= MAX_HOPS
    losses = HopLosses()
    losses.take(hops)
    losses.take(hops)
    assert losses.lost() == []


def test_where_ways_meet_above_it_is_one_relay():
    assert joined_hops([(A, B), (A,)]) == (A, B)


def test_a_loss_is_told_with_the_two_relays_that_it_is_between():
    losses = HopLosses()
    losses.take((A, B))
    assert losses.lost() == []  # 3 were lost before we came
    more = Hop(2, "relay-roma", "", (1,), {"between_relays": 17}, 10, 30)
    losses.take((A, more))
    assert losses.lost() == [("between relay-a and relay-roma", 14, (10, 30), True)]


@pytest.mark.parametrize(
    ("above", "words"),
    [
        (Hop(1, "relay-roma", "tcp://a:5556"), "between tcp://a:5556 and tcp://roma:5556"),
        (None, "between the relay above and relay-roma"),
    ],
)
def test_relays_of_one_host_are_told_by_their_addresses(above, words):
    losses = HopLosses()
    hop = Hop(2, "relay-roma", "tcp://roma:5556", (1,))
    hops = (hop,) if above is None else (above, hop)
    losses.take(hops)
    losses.take((*hops[:-1], Hop(2, "relay-roma", "tcp://roma:5556", (1,), {"between_relays": 1}, 1, 1)))
    assert losses.lost() == [(words, 1, (1, 1), True)]


def test_above_a_relay_that_thins_losses_are_no_steps_in_our_numbers():
    def report(lost, thinned):
        between = {"between_relays": lost}
        first = Hop(1, "relay-a", "tcp://a:5556")
        narrow = Hop(2, "relay-roma", "tcp://roma:5556", (1,), between, 1, 1, thinned=thinned)
        last = Hop(3, "relay-bari", "tcp://bari:5556", (2,), between, 1, 1)
        return parse_hops({"hops": [hop.to_json() for hop in (first, narrow, last)]})

    losses = HopLosses()
    losses.take(report(0, 100))
    assert (losses.lost(), losses.thinned()) == ([], 0)  # what was left out before we came is not ours
    losses.take(report(2, 130))
    assert losses.thinned() == 30
    assert [(count, shown) for _, count, _, shown in losses.lost()] == [(2, False), (2, True)]
    assert [hop.id for hop in numbered_alike(report(0, 0))] == [3]
    assert parse_hops({"hops": [{"id": 1, "thinned": -1}]}) == ()
