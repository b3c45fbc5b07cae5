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
from astropix_stream.fmt import Decoding, problem_name
from astropix_stream.monitor import texts
from astropix_stream.monitor.accumulate import Account, Accumulator, RunData, Tally
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import TOT_BINS, Geometry, Pixel
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.rates import Series

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_HOT_FACTOR = 3.0  # times the median of the pixels around it, which no beam spot wider than a pixel reaches
_HOT_SIGMA = 5.0  # of its own count, so that chance makes no pixel hot
MAX_HOT = 12  # listed

PROBLEMS = tuple(problem_name(bit) for bit in Decoding)


class HotPixel(NamedTuple):
    """A pixel with many more hits than those around it."""

    pixel: Pixel
    hits: int
    share: float
    """Of the hits of the chips that are shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Reset:
    """What a run had when a viewer reset it."""

    run: int
    tally: Tally
    counts: Histograms


class _Counts:
    """The counts of a run since a reset, or as a whole."""

    def __init__(self, run: RunData | None, reset: Reset | None, geometry: Geometry) -> None:
        self._all = run.counts if run else Histograms(geometry)
        self._before = reset.counts if reset else None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._all, name)
        return value if self._before is None else value - getattr(self._before, name)

    @property
    def fpga(self) -> tuple[int, int] | None:
        """First and latest time of the FPGA, in ticks; the first since a reset is the last before it."""
        first = self._all.first_fpga if self._before is None else self._before.last_fpga
        last = self._all.last_fpga
        return None if first is None or last is None else (first, last)

    def spectrum(self, chips: Sequence[int], without: Sequence[Pixel] = ()) -> Ints:
        value = self._all.spectrum(chips, without)
        return value if self._before is None else value - self._before.spectrum(chips, without)

    def pixel_spectra(self, chips: Sequence[int], row: int, columns: int) -> Ints:
        value = self._all.pixel_spectra(chips, row, columns)
        return value if self._before is None else value - self._before.pixel_spectra(chips, row, columns)


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
    if reception.ended:
        text = texts.FILE_ENDED
    return StreamStatus(
        source=accumulator.source,
        state=state,
        state_text="; ".join(filter(None, [text, accumulator.doubt, *reception.ledger.remarks])),
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
    geometry = run.counts.geometry if run else accumulator.geometry
    compared = _find_compared(accumulator, choice, run, geometry)
    choice = _settled(choice, geometry)
    if accumulator.runs:  # before the first, a link may choose one that will come out of history
        choice = choice.model_copy(
            update={
                "run": choice.run if run and run.number == choice.run else None,
                "compare": compared.number if compared else None,
            }
        )
    counts = _Counts(run, reset, geometry)
    chips_hit = counts.hit_map.any(axis=(1, 2))
    if geometry.half_hits:
        chips_hit |= counts.rows.any(axis=1) | counts.columns.any(axis=1)
    every = np.flatnonzero(chips_hit).tolist()
    chips = every if choice.chip is None else [choice.chip]
    hit_map, ticks, masked = _map(counts, geometry, chips, choice.masked)
    with np.errstate(invalid="ignore"):
        mean_tot_us = ticks / hit_map / geometry.kind.clock_mhz
    edges, bins = _tot_axis(choice, geometry)
    spectrum = _spectrum(counts, chips, choice)
    tot = _rebin(spectrum, bins)
    scale = counts.readouts / compared.counts.readouts if compared and compared.counts.readouts else 0.0
    tot_outline, per_readout_outline = _outlines(compared, chips, choice, bins)
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
        chips=tuple(every),
        rows=rows,
        columns=columns,
        hit_map=hit_map,
        mean_tot_us=mean_tot_us,
        median_tot_us=_medians(counts, geometry, chips, hit_map, choice),
        masked=masked,
        tot_edges_us=edges,
        tot=tot,
        tot_outline=tot_outline * scale,
        tot_outside=int(counted - tot.sum()),
        per_readout=_trim(counts.per_readout),
        per_readout_outline=per_readout_outline * scale,
        problems=counts.problems,
        scale=scale,
        hot=find_hot(counts.hit_map, geometry, chips)[:MAX_HOT],
        series=accumulator.rates.last(60.0 * choice.window_min, _until_s(accumulator, now)),
    )


def _until_s(accumulator: Accumulator, now: Moment) -> float:
    """Return when the rates end: now, or with the file that was read to its end."""
    return accumulator.rates.end_s(now.s) if accumulator.reception.ended else now.s


def _find_compared(
    accumulator: Accumulator, choice: Choice, run: RunData | None, geometry: Geometry
) -> RunData | None:
    """Return the run to draw as an outline, if it is another one of the same kind of readouts."""
    found = next((other for other in accumulator.runs if other.number == choice.compare), None)
    return None if found is None or found is run or found.counts.geometry != geometry else found


def _settled(choice: Choice, geometry: Geometry) -> Choice:
    """Fill in what depends on the kind of readouts, and leave out what it does not have."""
    width, limit = geometry.bin_us, geometry.tot_limit_us
    begin = min(choice.tot_from, limit - width)
    end = geometry.tot_range_us if choice.tot_to is None else choice.tot_to
    changes: dict[str, Any] = {"tot_from": begin, "tot_to": min(max(end, begin + width), limit)}
    if not geometry.half_hits:
        changes["tot_of"] = "pixels"
    if choice.chip is not None and choice.chip >= geometry.chips:
        changes["chip"] = None
    return choice.model_copy(update=changes)


def _spectrum(counts: Any, chips: Sequence[int], choice: Choice) -> Ints:
    """Return the TOT of pixels without the masked ones, or of half hits."""
    if choice.tot_of == "halves":
        halves: Ints = counts.half_spectra[list(chips)].sum(axis=0)
        return halves
    pixels: Ints = counts.spectrum(chips, choice.masked)
    return pixels


def _profile(lines: Ints, geometry: Geometry, chips: Sequence[int]) -> Ints:
    """Sum rows or columns over chips, and leave out what no chip has, unless there are hits."""
    if not geometry.half_hits:
        return np.zeros(0, np.int64)
    profile: Ints = lines[list(chips)].sum(axis=0)
    size = max(geometry.kind.rows, geometry.kind.columns)
    return profile if profile[size:].any() else profile[:size]


def _map(
    counts: _Counts, geometry: Geometry, chips: Sequence[int], masked: Sequence[Pixel]
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return hits and ticks of some chips without masked pixels, and where all of them are masked."""
    mask = np.zeros((len(chips), *geometry.shape[1:]), np.bool_)
    for pixel in masked:
        if pixel.chip in chips and geometry.contains(pixel):
            mask[chips.index(pixel.chip), pixel.row, pixel.column] = True
    hits = np.where(mask, 0, counts.hit_map[chips]).sum(axis=0)
    ticks = np.where(mask, 0, counts.tot_ticks[chips]).sum(axis=0)
    rows, columns = _extent(counts.hit_map, geometry)
    gone: NDArray[np.bool_] = np.all(mask, axis=0) & bool(chips)
    return hits[:rows, :columns], ticks[:rows, :columns], gone[:rows, :columns]


def _medians(
    counts: _Counts, geometry: Geometry, chips: Sequence[int], hit_map: Ints, choice: Choice
) -> Floats:
    """Return the median TOT of each pixel, to a bin of the spectrum."""
    medians = np.full(hit_map.shape, np.nan)
    if choice.quantity != "median":
        return medians
    for row in np.flatnonzero(hit_map.any(axis=1)).tolist():
        left_out = {pixel.chip for pixel in choice.masked if pixel.row == row}
        spectra = counts.pixel_spectra([c for c in chips if c not in left_out], row, hit_map.shape[1])
        for chip in left_out.intersection(chips):
            lines = counts.pixel_spectra([chip], row, hit_map.shape[1])
            out = [
                p.column for p in choice.masked if (p.chip, p.row) == (chip, row) and p.column < len(lines)
            ]
            lines[out] = 0
            spectra = spectra + lines
        sums = spectra.cumsum(axis=1)
        middle = (2 * sums >= sums[:, -1:]).argmax(axis=1)
        medians[row] = np.where(sums[:, -1] > 0, (middle + 0.5) * geometry.bin_us, np.nan)
    return medians


def _extent(hit_map: Ints, geometry: Geometry) -> tuple[int, int]:
    """Return the rows and columns to draw: those of a chip, unless a hit tells of more."""
    kind, (_, rows, columns) = geometry.kind, geometry.shape
    if kind.rows and not hit_map[:, kind.rows :].any():
        rows = kind.rows
    if kind.columns and not hit_map[:, :, kind.columns :].any():
        columns = kind.columns
    return rows, columns


def _tot_axis(choice: Choice, geometry: Geometry) -> tuple[Floats, Ints]:
    """Return the edges of the bins in µs, and as whole bins of the histograms, so that none is split."""
    width, end = geometry.bin_us, choice.tot_to or geometry.tot_range_us
    first = min(TOT_BINS - 1, int(choice.tot_from / width + 0.5))
    last = max(first + 1, min(TOT_BINS, int(end / width + 0.5)))
    step = max(1, -(-(last - first) // choice.tot_bins))
    bins = np.unique(np.arange(first, last + step, step).clip(max=TOT_BINS))
    return bins * width, bins


def _rebin(spectrum: Ints, bins: Ints) -> Ints:
    sums = np.concatenate(([0], np.cumsum(spectrum)))
    return np.diff(sums[bins])


def _outlines(
    compared: RunData | None, chips: Sequence[int], choice: Choice, bins: Ints
) -> tuple[Floats, Floats]:
    """Return TOT spectrum and hits per readout of the compared run."""
    if compared is None:
        return np.zeros(0), np.zeros(0)
    tot = _rebin(_spectrum(compared.counts, chips, choice), bins)
    return tot.astype(np.float64), _trim(compared.counts.per_readout).astype(np.float64)


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


def find_hot(hit_map: Ints, geometry: Geometry, chips: Sequence[int]) -> tuple[HotPixel, ...]:
    """Find the pixels that stand out from those around them: a beam spot does not, its slopes are gentle."""
    found = []
    rows, columns = _extent(hit_map, geometry)
    total = int(hit_map[chips].sum())
    for chip in chips:
        pixels = hit_map[chip, :rows, :columns]
        hot = pixels - _HOT_SIGMA * np.sqrt(pixels) > _HOT_FACTOR * _around(pixels)
        found += [
            HotPixel(Pixel(chip, column, row), int(pixels[row, column]), float(pixels[row, column] / total))
            for row, column in np.argwhere(hot).tolist()
        ]
    return tuple(sorted(found, key=lambda one: -one.hits))


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


def map_values(view: View) -> tuple[Floats, str, tuple[float, float]]:
    """Return what the hit map shows by row and column, what that is, and the limits of its colours.

    The colours of a TOT are limited to the range of the TOT spectrum: single corrupt hits would else make all
    others look alike.
    """
    quantity, log = view.choice.quantity, view.choice.log
    if quantity == "hits":
        values, title = np.where(view.hit_map > 0, view.hit_map, np.nan), "hits"
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
