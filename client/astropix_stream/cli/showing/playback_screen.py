"""The readout that `apx playback` shows on a terminal, and its keys."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from astropix_stream.cli.files.deck import Deck
from astropix_stream.cli.showing import readout_view
from astropix_stream.cli.showing.readout_view import Piece
from astropix_stream.cli.showing.stepping import KEYS, Stepping, split_keys

_AROUND = 6  # rows for the heading, the legend and the keys
_LOOK_S = 0.25  # how often the size of the terminal is looked at


class PlaybackScreen:
    """Shows one readout at a time until `q`, Ctrl-C or the end of the terminal's input.

    Parameters
    ----------
    deck
        The file, of which readout `start` was reached.
    start
        What to show first.
    """

    def __init__(self, deck: Deck, start: int) -> None:
        self._deck = deck
        self._stepping = Stepping(deck, start)
        self._console = Console()
        self._live = Live(
            console=self._console, auto_refresh=False, screen=True, redirect_stdout=False,
            redirect_stderr=False,
        )  # fmt: skip
        self._input = sys.stdin.fileno()
        self._settings: list[Any] = []

    def run(self) -> None:
        """Show, and obey keys."""
        stepping = self._stepping
        with self._screen():
            while not stepping.done:
                card = self._deck.card(stepping.index)
                size = self._console.size
                rows = readout_view.rows(card, size.width)
                height = max(1, size.height - _AROUND)
                self._draw(readout_view.heading(card), rows, height)
                while not select.select([self._input], [], [], _LOOK_S)[0]:
                    if self._console.size != size:
                        break
                else:
                    data = os.read(self._input, 1024)
                    stepping.done = not data
                    for key in split_keys(data):
                        stepping.press(key, len(rows), height)

    def _draw(self, heading: str, rows: list[list[Piece]], height: int) -> None:
        stepping, deck = self._stepping, self._deck
        total = f"{len(deck)} readouts" if deck.complete else f"{len(deck)} readouts read so far"
        shown = rows[stepping.scroll : stepping.scroll + height]
        more = len(rows) - stepping.scroll - len(shown)
        below = f"  … {more} more rows (space)" if more > 0 else ""
        said = stepping.message or (deck.trouble if deck.complete else "")
        if stepping.typed is not None:
            said = f"search readout_id: {stepping.typed}▏ (Enter finds it, Esc ends)"
        screen = [
            _line([Piece(f"{deck.path.name}, {deck.kind}, {total}", "dim")]),
            _line([Piece(heading, "bold")]),
            *map(_line, shown),
            *map(_line, [[]] * (height - len(shown))),
            _line([Piece(below, "dim")]),
            _line(readout_view.legend()),
            _line([Piece(said, "bold yellow") if said else Piece(KEYS, "dim")]),
        ]
        self._live.update(Group(*screen), refresh=True)

    @contextmanager
    def _screen(self) -> Iterator[None]:
        """Take the terminal, and give it back as it was: at the end, and while Ctrl-Z has stopped us."""
        self._settings = termios.tcgetattr(self._input)
        self._take()
        handler = signal.signal(signal.SIGTSTP, self._suspend)
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, handler)
            self._give_back()

    def _take(self) -> None:
        tty.setcbreak(self._input, termios.TCSADRAIN)
        self._live.start()

    def _give_back(self) -> None:
        self._live.stop()
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._settings)

    def _suspend(self, *_: Any) -> None:
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when we are continued
        signal.signal(signal.SIGTSTP, self._suspend)
        self._take()
        self._live.refresh()


def _line(pieces: list[Piece]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for text, style in pieces:
        line.append(text, style)
    return line
