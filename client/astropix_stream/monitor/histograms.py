"""The counts of one run, in arrays whose size does not depend on how many hits they have seen.

Pure. Counts only add up, so that the difference of two is what came in between: a reset of a viewer keeps a
copy and shows the difference.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream import columns
from astropix_stream.fmt import CLOCK_MHZ, Decoding

Ints: TypeAlias = NDArray[np.int64]

CHIPS, ROWS, COLUMNS = (
    32,
    32,
    32,
)  # what the fields of a hit can hold; a chip of today has 13 rows, 16 columns
PIXELS = CHIPS * ROWS * COLUMNS
TOT_BIN_TICKS = 4  # 0.2 µs: fine beside the 5 µs width of an injection peak, and 16 KiB a pixel
TOT_BINS = 4096  # up to 819.2 µs; the rare longer TOT is in the hit map only
TOT_BIN_US = TOT_BIN_TICKS / CLOCK_MHZ
MAX_SPECTRA = 2048  # pixels with a spectrum of their own: 32 MiB, and yet ten chips of 13 x 16
MAX_PER_READOUT = 255  # the last bin also holds readouts with more hits


class Pixel(NamedTuple):
    """A pixel's place."""

    chip: int
    column: int
    row: int

    @property
    def number(self) -> int:
        """Its index in flat arrays."""
        return (self.chip * ROWS + self.row) * COLUMNS + self.column

    @classmethod
    def of(cls, number: int) -> "Pixel":
        """Return the pixel with this index."""
        chip, place = divmod(number, ROWS * COLUMNS)
        row, column = divmod(place, COLUMNS)
        return cls(chip, column, row)

    def __str__(self) -> str:
        return f"{self.chip}/{self.column}/{self.row}"


class Histograms:
    """Counts of hits and readouts; chips, rows and columns as the hits tell them.

    The system gives zeroed memory a page at a time, as it is written to: what no hit touches costs nothing.

    Attributes
    ----------
    readouts, hits
        How many were decoded.
    hit_map, tot_ticks
        Shape (32, 32, 32), by chip, row, column: hits, and the sum of their TOT in ticks of 50 ns.
    spectra
        Shape (32, 4096), by chip: hits by TOT, in bins of 0.2 µs.
    per_readout
        Shape (256,): readouts by the number of their hits; the last bin holds those with more, too.
    problems
        Shape (8,): readouts with each status bit of `fmt.Decoding`.
    """

    def __init__(self) -> None:
        self.readouts = 0
        self.hits = 0
        self.hit_map = np.zeros((CHIPS, ROWS, COLUMNS), np.int64)
        self.tot_ticks = np.zeros((CHIPS, ROWS, COLUMNS), np.int64)
        self.spectra = np.zeros((CHIPS, TOT_BINS), np.int64)
        self.per_readout = np.zeros(MAX_PER_READOUT + 1, np.int64)
        self.problems = np.zeros(len(Decoding), np.int64)
        self._slots = np.full(PIXELS, -1, np.int32)
        self._used_slots = 0
        self._pixel_spectra = np.zeros((MAX_SPECTRA, TOT_BINS), np.uint32)

    def add(self, batch: columns.Decoded) -> None:
        """Count the hits of some readouts."""
        self.readouts += len(batch.readout_ids)
        self.hits += len(batch.hits)
        self.per_readout += np.bincount(
            np.minimum(batch.hit_counts, MAX_PER_READOUT), minlength=MAX_PER_READOUT + 1
        )
        for bit in range(len(Decoding)):
            self.problems[bit] += np.count_nonzero(batch.statuses & (1 << bit))
        if len(batch.hits):
            self._add_hits(batch.hits)

    def _add_hits(self, hits: NDArray[Any]) -> None:
        chips = hits["chip_id"].astype(np.int64)
        pixels = (chips * ROWS + hits["row"]) * COLUMNS + hits["column"]
        ticks = (hits["ts_dec2"] - hits["ts_dec1"]).astype(np.int64)
        self.hit_map += np.bincount(pixels, minlength=PIXELS).reshape(self.hit_map.shape)
        sums = np.bincount(pixels, weights=ticks, minlength=PIXELS)  # as floats, exact up to 2^53
        self.tot_ticks += sums.astype(np.int64).reshape(self.tot_ticks.shape)
        bins = ticks // TOT_BIN_TICKS
        inside = bins < TOT_BINS
        chips, pixels, bins = chips[inside], pixels[inside], bins[inside]
        np.add.at(self.spectra, (chips, bins), 1)
        slots = self._slots_of(pixels)
        known = slots >= 0
        np.add.at(self._pixel_spectra, (slots[known], bins[known]), 1)

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
            slot = self._slots[pixel.number]
            if pixel.chip in chips and slot >= 0:
                total -= self._pixel_spectra[slot]
        return total

    def copy(self) -> "Histograms":
        """Return the counts as they are now."""
        twin = Histograms()
        twin.readouts, twin.hits, twin._used_slots = self.readouts, self.hits, self._used_slots
        for mine, its in (
            (self.hit_map, twin.hit_map),
            (self.tot_ticks, twin.tot_ticks),
            (self.spectra, twin.spectra),
            (self.per_readout, twin.per_readout),
            (self.problems, twin.problems),
            (self._slots, twin._slots),
            (self._pixel_spectra[: self._used_slots], twin._pixel_spectra[: self._used_slots]),
        ):
            np.copyto(its, mine)
        return twin
