"""The spectrum of TOT: its axis, what is in it, and what the numbers of it are. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor import fits
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import TOT_BINS, Geometry

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


class Statistics(NamedTuple):
    """Numbers of a spectrum within a range, to a bin of it; NaN without entries."""

    entries: int
    mean_us: float
    rms_us: float
    """The standard deviation."""
    median_us: float

    @property
    def mean_error_us(self) -> float:
        """The standard error of the mean; NaN below two entries."""
        return float(self.rms_us / np.sqrt(self.entries)) if self.entries > 1 else float("nan")


def axis_of(choice: Choice, geometry: Geometry) -> tuple[Floats, Ints]:
    """Return the edges of the bins in µs, and as whole bins of the histograms, so that none is split."""
    width, end = geometry.bin_us, choice.tot_to or geometry.tot_range_us
    first = min(TOT_BINS - 1, int(choice.tot_from / width + 0.5))
    last = max(first + 1, min(TOT_BINS, int(end / width + 0.5)))
    step = max(1, -(-(last - first) // choice.tot_bins))
    bins = np.unique(np.arange(first, last + step, step).clip(max=TOT_BINS))
    return bins * width, bins


def rebinned(spectrum: Ints, bins: Ints) -> Ints:
    """Return the sums of a spectrum between whole bins."""
    sums = np.concatenate(([0], np.cumsum(spectrum)))
    return np.diff(sums[bins])


def spectrum_of(counts: Any, chips: Sequence[int], choice: Choice) -> Ints:
    """Return the TOT of pixels without the masked ones, or of half hits."""
    if choice.tot_of == "halves":
        halves: Ints = counts.half_spectra[list(chips)].sum(axis=0)
        return halves
    pixels: Ints = counts.spectrum(chips, choice.masked)
    return pixels


def statistics(spectrum: Ints, first: int, last: int, bin_us: float) -> Statistics:
    """Return the numbers of a spectrum from bin `first` to before `last`.

    Parameters
    ----------
    spectrum
        Counts in bins of `bin_us`, from 0.
    first, last
        The range, in bins.
    bin_us
        Width of a bin; its middle stands for what is in it.
    """
    counts = spectrum[first:last]
    entries = int(counts.sum())
    if not entries:
        return Statistics(0, *[float("nan")] * 3)
    middles = (np.arange(first, first + len(counts)) + 0.5) * bin_us
    mean = float(counts @ middles) / entries
    rms = float(np.sqrt(counts @ (middles - mean) ** 2 / entries))
    median = float(middles[np.searchsorted(2 * np.cumsum(counts), entries)])
    return Statistics(entries, mean, rms, median)


def fitted(spectrum: Ints, choice: Choice, geometry: Geometry, bins: int | None = None) -> fits.Fit | None:
    """Fit what the viewer asks for to a spectrum, within the range of the fit; None if nothing is asked.

    Parameters
    ----------
    spectrum
        In the finest bins.
    choice
        Says what to fit, and where.
    geometry
        Has the width of the bins.
    bins
        At most so many; by default as many as the spectrum's axis has.
    """
    if choice.fit == "none":
        return None
    begin = choice.tot_from if choice.fit_from is None else choice.fit_from
    end = choice.tot_to if choice.fit_to is None else choice.fit_to
    update = {"tot_from": begin, "tot_to": end, "tot_bins": min(bins or choice.tot_bins, choice.tot_bins)}
    edges, whole = axis_of(choice.model_copy(update=update), geometry)
    return fits.fit(choice.fit, edges, rebinned(spectrum, whole))
