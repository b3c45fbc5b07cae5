"""``apx top``: a live table of streams."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from astropix_stream.cli.showing.top_view import Row
from astropix_stream.cli.showing.watching import watch
from astropix_stream.cli.terminal import ending, options
from astropix_stream.cli.terminal.sources import Sources
from astropix_stream.url import SourceUrl

_GATHER_S = 0.1  # that readouts may wait: the screen is drawn less often

EXAMPLES = (
    "Examples:\n\n"
    "apx top udp://239.1.1.1:5007 udp://239.1.1.2:5007\n\n"
    "apx top tcp://relay:5556  (all streams of the relay)\n\n"
    "apx top tcp://relay:5556 --json --seconds 60\n\n"
    "The state is live, quiet (connected, but the DAQ sends nothing), lagging (readouts come more than 2 s "
    "later than they did), losing (some were lost in the last 10 s), no network, no "
    "log or upstream lost (the relay hears none of the relays above it). A record of --json is a "
    "stream in a second; the summary then is JSON on standard error."
)


def command(
    urls: options.Urls,
    *,
    seconds: options.Seconds = None,
    kind: options.KindOption = None,
    follow: options.Follow = False,
    begin: options.From = "beginning",
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what streams are doing: state, rates, lag, and what was lost where; a row for each.

    Runs until Ctrl-C, or as long as --seconds says.
    """
    ending.only_warnings()
    checked = options.with_follow(options.with_keys(urls, key, server_key), follow, begin)
    listed = [stream for url in checked for stream in streams(url)]
    with Sources(listed, kind=kind, gather_s=_GATHER_S) as sources:
        rows = {source: Row(source) for source in sources}
        interrupted = watch(sources, rows, seconds, as_json=as_json)
        _print_summary(rows.values(), as_json=as_json)
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


def _print_summary(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print what came and what did not; on standard error where programs read the other."""
    if as_json:
        print(json.dumps({"sources": [row.source.account_json() for row in rows]}), file=sys.stderr)
        return
    for row in rows:
        print(f"{row.source}: {row.source.account()}")
