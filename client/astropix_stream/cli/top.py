"""``apx top``: a live table of streams."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

import typer

from astropix_stream.cli.showing.top_view import Row
from astropix_stream.cli.showing.watching import watch
from astropix_stream.cli.terminal import ending, options, reaching
from astropix_stream.cli.terminal.given import Given
from astropix_stream.cli.terminal.sources import Sources
from astropix_stream.errors import ConfigError
from astropix_stream.url import SourceUrl

_GATHER_S = 0.1  # that readouts may wait: the screen is drawn less often

EXAMPLES = (
    "Examples:\n\n"
    "apx top tcp://relay:5556  (all streams of the relay)\n\n"
    "apx top udp://239.1.1.1:5007 udp://239.1.1.2:5007 --separate\n\n"
    "apx top tcp://relay-a:5556 tcp://relay-b:5556  (two relays of the same streams)\n\n"
    "apx top tcp://relay:5556 --json --seconds 60\n\n"
    "The state is live, quiet (connected, but the DAQ sends nothing), lagging (readouts arrive more than 2 s "
    "later than before), losing (some were lost in the last 10 s), no network, no log, or upstream lost (the "
    "relay hears none of the relays above it). With --json, there is a record for each stream each "
    "second; the "
    "summary is JSON on standard error."
)


def command(
    urls: options.Urls,
    *,
    context: typer.Context,
    seconds: options.Seconds = None,
    kind: options.KindOption = None,
    separate: options.Separate = False,
    follow: options.Follow = False,
    begin: options.From = "beginning",
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Show a live table of streams: state, rates, lag, and what was lost where.

    Runs until Ctrl-C, or for --seconds. The exit code is 1 if no source could be reached, 2 if a file is
    damaged.
    """
    ending.only_warnings()
    given = Given(context)
    checked = options.with_follow(options.with_keys(urls, key, server_key), given, follow, begin)
    together = options.as_streams(checked, given, separate=separate)
    listed = [stream for paths in together for stream in streams(paths)]
    with Sources(listed, kind=kind, gather_s=_GATHER_S) as sources:
        reaching.tell_dead(path for source in sources for path in source.paths)
        rows = {source: Row(source) for source in sources}
        interrupted = watch(sources, rows, seconds, as_json=as_json)
        _print_summary(rows.values(), as_json=as_json)
        damaged = any(source.is_damaged for source in sources)
        reached = any(source.receiver.ready for source in sources)
    if not reached:
        told = dict.fromkeys(reaching.complaint(path) for paths in listed for path in paths)
        raise ending.Problem("; ".join(filter(None, told)) or "no source could be reached")
    if damaged:
        ending.finish_with(ending.WRONG_INPUT)
    ending.finish(interrupted=interrupted and seconds is not None)


def streams(paths: Sequence[SourceUrl]) -> list[tuple[SourceUrl, ...]]:
    """Return the streams behind some URLs, with the paths to each: a relay without ``?stream=`` has them all.

    Raises
    ------
    ConfigError
        There are several, and one of the URLs does not say which of them it is a path to.
    """
    found = [_streams_of(url) for url in paths]
    names = sorted({name for streams in found for name in streams if name})
    if len(names) < 2:
        return [tuple(url for streams in found for url in streams.values())]
    for url, streams_there in zip(paths, found, strict=True):
        if url.scheme == "udp":
            raise ConfigError(
                f"{url} is a path to one stream, and there are several: {', '.join(names)}; "
                "say which with ?stream=NAME behind the other URLs, or add --separate"
            )
        if "" in streams_there:  # not there yet: its streams are expected to be those of the others
            streams_there |= {name: replace(url, options=url.options | {"stream": name}) for name in names}
    return [tuple(streams_there[name] for streams_there in found if name in streams_there) for name in names]


def _streams_of(url: SourceUrl) -> dict[str, SourceUrl]:
    """Return the streams of a relay by name; '' is the name of what has or tells none."""
    if url.scheme != "tcp" or "stream" in url.options:
        return {url.options.get("stream", ""): url}
    from astropix_stream.doctor import probe, relay  # noqa: PLC0415  (multicast needs no ZeroMQ)

    answers = probe.ask(url, reaching.STEP_S)
    names = [] if answers.hello is None else relay.stream_names(answers.hello)
    return {name: replace(url, options=url.options | {"stream": name}) for name in names} or {"": url}


def _print_summary(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print what came and what did not; on standard error where programs read the other."""
    if as_json:
        print(json.dumps({"sources": [row.source.account_json() for row in rows]}), file=sys.stderr)
        return
    for row in rows:
        print(*row.source.accounts(), sep="\n")
