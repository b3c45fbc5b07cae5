"""Pixels of chips that tell a row and a column apart: pairs of half hits.

A chip of version 3 sends a half hit for the row and one for the column of what was hit. Two of them are a
pixel if they are of the same chip, layer and readout, their timestamps fit, and the row is above threshold
for a little longer than the column. A half hit belongs to one pixel at most. Readouts of A-STEP frames are
but groups of them: there, a pixel may be in two readouts that follow one another.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from astropix_stream.errors import ConfigError

_TS_STEPS = 256  # the timestamp of a half hit has 8 bits


class PixelRule(NamedTuple):
    """When a row and a column are a pixel; both ranges depend on the bias of the chip."""

    tot_window: tuple[int, int]
    """By how many ticks of the TOT clock the row is longer than the column: from, to."""
    ts_window: tuple[int, int] = (0, 1)
    """By how many ticks the row's timestamp is after the column's, modulo 256: from, to."""
    reach: int = 16
    """Half hits of the same chip before and after a row among which its column is looked for."""
    payload: int = 4
    """Bytes that a whole half hit announces."""
    size: int = 35
    """Rows and columns of the chip."""
    over_readouts: bool = False
    """Whether both may be in different readouts that follow one another: these are but groups of frames."""

    def configured(
        self, tot_window: Sequence[int] | str | None = None, ts_window: Sequence[int] | str | None = None
    ) -> "PixelRule":
        """Return the rule with other windows, each as two numbers or a text such as ``12-30``.

        Raises
        ------
        ConfigError
            If one is not two numbers of which the second is the larger one.
        """
        return self._replace(
            tot_window=self.tot_window if tot_window is None else _window("tot_window", tot_window),
            ts_window=self.ts_window if ts_window is None else _window("ts_window", ts_window),
        )

    def ticks_after(self, column_ts: int, row_ts: int) -> bool:
        """Tell whether the timestamps of a row and a column fit."""
        return (row_ts - column_ts - self.ts_window[0]) % _TS_STEPS <= self.ts_window[1] - self.ts_window[0]

    def usable(self, hit: Any) -> bool:
        """Tell whether a half hit may belong to a pixel."""
        return bool(hit.payload == self.payload and hit.location < self.size)


def _window(name: str, value: Sequence[int] | str) -> tuple[int, int]:
    try:
        first, last = (int(part) for part in (value.split("-") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise ConfigError(f"{name} {value!r}: write two numbers of ticks, such as 12-30") from None
    if first > last or (name == "ts_window" and last - first >= _TS_STEPS):
        raise ConfigError(f"{name} {value!r}: the first number is the smaller one")
    return first, last


class Pixel(NamedTuple):
    """A row and a column that were hit together."""

    column_hit: Any
    row_hit: Any

    @property
    def chip_id(self) -> int:
        """Number of the chip in its chain."""
        return int(self.row_hit.chip_id)

    @property
    def column(self) -> int:
        """Column of the pixel."""
        return int(self.column_hit.location)

    @property
    def row(self) -> int:
        """Row of the pixel."""
        return int(self.row_hit.location)

    def __str__(self) -> str:
        layer = f"layer {self.row_hit.layer}, " if hasattr(self.row_hit, "layer") else ""
        return (
            f"pixel of readout {self.row_hit.readout_id}: {layer}chip {self.chip_id}, column {self.column}, "
            f"row {self.row}, TOT {self.column_hit.tot_us:.2f} us (column), "
            f"{self.row_hit.tot_us:.2f} us (row)"
        )


def pair_half_hits(hits: Iterable[Any], rule: PixelRule) -> tuple[list[Pixel], int]:
    """Find the pixels among the half hits of one readout.

    Parameters
    ----------
    hits : iterable of half hits
        In the order of the readout; those of a file of frames may be taken as one readout.
    rule : PixelRule
        When a row and a column are a pixel.

    Returns
    -------
    pixels : list of Pixel
        In the order of their rows.
    unpaired : int
        Half hits that found no partner.

    Notes
    -----
    For each row, in order, of the columns not yet used among the `reach` half hits of the same chip before
    it and after it, the one with the smallest difference of TOT within the window, the first of equals.
    """
    groups: dict[tuple[int, int], list[tuple[int, Any]]] = {}
    count = 0
    for place, hit in enumerate(hits):
        groups.setdefault((getattr(hit, "layer", 0), hit.chip_id), []).append((place, hit))
        count += 1
    found = [pair for group in groups.values() for pair in _pair_group(group, rule)]
    found.sort(key=lambda pair: pair[0])
    return [pixel for _, pixel in found], count - 2 * len(found)


def _pair_group(group: list[tuple[int, Any]], rule: PixelRule) -> list[tuple[int, Pixel]]:
    """Find the pixels of one chip, each with the place of its row."""
    pairs: list[tuple[int, Pixel]] = []
    used: set[int] = set()
    low, high = rule.tot_window
    for i, (place, row) in enumerate(group):
        if row.is_column or not rule.usable(row):
            continue
        best, smallest = -1, high + 1
        for j in range(max(0, i - rule.reach), min(len(group), i + rule.reach + 1)):
            column = group[j][1]
            if not column.is_column or j in used or not rule.usable(column):
                continue
            if low <= row.tot - column.tot < smallest and rule.ticks_after(column.ts, row.ts):
                best, smallest = j, row.tot - column.tot
        if best >= 0:
            used.add(best)
            pairs.append((place, Pixel(group[best][1], row)))
    return pairs
