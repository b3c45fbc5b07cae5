"""Maps of pixels."""

import numpy as np
import pytest

from astropix_stream.columns import decode_batch
from astropix_stream.monitor import maps
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import DEFAULT, Pixel
from astropix_stream.monitor.histograms import Histograms
from unit.monitor.stream import readout

EVERY = [(row, column, 100) for row in range(13) for column in range(16)]


@pytest.fixture
def counts():
    """Chips 0 and 3; each pixel once, and pixel 0/4/2 nine times."""
    counts = Histograms()
    for hits, chip in ((EVERY, 0), (EVERY, 3), ([(2, 4, 300)] * 8, 0)):
        counts.add(decode_batch([readout(0, 0, hits, chip=chip)]))
    return counts


def test_the_sum_of_chips_without_masked_pixels(counts):
    hits, ticks, gone = maps.sum_of(counts, DEFAULT, (0, 3), ())
    assert hits.shape == (13, 16)
    assert (hits[2, 4], hits[0, 0], ticks[0, 0]) == (10, 2, 200)
    hits, _, gone = maps.sum_of(counts, DEFAULT, (0, 3), (Pixel(0, 4, 2), Pixel(9, 1, 1)))
    assert hits[2, 4] == 1
    assert not gone.any()
    _, _, gone = maps.sum_of(counts, DEFAULT, (0,), (Pixel(0, 4, 2),))
    assert np.argwhere(gone).tolist() == [[2, 4]]
    assert maps.sum_of(counts, DEFAULT, (0,), (), (3, 5))[0].shape == (3, 5)
    assert not maps.sum_of(counts, DEFAULT, (), ())[2].any()


def test_which_chip_has_most_hits_at_a_place(counts):
    assert maps.busiest(counts, (0, 3), (13, 16))[2, 4] == 0
    counts.add(decode_batch([readout(0, 0, [(5, 5, 10)] * 3, chip=3)]))
    assert maps.busiest(counts, (0, 3), (13, 16))[5, 5] == 3
    assert (maps.busiest(counts, (3,), (13, 16)) == 3).all()
    assert (maps.busiest(counts, (), (2, 2)) == 0).all()


def test_medians(counts):
    hits, _, _ = maps.sum_of(counts, DEFAULT, (0, 3), ())
    assert np.isnan(maps.medians(counts, DEFAULT, (0, 3), hits, Choice())).all()
    medians = maps.medians(counts, DEFAULT, (0, 3), hits, Choice(quantity="median"))
    assert medians[2, 4] == pytest.approx(15.1)
    assert medians[0, 0] == pytest.approx(5.1)
    masked = Choice(quantity="median", masked=(Pixel(0, 4, 2),))
    hits, _, _ = maps.sum_of(counts, DEFAULT, (0, 3), masked.masked)
    assert maps.medians(counts, DEFAULT, (0, 3), hits, masked)[2, 4] == pytest.approx(5.1)


def test_the_extent_is_that_of_a_chip_unless_hits_tell_of_more(counts):
    assert maps.extent(counts.hit_map, DEFAULT) == (13, 16)
    counts.add(decode_batch([readout(0, 0, [(20, 30, 5)])]))
    assert maps.extent(counts.hit_map, DEFAULT) == (32, 32)


def test_hot_pixels(counts):
    counts.add(decode_batch([readout(0, 0, [(2, 4, 300)] * 100)]))
    (hot,) = maps.find_hot(counts.hit_map, DEFAULT, (0, 3))
    assert (hot.pixel, hot.hits) == (Pixel(0, 4, 2), 109)
    assert hot.share == pytest.approx(109 / (2 * 208 + 108))
    assert maps.find_hot(counts.hit_map, DEFAULT, (3,)) == ()
