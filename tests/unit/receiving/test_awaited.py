"""What a path has not brought yet: against a plain list, with the limits made small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.receiving import awaited
from astropix_stream.receiving.awaited import Awaited


@pytest.fixture
def small(monkeypatch):
    for name, value in (("MAX_NEWEST", 8), ("CHUNK", 4), ("MAX_AWAITED", 16)):
        monkeypatch.setattr(awaited, name, value)


def fill(*keys):
    some = Awaited()
    for place, key in enumerate(keys):
        some.add(key, place)
    return some


def test_each_readout_is_taken_once_and_has_its_place():
    some = fill(10, 11, 10)
    assert some
    assert [some.take(10), some.take(10), some.take(10)] == [0, 2, None]
    assert some.take(12) is None
    assert some.take(11) == 1
    assert not some


def test_the_same_one_comes_out_of_an_array_as_often_as_it_was_added(small):
    some = fill(*range(6), 1, *range(7, 14))
    places = [some.take(1), some.take(1)]
    assert None not in places
    assert max(places) <= 6
    assert some.take(1) is None


def test_what_comes_in_another_order_takes_a_path_no_further_than_it_is(small):
    some, furthest = fill(*range(12)), -1
    for key in (2, 0, 3, 1, 11, 5):
        furthest = max(furthest, key)
        assert key <= some.take(key) <= furthest


def test_no_more_are_kept_than_there_is_room_for(small):
    some = fill(*range(100))
    kept = [key for key in range(100) if some.take(key) is not None]
    assert kept == list(range(kept[0], 100))
    assert 16 <= len(kept) <= 16 + 8 + 4


@pytest.mark.parametrize("until", [0, 3, 10, 14])
def test_what_arrived_long_ago_is_forgotten(small, until):
    some = fill(*range(14))
    some.forget(until)
    left = [key for key in range(14) if some.take(key) is not None]
    assert left == list(range(left[0] if left else 14, 14))
    assert until - 4 <= 14 - len(left) <= until, "of an array all are kept as long as the last one is"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_it_agrees_with_a_list(steps):
    """In the order in which readouts arrive; there are fewer than an array takes."""
    some, plain = Awaited(), []
    for place, (is_new, key) in enumerate(steps):
        if is_new:
            some.add(key, place)
            plain.append((key, place))
        else:
            found = next((one for one in plain if one[0] == key), None)
            assert some.take(key) == (None if found is None else found[1])
            if found is not None:
                plain.remove(found)
        assert bool(some) == bool(plain)
