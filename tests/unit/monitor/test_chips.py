"""All chips at once."""

import numpy as np
import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP, ASTROPIX4
from astropix_stream.monitor.chips import expected_chips
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import chip_value, geometry_of
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout

ASTEP_GEOMETRY, GEOMETRY = geometry_of(ASTEP), geometry_of(ASTROPIX4)


def panel_of(stream, at=10, **choice):
    geometry = stream.accumulator.geometry
    return make_view(
        stream.accumulator, Choice.read({"panel": "chips", **choice}, geometry), moment(at)
    ).panel


@pytest.fixture(scope="module")
def astep():
    """Three layers of four chips, for 10 s."""
    stream = Stream(kind=ASTEP)
    detector = Detector(seed=3, kind=ASTEP, chips=12)
    for second in range(10):
        stream.send(
            [detector.readout(100 * second + i, BEGIN_NS + second * 10**9 + i * 10**7) for i in range(100)],
            second,
        )
        stream.tell(second)
    return stream


class TestTwelve:
    def test_each_has_its_map(self, astep):
        panel = panel_of(astep)
        names = [chip_value(one.chip) for one in panel.chips]
        assert names == [f"{layer}.{chip}" for layer in (1, 2, 3) for chip in range(4)]
        counts = astep.accumulator.present.counts
        for one in panel.chips:
            assert one.values.shape == (35, 35)
            assert one.hits == one.values.sum() == counts.hit_map[one.chip].sum()
        assert sum(one.share for one in panel.chips) == pytest.approx(1)

    def test_a_layer_is_a_line_the_first_on_top(self, astep):
        chips = panel_of(astep).chips
        lines = np.array([one.y for one in chips]).reshape(3, 4)
        assert (lines[0] > lines[1]).all()
        assert (lines[1] > lines[2]).all()
        assert len(set(lines[0])) == 1
        assert [one.x for one in chips[:4]] == sorted(one.x for one in chips[:4])
        panel = panel_of(astep)
        assert min(one.x for one in chips) == -0.5
        assert max(one.x for one in chips) + 35 == pytest.approx(panel.width - 0.5)
        assert min(one.y for one in chips) == pytest.approx(-0.5)
        assert max(one.y for one in chips) + 35 < panel.height - 0.5  # with room for its name

    def test_rates_are_those_of_the_last_seconds(self, astep):
        panel = panel_of(astep)
        assert panel.live
        counts = astep.accumulator.present.counts
        assert sum(one.per_s for one in panel.chips) == pytest.approx(counts.pixels / 10, rel=0.2)

    def test_half_hits(self, astep):
        panel = panel_of(astep, maps_of="halves")
        counts = astep.accumulator.present.counts
        assert panel.halves
        assert sum(one.hits for one in panel.chips) == counts.hits
        one = panel.chips[0]
        assert one.values[3, 7] == counts.rows[one.chip][3] + counts.columns[one.chip][7]
        assert sum(one.per_s for one in panel.chips) == pytest.approx(counts.hits / 10, rel=0.2)

    def test_masked_pixels_are_left_out(self, astep):
        whole = panel_of(astep).chips[0]
        row, column = np.argwhere(whole.values)[0].tolist()
        less = panel_of(astep, masked=f"1.0/{column}/{row}").chips[0]
        assert less.values[row, column] == 0
        assert less.hits == whole.hits - whole.values[row, column]


class TestFour:
    def test_a_dead_chip_stands_out(self):
        stream = Stream()
        for chip in (0, 1, 3):
            stream.send([readout(chip, 100 + chip, [(3, 5, 100)] * 9, chip=chip)], 1.0)
        chips = panel_of(stream).chips
        assert [(one.chip, one.hits) for one in chips] == [(0, 9), (1, 9), (2, 0), (3, 9)]
        assert [(one.x < 0, one.y > 5) for one in chips] == [
            (True, True),
            (False, True),
            (True, False),
            (False, False),
        ]

    def test_without_live_rates_they_are_those_of_the_run(self):
        stream = Stream()
        stream.send([readout(i, BEGIN_NS + i * 10**9) for i in range(11)], 1.0)
        panel = panel_of(stream)
        assert not panel.live
        assert panel.chips[0].per_s == pytest.approx(1.1)

    def test_without_times_there_are_none(self):
        stream = Stream()
        stream.send([readout(i, 0) for i in range(11)], 1.0)
        assert panel_of(stream).chips[0].per_s is None

    def test_before_the_first_readout(self):
        panel = panel_of(Stream())
        assert panel.chips == ()
        assert not panel.halves


class TestExpected:
    def test_a_single_corrupt_hit_says_nothing_of_others(self):
        totals = np.zeros(32)
        totals[[0, 1, 27]] = 5000, 5000, 1
        assert expected_chips(totals, [0, 1, 27], GEOMETRY) == [0, 1, 27]

    def test_each_layer_has_the_same_chips(self):
        totals = np.zeros(128)
        totals[[32, 35, 64, 65]] = 100
        found = expected_chips(totals, [32, 35, 64, 65], ASTEP_GEOMETRY)
        assert [chip_value(chip) for chip in found] == [
            f"{layer}.{chip}" for layer in (1, 2) for chip in range(4)
        ]

    def test_none(self):
        assert expected_chips(np.zeros(32), [], GEOMETRY) == []
