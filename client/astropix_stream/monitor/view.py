"""What one viewer sees: arrays for the plots, texts for the rest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream import numbers
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.fmt import CLOCK_MHZ, Decoding
from astropix_stream.monitor import texts
from astropix_stream.monitor.accumulate import Account, Accumulator, RunData, Tally
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.histograms import (
    COLUMNS,
    ROWS,
    TOT_BIN_US,
    TOT_BINS,
    Histograms,
    Pixel,
)
from astropix_stream.monitor.rates import Series

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

CHIP_ROWS, CHIP_COLUMNS = 13, 16  # of the AstroPix 4; the map grows if a hit tells of more
_HOT_FACTOR = 3.0  # times the median of the pixels around it, which no beam spot wider than a pixel reaches
_HOT_SIGMA = 5.0  # of its own count, so that chance makes no pixel hot
MAX_HOT = 12  # listed

PROBLEMS = tuple(bit.name.replace("_", " ").lower() for bit in Decoding)
#: Those that our decoder can find; the others are shown only if they occur.
USUAL_PROBLEMS = tuple(
    PROBLEMS[bit]
    for bit in (
        Decoding.ORPHAN_BYTES_MATCHED,
        Decoding.ORPHAN_BYTES_DROPPED,
        Decoding.ORPHAN_BYTES_NOT_USED,
        Decoding.VALID_EXTRA_BYTES,
        Decoding.INCOMPLETE_HIT_DROPPED,
    )
)


class HotPixel(NamedTuple):
    """A pixel with many more hits than those around it."""

    pixel: Pixel
    hits: int
    share: float
    """Of the hits of the chips that are shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Reset:
    """What a run had when a viewer let it begin anew for him."""

    run: int
    tally: Tally
    counts: Histograms


class _Counts:
    """The counts of a run since a reset, or as a whole."""

    def __init__(self, run: RunData | None, reset: Reset | None) -> None:
        self._all = run.counts if run else Histograms()
        self._before = reset.counts if reset else None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._all, name)
        return value if self._before is None else value - getattr(self._before, name)

    def spectrum(self, chips: Sequence[int], without: Sequence[Pixel] = ()) -> Ints:
        value = self._all.spectrum(chips, without)
        return value if self._before is None else value - self._before.spectrum(chips, without)


class RunLabel(NamedTuple):
    """A run in the list to choose from."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The stream as a whole, at one moment."""

    source: str
    state: State
    state_text: str
    doubt: str
    """Why the readouts may be of another kind than they are decoded as; empty if nothing says so."""
    age_s: float | None
    lag_s: float
    readouts_per_s: float
    hits_per_s: float
    daqs: tuple[Source, ...]
    runs: tuple[RunLabel, ...]
    relayed: bool
    ledger: Ledger


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one viewer sees.

    Attributes
    ----------
    choice
        What he asked for.
    now
        When.
    status
        What the page says of the stream as a whole.
    run
        The run that is shown; None before the first readout.
    compared
        The run drawn as an outline.
    readouts, hits
        Of the run, since its begin or the reset.
    since
        That in words.
    account
        What of it is held, and what was missed.
    chips
        Chips that have hits.
    hit_map, mean_tot_us, masked
        By row and column: hits, their mean TOT (NaN without hits), whether the pixel is masked.
    tot_edges_us, tot, tot_outline
        TOT spectrum without the masked pixels; the outline is that of the compared run, times `scale`.
    tot_outside
        Hits that are shorter or longer than the spectrum's axis.
    per_readout, per_readout_outline
        Readouts with 0, 1, … hits.
    problems
        Readouts with each bit of `fmt.Decoding`.
    scale
        The number of readouts shown, by that of the compared run.
    hot
        Hot pixels, those with most hits first.
    series
        Rates of the last minutes, on the clock of `now.s`.
    """

    choice: Choice
    now: Moment
    status: StreamStatus
    run: RunData | None
    compared: RunData | None
    readouts: int
    hits: int
    since: str
    account: Account
    chips: tuple[int, ...]
    hit_map: Ints
    mean_tot_us: Floats
    masked: NDArray[np.bool_]
    tot_edges_us: Floats
    tot: Ints
    tot_outline: Floats
    tot_outside: int
    per_readout: Ints
    per_readout_outline: Floats
    problems: Ints
    scale: float
    hot: tuple[HotPixel, ...]
    series: Series


def make_status(accumulator: Accumulator, now: Moment) -> StreamStatus:
    """Say how the stream does."""
    state, age_s, reception = accumulator.state(now), accumulator.age_s(now), accumulator.reception
    readouts_per_s, hits_per_s = accumulator.rates.now(now.s)
    text = texts.state(state, age_s=age_s, lag_s=reception.lag_s, trouble=reception.trouble)
    return StreamStatus(
        source=accumulator.source,
        state=state,
        state_text=text + (f"; {accumulator.doubt}" if accumulator.doubt else ""),
        doubt=accumulator.doubt,
        age_s=age_s,
        lag_s=reception.lag_s,
        readouts_per_s=readouts_per_s,
        hits_per_s=hits_per_s,
        daqs=tuple(accumulator.sources(now)),
        runs=_run_labels(accumulator.runs, now),
        relayed=accumulator.source.startswith("tcp:"),
        ledger=reception.ledger,
    )


def _run_labels(runs: Sequence[RunData], now: Moment) -> tuple[RunLabel, ...]:
    """Name the runs, the newest first; with their DAQ, if there are several."""
    several = len({run.source for run in runs}) > 1
    return tuple(
        RunLabel(
            run.number,
            f"run {run.number}, {numbers.clock(run.first_timestamp, now.ns)}"
            + f", from {run.source}" * several
            + f", {numbers.counted(run.counts.readouts, 'readout', group=True)}",
        )
        for run in reversed(runs)
    )


def find_run(accumulator: Accumulator, number: int | None) -> RunData | None:
    """Return the run with a number; the present one if there is none such."""
    return next((run for run in accumulator.runs if run.number == number), accumulator.present)


def take_reset(accumulator: Accumulator, choice: Choice, now: Moment) -> Reset | None:
    """Return what there is now of the run that is shown, to subtract it from what will be."""
    run = find_run(accumulator, choice.run)
    return None if run is None else Reset(run.number, accumulator.tally(now.ns), run.counts.copy())


def make_view(accumulator: Accumulator, choice: Choice, now: Moment, reset: Reset | None = None) -> View:
    """Work out what a viewer sees."""
    run = find_run(accumulator, choice.run)
    if run is None or reset is None or reset.run != run.number:
        reset = None
    counts = _Counts(run, reset)
    compared = next((other for other in accumulator.runs if other.number == choice.compare), None)
    every = np.flatnonzero(counts.hit_map.any(axis=(1, 2))).tolist()
    chips = every if choice.chip is None else [choice.chip]
    hit_map, ticks, masked = _map(counts, chips, choice.masked)
    with np.errstate(invalid="ignore"):
        mean_tot_us = ticks / hit_map / CLOCK_MHZ
    edges, bins = _tot_axis(choice)
    tot = _rebin(counts.spectrum(chips, choice.masked), bins)
    scale = counts.readouts / compared.counts.readouts if compared and compared.counts.readouts else 0.0
    tot_outline, per_readout_outline = _outlines(compared, chips, choice, bins)
    return View(
        choice=choice,
        now=now,
        status=make_status(accumulator, now),
        run=run,
        compared=compared,
        readouts=counts.readouts,
        hits=counts.hits,
        since=_since(run, reset, now),
        account=accumulator.account(run, reset.tally if reset else None) if run else Account(0, {}, 0),
        chips=tuple(every),
        hit_map=hit_map,
        mean_tot_us=mean_tot_us,
        masked=masked,
        tot_edges_us=edges,
        tot=tot,
        tot_outline=tot_outline * scale,
        tot_outside=int(hit_map.sum() - tot.sum()),
        per_readout=_trim(counts.per_readout),
        per_readout_outline=per_readout_outline * scale,
        problems=counts.problems,
        scale=scale,
        hot=_find_hot(counts.hit_map, chips),
        series=accumulator.rates.last(60.0 * choice.window_min, now.s),
    )


def _map(
    counts: _Counts, chips: Sequence[int], masked: Sequence[Pixel]
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return hits and ticks of some chips without masked pixels, and where all of them are masked."""
    mask = np.zeros((len(chips), ROWS, COLUMNS), np.bool_)
    for pixel in masked:
        if pixel.chip in chips:
            mask[chips.index(pixel.chip), pixel.row, pixel.column] = True
    hits = np.where(mask, 0, counts.hit_map[chips]).sum(axis=0)
    ticks = np.where(mask, 0, counts.tot_ticks[chips]).sum(axis=0)
    rows, columns = _extent(counts.hit_map)
    gone: NDArray[np.bool_] = np.all(mask, axis=0) & bool(chips)
    return hits[:rows, :columns], ticks[:rows, :columns], gone[:rows, :columns]


def _extent(hit_map: Ints) -> tuple[int, int]:
    """Return the rows and columns to draw."""
    rows = CHIP_ROWS if not hit_map[:, CHIP_ROWS:].any() else ROWS
    columns = CHIP_COLUMNS if not hit_map[:, :, CHIP_COLUMNS:].any() else COLUMNS
    return rows, columns


def _tot_axis(choice: Choice) -> tuple[Floats, Ints]:
    """Return the edges of the bins in µs, and as whole bins of the histograms, so that none is split."""
    first = int(choice.tot_from / TOT_BIN_US + 0.5)
    last = min(TOT_BINS, int(choice.tot_to / TOT_BIN_US + 0.5))
    step = max(1, -(-(last - first) // choice.tot_bins))
    bins = np.unique(np.arange(first, last + step, step).clip(max=TOT_BINS))
    return bins * TOT_BIN_US, bins


def _rebin(spectrum: Ints, bins: Ints) -> Ints:
    sums = np.concatenate(([0], np.cumsum(spectrum)))
    return np.diff(sums[bins])


def _outlines(
    compared: RunData | None, chips: Sequence[int], choice: Choice, bins: Ints
) -> tuple[Floats, Floats]:
    """Return TOT spectrum and hits per readout of the compared run."""
    if compared is None:
        return np.zeros(0), np.zeros(0)
    tot = _rebin(compared.counts.spectrum(chips, choice.masked), bins)
    return tot.astype(np.float64), _trim(compared.counts.per_readout).astype(np.float64)


def _trim(counts: Ints) -> Ints:
    """Leave out the empty bins at the end, down to ten."""
    found = np.flatnonzero(counts)
    return counts[: max(10, int(found[-1]) + 1 if len(found) else 0)]


def _find_hot(hit_map: Ints, chips: Sequence[int]) -> tuple[HotPixel, ...]:
    """Find the pixels that stand out from those around them: a beam spot does not, its slopes are gentle."""
    found = []
    rows, columns = _extent(hit_map)
    total = int(hit_map[chips].sum())
    for chip in chips:
        pixels = hit_map[chip, :rows, :columns]
        hot = pixels - _HOT_SIGMA * np.sqrt(pixels) > _HOT_FACTOR * _around(pixels)
        found += [
            HotPixel(Pixel(chip, column, row), int(pixels[row, column]), float(pixels[row, column] / total))
            for row, column in np.argwhere(hot).tolist()
        ]
    return tuple(sorted(found, key=lambda one: -one.hits)[:MAX_HOT])


def _around(pixels: Ints) -> Floats:
    """Return for each pixel the median of its eight neighbours; over the edge, of those opposite again."""
    rows, columns = pixels.shape
    padded = np.pad(pixels.astype(np.float64), 1, mode="reflect")
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    neighbours = np.stack([padded[i : i + rows, j : j + columns] for i, j in shifts])
    median: Floats = np.median(neighbours, axis=0)
    return median


def _since(run: RunData | None, reset: Reset | None, now: Moment) -> str:
    if run is None:
        return ""
    if reset is not None:
        return f"since the reset at {numbers.clock(reset.tally.at_ns, now.ns)}"
    return "since run start" if run.from_start else f"since {numbers.clock(run.began_ns, now.ns)}"
