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
_LEAST = 8  # characters of a name, and of where it was lost
_BETWEEN = 2  # spaces between columns


class Screen(View):
    """Draws the table again twice a second, if it has changed, and so for each size that the terminal has.

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
        self._shown: object = None
        self._handlers: list[logging.Handler] = []
        self._stop_handler: Any = None

    def show(self, now: Moment) -> None:
        """Draw the table, unless all of it is there already: to draw costs more than to wait for readouts."""
        told = (self._live.console.size, self._log.text, *map(_texts, self._rows))
        if self._below is None and self._heading is None:
            if told == self._shown:
                return
            self._shown = told
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
        self._shown = None
        self._live.start()


class _LastWarning(logging.Handler):
    """Keeps the last message, to show it below the table."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = " ".join(self.format(record).split())


def draw_table(rows: Sequence[Row], width: int) -> Table:
    """Draw the table for a terminal of this width: long names are shortened in the middle."""
    shown = [name for name, least in _NUMBERS if width >= least]
    cells = [_numbers(row) for row in rows]
    state_width = max(len(State.NO_NETWORK), *(len(row.state) for row in rows))
    taken = [state_width, *(max(len(name), *(len(one[name]) for one in cells)) for name in shown)]
    room = max(2 * _LEAST, width - sum(taken) - (len(taken) + 1) * _BETWEEN)
    lost_width = _lost_width(rows, room)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _BETWEEN - 1, 0, 0))
    table.add_column("stream", no_wrap=True, width=room - lost_width)
    table.add_column("state", no_wrap=True, width=state_width)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("lost", overflow="fold", width=lost_width)
    for row, numbers_of_row in zip(rows, cells, strict=True):
        names = (numbers.shortened(name, room - lost_width) for name in row.names)
        losses = Text("\n".join(row.losses), "red") if row.losses else Text("none", "green")
        if row.thinned:
            losses.append(f"\n{row.thinned}", "dim")
        state = Text(row.state, _COLOURS[row.state])
        table.add_row(Text("\n".join(names)), state, *(Text(numbers_of_row[name]) for name in shown), losses)
    return table


def _lost_width(rows: Sequence[Row], room: int) -> int:
    """Return the width of the last column: as long as its texts, but at most what the names can spare."""
    longest = max(len("lost"), *(len(text) for row in rows for text in (*row.losses, "none")))
    names = max(len("stream"), *(len(name) for row in rows for name in row.names))
    return min(longest, max(_LEAST, room - names, room * 2 // 5))


def _texts(row: Row) -> tuple[object, ...]:
    """Return everything that is drawn of a row."""
    return (*row.names,), row.state, _numbers(row), row.losses, row.thinned


def _numbers(row: Row) -> dict[str, str]:
    return {
        "readouts/s": numbers.rate(row.readout_rate).removesuffix("/s"),
        "hits/s": row.hits_per_s.removesuffix("/s"),
        "bytes/s": numbers.size(row.byte_rate),
        "lag": row.lag,
        "last readout": row.age,
    }
