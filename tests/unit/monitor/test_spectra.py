"""The spectrum of TOT: axis, numbers, fit."""

import numpy as np
import pytest

from astropix_stream.monitor import spectra
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import DEFAULT, TOT_BINS, Pixel
from astropix_stream.monitor.histograms import Histograms


def spectrum_with(**bins):
    spectrum = np.zeros(TOT_BINS, np.int64)
    for name, count in bins.items():
        spectrum[int(name.removeprefix("b"))] = count
    return spectrum


class TestAxis:
    def test_bins_are_whole(self):
        edges, bins = spectra.axis_of(Choice(tot_from=0, tot_to=100, tot_bins=50), DEFAULT)
        assert np.allclose(edges, np.arange(51) * 2.0)
        assert bins.tolist() == list(range(0, 501, 10))

    def test_without_an_end_it_is_that_of_the_kind(self):
        edges, _ = spectra.axis_of(Choice(), DEFAULT)
        assert edges[-1] == pytest.approx(DEFAULT.tot_range_us)

    def test_rebinned(self):
        assert spectra.rebinned(np.arange(10), np.array([0, 2, 5, 10])).tolist() == [1, 9, 35]


class TestStatistics:
    def test_of_known_entries(self):
        found = spectra.statistics(spectrum_with(b0=1, b10=2, b20=1), 0, TOT_BINS, 0.2)
        assert found.entries == 4
        assert found.mean_us == pytest.approx(2.1)
        assert found.rms_us == pytest.approx(np.sqrt(2.0))
        assert found.median_us == pytest.approx(2.1)
        assert found.mean_error_us == pytest.approx(np.sqrt(2.0) / 2)

    def test_of_a_range(self):
        found = spectra.statistics(spectrum_with(b0=1, b10=2, b20=1), 5, 20, 0.2)
        assert (found.entries, found.rms_us) == (2, 0.0)

    def test_as_numpy_has_it(self):
        rng = np.random.default_rng(1)
        values = rng.integers(0, 400, 999)
        found = spectra.statistics(np.bincount(values, minlength=TOT_BINS), 0, TOT_BINS, 1.0)
        assert found.mean_us == pytest.approx((values + 0.5).mean())
        assert found.rms_us == pytest.approx(values.std())
        assert found.median_us == np.median(values) + 0.5

    def test_of_nothing(self):
        found = spectra.statistics(spectrum_with(), 0, 10, 1.0)
        assert found.entries == 0
        assert np.isnan([found.mean_us, found.rms_us, found.median_us, found.mean_error_us]).all()


class TestWhatIsCounted:
    def test_pixels_without_masked_ones_or_half_hits(self):
        class Counts:
            half_spectra = np.arange(2 * TOT_BINS).reshape(2, TOT_BINS)

            def spectrum(self, chips, without):
                return (chips, without)

        masked = (Pixel(0, 1, 2),)
        assert spectra.spectrum_of(Counts(), [0], Choice(masked=masked)) == ([0], masked)
        assert spectra.spectrum_of(Counts(), (0, 1), Choice(tot_of="halves"))[0] == TOT_BINS

    def test_of_a_run(self):
        assert spectra.spectrum_of(Histograms(), [0], Choice()).sum() == 0


class TestFitted:
    def spectrum(self):
        rng = np.random.default_rng(2)
        spectrum = np.bincount(rng.normal(200, 20, 5000).astype(int), minlength=TOT_BINS)
        spectrum[1000] += 5000  # another peak
        return spectrum

    def test_nothing_if_nothing_is_asked(self):
        assert spectra.fitted(self.spectrum(), Choice(tot_to=800.0), DEFAULT) is None

    def test_the_range_is_that_of_the_fit(self):
        pytest.importorskip("iminuit")
        choice = Choice(fit="gaussian", fit_from=20, fit_to=60, tot_to=400.0, tot_bins=200)
        found = spectra.fitted(self.spectrum(), choice, DEFAULT)
        assert (found.from_us, found.to_us) == (20, 60)
        assert found.peak_us == pytest.approx(40.1, abs=0.3)

    def test_or_that_of_the_axis(self):
        pytest.importorskip("iminuit")
        found = spectra.fitted(self.spectrum(), Choice(fit="gaussian", tot_from=10, tot_to=80.0), DEFAULT, 70)
        assert (found.from_us, found.to_us) == (10, pytest.approx(80))
        assert found.ndof == 70 - 3
