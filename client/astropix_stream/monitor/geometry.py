"""What the page needs to know of a kind of readout: its chips, pixels, and the axis of its TOT. Pure.

A chip is a number here: that of the chip in its chain, plus 32 times the number of its layer where there are
layers. A person reads and writes 3, or 2.3 for chip 3 of layer 2.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.fmt import ASTROPIX4, Kind

Ints: TypeAlias = NDArray[np.int64]

_CHIPS = 32  # in a layer
TOT_BINS = 4096  # of the finest histogram of TOT; what is longer is in the hit map only


def place_of_chip(chip: int) -> tuple[int, int]:
    """Return a chip's layer, 0 without layers, and its number in the chain."""
    return divmod(chip, _CHIPS)


def chip_on(layer: int, number: int) -> int:
    """Return the chip with a number in the chain of a layer."""
    return layer * _CHIPS + number


def chip_value(chip: int) -> int | str:
    """Return a chip as it is written: 3, or 2.3 with its layer."""
    layer, number = divmod(chip, _CHIPS)
    return f"{layer}.{number}" if layer else number


def chip_name(chip: int) -> str:
    """Return a chip's name: chip 3, or layer 2, chip 3."""
    layer, number = divmod(chip, _CHIPS)
    return f"layer {layer}, chip {number}" if layer else f"chip {number}"


class Pixel(NamedTuple):
    """A pixel's place."""

    chip: int
    column: int
    row: int

    def __str__(self) -> str:
        return f"{chip_value(self.chip)}/{self.column}/{self.row}"


@dataclass(frozen=True)
class Geometry:
    """The chips of a kind of readout."""

    kind: Kind

    @property
    def half_hits(self) -> bool:
        """Whether a hit is a row or a column, and the map is of pixels that were put together."""
        return self.kind.half_hits

    @property
    def layers(self) -> int:
        """The highest number of a layer; 0 without layers."""
        return self.kind.layers

    @property
    def chips(self) -> int:
        """One more than the highest number of a chip."""
        return _CHIPS * (self.layers + 1)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a map of all chips, by chip, row, column: as many as hits can tell of."""
        kind = self.kind
        if self.half_hits:  # other rows and columns are no pixel
            return self.chips, kind.rows, kind.columns
        return self.chips, max(kind.limit, kind.rows), max(kind.limit, kind.columns)

    @property
    def lines(self) -> int:
        """Rows, or columns, that half hits can tell of."""
        return max(self.kind.limit, self.kind.rows, self.kind.columns)

    @property
    def bin_ticks(self) -> int:
        """Ticks of the clock in a bin of TOT."""
        return self.kind.tot_bin_ticks

    @property
    def bin_us(self) -> float:
        """Width of a bin of TOT."""
        return self.bin_ticks / self.kind.clock_mhz

    @property
    def tot_limit_us(self) -> float:
        """Where the last bin of TOT ends."""
        return TOT_BINS * self.bin_us

    @property
    def tot_range_us(self) -> float:
        """What the axis of TOT shows at first, from 0."""
        return self.kind.tot_range_us or self.tot_limit_us

    def number_of(self, pixel: Pixel) -> int:
        """Return the index of a pixel in flat arrays."""
        _, rows, columns = self.shape
        return (pixel.chip * rows + pixel.row) * columns + pixel.column

    def pixel_of(self, number: int) -> Pixel:
        """Return the pixel with an index."""
        _, rows, columns = self.shape
        chip, place = divmod(number, rows * columns)
        row, column = divmod(place, columns)
        return Pixel(chip, column, row)

    def contains(self, pixel: Pixel) -> bool:
        """Tell whether there is such a pixel."""
        chips, rows, columns = self.shape
        return pixel.chip < chips and pixel.row < rows and pixel.column < columns

    def chips_of(self, table: NDArray[Any]) -> Ints:
        """Return the chip of each hit or pixel of a table."""
        names = table.dtype.names or ()
        chips = table["chip_id"].astype(np.int64) if "chip_id" in names else np.zeros(len(table), np.int64)
        return chips + _CHIPS * table["layer"].astype(np.int64) if self.layers else chips

    def ticks_of(self, tot_us: NDArray[np.float64]) -> Ints:
        """Return TOT in whole ticks of the clock."""
        return np.rint(tot_us * self.kind.clock_mhz).astype(np.int64)

    def read_chip(self, text: Any) -> int:
        """Read a chip that was written as `chip_value` writes it.

        Raises
        ------
        ValueError
            There is none such.
        """
        layer, _, number = str(text).rpartition(".")
        try:
            chip = _CHIPS * _whole(layer or "0") + _whole(number)
            inside = _whole(number) < _CHIPS and bool(layer) == bool(self.layers)
        except ValueError:
            inside, chip = False, 0
        if isinstance(text, bool) or not (
            inside and (1 if self.layers else 0) <= chip // _CHIPS <= self.layers
        ):
            raise ValueError(f"{text!r} is not a chip: {self._chips_text()}")
        return chip

    def _chips_text(self) -> str:
        if self.layers:
            return f"write layer.chip, such as 1.3; layers are 1 to {self.layers}, chips 0 to {_CHIPS - 1}"
        return f"chips are 0 to {_CHIPS - 1}"

    def read_pixel(self, text: Any) -> Pixel:
        """Read chip/column/row.

        Raises
        ------
        ValueError
            There is no such pixel.
        """
        example = "1.3/9/3" if self.layers else "0/9/3"
        try:
            chip_text, column_text, row_text = text.split("/")
            column, row = _whole(column_text), _whole(row_text)
        except (AttributeError, ValueError):
            raise ValueError(f"{text!r} is not a pixel: write chip/column/row, such as {example}") from None
        try:
            pixel = Pixel(self.read_chip(chip_text), column, row)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
        _, rows, columns = self.shape
        if not (0 <= column < columns and 0 <= row < rows):
            where = f"from 0 to {rows - 1}" if rows == columns else f"below {columns} and {rows}"
            raise ValueError(f"{text!r}: column and row go {where}")
        return pixel


def _whole(text: str) -> int:
    """Read a whole number of the digits 0 to 9; Python takes '1_0' and digits of other scripts, too."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


@lru_cache(maxsize=64)
def geometry_of(kind: Kind) -> Geometry:
    """Return the geometry of a kind."""
    return Geometry(kind)


DEFAULT = geometry_of(ASTROPIX4)
