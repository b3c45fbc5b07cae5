"""``apx playback``: one readout of a file after the other, with what each of its bytes is."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.files.deck import Deck
from astropix_stream.cli.showing import readout_view
from astropix_stream.cli.terminal import ending, options

EXAMPLES = (
    "Examples:\n\n"
    "apx playback run.apx\n\n"
    "apx playback run.bin --start 1000\n\n"
    "apx playback run.apx --count 3 | cat  (as text)\n\n"
    "A byte is the start of a hit, another byte of a hit, idle, an orphan (before the first hit), extra (a "
    "hit that the next readout completes), or dropped. A record of --json is a readout."
)


def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="An .apx, .log or .bin file; - for standard input.", show_default=False
        ),
    ],
    *,
    start: Annotated[
        int, typer.Option(metavar="N", min=0, help="Begin with this readout, counted from 0.")
    ] = 0,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Print N readouts as text, then end.")
    ] = None,
    kind: options.KindOption = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Step through the readouts of a file, with each byte coloured by its role and the hits below.

    Keys go to the next readout, the previous one, a page on or back, the first, the last, the one with some
    id, or the next with an error. Where the output is no terminal, or with --json or --count, all readouts
    are printed one after the other.
    """
    with Deck(file, kind) as deck:
        if not deck.reach(start):
            what = f"it has {len(deck)}, and --start counts from 0" if len(deck) else "there is none"
            trouble = f"; {deck.trouble}" if deck.trouble else ""
            raise ending.Problem(f"{file}: no readout to show: {what}{trouble}", ending.WRONG_INPUT)
        if not deck.kind.known:
            ending.log.warning("%s: the readouts are of an unknown kind, and are shown as bytes", file)
        if count is None and not as_json and _on_terminal():
            from astropix_stream.cli.showing.playback_screen import PlaybackScreen  # noqa: PLC0415

            try:
                PlaybackScreen(deck, start).run()
            except KeyboardInterrupt:
                ending.finish()
        else:
            _print(deck, start, count, as_json=as_json)
        if deck.complete and deck.trouble:
            raise ending.Problem(deck.trouble, ending.WRONG_INPUT)


def _on_terminal() -> bool:
    """Tell whether a person can press keys, and sees what they do."""
    return (
        sys.platform != "win32"
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM") != "dumb"
    )


def _print(deck: Deck, start: int, count: int | None, *, as_json: bool) -> None:
    index = start
    try:
        while (count is None or index < start + count) and deck.reach(index):
            card = deck.card(index)
            if as_json:
                print(json.dumps(readout_view.record(card)))
            else:
                print(*readout_view.lines(card), sep="\n")
            index += 1
    except BrokenPipeError:
        ending.silence_stdout()
