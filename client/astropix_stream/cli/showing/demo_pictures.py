"""What `apx demo` draws below its table: the beam spot, and the spectrum of times over threshold."""

from collections import Counter

from rich.console import Group
from rich.table import Table
from rich.text import Text

from astropix_stream.batch import Batch
from astropix_stream.cli.playing.simulation import COLUMNS, ROWS
from astropix_stream.cli.showing.top_view import Row
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.fmt import AstroPix4Readout

_SHADES = " ░▒▓█"
_US_A_LINE = 20.0
_LINES = ROWS  # as many as the picture beside it has
_BAR_WIDTH = 36


class PicturedRow(Row):
    """A row of the table whose hits are drawn, too."""

    def __init__(self, source: OpenSource, name: str) -> None:
        super().__init__(source, name)
        self._pixels: Counter[tuple[int, int]] = Counter()  # by column and row
        self._tots: Counter[int] = Counter()  # by line of the picture

    def take(self, batch: Batch) -> None:
        """Note what arrived."""
        super().take(batch)
        for raw in batch.without_duplicates().datagrams():
            for hit in AstroPix4Readout.from_bytes(raw).hits():
                self._pixels[hit.column, hit.row] += 1
                self._tots[int(hit.tot_us / _US_A_LINE)] += 1

    def draw(self, text: str) -> Group:
        """Return a text, and below it both pictures, side by side."""
        pictures = Table.grid(padding=(0, 5))
        pictures.add_column(no_wrap=True, min_width=2 * COLUMNS)
        pictures.add_column(no_wrap=True, overflow="crop")  # what a narrow terminal cuts
        pictures.add_row(
            f"hits in {COLUMNS} columns and {ROWS} rows", f"time over threshold, {_US_A_LINE:.0f} µs a line"
        )
        pictures.add_row(self._draw_pixels(), self._draw_spectrum(), style="cyan")
        return Group(Text(text), pictures)

    def _draw_pixels(self) -> Text:
        """Draw the matrix, two characters a pixel so that it comes out about square."""
        most = max(self._pixels.values(), default=1)
        lines = [
            "".join(2 * _shade(self._pixels[column, row] / most) for column in range(COLUMNS))
            for row in range(ROWS)
        ]
        return Text("\n".join(lines))

    def _draw_spectrum(self) -> Text:
        most = max(self._tots.values(), default=1)
        lines = [
            f"{line * _US_A_LINE:4.0f} {'▇' * round(self._tots[line] / most * _BAR_WIDTH)}"
            for line in range(_LINES)
        ]
        return Text("\n".join(lines))


def _shade(fraction: float) -> str:
    return _SHADES[min(len(_SHADES) - 1, int(fraction * len(_SHADES)))]
