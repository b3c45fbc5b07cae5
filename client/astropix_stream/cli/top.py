"""``apx top``: a live table of streams."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from astropix_stream import clock
from astropix_stream.cli.showing.top_view import Lines, Records, Row, View
from astropix_stream.cli.terminal import ending, options
from astropix_stream.cli.terminal.sources import OpenSource, Sources
from astropix_stream.errors import RefusedError
from astropix_stream.url import SourceUrl, parse_url

EXAMPLES = (
    "Examples:\n\n"
    "apx top udp://239.1.1.1:5007 udp://239.1.1.2:5007\n\n"
    "apx top tcp://relay:5556  (all streams of the relay)\n\n"
    "apx top tcp://relay:5556 --json --seconds 60\n\n"
    "The state is live, quiet (connected, but the DAQ sends nothing), lagging (readouts come more than 2 s "
    "later than they did), losing (some were lost in the last 10 s) or no network. A record of --json is a "
    "stream in a second; the summary then is JSON on standard error."
)

_TURN_S = 0.1


def command(
    urls: options.Urls,
    *,
    seconds: options.Seconds = None,
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what streams are doing: state, rates, lag, and what was lost where; a row for each.

    Runs until Ctrl-C, or as long as --seconds says.
    """
    ending.only_warnings()
    checked = [parse_url(url) for url in options.with_keys(urls, key, server_key)]
    with Sources([stream for url in checked for stream in streams(url)]) as sources:
        rows = {source: Row(source) for source in sources}
        interrupted = False
        try:
            with open_view(list(rows.values()), as_json=as_json) as view:
                interrupted = watch(sources, rows, view, seconds)
        except BrokenPipeError:
            ending.silence_stdout()
        _print_summary(list(rows.values()), as_json=as_json)
    ending.finish(interrupted=interrupted and seconds is not None)


def streams(url: SourceUrl) -> Iterator[SourceUrl]:
    """Iterate over the streams of a relay that is named without one; any other source is its own."""
    if url.scheme != "tcp" or "stream" in url.options:
        yield url
        return
    from astropix_stream.doctor import probe, relay  # noqa: PLC0415  (multicast needs no ZeroMQ)

    hello = probe.ask(url).hello
    for name in relay.stream_names(hello) if hello is not None else ():
        yield replace(url, options=url.options | {"stream": name})
    if hello is None:  # not yet there: its only stream, once it is
        yield url


def watch(sources: Sources, rows: Mapping[OpenSource, Row], view: View, seconds: float | None) -> bool:
    """Receive and show for so many seconds, or until Ctrl-C; return whether it was that."""
    end_s = float("inf") if seconds is None else time.monotonic() + seconds
    next_s = time.monotonic() + view.every_s
    with ending.deferred() as asked:
        while not asked.is_set() and (now_s := time.monotonic()) < end_s:
            try:
                for source, batch in sources.poll(min(_TURN_S, max(0.0, end_s - now_s))):
                    rows[source].take(batch)
            except RefusedError as error:  # told by the one source; the others go on, and it tries again
                ending.log.warning("%s", error)
            now = clock.now()
            if now.s >= next_s:
                next_s = max(next_s + view.every_s, now.s)
                for row in rows.values():
                    row.tick(now)
                view.show(now)
        return asked.is_set()


def _print_summary(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print what came and what did not; on standard error where programs read the other."""
    if as_json:
        print(json.dumps({"sources": [row.source.account_json() for row in rows]}), file=sys.stderr)
        return
    for row in rows:
        print(f"{row.source}: {row.source.account()}")


def open_view(rows: Sequence[Row], *, as_json: bool) -> View:
    """Return the view that fits where standard output goes."""
    if as_json:
        return Records(rows)
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from astropix_stream.cli.showing.top_screen import Screen  # noqa: PLC0415  (rich: only a terminal needs it)

        return Screen(rows)
    return Lines(rows)
