"""Receives from sources and shows what arrives, for `apx top` and `apx demo`."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from astropix_stream import clock
from astropix_stream.cli.showing.top_view import Lines, Records, Row, View
from astropix_stream.cli.terminal import ending
from astropix_stream.cli.terminal.sources import OpenSource, Sources
from astropix_stream.errors import RefusedError

if TYPE_CHECKING:
    from rich.console import RenderableType

_TURN_S = 0.25  # in which Ctrl-C is noticed; each turn without a readout is a wake for nothing

Rows = Mapping[OpenSource, Row]


def watch(
    sources: Sources,
    rows: Rows,
    seconds: float | None,
    *,
    as_json: bool,
    heading: Callable[[], str] | None = None,
    below: "Callable[[], RenderableType] | None" = None,
) -> bool:
    """Receive and show until Ctrl-C, or for so many seconds.

    Parameters
    ----------
    sources, rows
        Where to receive, and what notes it.
    seconds
        How long; None: until Ctrl-C.
    as_json
        Show it as records for programs; else as fits where standard output goes.
    heading, below
        Return a line to show above the rows, and on a terminal what to draw below them.

    Returns
    -------
    bool
        Whether Ctrl-C ended it.
    """
    try:
        with _open_view(rows, as_json, heading, below) as view:
            return _watch(sources, rows, view, seconds)
    except BrokenPipeError:
        ending.silence_stdout()
        return False


def take(sources: Sources, rows: Rows, wait_s: float = _TURN_S) -> None:
    """Wait, at most so long, and note what arrived."""
    try:
        for source, batch in sources.poll(wait_s):
            rows[source].take(batch)
    except RefusedError as error:  # told by the one source; the others go on, and it tries again
        ending.log.warning("%s", error)


def _watch(sources: Sources, rows: Rows, view: View, seconds: float | None) -> bool:
    now_s = time.monotonic()
    end_s = float("inf") if seconds is None else now_s + seconds
    next_s = now_s + view.every_s
    for row in rows.values():
        row.tick(clock.now())  # rates count from here
    with ending.deferred() as asked:
        while not asked.is_set() and (now_s := time.monotonic()) < end_s:
            take(sources, rows, min(_TURN_S, max(0.0, end_s - now_s)))
            now = clock.now()
            if now.s >= next_s:
                next_s = max(next_s + view.every_s, now.s)
                for row in rows.values():
                    row.tick(now)
                view.show(now)
        return asked.is_set()


def _open_view(
    rows: Rows,
    as_json: bool,
    heading: Callable[[], str] | None,
    below: "Callable[[], RenderableType] | None",
) -> View:
    shown = list(rows.values())
    if as_json:
        return Records(shown)
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from astropix_stream.cli.showing.top_screen import Screen  # noqa: PLC0415  (rich: only a terminal needs it)

        return Screen(shown, heading, below)
    return Lines(shown, heading)
