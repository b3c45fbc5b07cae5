"""Numbers and times as the page says them."""

import pytest

from astropix_stream import numbers


@pytest.mark.parametrize(
    ("fraction", "said"),
    [(1.0, "100"), (0.99999, "99.99"), (0.9998, "99.98"), (0.5, "50.00"), (0.0, "0.00")],
)
def test_all_is_said_of_what_is_whole_only(fraction, said):
    assert numbers.percentage(fraction) == f"{said}\u202f%"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0.0 s"), (0.34, "0.3 s"), (12.4, "12 s"), (200, "3 min"), (7500, "2 h 5 min"), (400_000, "4 d")],
)
def test_age(seconds, said):
    assert numbers.age(seconds) == said


def test_rate():
    assert [numbers.figure(value) for value in (0.44, 12.94, 20013.3)] == ["0.4", "12.9", "20\u202f013"]


def test_a_time_of_another_day_has_its_date():
    now = 1_800_000_000 * 10**9
    assert len(numbers.clock(now, now)) == len("12:34:56")
    assert numbers.clock(now - 400 * 86400 * 10**9, now).startswith("20")


def test_any_timestamp_of_the_wire_is_a_time():
    assert numbers.clock((1 << 64) - 1, 0)
    assert numbers.clock(0, 0)
