"""Chips, pixels and the axis of TOT of each kind."""

import numpy as np
import pytest

from astropix_stream.columns import decode_columns
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4, kind_of
from astropix_stream.monitor.geometry import DEFAULT, Pixel, chip_name, chip_value, geometry_of

THREE, STEP = geometry_of(ASTROPIX3), geometry_of(ASTEP)
LAYER_2_CHIP_3 = 2 * 32 + 3


def test_what_the_page_knows_of_each_kind():
    assert (DEFAULT.shape, DEFAULT.chips, DEFAULT.half_hits) == ((32, 32, 32), 32, False)
    assert (THREE.shape, THREE.lines, THREE.half_hits) == ((32, 35, 35), 64, True)
    assert (STEP.shape, STEP.chips) == ((128, 35, 35), 128)
    assert [each.tot_range_us for each in (DEFAULT, THREE, STEP)] == [400, 20, 40]
    assert [each.tot_limit_us for each in (DEFAULT, THREE, STEP)] == [819.2, 20.48, 40.96]
    unknown = geometry_of(kind_of(5000))
    assert unknown.shape == (32, 32, 32)
    assert unknown.tot_range_us == unknown.tot_limit_us


def test_names_of_chips():
    assert (chip_value(3), chip_name(3)) == (3, "chip 3")
    assert (chip_value(LAYER_2_CHIP_3), chip_name(LAYER_2_CHIP_3)) == ("2.3", "layer 2, chip 3")
    assert str(Pixel(LAYER_2_CHIP_3, 9, 12)) == "2.3/9/12"


@pytest.mark.parametrize("geometry", [DEFAULT, THREE, STEP])
def test_chips_and_pixels_are_read_as_they_are_written(geometry):
    first = 32 if geometry.layers else 0
    for chip in range(first, geometry.chips):
        assert geometry.read_chip(chip_value(chip)) == chip
        assert geometry.read_chip(str(chip_value(chip))) == chip
    for number in range(first * geometry.shape[1] * geometry.shape[2], geometry.chips, 97):
        pixel = geometry.pixel_of(number)
        assert geometry.contains(pixel)
        assert geometry.number_of(geometry.read_pixel(str(pixel))) == number


@pytest.mark.parametrize(
    ("geometry", "wrong", "told"),
    [
        (DEFAULT, "32", "chips are 0 to 31"),
        (DEFAULT, "1.3", "chips are 0 to 31"),
        (DEFAULT, True, "not a chip"),
        (DEFAULT, -1, "not a chip"),
        (STEP, "3", "write layer.chip, such as 1.3; layers are 1 to 3, chips 0 to 31"),
        (STEP, "0.3", "layers are 1 to 3"),
        (STEP, "4.3", "layers are 1 to 3"),
        (STEP, "1.x", "not a chip"),
        (STEP, "1.32", "not a chip"),
    ],
)
def test_what_is_no_chip(geometry, wrong, told):
    with pytest.raises(ValueError, match=told):
        geometry.read_chip(wrong)
    with pytest.raises(ValueError, match=told):
        geometry.read_pixel(f"{wrong}/1/1")


@pytest.mark.parametrize(
    ("geometry", "wrong", "told"),
    [
        (DEFAULT, "0/32/1", "from 0 to 31"),
        (THREE, "0/1/35", "from 0 to 34"),
        (THREE, "0/1", "write chip/column/row, such as 0/9/3"),
        (STEP, "0/1", "such as 1.3/9/3"),
        (STEP, 7, "not a pixel"),
    ],
)
def test_what_is_no_pixel(geometry, wrong, told):
    with pytest.raises(ValueError, match=told):
        geometry.read_pixel(wrong)


def test_ticks_are_whole():
    ticks = np.arange(1 << 17)
    assert (DEFAULT.ticks_of(ticks / 20) == ticks).all()
    assert (THREE.ticks_of(ticks / 200) == ticks).all()
    assert (STEP.ticks_of(ticks / 100) == ticks).all()


def test_hits_without_a_chip_are_of_chip_0():
    table = np.zeros(3, [("readout_id", "u4")])
    assert DEFAULT.chips_of(table).tolist() == [0, 0, 0]
    assert STEP.chips_of(decode_columns([], ASTEP)).tolist() == []
    assert ASTROPIX4.layers == 0
