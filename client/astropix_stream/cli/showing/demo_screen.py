"""`apx demo` on a terminal: a table, the beam spot and the spectrum, redrawn in place."""

from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from astropix_stream import numbers
from astropix_stream.cli.playing.simulation import COLUMNS, ROWS
from astropix_stream.cli.showing.demo_view import TOT_BIN_US, View, Way
from astropix_stream.fmt import AstroPix4Hit

_SHADES = " ░▒▓█"
_TOT_BINS = ROWS  # as many lines as the picture beside it
_BAR_WIDTH = 36
_WIDEST_WAY, _COUNT_WIDTH = len("through the relay"), 6


class Screen(View):
    """Draws on the terminal, and leaves the last picture there."""

    every_s = 0.25

    def __init__(self, addresses: tuple[str, str], ways: list[Way]) -> None:
        super().__init__(ways)
        self._group, self._endpoint = addresses
        self._live = Live(auto_refresh=False)

    def show(self, elapsed_s: float, sent: int) -> None:
        """Draw anew."""
        pictures = Table.grid(padding=(0, 5))
        pictures.add_row("hits by row and column", f"time over threshold, {TOT_BIN_US:.0f} µs a line")
        pictures.add_row(_draw_pixels(self._ways[-1]), _draw_spectrum(self._ways[-1]), style="cyan")
        head = f"simulated DAQ → {self._group} → relay → {self._endpoint}   {numbers.duration(elapsed_s)}"
        self._live.update(Group(head, self._table(), "", pictures, "[dim]Ctrl-C ends[/]"), refresh=True)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("received from", min_width=_WIDEST_WAY)
        for name in ("readouts", "rate", "hits", "lost"):
            table.add_column(name, justify="right", min_width=max(len(name), _COUNT_WIDTH))
        table.add_column("last hit", no_wrap=True)  # the one that a narrow terminal may cut
        for way in self._ways:
            lost = way.source.receiver.ledger.lost
            mark = f"[bold red]{lost}[/]" if lost else "[green]0[/]"
            table.add_row(
                way.name, str(way.readouts), numbers.rate(way.rate), str(way.hits), mark, _short(way.latest)
            )
        return table

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def _short(hit: AstroPix4Hit | None) -> str:
    return "" if hit is None else f"({hit.row}, {hit.column}) {hit.tot_us:.2f} µs"


def _draw_pixels(way: Way) -> Text:
    """Draw the matrix, two characters a pixel so that it comes out about square."""
    most = max(way.pixels.values(), default=1)
    lines = [
        "".join(2 * _shade(way.pixels[row, column] / most) for column in range(COLUMNS))
        for row in range(ROWS)
    ]
    return Text("\n".join(lines))


def _shade(fraction: float) -> str:
    return _SHADES[min(len(_SHADES) - 1, int(fraction * len(_SHADES)))]


def _draw_spectrum(way: Way) -> Text:
    most = max(way.tot_bins.values(), default=1)
    return Text(
        "\n".join(
            f"{number * TOT_BIN_US:4.0f} {'▇' * round(way.tot_bins[number] / most * _BAR_WIDTH)}"
            for number in range(_TOT_BINS)
        )
    )
