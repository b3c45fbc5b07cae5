"""The counts of one run, in arrays whose size does not depend on how many hits they have seen.

Pure. Counts only add up, so that the difference of two is what came in between: a reset of a viewer keeps a
copy and shows the difference.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream import columns
from astropix_stream.fmt import Decoding
from astropix_stream.monitor.geometry import DEFAULT, TOT_BINS, Geometry, Pixel

Ints: TypeAlias = NDArray[np.int64]

MAX_SPECTRA = 2048  # pixels with a fine spectrum of their own: 32 MiB, and yet ten chips of 13 x 16
COARSE_BINS = 128  # of the spectra of all further pixels: 7 MiB for twelve chips of 35 x 35
_COARSE = TOT_BINS // COARSE_BINS
MAX_PER_READOUT = 255  # the last bin also holds readouts with more hits


class _Places(NamedTuple):
    """Pixels that were hit: their chips, flat numbers, and ticks of TOT."""

    chips: Ints
    pixels: Ints
    ticks: Ints


class PixelSpectrum(NamedTuple):
    """The hits of a pixel by TOT."""

    counts: Ints
    """Shape (`bins`,)."""
    bins: int
    """`TOT_BINS`, or `COARSE_BINS` over the same range, of a pixel that came too late for a fine one."""

    def in_bins_of(self, bins: int) -> "PixelSpectrum":
        """Return it in another number of bins, at most as many."""
        return self if bins == self.bins else PixelSpectrum(self.counts.reshape(bins, -1).sum(axis=1), bins)


class Located(NamedTuple):
    """What was hit, for those who look at pixels one by one."""

    table: NDArray[Any]
    """Hits, or of half hits the pixels put together."""
    owners: Ints
    """The readout of each, counted from 0."""


def _count(table: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], sign: int) -> None:
    """Count at places of a table, which may come more than once.

    With one index and a number of the table's own type NumPy takes 2 µs for 1000 places; else up to 60.
    """
    places = rows.astype(np.int64) * table.shape[1] + columns
    (np.add if sign > 0 else np.subtract).at(table.reshape(-1), places, table.dtype.type(1))


class Histograms:
    """Counts of hits and readouts; chips, rows and columns as the hits tell them.

    The system gives zeroed memory a page at a time, as it is written to: what no hit touches costs nothing.

    Parameters
    ----------
    geometry
        Of the kind of readouts; where hits are half hits, the map and the TOT of pixels are of those that
        were put together (`columns.match_pixels`).

    Attributes
    ----------
    readouts, hits
        How many were decoded; of half hits, these.
    pixels, unpaired
        Pixels that were hit, and half hits without a partner.
    hit_map, tot_ticks
        By chip, row, column (`Geometry.shape`): pixels hit, and the sum of their TOT in ticks.
    spectra
        By chip: pixels by TOT, in `TOT_BINS` bins. That of two half hits is that of the row.
    half_spectra, rows, columns
        By chip: half hits by TOT, and by row and column; empty where there are none.
    per_readout
        Shape (256,): readouts by the number of their hits; the last bin holds those with more, too.
    problems
        Shape (8,): readouts with each status bit of `fmt.Decoding`.
    first_fpga, last_fpga
        FPGA timestamps of the first and the latest hit, in ticks; None where hits have none.
    """

    def __init__(self, geometry: Geometry = DEFAULT) -> None:
        self.geometry = geometry
        self.readouts = self.hits = self.pixels = self.unpaired = 0
        self.hit_map = np.zeros(geometry.shape, np.int64)
        self.tot_ticks = np.zeros(geometry.shape, np.int64)
        self.spectra = np.zeros((geometry.chips, TOT_BINS), np.int64)
        halves = geometry.chips if geometry.half_hits else 0
        self.half_spectra = np.zeros((halves, TOT_BINS), np.int64)
        self.rows = np.zeros((halves, geometry.lines), np.int64)
        self.columns = np.zeros((halves, geometry.lines), np.int64)
        self.per_readout = np.zeros(MAX_PER_READOUT + 1, np.int64)
        self.problems = np.zeros(len(Decoding), np.int64)
        self.first_fpga: int | None = None
        self.last_fpga: int | None = None
        rule = geometry.kind.pixel_rule
        over_readouts = rule is not None and rule.over_readouts
        self._matcher = columns.PixelMatcher(geometry.kind) if over_readouts else None
        self._open: NDArray[Any] | None = None  # pixels that the next batch may change
        self._slots = np.full(self.hit_map.size, -1, np.int32)
        self._used_slots = 0
        self._pixel_spectra = np.zeros((MAX_SPECTRA, TOT_BINS), np.uint32)
        self._coarse_spectra = np.zeros((self.hit_map.size, COARSE_BINS), np.uint32)

    def add(self, batch: columns.Decoded, *, sign: int = 1) -> Located:
        """Count the hits of some readouts; with the sign -1, take back what was counted of them."""
        self.readouts += sign * len(batch.readout_ids)
        self.hits += sign * len(batch.hits)
        self.per_readout += sign * np.bincount(
            np.minimum(batch.hit_counts, MAX_PER_READOUT), minlength=MAX_PER_READOUT + 1
        )
        for bit in range(len(Decoding)):
            self.problems[bit] += sign * np.count_nonzero(batch.statuses & (1 << bit))
        owners = np.repeat(np.arange(len(batch.hit_counts)), batch.hit_counts)
        if sign > 0 and self._matcher is not None:
            return self._follow(batch, self._matcher)
        if not len(batch.hits):
            return Located(batch.hits, owners)
        if sign > 0:
            self._note_fpga(batch.hits)
        if not self.geometry.half_hits:
            self._add_pixels(self._places(batch.hits, "tot_us"), sign)
            return Located(batch.hits, owners)
        self._add_halves(batch.hits, sign)
        found = columns.match_pixels(batch.hits, self.geometry.kind, owners)
        self.unpaired += sign * found.unpaired
        self._add_pixels(self._places(found.table, "tot_row_us"), sign)
        return Located(found.table, found.owners)

    def _follow(self, batch: columns.Decoded, matcher: columns.PixelMatcher) -> Located:
        """Count half hits whose pixels may reach into the batches to come."""
        if len(batch.hits):
            self._note_fpga(batch.hits)
            self._add_halves(batch.hits, 1)
        found = matcher.take(batch)
        self.unpaired += found.fresh.unpaired
        for table, sign in ((self._open, -1), (found.settled, 1), (found.open, 1)):
            if table is not None and len(table):
                self._add_pixels(self._places(table, "tot_row_us"), sign)
        self._open = found.open
        return Located(found.fresh.table, found.fresh.owners)

    def _note_fpga(self, hits: NDArray[Any]) -> None:
        if "fpga_timestamp" in (hits.dtype.names or ()):
            times = hits["fpga_timestamp"]
            self.first_fpga = int(times[0]) if self.first_fpga is None else self.first_fpga
            self.last_fpga = int(times[-1])

    def _places(self, table: NDArray[Any], tot: str) -> _Places:
        """Return where the hits of a table are; those outside of all chips are left out."""
        geometry, names = self.geometry, table.dtype.names or ()
        if "row" not in names or "column" not in names:
            table = table[:0]
            rows = places = np.zeros(0, np.int64)
        else:
            rows, places = table["row"].astype(np.int64), table["column"].astype(np.int64)
        chips = geometry.chips_of(table)
        ticks = geometry.ticks_of(table[tot]) if tot in names else np.zeros(len(table), np.int64)
        limits = zip((chips, rows, places), geometry.shape, strict=True)
        inside = np.logical_and.reduce([(values >= 0) & (values < limit) for values, limit in limits])
        if not inside.all():
            chips, rows, places, ticks = chips[inside], rows[inside], places[inside], ticks[inside]
        pixels = (chips * geometry.shape[1] + rows) * geometry.shape[2] + places
        return _Places(chips, pixels, ticks)

    def _add_pixels(self, places: _Places, sign: int) -> None:
        chips, pixels, ticks = places
        self.pixels += sign * len(pixels)
        size = self.hit_map.size
        self.hit_map += sign * np.bincount(pixels, minlength=size).reshape(self.hit_map.shape)
        sums = np.bincount(pixels, weights=ticks, minlength=size)  # as floats, exact up to 2^53
        self.tot_ticks += sign * sums.astype(np.int64).reshape(self.tot_ticks.shape)
        bins = ticks // self.geometry.bin_ticks
        inside = (bins >= 0) & (bins < TOT_BINS)
        chips, pixels, bins = chips[inside], pixels[inside], bins[inside]
        _count(self.spectra, chips, bins, sign)
        slots = self._slots_of(pixels)
        known = slots >= 0
        _count(self._pixel_spectra, slots[known], bins[known], sign)
        if not known.all():
            _count(self._coarse_spectra, pixels[~known], bins[~known] // _COARSE, sign)

    def _add_halves(self, hits: NDArray[Any], sign: int) -> None:
        chips, places = self.geometry.chips_of(hits), hits["location"]
        for axis, chosen in ((self.rows, hits["is_column"] == 0), (self.columns, hits["is_column"] == 1)):
            _count(axis, chips[chosen], places[chosen], sign)
        bins = self.geometry.ticks_of(hits["tot_us"]) // self.geometry.bin_ticks
        inside = bins < TOT_BINS
        _count(self.half_spectra, chips[inside], bins[inside], sign)

    def _slots_of(self, pixels: Ints) -> NDArray[np.int32]:
        """Return where the spectrum of each pixel is; -1 once there is no place for more."""
        slots = self._slots[pixels]
        fresh = np.unique(pixels[slots < 0])[: MAX_SPECTRA - self._used_slots]
        if not len(fresh):
            return slots
        self._slots[fresh] = np.arange(self._used_slots, self._used_slots + len(fresh))
        self._used_slots += len(fresh)
        return self._slots[pixels]

    def spectrum(self, chips: Iterable[int], without: Iterable[Pixel] = ()) -> Ints:
        """Return the hits by TOT of some chips, less those of some pixels."""
        chips = list(chips)
        total: Ints = self.spectra[chips].sum(axis=0)
        for pixel in without:
            if pixel.chip not in chips or not self.geometry.contains(pixel):
                continue
            if (slot := self._slots[self.geometry.number_of(pixel)]) >= 0:
                total -= self._pixel_spectra[slot]
        return total

    def pixel_spectrum(self, pixel: Pixel) -> PixelSpectrum:
        """Return the hits of one pixel by TOT."""
        number = self.geometry.number_of(pixel)
        if self._used_slots == MAX_SPECTRA and self._slots[number] < 0:
            return PixelSpectrum(self._coarse_spectra[number].astype(np.int64), COARSE_BINS)
        slot = self._slots[number]
        counts = self._pixel_spectra[slot] if slot >= 0 else np.zeros(TOT_BINS)
        return PixelSpectrum(counts.astype(np.int64), TOT_BINS)

    def pixel_spectra(self, chips: Sequence[int], row: int, columns: int) -> Ints:
        """Return the hits by TOT of each pixel of a row, over some chips; zero where it has no spectrum.

        Returns
        -------
            Shape (columns, `TOT_BINS`).
        """
        total = np.zeros((columns, TOT_BINS), np.int64)
        slots = self._slots.reshape(self.geometry.shape)[:, row, :columns]
        for chip in chips:
            known = slots[chip] >= 0
            total[known] += self._pixel_spectra[slots[chip][known]]
        return total

    #: Names of what is not kept for another process: it only tells what the next batch may change.
    passing: ClassVar[tuple[str, ...]] = ("_matcher", "_open")

    @property
    def untouched(self) -> tuple[str, ...]:
        """Names of arrays that nothing was written to: to look into them would cost their memory."""
        return ("_coarse_spectra",) if self._used_slots < MAX_SPECTRA else ()

    def copy(self) -> "Histograms":
        """Return the counts as they are now."""
        twin = Histograms(self.geometry)
        twin.readouts, twin.hits, twin._used_slots = self.readouts, self.hits, self._used_slots
        twin.pixels, twin.unpaired = self.pixels, self.unpaired
        twin.first_fpga, twin.last_fpga = self.first_fpga, self.last_fpga
        for mine, its in (
            (self.hit_map, twin.hit_map),
            (self.tot_ticks, twin.tot_ticks),
            (self.spectra, twin.spectra),
            (self.half_spectra, twin.half_spectra),
            (self.rows, twin.rows),
            (self.columns, twin.columns),
            (self.per_readout, twin.per_readout),
            (self.problems, twin.problems),
            (self._slots, twin._slots),
            (self._pixel_spectra[: self._used_slots], twin._pixel_spectra[: self._used_slots]),
        ):
            np.copyto(its, mine)
        if self._used_slots == MAX_SPECTRA:  # copying what is empty would cost its memory
            coarse = np.flatnonzero((self._slots < 0) & (self.hit_map.reshape(-1) > 0))
            twin._coarse_spectra[coarse] = self._coarse_spectra[coarse]
        return twin
