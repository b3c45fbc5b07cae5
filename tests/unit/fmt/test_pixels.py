"""Pixels from half hits."""

from typing import Any, NamedTuple

import pytest

from astropix_stream.errors import ConfigError
from astropix_stream.fmt import ASTEP, ASTROPIX3, AStepHit, AstroPix3Hit, PixelRule, pair_half_hits

RULE = PixelRule(tot_window=(12, 30))


class Half(NamedTuple):
    """What a pixel needs of a half hit."""

    is_column: int
    location: int
    ts: int
    tot: int
    chip_id: int = 0
    layer: int = 1
    payload: int = 4


def row(location=1, ts=0, tot=120, **more):
    return Half(0, location, ts, tot, **more)


def column(location=2, ts=0, tot=100, **more):
    return Half(1, location, ts, tot, **more)


def places(*hits, rule=RULE):
    pixels, unpaired = pair_half_hits(hits, rule)
    assert unpaired == len(hits) - 2 * len(pixels)
    return [(pixel.column, pixel.row) for pixel in pixels]


def test_a_row_and_a_column_are_a_pixel_in_either_order():
    assert places(row(), column()) == places(column(), row()) == [(2, 1)]
    assert places() == places(row()) == places(column(), column()) == []


@pytest.mark.parametrize(
    ("difference", "fits"), [(11, False), (12, True), (30, True), (31, False), (-20, False)]
)
def test_the_row_is_longer_by_the_window(difference, fits):
    assert bool(places(row(tot=500 + difference), column(tot=500))) is fits


@pytest.mark.parametrize(
    ("of_row", "of_column", "fits"),
    [(5, 5, True), (6, 5, True), (5, 6, False), (0, 255, True), (7, 5, False)],
)
def test_the_timestamps_fit_modulo_256(of_row, of_column, fits):
    assert bool(places(row(ts=of_row), column(ts=of_column))) is fits


@pytest.mark.parametrize("odd", [{"chip_id": 1}, {"layer": 2}, {"payload": 3}, {"location": 35}])
def test_what_does_not_belong_together(odd):
    assert places(row(**odd), column()) == []
    assert places(row(), column(**odd)) == []


def test_the_smallest_difference_is_taken_and_the_first_of_equals():
    assert places(column(5, tot=100), column(6, tot=105), row(tot=120), column(7, tot=105)) == [(6, 1)]


def test_a_half_hit_belongs_to_one_pixel():
    assert places(row(1), row(3), column(5)) == [(5, 1)]
    assert places(row(1, tot=120), row(3, tot=121), column(5, tot=108), column(6, tot=100)) == [
        (5, 1),
        (6, 3),
    ]


@pytest.mark.parametrize(("between", "fits"), [(15, True), (16, False)])
def test_a_column_is_looked_for_among_sixteen_half_hits(between, fits):
    others = [column(9, ts=99)] * between
    assert bool(places(row(), *others, column())) is fits
    assert bool(places(column(), *others, row())) is fits


def test_half_hits_of_other_chips_do_not_count_among_them():
    assert places(row(), *[column(9, chip_id=1)] * 40, column()) == [(2, 1)]


def test_pixels_are_in_the_order_of_their_rows():
    assert places(row(1), row(2, chip_id=1), column(3, chip_id=1), column(4)) == [(4, 1), (3, 2)]


def test_texts():
    def frame(is_column, location, tot):
        return AStepHit(bytes([2, 0x1C, is_column << 7 | location, 0, 0, tot]) + bytes(4), 7, 8, 0)

    (pixel,), _ = pair_half_hits([frame(0, 13, 110), frame(1, 32, 100)], ASTEP.pixel_rule)
    assert (
        str(pixel)
        == "pixel of readout 7: layer 2, chip 3, column 32, row 13, TOT 1.00 us (column), 1.10 us (row)"
    )

    def half(is_column, location, tot):
        return AstroPix3Hit(bytes([0x1C, is_column << 7 | location, 0, 0, tot]), 7, 8, 0)

    (pixel,), _ = pair_half_hits([half(0, 13, 120), half(1, 32, 100)], ASTROPIX3.pixel_rule)
    assert str(pixel) == "pixel of readout 7: chip 3, column 32, row 13, TOT 0.50 us (column), 0.60 us (row)"


def test_other_windows():
    rule = RULE.configured(tot_window="1-5", ts_window=(2, 3))
    assert (rule.tot_window, rule.ts_window) == ((1, 5), (2, 3))
    assert places(row(ts=3, tot=104), column(ts=0, tot=100), rule=rule)
    assert RULE.configured() == RULE
    wrongs: list[Any] = ["1", "1-2-3", "a-b", "5-1", (1,), 7]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="tot_window"):
            RULE.configured(tot_window=wrong)
