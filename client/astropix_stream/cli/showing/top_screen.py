"""The table of `apx top` on a terminal: on a screen of its own, so that what was there before comes back."""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from astropix_stream import numbers
from astropix_stream.cli.showing.top_view import Row, View
from astropix_stream.cli.terminal import ending
from astropix_stream.clock import Moment
from astropix_stream.counting.state import State

_COLOURS = {
    State.LIVE: "green",
    State.QUIET: "cyan",
    State.LAGGING: "yellow",
    State.LOSING: "bold red",
    State.NO_NETWORK: "bold white on red",
    State.NO_LOG: "bold white on red",
    State.UPSTREAM_LOST: "bold white on red",
}
# Least width of the terminal for each column; what matters most stays longest.
_NUMBERS = (("readouts/s", 0), ("hits/s", 90), ("bytes/s", 110), ("lag", 80), ("last readout", 60))


class Screen(View):
    """Draws the table again twice a second, and so for each size that the terminal has.

    Parameters
    ----------
    rows, heading
        As of a `View`.
    below
        Returns what to draw below the table; then the last picture stays on the terminal.
    """

    every_s = 0.5

    def __init__(
        self,
        rows: Sequence[Row],
        heading: Callable[[], str] | None = None,
        below: Callable[[], RenderableType] | None = None,
    ) -> None:
        super().__init__(rows, heading)
        self._below = below
        self._live = Live(auto_refresh=False, screen=True, redirect_stdout=False, redirect_stderr=False)
        self._log = _LastWarning()
        self._handlers: list[logging.Handler] = []
        self._stop_handler: Any = None

    def show(self, now: Moment) -> None:
        """Draw the table."""
        warning = (
            [Text(self._log.text, "yellow", no_wrap=True, overflow="ellipsis")] if self._log.text else []
        )
        self._live.update(self._draw(*warning, Text("Ctrl-C ends", "dim")), refresh=True)

    def _draw(self, *hints: Text) -> Group:
        """Return everything; what is below comes last, where a low terminal cuts it off."""
        heading = [] if self._heading is None else [Text(self._heading())]
        below = [] if self._below is None else [self._below()]
        return Group(*heading, draw_table(self._rows, self._live.console.width), *hints, *below)

    def __enter__(self) -> Self:
        self._handlers, ending.log.handlers = ending.log.handlers, [self._log]
        self._live.start()
        if hasattr(signal, "SIGTSTP"):
            self._stop_handler = signal.signal(signal.SIGTSTP, self._suspend)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, self._stop_handler)
        self._live.stop()
        ending.log.handlers = self._handlers
        if self._below is not None and error is None:
            self._live.console.print(self._draw())

    def _suspend(self, *_: Any) -> None:
        """Give the terminal back while Ctrl-Z has stopped us."""
        self._live.stop()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when we are continued
        signal.signal(signal.SIGTSTP, self._suspend)
        self._live.start()


class _LastWarning(logging.Handler):
    """Keeps the last message, to show it below the table."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = " ".join(self.format(record).split())


def draw_table(rows: Sequence[Row], width: int) -> Table:
    """Draw the table for a terminal of this width."""
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False, collapse_padding=True)
    table.add_column("stream", overflow="fold", ratio=3)
    table.add_column("state", no_wrap=True, min_width=len(State.NO_NETWORK))
    shown = [name for name, least in _NUMBERS if width >= least]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lost", overflow="fold", ratio=2)
    for row in rows:
        numbers = _numbers(row)
        losses = Text("\n".join(row.losses), "red") if row.losses else Text("none", "green")
        state = Text(row.state, _COLOURS[row.state])
        table.add_row(Text(row.name), state, *(numbers[name] for name in shown), losses)
    return table


def _numbers(row: Row) -> dict[str, str]:
    return {
        "readouts/s": numbers.rate(row.readout_rate).removesuffix("/s"),
        "hits/s": row.hits_per_s.removesuffix("/s"),
        "bytes/s": numbers.size(row.byte_rate),
        "lag": row.lag,
        "last readout": row.age,
    }
