"""Counts: they add up, and survive a heartbeat."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.counting.counts import Counts
from astropix_stream.errors import WireError

keys = st.sampled_from([field.name for field in fields(Counts)]) | st.text(max_size=5)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
numbers = st.integers(0, (1 << 64) - 1)
any_counts = st.builds(
    Counts,
    **{field.name: numbers for field in fields(Counts) if field.name != "rejected"},
    rejected=st.dictionaries(st.text(max_size=8), numbers, max_size=4),
)


@given(any_counts)
def test_counts_survive_json(counts):
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


@given(any_json)
def test_any_json_is_counts_or_a_wire_error(value):
    try:
        counts = Counts.from_json(json.loads(json.dumps(value)))
    except WireError:
        return
    assert counts.lost >= 0
    assert all(isinstance(number, int) for number in counts.to_json().values() if number != counts.rejected)


def test_counts_of_another_version():
    assert Counts.from_json({"received": 3, "invented_later": [1]}) == Counts(received=3)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        3,
        {"received": -1},
        {"received": 1.0},
        {"late": True},
        {"runs": None},
        {"rejected": 3},
        {"rejected": {"magic": "3"}},
        {"stray": 1 << 64},
    ],
)
def test_what_is_not_counts(value):
    with pytest.raises(WireError, match="counts that are not"):
        Counts.from_json(value)


@given(any_counts, any_counts)
def test_counts_add_and_subtract(one, other):
    without_zeros = Counts(**{**one.to_json(), "rejected": {r: n for r, n in one.rejected.items() if n}})
    assert one + other - other == without_zeros
    assert (one + other).lost == one.lost + other.lost
    assert (one + other).delivered == one.delivered + other.delivered


def test_delivered_counts_each_readout_once():
    counts = Counts(received=100, duplicates=5, reordered=7, late=2, stray=1)
    assert counts.delivered == 93  # the stray among them
