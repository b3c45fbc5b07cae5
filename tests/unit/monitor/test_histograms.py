"""Counts equal those of a walk over the hits, one by one."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.columns import decode_batch, match_pixels
from astropix_stream.fmt import ASTEP, ASTROPIX3, ROLLOVER, Decoding
from astropix_stream.monitor.geometry import DEFAULT, TOT_BINS, Geometry, Pixel
from astropix_stream.monitor.histograms import COARSE_BINS, MAX_PER_READOUT, MAX_SPECTRA, Histograms
from unit.monitor.stream import readout

TOT_BIN_TICKS = DEFAULT.bin_ticks

ticks = st.integers(0, 2 * TOT_BINS * TOT_BIN_TICKS) | st.integers(0, ROLLOVER - 1)
hits = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 31), ticks), max_size=5)
readouts = st.lists(st.builds(readout, st.just(0), st.just(0), hits, chip=st.integers(0, 30)), max_size=8)


@given(st.lists(readouts, max_size=3))
def test_equal_to_a_walk_over_the_hits(batches):
    counts = Histograms()
    for batch in batches:
        counts.add(decode_batch(batch))
    every = [one for batch in batches for one in batch]
    found = [hit for one in every for hit in one.decode()]
    assert (counts.readouts, counts.hits) == (len(every), len(found))
    pixels = Counter((hit.chip_id, hit.row, hit.column) for hit in found)
    assert {place: counts.hit_map[place] for place in pixels} == pixels
    assert counts.hit_map.sum() == len(found)
    assert counts.tot_ticks.sum() == sum(hit.ts_dec2 - hit.ts_dec1 for hit in found)
    assert counts.per_readout.sum() == len(every)
    inside = [hit for hit in found if hit.ts_dec2 - hit.ts_dec1 < TOT_BINS * TOT_BIN_TICKS]
    for chip in {hit.chip_id for hit in found}:
        bins = Counter((hit.ts_dec2 - hit.ts_dec1) // TOT_BIN_TICKS for hit in inside if hit.chip_id == chip)
        spectrum = counts.spectrum([chip])
        assert {i: spectrum[i] for i in np.flatnonzero(spectrum)} == bins
    for place in pixels:
        pixel = Pixel(place[0], place[2], place[1])
        left = [hit for hit in inside if (hit.chip_id, hit.row, hit.column) != place]
        assert counts.spectrum(range(32), [pixel]).sum() == len(left)


def test_a_pixel_has_one_number():
    assert all(DEFAULT.number_of(DEFAULT.pixel_of(number)) == number for number in range(32 * 32 * 32))
    assert DEFAULT.pixel_of(DEFAULT.number_of(Pixel(3, 9, 12))) == Pixel(3, 9, 12)
    assert str(Pixel(3, 9, 12)) == "3/9/12"


def test_status_bits_count_readouts():
    counts = Histograms()
    counts.add(
        decode_batch([readout(0, 0), readout(1, 0, tail=b"\xe1\x02\x03"), readout(2, 0, tail=b"\xe1")])
    )
    assert counts.problems[Decoding.VALID_EXTRA_BYTES] == 2
    assert counts.problems.sum() == 2


def test_many_hits_in_a_readout_are_in_the_last_bin():
    counts = Histograms()
    counts.add(decode_batch([readout(0, 0, [(1, 1, 5)] * (MAX_PER_READOUT + 10))]))
    assert counts.per_readout[MAX_PER_READOUT] == 1


def test_a_copy_stands_still():
    counts = Histograms()
    counts.add(decode_batch([readout(0, 0)]))
    copy = counts.copy()
    counts.add(decode_batch([readout(1, 0)]))
    assert (copy.hits, copy.hit_map.sum(), copy.per_readout.sum()) == (1, 1, 1)
    assert copy.spectrum([0]).sum() == 1
    assert copy.spectrum([0], [Pixel(0, 5, 3)]).sum() == 0


def test_noise_everywhere_takes_no_more_spectra_than_allowed():
    """Pixels beyond the limit count in the map and in the spectrum; only masking leaves their TOT in."""
    counts = Histograms()
    for chip in range(4):
        places = [(row, column, 40) for row in range(32) for column in range(32)]
        counts.add(decode_batch([readout(0, 0, places, chip=chip)]))
    assert counts.hit_map.sum() == 4 * 1024
    assert counts.spectrum(range(4)).sum() == 4 * 1024
    known = [DEFAULT.pixel_of(number) for number in range(4 * 1024)]
    assert counts.spectrum(range(4), known).sum() == 4 * 1024 - MAX_SPECTRA


def test_memory_does_not_grow_with_hits():
    counts = Histograms()
    batch = decode_batch([readout(i, 0, [(1, 2, 300), (5, 6, 900)]) for i in range(2000)])
    counts.add(batch)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(50):
        counts.add(batch)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 10_000
    assert counts.hits == 51 * 4000


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP])
def test_half_hits_are_counted_as_they_are_and_put_together_to_pixels(kind):
    detector = Detector(kind=kind, seed=3, chips=2)
    readouts = [detector.readout(i, 10**18 + i * 10**7) for i in range(300)]
    decoded = decode_batch(readouts, kind)
    owners = np.repeat(np.arange(len(readouts)), decoded.hit_counts)
    matched = match_pixels(decoded.hits, kind, None if kind is ASTEP else owners)
    counts = Histograms(Geometry(kind))
    counts.add(decoded)
    is_column = decoded.hits["is_column"] == 1
    assert counts.hits == len(decoded.hits) > 300
    assert counts.rows.sum() == np.count_nonzero(~is_column)
    assert counts.columns.sum() == np.count_nonzero(is_column)
    inside = decoded.hits["location"][is_column] == 7
    assert counts.columns[:, 7].sum() == np.count_nonzero(inside)
    assert counts.half_spectra.sum() == counts.hits
    assert counts.unpaired == matched.unpaired
    assert counts.pixels == counts.hit_map.sum() == len(matched.table) > 0
    if "fpga_timestamp" in decoded.hits.dtype.names:
        stamps = decoded.hits["fpga_timestamp"]
        assert (counts.first_fpga, counts.last_fpga) == (stamps[0], stamps[-1])
        counts.add(decoded)
        assert counts.first_fpga == stamps[0]
    else:
        assert counts.first_fpga is None


def test_hits_outside_of_all_chips_are_no_pixel():
    decoded = decode_batch([readout(0, 1, [(3, 5, 100), (4, 5, 100), (5, 5, 100)])])
    decoded.hits["row"] = [3, 31, 200]
    counts = Histograms()
    counts.add(decoded)
    assert (counts.hits, counts.pixels, counts.hit_map.sum()) == (3, 2, 2)


def test_spectra_of_the_pixels_of_a_row():
    counts = Histograms()
    counts.add(
        decode_batch([readout(0, 1, [(3, 5, 100), (3, 6, 900), (4, 5, 100)]), readout(1, 2, [(3, 5, 100)])])
    )
    spectra = counts.pixel_spectra([0, 1], 3, 16)
    assert spectra.shape == (16, TOT_BINS)
    assert spectra.sum(axis=1).tolist() == [0] * 5 + [2, 1] + [0] * 9
    assert spectra[5, 100 // TOT_BIN_TICKS] == 2
    whole = counts.spectrum([0])
    assert (whole - counts.spectrum([0], [Pixel(0, 5, 3), Pixel(1, 5, 3)])).sum() == 2


def test_a_pixel_that_came_too_late_for_a_fine_spectrum_has_a_coarse_one():
    counts = Histograms()
    assert counts.untouched == ("_coarse_spectra",)
    for chip in range(4):
        places = [(row, column, 40) for row in range(32) for column in range(32)]
        counts.add(decode_batch([readout(0, 0, places, chip=chip)]))
    assert counts.untouched == ()
    for held in (counts, counts.copy()):
        early, late = held.pixel_spectrum(Pixel(0, 3, 3)), held.pixel_spectrum(Pixel(3, 3, 3))
        assert (early.bins, late.bins) == (TOT_BINS, COARSE_BINS)
        assert early.counts.sum() == late.counts.sum() == 1
        assert early.in_bins_of(COARSE_BINS).counts.tolist() == late.counts.tolist()
        assert late.in_bins_of(COARSE_BINS) is late


def test_a_pixel_without_hits_has_an_empty_spectrum():
    assert Histograms().pixel_spectrum(Pixel(0, 3, 3)).counts.sum() == 0


@pytest.mark.parametrize("size", [3, 60])
def test_pixels_in_two_readouts_are_counted_however_these_come(size):
    detector = Detector(kind=ASTEP, seed=3, chips=2)
    readouts = [detector.readout(i, 10**18 + i * 10**7) for i in range(60)]
    matched = match_pixels(decode_batch(readouts, ASTEP).hits, ASTEP)
    counts = Histograms(Geometry(ASTEP))
    for begin in range(0, len(readouts), size):
        counts.add(decode_batch(readouts[begin : begin + size], ASTEP))
    assert counts.pixels == counts.hit_map.sum() == len(matched.table)
    assert counts.unpaired == matched.unpaired
    places = matched.table["row"].astype(int) * 35 + matched.table["column"]
    assert np.array_equal(counts.hit_map.sum(axis=0).reshape(-1), np.bincount(places, minlength=35 * 35))
