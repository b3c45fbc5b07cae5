"""The course of a run, in bounded memory."""

import numpy as np
import pytest

from astropix_stream.columns import decode_batch
from astropix_stream.monitor import slices as module
from astropix_stream.monitor.geometry import DEFAULT, TOT_BINS, Pixel
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.slices import WIDTH_NS, Counted, Slices
from unit.monitor.stream import Stream, readout

T0 = 1_800_000_000 * 10**9
S = 10**9


def fill(counts, *hits):
    counts.add(decode_batch([readout(0, T0, [hit]) for hit in hits]))


class TestCounted:
    def test_only_what_is_not_zero_is_kept(self):
        one = Counted.of(np.array([0, 5, 0, 7]), np.array([10, 11, 12, 13]))
        assert (one.indices.tolist(), one.counts.tolist()) == ([11, 13], [5, 7])
        assert [one.at(index) for index in (9, 11, 12, 13, 14)] == [0, 5, 0, 7, 0]
        assert one.nbytes == 16

    def test_a_sum_has_the_places_of_both(self):
        one = Counted.of(np.array([1, 2]), np.array([3, 5])) + Counted.of(np.array([4, 8]), np.array([5, 9]))
        assert (one.indices.tolist(), one.counts.tolist()) == ([3, 5, 9], [1, 6, 8])


class TestKept:
    """What a monitor that is started again goes on with."""

    def test_all_come_back_and_more_follow(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        for i in range(3):
            fill(counts, (3, 5, 100), (4, i, 300))
            slices.close(counts, T0 + (i + 1) * S)
        fill(counts, (3, 5, 100))
        kept = slices.kept(counts, T0 + 7 * S // 2)
        again = Slices.from_arrays(kept.to_arrays(), counts)
        again.begin(T0 + 7 * S // 2, 7, counts)
        fill(counts, (3, 5, 100))
        found = again.until(counts, T0 + 4 * S)
        assert [(one.end - T0) / S for one in found] == [1, 2, 3, 3.5, 4]
        assert [one.readouts for one in found] == [2, 2, 2, 1, 1]
        assert found[0].pixels.counts.sum() == 2

    def test_without_times_it_begins_again(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        fill(counts, (3, 5, 100))
        kept = slices.kept(counts, T0 + S)
        kept.begin(0, 7, counts)
        assert not kept.timed
        assert kept.until(counts, 8) == []

    def test_damage(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        fill(counts, (3, 5, 100))
        for name, value in (("width", 0), ("pixels.indices", 1 << 30), ("spectra.sizes", 7)):
            arrays = slices.kept(counts, T0 + S).to_arrays()
            arrays[name].fill(value)
            with pytest.raises(ValueError, match="slices"):
                Slices.from_arrays(arrays, counts)


class TestSlices:
    def test_where_one_ends(self):
        slices = Slices()
        slices.begin(T0, 0)
        keys = [T0 + i * S // 4 for i in range(8)]
        assert slices.timed
        assert slices.keys(keys, range(8)) is keys
        assert slices.end_among(keys, 0, 3) == 3
        assert slices.end_among(keys, 0, 8) == 4

    def test_each_has_what_was_counted_in_it(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        fill(counts, (3, 5, 100), (3, 5, 100))
        slices.close(counts, T0 + S)
        fill(counts, (3, 5, 100), (4, 6, 200))
        first, second = slices.until(counts, T0 + 3 * S // 2)
        assert (first.begin, first.end, first.readouts) == (T0, T0 + S, 2)
        assert (second.begin, second.end, second.readouts) == (T0 + S, T0 + 3 * S // 2, 2)
        here = DEFAULT.number_of(Pixel(0, 5, 3))
        assert [one.pixels.at(here) for one in (first, second)] == [2, 1]
        assert first.spectrum([0])[25] == 2
        assert second.spectrum([0]).nonzero()[0].tolist() == [25, 50]
        assert second.spectrum([1]).sum() == 0
        assert second.spectrum([0, 1]).shape == (TOT_BINS,)

    def test_without_times_they_are_cut_by_readout_ids(self):
        slices = Slices()
        slices.begin(0, 100)
        assert not slices.timed
        ids = list(range(100, 200))
        assert slices.keys([0] * 100, ids) is ids
        assert slices.end_among(ids, 0, 100) == module.WIDTH_READOUTS

    def test_a_slice_without_readouts_is_none(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        slices.close(counts, T0 + 5 * S)
        assert slices.until(counts, T0 + 6 * S) == []
        assert slices.end_among([T0 + 5 * S + WIDTH_NS], 0, 1) == 0

    def test_before_it_begins_there_is_nothing(self):
        counts = Histograms()
        fill(counts, (3, 5, 100))
        assert Slices().until(counts, T0) == []

    def test_a_corrupt_timestamp_ends_no_slice(self):
        slices = Slices()
        slices.begin(T0, 0)
        assert slices.end_among([T0 + 1, 2**63], 0, 2) == 2

    def test_a_long_run_has_few_and_longer_ones_and_nothing_is_lost(self):
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        seconds = 300
        cuts = 0
        for i in range(seconds):
            if slices.end_among([T0 + i * S], 0, 1) == 0:
                slices.close(counts, T0 + i * S)
                cuts += 1
            fill(counts, (3, 5, 100 + i % 7))
        found = slices.until(counts, T0 + seconds * S)
        assert len(found) <= module.MAX_SLICES
        assert cuts < 2.5 * module.MAX_SLICES
        assert sum(one.readouts for one in found) == seconds
        assert sum(int(one.spectrum([0]).sum()) for one in found) == seconds
        assert [one.begin for one in found[1:]] == [one.end for one in found[:-1]]
        assert found[0].end - found[0].begin == 4 * S

    def test_their_memory_is_bounded(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_BYTES", 4000)
        slices, counts = Slices(), Histograms()
        slices.begin(T0, 0)
        for i in range(60):
            fill(counts, *[(row, column, 10 * i) for row in range(4) for column in range(4)])
            slices.close(counts, T0 + (i + 1) * S)
        found = slices.until(counts, T0 + 60 * S)
        assert sum(one.nbytes for one in found) <= 4000
        assert sum(one.readouts for one in found) == 60 * 16


@pytest.mark.parametrize("batches", [1, 40])
def test_a_run_is_cut_wherever_its_batches_begin(batches):
    """A file comes in one batch, a live run in many: the slices are the same."""
    stream = Stream()
    readouts = [readout(i, T0 + i * S // 10, [(3, 5, 100 + i % 20)]) for i in range(200)]
    size = len(readouts) // batches
    for i in range(batches):
        stream.send(readouts[i * size : (i + 1) * size], 0.1 * i)
    run = stream.accumulator.present
    found = run.slices.until(run.counts, run.last_timestamp)
    assert [one.readouts for one in found] == [10] * 20
    assert (found[0].begin, found[0].end) == (T0, T0 + S)
    assert run.counts.readouts == 200
