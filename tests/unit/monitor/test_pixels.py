"""A pixel, noise, and masks."""

import numpy as np
import pytest
import yaml

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP
from astropix_stream.monitor import export, histograms
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import Pixel
from astropix_stream.monitor.pixels import mask_document
from astropix_stream.monitor.shown import take_reset
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout

S = 10**9
EVERY = [(row, column, 100) for row in range(13) for column in range(16)]


@pytest.fixture
def stream():
    """For 10 s all pixels of chip 0 once a second; 0/4/7 ten times more, and longer from second 5 on."""
    stream = Stream()
    for second in range(10):
        hot = [(7, 4, 100 if second < 5 else 300)] * 10
        stream.send([readout(second, BEGIN_NS + second * S, EVERY + hot)], second)
    stream.send([readout(10, BEGIN_NS + 10 * S, [])], 10)
    return stream


def view_of(stream, reset=None, **choice):
    geometry = stream.accumulator.geometry
    return make_view(
        stream.accumulator, Choice.read({"panel": "pixel", **choice}, geometry), moment(10), reset
    )


def panel_of(stream, reset=None, **choice):
    return view_of(stream, reset, **choice).panel


class TestPixel:
    def test_the_chosen_one(self, stream):
        panel = panel_of(stream, pixel="0/4/7")
        assert (panel.pixel, panel.chosen, panel.hits) == (Pixel(0, 4, 7), True, 110)
        assert panel.hz == pytest.approx(11.0)
        assert panel.share == pytest.approx(110 / (10 * 218))

    def test_or_else_the_busiest(self, stream):
        panel = panel_of(stream)
        assert (panel.pixel, panel.chosen) == (Pixel(0, 4, 7), False)
        assert panel_of(stream, chip=5).pixel is None

    def test_its_spectrum(self, stream):
        panel = panel_of(stream, pixel="0/4/7", tot_to=100, tot_bins=500)
        found = {round(float(panel.edges_us[i]), 3): int(panel.tot[i]) for i in np.flatnonzero(panel.tot)}
        assert found == {5.0: 60, 15.0: 50}
        assert panel.statistics.entries == 110
        assert panel_of(stream, pixel="0/4/7", tot_to=10).statistics.entries == 60

    def test_its_history(self, stream):
        panel = panel_of(stream, pixel="0/4/7")
        assert panel.timed
        assert panel.rates.tolist() == pytest.approx([11.0] * 10)
        assert panel.times.tolist() == [BEGIN_NS + i * S for i in range(11)]

    def test_since_a_reset(self, stream):
        reset = take_reset(stream.accumulator, Choice(), moment(10))
        stream.send([readout(11, BEGIN_NS + 11 * S, EVERY), readout(12, BEGIN_NS + 12 * S, EVERY)], 12)
        panel = panel_of(stream, reset, pixel="0/4/7")
        assert panel.hits == 2
        assert panel.hz == pytest.approx(1.0)
        assert panel.statistics.entries == 2

    def test_before_the_first_readout(self):
        panel = panel_of(Stream())
        assert (panel.pixel, panel.hits, panel.hz) == (None, 0, None)
        assert panel.tot.sum() == len(panel.rates) == 0
        assert panel.noise.noisy == ()

    def test_without_times(self):
        stream = Stream()
        stream.send([readout(i, 0) for i in range(40)], 1.0)
        panel = panel_of(stream)
        assert (panel.timed, panel.hz) == (False, None)
        assert panel.times.tolist() == [0, 16, 32]  # the slice that has just begun is left out
        assert panel.rates.tolist() == pytest.approx([1.0, 1.0])

    def test_one_that_came_too_late_for_a_fine_spectrum_has_a_coarse_one(self, monkeypatch):
        monkeypatch.setattr(histograms, "MAX_SPECTRA", 50)
        stream = Stream()
        stream.send([readout(0, BEGIN_NS, EVERY), readout(1, BEGIN_NS + S, EVERY)], 1.0)
        panel = panel_of(stream, pixel="0/15/12", tot_to=100, tot_bins=500)
        assert panel.statistics.entries == panel.tot.sum() == 2
        assert panel.edges_us[1] - panel.edges_us[0] == pytest.approx(6.4)
        assert panel.edges_us[0] <= 5.0 < panel.edges_us[1]


class TestNoise:
    def test_by_hz(self, stream):
        noise = panel_of(stream, noise_in="hz", noise_above=5).noise
        (noisy,) = noise.noisy
        assert (noisy.pixel, noisy.hits) == (Pixel(0, 4, 7), 110)
        assert noisy.hz == pytest.approx(11.0)
        assert noise.rates[7, 4] == pytest.approx(11.0)
        assert noise.rates[0, 0] == pytest.approx(1.0)
        assert panel_of(stream, noise_in="hz", noise_above=0.5).noise.noisy[1].hits == 10
        assert panel_of(stream, noise_in="hz", noise_above=12).noise.noisy == ()

    def test_by_sigma_above_the_median_of_the_chip(self, stream):
        noise = panel_of(stream, noise_in="sigma", noise_above=5).noise
        (noisy,) = noise.noisy
        assert noisy.sigma == pytest.approx(100 / 10**0.5)
        assert panel_of(stream, noise_above=40).noise.noisy == ()

    def test_a_threshold_of_0_finds_no_pixel_without_hits(self):
        stream = Stream()
        stream.send([readout(0, BEGIN_NS, [(1, 1, 5)]), readout(1, BEGIN_NS + S)], 1.0)
        found = {one.pixel for one in panel_of(stream, noise_above=0).noise.noisy}
        assert found == {Pixel(0, 1, 1), Pixel(0, 5, 3)}

    def test_without_times_a_threshold_in_hz_says_so(self):
        stream = Stream()
        stream.send([readout(i, 0) for i in range(4)], 1.0)
        noise = panel_of(stream, noise_in="hz").noise
        assert noise.noisy == ()
        assert "no times" in noise.problem
        assert panel_of(stream, noise_above=3).noise.noisy[0].hz is None

    def test_the_distribution_has_every_pixel_once(self, stream):
        noise = panel_of(stream).noise
        assert noise.pixels.sum() + noise.silent == 13 * 16
        assert (np.diff(noise.edges) > 0).all()

    def test_on_twelve_chips(self):
        stream = Stream(kind=ASTEP)
        detector = Detector(seed=3, kind=ASTEP, chips=12)
        stream.send([detector.readout(i, BEGIN_NS + i * S // 100) for i in range(500)], 5.0)
        noise = panel_of(stream).noise
        assert noise.pixels.sum() + noise.silent == 12 * 35 * 35
        assert noise.rates.shape == (35, 35)
        hits = stream.accumulator.present.counts.hit_map
        for one in noise.noisy:
            assert one.hits == hits[one.pixel.chip, one.pixel.row, one.pixel.column]
        assert panel_of(stream, chip="2.3").noise.chip == 2 * 32 + 3


class TestMask:
    def test_of_one_chip_it_is_a_list_of_column_and_row(self, stream):
        view = view_of(stream, chip=0, masked="0/9/3 0/1/2")
        text = export.mask(view, one_chip=True)
        assert yaml.safe_load(text) == [[1, 2], [4, 7], [9, 3]]
        assert "# threshold: 5 sigma" in text
        assert "- [4, 7]" in text

    def test_of_all_chips_each_has_its_list(self, stream):
        stream.send([readout(11, BEGIN_NS + 11 * S, EVERY + [(2, 3, 9)] * 300, chip=3)], 11)
        text = export.mask(view_of(stream, masked="3/0/0"), one_chip=False)
        assert yaml.safe_load(text) == {0: [[4, 7]], 3: [[0, 0], [3, 2]]}

    def test_of_layers(self):
        text = mask_document(panel_of(Stream()).noise, [Pixel(2 * 32 + 3, 34, 1)], [], None)
        assert yaml.safe_load(text) == {"2.3": [[34, 1]]}

    def test_of_none(self):
        noise = panel_of(Stream()).noise
        assert yaml.safe_load(mask_document(noise, [], [], 4)) == []
        assert yaml.safe_load(mask_document(noise, [], [], None)) == {}

    def test_what_comes_from_the_wire_stays_in_its_comment(self):
        text = mask_document(panel_of(Stream()).noise, [], [("source", "x\n- [1, 1]\r\ny")], 0)
        assert yaml.safe_load(text) == []
        assert text.startswith("# source: x - [1, 1] y\n")

    def test_a_view_of_another_part_has_no_noise(self):
        with pytest.raises(ValueError, match="no noise"):
            export.mask(make_view(Stream().accumulator, Choice(), moment(1)), one_chip=False)
