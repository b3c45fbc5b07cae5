"""``apx doctor``: find out why a monitor sees nothing."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from astropix_stream.cli.terminal import completing, ending, options
from astropix_stream.cli.terminal.given import Given
from astropix_stream.doctor import examination, host
from astropix_stream.doctor.verdict import Mark, Verdict, first_to_mend
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import ASTROPIX4, Kind
from astropix_stream.sock import DEFAULT_GROUP, DEFAULT_PORT
from astropix_stream.url import SourceUrl, parse_url

EXAMPLES = (
    "Examples:\n\n"
    "apx doctor  (checks udp://239.1.1.1:5007, the default group)\n\n"
    "apx doctor 'udp://239.1.1.1:5007?interface=eth1' --relay tcp://relay:5556\n\n"
    "apx doctor 'nats://host:4222?stream=astropix'\n\n"
    "sudo apx doctor udp://239.1.1.1:5007 --listen 130  (long enough to miss a querier)\n\n"
    "With --json, each record is a check; the last one says what to try first."
)

_COLOURS = {Mark.OK: "green", Mark.WRONG: "bold red", Mark.UNKNOWN: "yellow"}
_ROOT_ADDS = "run as root to check more: the firewall's rules, queriers, and what reaches the interface"


def command(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="udp://GROUP:PORT, tcp://RELAY:PORT or nats://HOST:PORT; by default the documented group.",
            autocompletion=completing.urls,
            show_default=False,
        ),
    ] = None,
    *,
    context: typer.Context,
    relay: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Relay to check, too (without a URL, only the relay): tcp://HOST:PORT.",
            autocompletion=completing.urls,
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        float, typer.Option(parser=options.positive, metavar="N", help="Listen to the group for N seconds.")
    ] = 5,
    kind: options.KindOption = None,
    key: options.Key = None,
    server_key: options.ServerKey = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Find out why a monitor sees nothing: one line per check, then the first thing to try.

    With --kind, it says whether the readouts are of this kind: by what decodes, and by what a relay tells.
    Sends and changes nothing. The exit code is 1 if something is wrong.
    """
    sources = _sources(url, relay, key, server_key)
    if all(source.scheme != "udp" for source in sources):
        because = "is for a group, udp://GROUP:PORT: leave it out"
        Given(context).refuse("--listen", because=because)
    if all(source.scheme == "nats" for source in sources):
        Given(context).refuse("--kind", because="is for a group or a relay: leave it out")
    ending.only_warnings()
    report: list[Verdict] = []
    for title, verdicts in _examine(sources, listen, kind, quiet=as_json):
        _print_records(title, verdicts) if as_json else _print_lines(title, verdicts)
        report += verdicts
    _print_summary_record(report) if as_json else _print_summary(report)
    ending.finish(wrong=any(verdict.is_wrong for verdict in report))


def _sources(
    url: str | None, relay: str | None, key: Path | None, server_key: Path | None
) -> list[SourceUrl]:
    """Return what to examine: the group first."""
    texts = [text for text in (url, relay) if text is not None] or [f"udp://{DEFAULT_GROUP}:{DEFAULT_PORT}"]
    sources = [parse_url(text) for text in options.with_keys(texts, key, server_key)]
    if file := next((one for one in sources if one.scheme == "file"), None):
        raise ConfigError(
            f"{file}: the doctor checks udp://, tcp:// and nats:// sources; for a file, use `apx info`"
        )
    if relay is not None and sources[-1].scheme != "tcp":
        raise ConfigError(f"--relay {relay!r}: a relay is tcp://HOST:PORT[?stream=NAME]")
    return sources


def _examine(
    sources: Sequence[SourceUrl], listen_s: float, kind: Kind | None, *, quiet: bool
) -> Iterator[tuple[str, list[Verdict]]]:
    yield "this installation", examination.examine_environment()
    for source in sources:
        if source.scheme == "tcp":
            yield str(source), examination.examine_relay(source, kind)
            continue
        if source.scheme == "nats":
            yield str(source), examination.examine_log(source)
            continue
        if not quiet:
            print(f"listening to {source} for {listen_s:g} s ...", file=sys.stderr)
        yield str(source), examination.examine_group(source, listen_s, kind or ASTROPIX4)


def _print_lines(title: str, verdicts: Sequence[Verdict]) -> None:
    from rich.console import Console  # noqa: PLC0415  (slow to import; programs need it not)
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(title, "bold"))
    for verdict in verdicts:
        symbol = f"  {verdict.mark.symbol} ", _COLOURS[verdict.mark]
        console.print(Text.assemble(symbol, f"{verdict.check:<17} {_printable(verdict.text)}"))


def _print_summary(report: Sequence[Verdict]) -> None:
    first = first_to_mend(report)
    wrong = sum(verdict.is_wrong for verdict in report)
    print()
    if not wrong:
        print("Nothing wrong was found." + (" It could be better:" if first is not None else ""))
    if first is not None:
        print(f"The first thing to try: {_printable(first.advice)}" if wrong else _printable(first.advice))
        for line in first.command.splitlines():
            print(f"    {_printable(line)}")
    if _root_would_add(report):
        print(f"? {_ROOT_ADDS} (sudo apx doctor …)")


def _print_records(title: str, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        print(json.dumps({"source": title, **asdict(verdict)}))


def _print_summary_record(report: Sequence[Verdict]) -> None:
    first = first_to_mend(report)
    summary: dict[str, Any] = {
        "wrong": sum(verdict.is_wrong for verdict in report),
        "first": None if first is None else asdict(first),
        "root_would_add": _root_would_add(report),
    }
    print(json.dumps(summary))


def _root_would_add(report: Sequence[Verdict]) -> list[str]:
    """Return the checks of which root would learn more."""
    return [] if host.is_root() else [verdict.check for verdict in report if verdict.needs_root]


def _printable(text: str) -> str:
    """Return text of which a part came from the network, without what would steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
