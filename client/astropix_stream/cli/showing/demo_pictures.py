"""What `apx demo` draws below its table: the beam spot, and the spectrum of times over threshold."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from astropix_stream.batch import Batch
from astropix_stream.cli.showing.top_view import Row
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.fmt import ASTROPIX4, Kind, pair_half_hits

_SHADES = " ░▒▓█"
_MOST_LINES = 18  # of the picture, for terminals of 24
_TOT_LINES = 20  # in which the spectrum would be whole; of these, as many as the picture beside it has
_BAR_WIDTH = 36


class PicturedRow(Row):
    """A row of the table whose hits are drawn, too."""

    def __init__(self, source: OpenSource, name: str, kind: Kind = ASTROPIX4) -> None:
        super().__init__(source, name)
        self._kind = kind
        self._step = -(-max(kind.rows, kind.columns) // _MOST_LINES)  # pixels in a place of the picture
        self._columns, self._rows = (-(-size // self._step) for size in (kind.columns, kind.rows))
        self._us_a_line = (kind.tot_range_us or 400.0) / _TOT_LINES
        self._pixels: Counter[tuple[int, int]] = Counter()  # by column and row
        self._tots: Counter[int] = Counter()  # by line of the picture

    def take(self, batch: Batch) -> None:
        """Note what arrived."""
        super().take(batch)
        for raw in batch.without_duplicates().datagrams():
            for column, row, tot_us in self._places(self._kind.readout_class.from_bytes(raw).hits()):
                self._pixels[column // self._step, row // self._step] += 1
                self._tots[int(tot_us / self._us_a_line)] += 1

    def _places(self, hits: list[Any]) -> Iterator[tuple[int, int, float]]:
        """Iterate over column, row and TOT of what was hit."""
        rule = self._kind.pixel_rule
        if rule is None:
            yield from ((hit.column, hit.row, hit.tot_us) for hit in hits)
            return
        for pixel in pair_half_hits(hits, rule)[0]:
            yield pixel.column, pixel.row, pixel.column_hit.tot_us

    def draw(self, text: str) -> Group:
        """Return a text, and below it both pictures, side by side."""
        pictures = Table.grid(padding=(0, 5))
        pictures.add_column(no_wrap=True, min_width=2 * self._columns)
        pictures.add_column(no_wrap=True, overflow="crop")  # what a narrow terminal cuts
        pictures.add_row(
            f"hits in {self._kind.columns} columns and {self._kind.rows} rows",
            f"time over threshold, {self._us_a_line:.0f} µs a line",
        )
        pictures.add_row(self._draw_pixels(), self._draw_spectrum(), style="cyan")
        return Group(Text(text), pictures)

    def _draw_pixels(self) -> Text:
        """Draw the matrix, two characters a pixel so that it comes out about square."""
        most = max(self._pixels.values(), default=1)
        lines = [
            "".join(2 * _shade(self._pixels[column, row] / most) for column in range(self._columns))
            for row in range(self._rows)
        ]
        return Text("\n".join(lines))

    def _draw_spectrum(self) -> Text:
        most = max(self._tots.values(), default=1)
        lines = [
            f"{line * self._us_a_line:4.0f} {'▇' * round(self._tots[line] / most * _BAR_WIDTH)}"
            for line in range(self._rows)
        ]
        return Text("\n".join(lines))


def _shade(fraction: float) -> str:
    return _SHADES[min(len(_SHADES) - 1, int(fraction * len(_SHADES)))]
