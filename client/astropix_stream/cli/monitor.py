"""``apx monitor``: the live page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.terminal import completing, ending, options, reaching
from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError
from astropix_stream.url import SourceUrl

EXAMPLES = (
    "Examples:\n\n"
    "apx monitor tcp://relay:5556  (then open http://127.0.0.1:5006)\n\n"
    "apx monitor run.apx  (or .log, .bin; with --follow while the DAQ writes it)\n\n"
    "apx monitor udp://239.1.1.1:5007 --snapshot logbook --every 60\n\n"
    "apx monitor tcp://relay:5556 --config monitor.yaml  (with alarms)\n\n"
    "apx monitor tcp://relay:5556 --listen 0.0.0.0:5006 --allow-origin daq.lab.example:5006\n\n"
    "On a big screen: http://127.0.0.1:5006/?theme=dark"
)


def _start(text: str) -> str | int:
    if text in ("oldest", "live"):
        return text
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"{text!r} is not oldest, live or a number of readouts")


def command(
    urls: options.Urls,
    *,
    context: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the page is served.")
    ] = "127.0.0.1:5006",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Also let browsers show the page under this address. Repeatable.",
            show_default=False,
        ),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Also write pictures and numbers to this directory, for a logbook.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Seconds between snapshots.")
    ] = 60,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Offer the readouts of a file to compare runs with; several times for several.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="YAML file with alarms and a webhook; SIGHUP rereads it.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Keep the runs in this file for the next start; by default in ~/.local/state/astropix.",
            show_default=False,
        ),
    ] = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Start without the runs of an earlier start, and keep none.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve the page, or write snapshots only.")
    ] = True,
    follow: options.Follow = False,
    begin: options.From = "beginning",
    key: options.Key = None,
    server_key: options.ServerKey = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="oldest|live|N",
            parser=_start,
            autocompletion=completing.among(("oldest", "live")),
            help="Start with the oldest readout in the relay's history, with live ones, or N readouts ago; "
            "by default where the monitor last stopped.",
            show_default=False,
        ),
    ] = None,
    kind: options.KindOption = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show live in a browser what the detector sees: rates, hit map, spectra, and what was lost where.

    Any number of browsers may show the page; the readouts are received and decoded once. One page shows one
    stream. Runs until Ctrl-C.
    """
    given = Given(context)
    if snapshot is None:
        needed = "needs --snapshot DIR, where to write pictures and numbers"
        given.refuse("--every", "--no-page", because=needed)
    if not page:
        given.refuse("--listen", "--allow-origin", because="is for the page: leave out --no-page")
    checked = options.with_follow(options.with_keys(urls, key, server_key), given, follow, begin)
    (paths,) = options.as_streams(checked, given)
    _check_start(paths, given)

    def announce(page: str) -> None:
        print(json.dumps({"page": page}) if as_json else f"the page is at {page}")

    try:
        from astropix_stream.monitor import (  # noqa: PLC0415  (Bokeh takes its time)
            app,
            export,
            saving,
            server,
            words,
        )
    except ImportError as error:
        raise ConfigError(
            f"the page needs more packages ({error.name}): pip install 'astropix-stream[monitor]'"
        ) from None
    if page:
        server.Site.parse(listen, allow_origin or [])  # before we wait for what may be dead
    reaching.tell_dead(paths)
    view = app.run(
        paths,
        listen=listen if page else None,
        origins=allow_origin or [],
        snapshots=snapshot,
        every_s=every,
        start=start,
        kind=kind,
        references=reference or [],
        config=config,
        state=saving.open_state(paths, state, wanted=not no_state),
        announce=announce,
    )
    print(json.dumps(export.state(view)) if as_json else words.summary(view))
    ending.finish()


def _check_start(paths: Sequence[SourceUrl], given: Given) -> None:
    """Refuse --start where there is nothing to choose."""
    first = paths[0]
    if len(paths) > 1:
        given.refuse("--start", because="is for a single URL: several paths start with live readouts")
    if first.scheme == "udp":
        given.refuse("--start", because=f"is for a relay or a log: {first} has live readouts only")
    if first.scheme == "file":
        given.refuse("--start", because="is for a relay or a log: a file is read from its beginning")
    if "start" in first.options:
        given.refuse("--start", because="is in the URL already: give one of the two")
