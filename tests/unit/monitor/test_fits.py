"""Fits of peaks that are known."""

import math

import numpy as np
import pytest

pytest.importorskip("iminuit")

from astropix_stream.monitor import fits


def gaussian_counts(edges, entries=20_000, peak=20.0, width=2.0, seed=1):
    rng = np.random.default_rng(seed)
    return np.histogram(rng.normal(peak, width, entries), edges)[0]


def moyal_counts(edges, entries=20_000, peak=60.0, width=8.0, seed=1):
    """Moyal's distribution is that of -ln of the square of a normal number."""
    rng = np.random.default_rng(seed)
    return np.histogram(peak - width * np.log(rng.normal(size=entries) ** 2), edges)[0]


class TestGaussian:
    EDGES = np.linspace(0, 40, 101)

    def test_its_values_are_within_their_errors(self):
        fit = fits.fit("gaussian", self.EDGES, gaussian_counts(self.EDGES))
        assert fit.problem == ""
        assert abs(fit.peak_us - 20.0) < 4 * fit.peak_error_us
        assert abs(fit.width_us - 2.0) < 4 * fit.width_error_us
        assert fit.peak_error_us == pytest.approx(2.0 / math.sqrt(20_000), rel=0.1)
        assert fit.entries == pytest.approx(20_000, rel=0.01)
        assert fit.entries_error == pytest.approx(math.sqrt(20_000), rel=0.1)
        assert fit.ndof == 97
        assert fit.chi2 < 2 * fit.ndof

    def test_of_a_part_of_the_peak_the_whole_is_found(self):
        edges = np.linspace(15, 21, 31)
        fit = fits.fit("gaussian", edges, gaussian_counts(edges, 50_000))
        assert fit.entries == pytest.approx(50_000, rel=0.1)
        assert (fit.from_us, fit.to_us) == (15, 21)

    def test_chi2_tells_of_another_shape(self):
        flat = np.full(100, 200)
        flat[40:60] = 800
        assert fits.fit("gaussian", self.EDGES, flat).chi2 > 1000

    def test_errors_are_those_of_repeated_measurements(self):
        found = [
            fits.fit("gaussian", self.EDGES, gaussian_counts(self.EDGES, 500, seed=i)) for i in range(40)
        ]
        pulls = np.array([(one.peak_us - 20.0) / one.peak_error_us for one in found])
        assert 0.6 < pulls.std() < 1.5
        assert abs(pulls.mean()) < 0.6
        # So few entries that most bins have none or few: χ² is still near its degrees of freedom.
        assert np.mean([one.chi2 / one.ndof for one in found]) < 1.5

    def test_the_curve_is_what_it_expects_in_each_bin(self):
        counts = gaussian_counts(self.EDGES)
        fit = fits.fit("gaussian", self.EDGES, counts)
        curve = fit.curve(self.EDGES)
        assert len(curve) == len(counts)
        assert curve.sum() == pytest.approx(counts.sum(), rel=0.01)
        assert np.abs(curve - counts).max() < 6 * math.sqrt(counts.max())


class TestMoyal:
    EDGES = np.linspace(0, 300, 151)

    def test_its_values_are_within_their_errors(self):
        fit = fits.fit("moyal", self.EDGES, moyal_counts(self.EDGES))
        assert fit.problem == ""
        assert abs(fit.peak_us - 60.0) < 4 * fit.peak_error_us
        assert abs(fit.width_us - 8.0) < 4 * fit.width_error_us
        assert fit.chi2 < 2 * fit.ndof

    def test_far_below_the_peak_nothing_overflows(self):
        fit = fits.fit("moyal", self.EDGES, moyal_counts(self.EDGES, peak=250.0, width=1.0))
        assert fit.peak_us == pytest.approx(250.0, abs=0.5)


class TestWithout:
    def test_too_few_entries(self):
        edges = np.linspace(0, 10, 11)
        fit = fits.fit("gaussian", edges, np.ones(10, np.int64))
        assert fit.problem == "the range has 10 entries; a fit needs 20"
        assert not fit.found

    def test_too_few_bins(self):
        fit = fits.fit("gaussian", np.linspace(0, 3, 4), np.array([10, 20, 10]))
        assert fit.problem == "the range has 3 bins; a fit needs 4"

    def test_one_is_said_as_one(self):
        assert fits.fit("moyal", np.array([0.0, 1.0]), np.array([99])).problem == (
            "the range has 1 bin; a fit needs 4"
        )
        assert fits.fit("moyal", np.linspace(0, 5, 6), np.array([0, 1, 0, 0, 0])).problem == (
            "the range has 1 entry; a fit needs 20"
        )

    def test_a_slope_is_no_peak(self):
        edges = np.linspace(0, 10, 21)
        fit = fits.fit("gaussian", edges, (2000 * np.exp(-np.arange(20) / 4)).astype(np.int64))
        assert fit.problem in ("the peak is outside of the range", "the fit ran into a limit")

    @pytest.mark.parametrize("model", fits.MODELS)
    @pytest.mark.parametrize(
        "counts", [[1000, *[0] * 7], [*[0] * 7, 1000], [500, *[0] * 6, 500], [20] * 8, [0, 30, *[0] * 6]]
    )
    def test_whatever_the_counts_there_is_an_answer(self, model, counts):
        fit = fits.fit(model, np.linspace(0, 8, 9), np.array(counts))
        assert fit.problem or fit.found
        assert isinstance(fit.chi2, float)

    def test_many_bins_are_put_together(self):
        edges = np.linspace(0, 40, 1002)
        fit = fits.fit("gaussian", edges, gaussian_counts(edges))
        assert fit.ndof <= fits.MAX_BINS - 3
        assert fit.to_us == 40
        assert fit.peak_us == pytest.approx(20, abs=0.1)


def test_what_goes_wrong_is_said():
    class Minimum:
        is_valid, has_parameters_at_limit = False, False

    class Minuit:
        fmin, values = Minimum(), {"peak": 3.0}

    assert fits._problem(Minuit(), 0, 10) == "the fit did not converge"
    Minimum.is_valid, Minimum.has_parameters_at_limit = True, True
    assert fits._problem(Minuit(), 0, 10) == "the fit ran into a limit"
    Minimum.has_parameters_at_limit = False
    assert fits._problem(Minuit(), 0, 10) == ""
    assert fits._problem(Minuit(), 5, 10) == "the peak is outside of the range"
