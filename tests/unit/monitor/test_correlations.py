"""What happens together."""

import numpy as np
import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP, ASTROPIX3, AstroPix4Readout
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.correlations import MAX_CLUSTER, Hits, cluster_sizes, collect, pairs_of
from astropix_stream.monitor.geometry import DEFAULT
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, pack_hit


def event(readout_id, hits):
    """`hits`: (chip, column, row) each."""
    data = b"\xbc".join(pack_hit(row, column, 7, 107, chip=chip) for chip, column, row in hits)
    return AstroPix4Readout(data, readout_id, BEGIN_NS + readout_id)


def panel_of(stream, **choice):
    geometry = stream.accumulator.geometry
    wanted = Choice.read({"panel": "correlations", **choice}, geometry)
    return make_view(stream.accumulator, wanted, moment(10)).panel


class TestPairs:
    def test_all_with_the_same_number(self):
        left, right = pairs_of(np.array([0, 0, 3, 5]), np.array([0, 2, 3, 3, 3]))
        assert (left.tolist(), right.tolist()) == ([0, 1, 2, 2, 2], [0, 0, 2, 3, 4])
        assert [len(one) for one in pairs_of(np.array([1]), np.zeros(0, np.int64))] == [0, 0]

    def test_columns_and_rows_of_two_chips(self):
        stream = Stream()
        stream.send([event(i, [(0, i % 16, i % 13), (1, 15 - i % 16, i % 13)]) for i in range(160)], 1.0)
        panel = panel_of(stream)
        assert (panel.first, panel.second, panel.pairs, panel.readouts) == (0, 1, 160, 160)
        assert np.array_equal(
            panel.columns, 10 * np.fliplr(np.eye(16, dtype=int))
        )  # one the mirror of the other
        assert panel.rows.shape == (13, 13)
        assert panel.rows.sum() == np.trace(panel.rows) == 160
        assert len(panel.deltas) == 0

    def test_hits_of_different_readouts_are_no_pair(self):
        stream = Stream()
        stream.send([event(i, [(i % 2, 3, 3)]) for i in range(100)], 1.0)
        assert panel_of(stream).pairs == 0

    def test_two_chosen_chips(self):
        stream = Stream()
        stream.send([event(i, [(0, 1, 1), (1, 2, 2), (2, 3, 3)]) for i in range(10)], 1.0)
        panel = panel_of(stream, chip=2, other_chip=1)
        assert (panel.first, panel.second) == (2, 1)
        assert panel.columns[2, 3] == 10  # across: the first chip
        assert (panel_of(stream, other_chip=0).first, panel_of(stream, chip=0, other_chip=0).second) == (1, 1)

    def test_one_chip_has_no_other(self):
        stream = Stream()
        stream.send([event(i, [(0, 1, 1)]) for i in range(10)], 1.0)
        panel = panel_of(stream)
        assert (panel.first, panel.second, panel.pairs) == (0, None, 0)
        assert panel.clusters[1] == 10

    def test_only_the_run_that_is_shown(self):
        stream = Stream()
        stream.send([event(i, [(0, 1, 1), (1, 2, 2)]) for i in range(10)], 1.0)
        first = stream.accumulator.present.name
        stream.run(0, 20, 5.0)
        assert panel_of(stream).readouts == 20
        assert panel_of(stream, run=first).pairs == 10

    def test_before_the_first_readout(self):
        panel = panel_of(Stream())
        assert (panel.readouts, panel.first, panel.second) == (0, None, None)
        assert panel.clusters.sum() == 0


class TestFpga:
    def test_differences_of_time(self):
        stream = Stream(kind=ASTEP)
        detector = Detector(seed=3, kind=ASTEP, chips=12)
        stream.send([detector.readout(i, BEGIN_NS + i * 10**7) for i in range(500)], 5.0)
        panel = panel_of(stream)
        assert panel.deltas.sum() == pytest.approx(0.95 * panel.pairs, rel=0.1)
        assert len(panel.delta_edges) == len(panel.deltas) + 1
        assert panel.delta_edges[0] == -panel.delta_edges[-1]

    def test_half_hits_are_put_together_once(self):
        stream = Stream(kind=ASTROPIX3)
        detector = Detector(seed=3, kind=ASTROPIX3)
        stream.send([detector.readout(i, BEGIN_NS + i) for i in range(200)], 1.0)
        readouts, hits = collect(stream.accumulator, 1, stream.accumulator.geometry)
        assert readouts == 200
        assert len(hits.rows) == stream.accumulator.present.counts.pixels > 100


def hits_at(*places):
    """`places`: (readout, chip, column, row) each."""
    readouts, chips, columns, rows = (np.array(column, np.int64) for column in zip(*places, strict=True))
    return Hits(readouts, chips, columns, rows, np.zeros(0, np.int64))


class TestClusters:
    @pytest.mark.parametrize(
        ("places", "sizes"),
        [
            ([(0, 0, 5, 5)], {1: 1}),
            ([(0, 0, 5, 5), (0, 0, 6, 6)], {2: 1}),  # by a corner
            ([(0, 0, 5, 5), (0, 0, 7, 5)], {1: 2}),
            ([(0, 0, 5, 5), (1, 0, 6, 5)], {1: 2}),  # of two readouts
            ([(0, 0, 5, 5), (0, 1, 6, 5)], {1: 2}),  # of two chips
            ([(0, 0, 5, 5), (0, 0, 5, 5)], {1: 1}),  # the same pixel twice
            ([(0, 0, 31, 5), (0, 0, 0, 6)], {1: 2}),  # the end of a row and the begin of the next
            ([(0, 0, 0, 31), (1, 0, 0, 0)], {1: 2}),
            ([(0, 0, x, 0) for x in range(9)] + [(0, 0, 8, y) for y in range(1, 9)], {17: 1}),
            ([(0, 0, x, y) for x in (0, 2, 4) for y in range(9)] + [(0, 0, 1, 0)], {19: 1, 9: 1}),
            ([(0, 0, x, y) for x in range(8) for y in range(8)], {64: 1}),
        ],
    )  # fmt: skip
    def test_pixels_that_touch(self, places, sizes):
        found = cluster_sizes(hits_at(*places), [0, 1], DEFAULT)
        wanted = np.zeros(MAX_CLUSTER + 1, np.int64)
        for size, count in sizes.items():
            wanted[min(size, MAX_CLUSTER)] += count
        assert found.tolist() == wanted.tolist()

    def test_against_a_search_one_by_one(self):
        rng = np.random.default_rng(5)
        places = [(r, 0, column, row) for r, column, row in rng.integers(0, [40, 12, 12], (900, 3)).tolist()]
        left, sizes = set(places), np.zeros(MAX_CLUSTER + 1, np.int64)
        while left:
            found = [left.pop()]
            for readout, chip, column, row in found:
                near = {(readout, chip, column + i, row + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
                left -= near
                found += near
            sizes[min(len(found), MAX_CLUSTER)] += 1
        assert cluster_sizes(hits_at(*sorted(places)), [0], DEFAULT).tolist() == sizes.tolist()

    def test_of_the_chips_that_are_shown(self):
        assert cluster_sizes(hits_at((0, 0, 1, 1), (0, 3, 1, 1)), [3], DEFAULT)[1] == 1
