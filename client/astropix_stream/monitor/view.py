"""What one viewer sees: arrays for the plots, texts for the rest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream import numbers
from astropix_stream.clock import Moment
from astropix_stream.fmt import Decoding, problem_name
from astropix_stream.monitor import maps, panels, spectra
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.fits import Fit
from astropix_stream.monitor.geometry import Geometry
from astropix_stream.monitor.rates import Series
from astropix_stream.monitor.runs import Account, RunData
from astropix_stream.monitor.shown import Reset, Shown, make_shown
from astropix_stream.monitor.status import StreamStatus, make_status

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

PROBLEMS = tuple(problem_name(bit) for bit in Decoding)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one viewer sees.

    Attributes
    ----------
    choice
        What the viewer asked for.
    now
        When.
    status
        What the page says of the stream as a whole.
    run
        The run that is shown; None before the first readout.
    compared
        The run drawn as an outline.
    geometry
        Of the kind of readouts that the run has.
    readouts, hits
        Of the run, since its begin or the reset; half hits, where there are such.
    pixels, unpaired
        Pixels that were hit, and half hits without a partner.
    fpga
        First and latest time of the FPGA, in ticks; None where there is none.
    since
        That in words.
    account
        What of it is held, and what was missed.
    chips
        Chips that have hits.
    rows, columns
        Half hits of the chips that are shown, by row and by column; empty where there are none.
    hit_map, mean_tot_us, median_tot_us, masked
        By row and column: pixels hit, their mean and median TOT (NaN without hits, and the median, unless it
        is asked for, everywhere), whether the pixel is masked.
    tot_edges_us, tot, tot_outline
        TOT spectrum without the masked pixels; the outline is that of the compared run, times `scale`.
    tot_outside
        Hits that are shorter or longer than the spectrum's axis.
    tot_statistics, fit
        Numbers of the spectrum within its axis; what was fitted to it, if that was asked for.
    per_readout, per_readout_outline
        Readouts with 0, 1, … hits.
    problems
        Readouts with each bit of `fmt.Decoding`.
    busiest
        By row and column: the shown chip with most hits at that place, as a number of `geometry`.
    scale, map_outline
        The number of readouts shown, by that of the compared run; that run's hit map, times this number.
    hot
        Hot pixels, those with most hits first.
    series
        Rates of the last minutes, on the clock of `now.s`.
    panel
        What the open part of the page shows beside these; None for the overview.
    """

    choice: Choice
    now: Moment
    status: StreamStatus
    run: RunData | None
    compared: RunData | None
    geometry: Geometry
    readouts: int
    hits: int
    pixels: int
    unpaired: int
    fpga: tuple[int, int] | None
    since: str
    account: Account
    chips: tuple[int, ...]
    rows: Ints
    columns: Ints
    hit_map: Ints
    mean_tot_us: Floats
    median_tot_us: Floats
    masked: NDArray[np.bool_]
    busiest: Ints
    tot_edges_us: Floats
    tot: Ints
    tot_outline: Floats
    tot_outside: int
    tot_statistics: spectra.Statistics
    fit: Fit | None
    per_readout: Ints
    per_readout_outline: Floats
    problems: Ints
    scale: float
    map_outline: Floats
    hot: tuple[maps.HotPixel, ...]
    series: Series
    panel: panels.Panel | None


def make_view(accumulator: Accumulator, choice: Choice, now: Moment, reset: Reset | None = None) -> View:
    """Work out what a viewer sees."""
    shown = make_shown(accumulator, choice, now, reset)
    choice, run, reset, geometry = shown.choice, shown.run, shown.reset, shown.geometry
    compared, counts, chips = shown.compared, shown.counts, shown.chips
    hit_map, ticks, masked = maps.sum_of(counts, geometry, chips, choice.masked)
    with np.errstate(invalid="ignore"):
        mean_tot_us = ticks / hit_map / geometry.kind.clock_mhz
    edges, bins = spectra.axis_of(choice, geometry)
    spectrum = spectra.spectrum_of(counts, chips, choice)
    tot = spectra.rebinned(spectrum, bins)
    scale = counts.readouts / compared.counts.readouts if compared and compared.counts.readouts else 0.0
    tot_outline, per_readout_outline, map_outline = _outlines(shown, bins, hit_map.shape)
    rows, columns = (_profile(lines, geometry, chips) for lines in (counts.rows, counts.columns))
    counted = rows.sum() + columns.sum() if choice.tot_of == "halves" else hit_map.sum()
    return View(
        choice=choice,
        now=now,
        status=make_status(accumulator, now),
        run=run,
        compared=compared,
        geometry=geometry,
        readouts=counts.readouts,
        hits=counts.hits,
        pixels=counts.pixels,
        unpaired=counts.unpaired,
        fpga=counts.fpga,
        since=_since(run, reset, now),
        account=accumulator.account(run, reset.tally if reset else None) if run else Account(0, {}, 0),
        chips=shown.every,
        rows=rows,
        columns=columns,
        hit_map=hit_map,
        mean_tot_us=mean_tot_us,
        median_tot_us=maps.medians(counts, geometry, chips, hit_map, choice),
        masked=masked,
        busiest=maps.busiest(counts, chips, hit_map.shape),
        tot_edges_us=edges,
        tot=tot,
        tot_outline=tot_outline * scale,
        tot_outside=int(counted - tot.sum()),
        tot_statistics=spectra.statistics(spectrum, int(bins[0]), int(bins[-1]), geometry.bin_us),
        fit=spectra.fitted(spectrum, choice, geometry),
        per_readout=_trim(counts.per_readout),
        per_readout_outline=per_readout_outline * scale,
        problems=counts.problems,
        scale=scale,
        map_outline=map_outline * scale,
        hot=maps.find_hot(counts.hit_map, geometry, chips)[: maps.MAX_HOT],
        series=accumulator.rates.last(60.0 * choice.window_min, _until_s(accumulator, now)),
        panel=panels.make(shown, accumulator),
    )


def _until_s(accumulator: Accumulator, now: Moment) -> float:
    """Return when the rates end: now, or with the file that was read to its end."""
    return accumulator.rates.end_s(now.s) if accumulator.reception.ended else now.s


def _outlines(shown: Shown, bins: Ints, shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Return TOT spectrum, hits per readout and hit map of the compared run."""
    if shown.compared is None:
        return np.zeros(0), np.zeros(0), np.zeros((0, 0))
    counts, chips, choice = shown.compared.counts, shown.chips, shown.choice
    tot = spectra.rebinned(spectra.spectrum_of(counts, chips, choice), bins)
    hit_map, _, _ = maps.sum_of(counts, shown.geometry, chips, choice.masked, shape)
    return tot.astype(np.float64), _trim(counts.per_readout).astype(np.float64), hit_map.astype(np.float64)


def _profile(lines: Ints, geometry: Geometry, chips: Sequence[int]) -> Ints:
    """Sum rows or columns over chips, and leave out what no chip has, unless there are hits."""
    if not geometry.half_hits:
        return np.zeros(0, np.int64)
    profile: Ints = lines[list(chips)].sum(axis=0)
    size = max(geometry.kind.rows, geometry.kind.columns)
    return profile if profile[size:].any() else profile[:size]


def _trim(counts: Ints) -> Ints:
    """Leave out the empty bins at the end, down to ten."""
    found = np.flatnonzero(counts)
    return counts[: max(10, int(found[-1]) + 1 if len(found) else 0)]


def problem_names(geometry: Geometry) -> dict[str, str]:
    """Return what the kind of readouts calls its usual status bits, by their general names."""
    return {problem_name(bit): name for bit, name in geometry.kind.problems}


def shown_problems(view: View) -> dict[str, int]:
    """Return readouts by what was wrong with them: all that is usual for the kind, and what else there is."""
    names = problem_names(view.geometry)
    found = zip(PROBLEMS, view.problems.tolist(), strict=True)
    return {names.get(name, name): count for name, count in found if count or name in names}


def _since(run: RunData | None, reset: Reset | None, now: Moment) -> str:
    if run is None:
        return ""
    if reset is not None:
        return f"since the reset at {numbers.clock(reset.tally.at_ns, now.ns)}"
    return "since run start" if run.from_start else f"since {numbers.clock(run.began_ns, now.ns)}"


def map_values(view: View) -> tuple[Floats, str, tuple[float, float]]:
    """Return what the hit map shows by row and column, what that is, and the limits of its colours.

    The colours of a TOT are limited to the range of the TOT spectrum: single corrupt hits would else make all
    others look alike.
    """
    quantity, log = view.choice.quantity, view.choice.log
    if quantity == "hits":
        values, title = np.where(view.hit_map > 0, view.hit_map, np.nan), "hits"
        if view.compared is not None and view.choice.compare_as != "overlay":
            values, _ = against(view, view.hit_map, view.map_outline)
            return values, compared_as(view), _limits(values)
    else:
        values = view.mean_tot_us if quantity == "tot" else view.median_tot_us
        title = f"{'mean' if quantity == 'tot' else 'median'} TOT [µs]"
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 1.0)
    if quantity != "hits":
        first, last = float(view.tot_edges_us[0]), float(view.tot_edges_us[-1])
        low, high = max(low, first), min(high, last)
        low = low if log else first
    elif not log:
        low = 0.0
    low = max(low, 1e-3) if log else low
    return values, title, (low, max(high, low * 1.0001 + 1e-9))


def _limits(values: Floats) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return low, max(high, low + 1e-9)


def compared_as(view: View) -> str:
    """Return what is drawn where the run is set against another: the name of an axis."""
    return "ratio to the other run" if view.choice.compare_as == "ratio" else "difference from the other run"


def against(view: View, counts: Ints, others: Floats) -> tuple[Floats, Floats]:
    """Set counts against those of the compared run, scaled to as many readouts.

    Returns
    -------
        The ratio, NaN where the other run has none, or the difference, as `Choice.compare_as` says; and its
        standard error, from the counts of both.
    """
    if len(counts) != len(others):  # of hits per readout, which end where the counts do
        size = max(len(counts), len(others))
        counts, others = np.pad(counts, (0, size - len(counts))), np.pad(others, (0, size - len(others)))
    variance = others * view.scale  # of n counts, times scale²
    if view.choice.compare_as == "difference":
        return counts - others, np.sqrt(counts + variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(others > 0, counts / others, np.nan)
        error = ratio * np.sqrt(np.where(counts > 0, 1 / counts, 0) + variance / others**2)
    return ratio, error
