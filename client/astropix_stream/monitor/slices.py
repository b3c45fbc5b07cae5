"""The course of a run: its pixels and spectra slice by slice, in bounded memory however long it is. Pure.

A slice keeps what was counted in it, and nothing where nothing was. Where slices become too many, neighbours
are put together, so that a long run has longer slices.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.monitor.geometry import TOT_BINS
from astropix_stream.monitor.histograms import Histograms

Ints: TypeAlias = NDArray[np.int64]

MAX_SLICES = 128
MAX_BYTES = 8 << 20  # of a run
WIDTH_NS = 1_000_000_000  # of the first slices
WIDTH_READOUTS = 16  # where readouts have no times
_NUMBERS = ("begin", "end", "readouts")
_COUNTED = ("pixels", "spectra")
_MAX_PAUSE = 1_000_000  # widths: a timestamp further ahead is corrupt


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts, by index, of those that are not zero; the indices ascend."""

    indices: NDArray[np.int32]
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, values: Ints, places: Ints) -> "Counted":
        """Keep what is not zero of some values, and their places."""
        found = np.flatnonzero(values)
        return cls(places[found].astype(np.int32), values[found].astype(np.uint32))

    def __add__(self, other: "Counted") -> "Counted":
        indices, inverse = np.unique(np.concatenate([self.indices, other.indices]), return_inverse=True)
        counts = np.bincount(inverse, weights=np.concatenate([self.counts, other.counts]))
        return Counted(indices, counts.astype(np.uint32))

    def at(self, index: int) -> int:
        """Return the count at an index."""
        place = int(np.searchsorted(self.indices, index))
        return int(self.counts[place]) if place < len(self.indices) and self.indices[place] == index else 0

    @property
    def nbytes(self) -> int:
        """Memory of both arrays."""
        return self.indices.nbytes + self.counts.nbytes


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Slice:
    """What was counted in a part of a run.

    Attributes
    ----------
    begin, end
        By the DAQ's clock in ns since the Unix epoch, or by readout id.
    readouts
        How many.
    pixels
        Pixels hit, by `Geometry.number_of`.
    spectra
        Pixels hit by TOT: at chip times `TOT_BINS` plus the bin.
    """

    begin: int
    end: int
    readouts: int
    pixels: Counted
    spectra: Counted

    def spectrum(self, chips: Sequence[int]) -> Ints:
        """Return the pixels by TOT of some chips, in the finest bins."""
        total = np.zeros(TOT_BINS, np.int64)
        for chip in chips:
            first, last = np.searchsorted(self.spectra.indices, (chip * TOT_BINS, (chip + 1) * TOT_BINS))
            total[self.spectra.indices[first:last] - chip * TOT_BINS] += self.spectra.counts[first:last]
        return total

    def with_next(self, later: "Slice") -> "Slice":
        """Put two neighbours together."""
        return Slice(
            self.begin,
            later.end,
            self.readouts + later.readouts,
            self.pixels + later.pixels,
            self.spectra + later.spectra,
        )

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        return self.pixels.nbytes + self.spectra.nbytes


class Slices:
    """The slices of a run.

    Attributes
    ----------
    timed
        Whether they are cut by the DAQ's clock; else by readout id.
    """

    def __init__(self) -> None:
        self.timed = True
        self._done: list[Slice] = []
        self._width = WIDTH_NS
        self._begin: int | None = None
        self._due = 0
        self._readouts = 0
        self._map: Ints | None = None
        self._spectra: Ints | None = None

    def begin(self, timestamp: int, readout_id: int, counts: Histograms | None = None) -> None:
        """Begin with the first readout; or where a monitor before this one ended, with its counts."""
        if counts is not None:
            self._remember(counts)
        timed = timestamp > 0
        if timed != self.timed or not self._done:
            self._done, self._width = [], WIDTH_NS if timed else WIDTH_READOUTS
        self.timed = timed
        self._begin = timestamp if self.timed else readout_id
        self._due = self._begin + self._width

    def keys(self, timestamps: Sequence[int], readout_ids: Sequence[int]) -> Sequence[int]:
        """Return that of both by which slices are cut."""
        return timestamps if self.timed else readout_ids

    def end_among(self, keys: Sequence[int], begin: int, end: int) -> int:
        """Return the readout at which the present slice ends, from `begin` on; `end` if it goes on."""
        last = keys[end - 1]
        if last < self._due or last - self._due > _MAX_PAUSE * self._width:
            return end
        return bisect_left(keys, self._due, begin, end)

    def close(self, counts: Histograms, key: int) -> None:
        """End the present slice just before a readout, when all before it are counted."""
        present = self._present(counts, key)
        if present is not None and present.readouts:
            self._done.append(present)
            self._remember(counts)
            self._begin = key
            self._thin()
        self._due = max(self._due, key) + self._width

    def until(self, counts: Histograms, key: int) -> list[Slice]:
        """Return all slices, the present one as far as it has come."""
        present = self._present(counts, key)
        return [*self._done, *([present] if present is not None and present.readouts else [])]

    def kept(self, counts: Histograms, key: int) -> "Slices":
        """Return all slices up to now, to go on with after a restart; they do not change any more."""
        kept = Slices()
        kept.timed, kept._width, kept._done = self.timed, self._width, self.until(counts, key)
        return kept

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the slices that have ended, as arrays, to keep them."""
        done = self._done
        arrays: dict[str, NDArray[Any]] = {
            name: np.array([getattr(one, name) for one in done], np.int64) for name in _NUMBERS
        }
        arrays["width"] = np.array([self._width, self.timed], np.int64)
        for name in _COUNTED:
            counted: list[Counted] = [getattr(one, name) for one in done]
            arrays[f"{name}.sizes"] = np.array([len(one.counts) for one in counted], np.int64)
            empty = Counted(np.zeros(0, np.int32), np.zeros(0, np.uint32))
            arrays[f"{name}.indices"] = np.concatenate([one.indices for one in (empty, *counted)])
            arrays[f"{name}.counts"] = np.concatenate([one.counts for one in (empty, *counted)])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], counts: Histograms) -> "Slices":
        """Make them again from what `to_arrays` gave.

        Raises
        ------
        KeyError, ValueError
            They are no slices of such counts.
        """
        slices = cls()
        width, timed = map(int, arrays["width"])
        if width < 1:
            raise ValueError("slices without a width")
        slices._width, slices.timed = width, bool(timed)
        columns: list[list[Any]] = [arrays[name].tolist() for name in _NUMBERS]
        for name, size in zip(_COUNTED, (counts.hit_map.size, counts.spectra.size), strict=True):
            sizes, indices, numbers = (arrays[f"{name}.{part}"] for part in ("sizes", "indices", "counts"))
            columns.append(_taken_apart(sizes, indices, numbers, size))
        slices._done = [Slice(*values) for values in zip(*columns, strict=True)]
        return slices

    def _present(self, counts: Histograms, end: int) -> Slice | None:
        if self._begin is None:
            return None
        chips = np.flatnonzero(counts.hit_map.any(axis=(1, 2)))
        size = counts.hit_map[0].size
        pixels, spectra = counts.hit_map[chips].reshape(len(chips), size), counts.spectra[chips]
        if self._map is not None and self._spectra is not None:
            pixels, spectra = pixels - self._map[chips], spectra - self._spectra[chips]
        numbers = (chips[:, None] * size + np.arange(size)).reshape(-1)
        bins = (chips[:, None] * TOT_BINS + np.arange(TOT_BINS)).reshape(-1)
        return Slice(
            self._begin,
            max(self._begin, end),
            counts.readouts - self._readouts,
            Counted.of(pixels.reshape(-1).clip(0), numbers),
            Counted.of(spectra.reshape(-1).clip(0), bins),
        )

    def _remember(self, counts: Histograms) -> None:
        """Keep the counts as they are now, to subtract them from those to come."""
        if self._map is None or self._spectra is None:
            self._map = np.zeros((len(counts.hit_map), counts.hit_map[0].size), np.int64)
            self._spectra = np.zeros_like(counts.spectra)
        chips = np.flatnonzero(counts.hit_map.any(axis=(1, 2)))
        self._map[chips] = counts.hit_map[chips].reshape(len(chips), self._map.shape[1])
        self._spectra[chips] = counts.spectra[chips]
        self._readouts = counts.readouts

    def _thin(self) -> None:
        while len(self._done) > 1 and (
            len(self._done) >= MAX_SLICES or sum(one.nbytes for one in self._done) > MAX_BYTES
        ):
            self._done = list(_paired(self._done))
            self._width *= 2


def _taken_apart(sizes: Ints, indices: NDArray[Any], counts: NDArray[Any], size: int) -> list[Counted]:
    """Return what was counted in each slice; the indices are below a size."""
    if (sizes < 0).any() or not len(indices) == len(counts) == sizes.sum():
        raise ValueError("slices of another size")
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise ValueError("slices of other pixels")
    ends = np.cumsum(sizes).tolist()
    return [
        Counted(indices[begin:end].astype(np.int32), counts[begin:end].astype(np.uint32))
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


def _paired(slices: list[Slice]) -> Iterator[Slice]:
    for first, second in zip(slices[::2], slices[1::2], strict=False):
        yield first.with_next(second)
    if len(slices) % 2:
        yield slices[-1]
