"""``apx monitor``: the live page."""

import json
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.terminal import ending, options
from astropix_stream.errors import ConfigError

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
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the page is served.")
    ] = "127.0.0.1:5006",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Also let browsers show the page under this address; several times for several.",
            show_default=False,
        ),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Also write pictures and numbers there, for a logbook.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Seconds between two snapshots.")
    ] = 60.0,
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
            help="YAML with alarms and a webhook for them; SIGHUP has it read again.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Keep the runs there for the next start; by default in ~/.local/state/astropix.",
            show_default=False,
        ),
    ] = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Begin without the runs of an earlier start, and keep none.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve the page, or only write snapshots.")
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
            help="Begin with what a relay's history still holds, with what comes now, or N readouts ago; "
            "by default where the monitor ended before.",
            show_default=False,
        ),
    ] = None,
    kind: options.KindOption = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show in a browser what the detector sees, now: rates, hit map, spectra, and what was lost where.

    Any number of browsers may look; the readouts are received and decoded once. Runs until Ctrl-C.
    """

    def announce(page: str) -> None:
        print(json.dumps({"page": page}) if as_json else f"the page is at {page}")

    try:
        from astropix_stream.monitor import app, export, saving, words  # noqa: PLC0415  (Bokeh takes its time)
    except ImportError as error:
        raise ConfigError(
            f"the page needs more packages ({error.name}): pip install 'astropix-stream[monitor]'"
        ) from None
    ways = options.with_follow(options.with_keys(urls, key, server_key), follow, begin)
    view = app.run(
        ways,
        listen=listen if page else None,
        origins=allow_origin or [],
        snapshots=snapshot,
        every_s=every,
        start=start,
        kind=kind,
        references=reference or [],
        config=config,
        state=saving.open_state(ways, state, wanted=not no_state),
        announce=announce,
    )
    print(json.dumps(export.state(view)) if as_json else words.summary(view))
    ending.finish()
