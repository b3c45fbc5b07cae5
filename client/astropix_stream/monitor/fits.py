"""A fit of a part of a spectrum, by iminuit. Pure.

The likelihood is that of Poisson counts in bins (`iminuit.cost.ExtendedBinnedNLL`), which also holds where
bins have few entries. Its value at the minimum, after Baker and Cousins (NIM 221 (1984) 437), is a χ².
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.numbers import counted

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

MODELS = ("gaussian", "moyal")
LEAST_ENTRIES = 20
MAX_BINS = 200  # a fit of more takes long, and tells no more
_PARAMETERS = 3

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


class Fit(NamedTuple):
    """What a fit gave.

    Attributes
    ----------
    model
        One of `MODELS`.
    from_us, to_us
        The range that was fitted: whole bins.
    peak_us, peak_error_us
        Place of the maximum.
    width_us, width_error_us
        Sigma of the Gaussian; the scale of Moyal's distribution, which is 3.59 of it wide at half its height.
    entries, entries_error
        Area under the curve, its tails outside of the range included.
    chi2, ndof
        The likelihood's χ² and its degrees of freedom.
    problem
        Why there is no fit, or why not to trust it; empty if all is well.
    """

    model: str
    from_us: float
    to_us: float
    peak_us: float = float("nan")
    peak_error_us: float = float("nan")
    width_us: float = float("nan")
    width_error_us: float = float("nan")
    entries: float = float("nan")
    entries_error: float = float("nan")
    chi2: float = float("nan")
    ndof: int = 0
    problem: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a curve to draw."""
        return not math.isnan(self.chi2)

    def curve(self, edges_us: Floats) -> Floats:
        """Return the entries that the fit expects between edges."""
        return np.diff(_SCALED[self.model](edges_us, self.entries, self.peak_us, self.width_us))


def _gaussian(x: Floats, entries: float, peak: float, width: float) -> Floats:
    values: Floats = 0.5 * entries * _erfc((peak - x) / (width * math.sqrt(2.0)))
    return values


def _moyal(x: Floats, entries: float, peak: float, width: float) -> Floats:
    exponent = np.clip((peak - x) / (2.0 * width), None, 300.0)  # beyond, erfc is 0
    values: Floats = entries * _erfc(np.exp(exponent) / math.sqrt(2.0))
    return values


_SCALED: dict[str, Callable[[Floats, float, float, float], Floats]] = {
    "gaussian": _gaussian,
    "moyal": _moyal,
}
#: From the quartiles to where the search begins: peak = median - a · (distance of the quartiles) / b, width
#: = distance / b. Of the Gaussian, exact; of Moyal's distribution, too: median = peak + 0.788 width.
_BEGIN = {"gaussian": (0.0, 1.349), "moyal": (0.788, 2.568)}


def fit(model: str, edges_us: Floats, counts: Ints) -> Fit:
    """Fit a peak to a histogram.

    Parameters
    ----------
    model
        One of `MODELS`.
    edges_us, counts
        The bins to fit; of many, neighbours are put together.
    """
    from iminuit import Minuit  # noqa: PLC0415  (40 ms that only a viewer who fits is to pay)
    from iminuit.cost import ExtendedBinnedNLL  # noqa: PLC0415

    edges_us, counts = _coarser(edges_us, counts)
    begin, end, entries = float(edges_us[0]), float(edges_us[-1]), int(counts.sum())
    ndof = len(counts) - _PARAMETERS
    if ndof < 1:
        return Fit(model, begin, end, problem=f"the range has {counted(len(counts), 'bin')}; a fit needs 4")
    if entries < LEAST_ENTRIES:
        has = f"{entries} {'entry' if entries == 1 else 'entries'}"
        return Fit(model, begin, end, problem=f"the range has {has}; a fit needs {LEAST_ENTRIES}")
    quartiles = edges_us[1:][np.searchsorted(np.cumsum(counts) / entries, (0.25, 0.5, 0.75))]
    shift, scale = _BEGIN[model]
    width = max(float(quartiles[2] - quartiles[0]) / scale, float(edges_us[1] - edges_us[0]) / 2)
    minuit = Minuit(
        ExtendedBinnedNLL(counts, edges_us, _SCALED[model]),
        entries=entries, peak=float(quartiles[1]) - shift * width, width=width,
    )  # fmt: skip
    reach = end - begin
    minuit.limits["entries"] = (0.1 * entries, 100.0 * entries)
    minuit.limits["peak"] = (begin - reach, end + reach)
    minuit.limits["width"] = ((edges_us[1] - edges_us[0]) / 50, 5 * reach)
    minuit.migrad(ncall=2000)
    minuit.hesse()
    values, errors = minuit.values, minuit.errors
    return Fit(
        model, begin, end,
        peak_us=float(values["peak"]), peak_error_us=float(errors["peak"]),
        width_us=float(values["width"]), width_error_us=float(errors["width"]),
        entries=float(values["entries"]), entries_error=float(errors["entries"]),
        chi2=float(minuit.fval), ndof=ndof, problem=_problem(minuit, begin, end),
    )  # fmt: skip


def _problem(minuit: Any, begin: float, end: float) -> str:
    minimum = minuit.fmin
    if minimum is None or not minimum.is_valid:
        return "the fit did not converge"
    if minimum.has_parameters_at_limit:
        return "the fit ran into a limit"
    peak = float(minuit.values["peak"])
    return "" if begin <= peak <= end else "the peak is outside of the range"


def _coarser(edges_us: Floats, counts: Ints) -> tuple[Floats, Ints]:
    """Put neighbours together where there are many bins; the last one may be of fewer."""
    step = -(-len(counts) // MAX_BINS)
    if step == 1:
        return edges_us, counts
    begins = np.arange(0, len(counts), step)
    return np.append(edges_us[begins], edges_us[-1]), np.add.reduceat(counts, begins)
