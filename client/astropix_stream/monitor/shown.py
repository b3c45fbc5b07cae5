"""What a viewer's choice comes to: a run, its counts since a reset, and the chips. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.clock import Moment
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import Geometry, Pixel
from astropix_stream.monitor.histograms import Histograms, PixelSpectrum
from astropix_stream.monitor.runs import RunData, Tally
from astropix_stream.monitor.slices import Slice

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Reset:
    """What a run had when a viewer reset it."""

    run: int
    tally: Tally
    counts: Histograms
    last_timestamp: int = 0
    last_id: int = 0


class Counts:
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
        """Return the pixels by TOT of some chips, less those of some pixels."""
        value = self._all.spectrum(chips, without)
        return value if self._before is None else value - self._before.spectrum(chips, without)

    def pixel_spectra(self, chips: Sequence[int], row: int, columns: int) -> Ints:
        """Return the hits by TOT of each pixel of a row, over some chips."""
        value = self._all.pixel_spectra(chips, row, columns)
        return value if self._before is None else value - self._before.pixel_spectra(chips, row, columns)

    def pixel_spectrum(self, pixel: Pixel) -> PixelSpectrum:
        """Return the hits by TOT of one pixel."""
        value = self._all.pixel_spectrum(pixel)
        if self._before is None:
            return value
        before = self._before.pixel_spectrum(pixel)
        return PixelSpectrum(value.counts - before.in_bins_of(value.bins).counts, value.bins)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a viewer looks at.

    Attributes
    ----------
    choice
        What was asked for, and is there.
    now
        When.
    run, compared
        The run that is shown, None before the first readout; the one beside it.
    geometry
        Of the kind of readouts that the run has.
    counts
        Of the run, since its begin or the reset.
    reset
        Of this viewer, if it is one of this run.
    every, chips
        Chips that have hits; those that are shown.
    """

    choice: Choice
    now: Moment
    run: RunData | None
    compared: RunData | None
    geometry: Geometry
    counts: Counts
    reset: Reset | None
    every: tuple[int, ...]
    chips: tuple[int, ...]

    @property
    def seconds(self) -> float | None:
        """How long it was measured, by the DAQ's clock; None if that tells no time."""
        run = self.run
        if run is None or not run.first_timestamp:
            return None
        begin = self.reset.last_timestamp if self.reset else run.first_timestamp
        return max(0, run.last_timestamp - begin) / 1e9 or None

    def slices(self) -> list[Slice]:
        """Return the slices of the run; since a reset, those that ended after it."""
        run = self.run
        if run is None:
            return []
        timed = run.slices.timed
        found = run.slices.until(run.counts, run.last_timestamp if timed else run.last_id)
        if self.reset is None:
            return found
        begin = self.reset.last_timestamp if timed else self.reset.last_id
        return [one for one in found if one.end > begin]


def find_run(accumulator: Accumulator, name: int | str | None) -> RunData | None:
    """Return the run that a name or number means; the present one if there is none such."""
    return _named(accumulator.runs, name) or accumulator.present


def _named(runs: Sequence[RunData], name: int | str | None) -> RunData | None:
    if name is None:
        return None
    return next((run for run in reversed(runs) if name in (run.name, run.number)), None)


def take_reset(accumulator: Accumulator, choice: Choice, now: Moment) -> Reset | None:
    """Return what there is now of the run that is shown, to subtract it from what will be."""
    run = find_run(accumulator, choice.run)
    if run is None:
        return None
    return Reset(run.number, accumulator.tally(now.ns), run.counts.copy(), run.last_timestamp, run.last_id)


def make_shown(accumulator: Accumulator, choice: Choice, now: Moment, reset: Reset | None) -> Shown:
    """Find what a choice means."""
    run = find_run(accumulator, choice.run)
    if run is None or reset is None or reset.run != run.number:
        reset = None
    geometry = run.counts.geometry if run else accumulator.geometry
    compared = _find_compared(accumulator, choice, run, geometry)
    choice = _settled(choice, geometry)
    if accumulator.runs:  # before the first, a link may choose one that will come out of history
        asked = _named(accumulator.runs, choice.run)
        choice = choice.model_copy(
            update={"run": asked.name if asked else None, "compare": compared.name if compared else None}
        )
    counts = Counts(run, reset, geometry)
    chips_hit = counts.hit_map.any(axis=(1, 2))
    if geometry.half_hits:
        chips_hit |= counts.rows.any(axis=1) | counts.columns.any(axis=1)
    every = tuple(np.flatnonzero(chips_hit).tolist())
    chips = every if choice.chip is None else (choice.chip,)
    return Shown(choice, now, run, compared, geometry, counts, reset, every, chips)


def _find_compared(
    accumulator: Accumulator, choice: Choice, run: RunData | None, geometry: Geometry
) -> RunData | None:
    """Return the run to compare with, if it is another one of the same kind of readouts."""
    found = _named([*accumulator.references, *accumulator.runs], choice.compare)
    return None if found is None or found is run or found.counts.geometry != geometry else found


def _settled(choice: Choice, geometry: Geometry) -> Choice:
    """Fill in what depends on the kind of readouts, and leave out what it does not have."""
    width, limit = geometry.bin_us, geometry.tot_limit_us
    begin, end = min(choice.tot_from, limit - width), choice.tot_to
    if end is None:
        end = geometry.tot_range_us if begin < geometry.tot_range_us else limit
    changes: dict[str, Any] = {"tot_from": begin, "tot_to": min(max(end, begin + width), limit)}
    if not geometry.half_hits:
        changes["tot_of"] = "pixels"
    for name in ("chip", "other_chip"):
        if (chip := getattr(choice, name)) is not None and chip >= geometry.chips:
            changes[name] = None
    if choice.pixel is not None and not geometry.contains(choice.pixel):
        changes["pixel"] = None
    return choice.model_copy(update=changes)
