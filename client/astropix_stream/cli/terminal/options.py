"""Options that several subcommands share, and what their values may be."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.terminal import completing, ending
from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Kind, find_kind
from astropix_stream.url import SourceUrl, parse_url


def positive(text: str | float) -> float:
    """Read a number above 0."""
    number = _number(text)
    if not 0.0 < number < math.inf:
        raise typer.BadParameter(f"{text!r} is not a number above 0")
    return number


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


def _speed(text: str | float) -> float:
    return math.inf if text in ("max", math.inf) else positive(text)


def fraction(text: str | float) -> float:
    """Read 1% or 0.01."""
    whole = str(text)
    number = _number(whole.removesuffix("%")) / (100.0 if whole.endswith("%") else 1.0)
    if not 0.0 <= number <= 1.0:
        raise typer.BadParameter(f"{text!r} is not a fraction: write 1% or 0.01")
    return number


def _kind(text: str | Kind) -> Kind:
    if isinstance(text, Kind):
        return text
    try:
        return find_kind(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _debug(wanted: bool) -> None:
    if wanted:
        ending.show_details()


_NETWORK = "Network"
_BAD_NETWORK = "Simulate a bad network, to test a monitor"

Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, help="Show tracebacks and all log messages.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
KeepDuplicates = Annotated[
    bool,
    typer.Option("--keep-duplicates", help="Keep duplicates (the same readout, received again)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs, one record per line.")]

GroupOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS", help="Multicast group (or address) to send to.", rich_help_panel=_NETWORK
    ),
]
PortOption = Annotated[
    int, typer.Option(metavar="PORT", min=1, max=65535, help="UDP port.", rich_help_panel=_NETWORK)
]
InterfaceOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Interface to send through, by name or address; by default the one of the route to the group.",
        autocompletion=completing.interfaces,
        rich_help_panel=_NETWORK,
        show_default=False,
    ),
]
Ttl = Annotated[
    int,
    typer.Option(
        metavar="N", min=0, max=255,
        help="Number of routers that a readout may pass; 0 keeps it on this host.",
        rich_help_panel=_NETWORK,
    ),
]  # fmt: skip

Speed = Annotated[
    float,
    typer.Option(
        parser=_speed, metavar="N|max", help="Play N times as fast as recorded, or as fast as possible (max)."
    ),
]
Rate = Annotated[float | None, typer.Option(parser=positive, metavar="N", help="Readouts per second.")]
Seed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Random seed: the same seed gives the same readouts and losses."),
]

LossOption = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        show_default=False,
        help="Drop this share of the readouts.",
        rich_help_panel=_BAD_NETWORK,
    ),
]
Duplicate = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        show_default=False,
        help="Send this share of the readouts twice.",
        rich_help_panel=_BAD_NETWORK,
    ),
]
Reorder = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        show_default=False,
        help="Swap this share of the readouts with the next one.",
        rich_help_panel=_BAD_NETWORK,
    ),
]

KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--kind", parser=_kind, metavar="KIND", autocompletion=completing.kinds,
        help="Kind of the readouts, whatever the source says: astropix4, astropix3, astep, or a uid.",
        show_default=False,
    ),
]  # fmt: skip

SimulatedKind = Annotated[
    Kind | None,
    typer.Option(
        "--kind", parser=_kind, metavar="KIND", autocompletion=completing.kinds,
        help="Detector to simulate: astropix4 (the default), astropix3 or astep.",
        show_default=False,
    ),
]  # fmt: skip

RecordedKind = Annotated[
    Kind | None,
    typer.Option(
        "--kind", "--readout-uid", parser=_kind, metavar="KIND",
        help="What the readouts are, where no relay says it: astropix4 (the default), astropix3, astep, uid.",
        show_default=False,
    ),
]  # fmt: skip

Files = Annotated[
    list[Path], typer.Argument(metavar="FILE", help="Files: .apx, .log or .bin.", show_default=False)
]
Urls = Annotated[
    list[str],
    typer.Argument(
        metavar="URL",
        help="Source: udp://GROUP:PORT, tcp://RELAY:PORT, nats://HOST:PORT, a file, or - for standard input. "
        "Several URLs are redundant paths to the same readouts.",
        autocompletion=completing.urls,
        show_default=False,
    ),
]
Separate = Annotated[
    bool,
    typer.Option("--separate", help="Treat each URL as a stream of its own, not as a path to the same one."),
]
NetworkUrls = Annotated[
    list[str],
    typer.Argument(
        metavar="URL",
        help="Source: udp://GROUP:PORT, tcp://RELAY:PORT or nats://HOST:PORT. Several URLs are redundant "
        "paths "
        "to the same readouts.",
        autocompletion=completing.urls,
        show_default=False,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Your NAME.key_secret, for a relay with encryption.", show_default=False
    ),
]
ServerKey = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The relay's public key.", show_default=False)
]
Follow = Annotated[
    bool,
    typer.Option("--follow", help="Follow a file that is still being written, as tail -F does."),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="beginning|end",
        help="With --follow: start at the beginning or at the end of the file.",
        autocompletion=completing.among(("beginning", "end")),
    ),
]
Count = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N readouts.")]
Timeout = Annotated[
    float | None,
    typer.Option(parser=positive, metavar="N", help="Give up after N seconds without a readout."),
]
Seconds = Annotated[float | None, typer.Option(parser=positive, metavar="N", help="Stop after N seconds.")]


def check_seed(given: Given) -> None:
    """Refuse a seed for what is left to no chance.

    Raises
    ------
    ConfigError
        There is a --seed, and none of the options that need one.
    """
    if not any(option in given for option in ("--loss", "--duplicate", "--reorder")):
        given.refuse("--seed", because="is for --loss, --duplicate or --reorder: add one, or leave it out")


def as_streams(
    sources: Sequence[SourceUrl], given: Given, *, separate: bool = False
) -> list[tuple[SourceUrl, ...]]:
    """Return the streams that several URLs stand for, with the paths to each.

    Raises
    ------
    ConfigError
        They cannot be paths to one stream, or `--separate` means nothing.
    """
    if len(sources) == 1:
        given.refuse("--separate", because="is for several URLs: leave it out")
    if separate or len(sources) == 1:
        return [(source,) for source in sources]
    if twice := next((one for one in sources if sources.count(one) > 1), None):
        raise ConfigError(f"{twice}: named twice; several URLs are different paths to the same readouts")
    if file := next((one for one in sources if one.scheme == "file"), None):
        raise ConfigError(
            f"{file}: several URLs are redundant paths to one stream, which a file is not; "
            "name one file, or add --separate"
        )
    return [tuple(sources)]


def with_keys(urls: Sequence[str], key: Path | None, server_key: Path | None) -> list[str]:
    """Put the keys of --key and --server-key into the relays' URLs that do not name their own.

    Raises
    ------
    ConfigError
        No URL has a use for one of them.
    """
    if key is None and server_key is None:
        return list(urls)
    options = {"key_file": key, "server_key": server_key}
    named = {name: str(path) for name, path in options.items() if path is not None}
    parsed = [(url, parse_url(url)) for url in urls]
    relays = [source for _, source in parsed if source.scheme == "tcp"]
    if len(named) == 1 and any(not (options.keys() - named) & source.options.keys() for source in relays):
        raise ConfigError("--key and --server-key belong together: your secret key, the relay's public one")
    for option, name in (("--key", "key_file"), ("--server-key", "server_key")):
        if name in named and all(source.scheme != "tcp" for _, source in parsed):
            raise ConfigError(f"{option} is for a relay, tcp://HOST:PORT: leave it out")
        if name in named and all(name in source.options for _, source in parsed if source.scheme == "tcp"):
            raise ConfigError(f"{option}: the URL names its {name} already; give one of the two")
    return [str(_with_options(source, named)) if source.scheme == "tcp" else url for url, source in parsed]


def with_follow(urls: Sequence[str], given: Given, follow: bool, begin: str) -> list[SourceUrl]:
    """Let files be followed, if --follow says so.

    Raises
    ------
    ConfigError
        There is no file to follow, or --from is neither beginning nor end, or means nothing.
    """
    sources = [parse_url(url) for url in urls]
    if not follow:
        given.refuse("--from", because="needs --follow, for a file that grows")
        return sources
    if begin not in ("beginning", "end"):
        raise ConfigError(f"--from {begin!r}: write beginning or end")
    if not any(source.scheme == "file" for source in sources):
        raise ConfigError("--follow is for a file that grows; what comes from a network is followed anyway")
    return [replace(one, options={"follow": begin}) if one.scheme == "file" else one for one in sources]


def with_times(
    urls: Sequence[str], begin: str | None, until: str | None
) -> tuple[list[SourceUrl], int | None]:
    """Put what --from says into the URLs of logs; return them, and ns since the Unix epoch of what --to says.

    Raises
    ------
    ConfigError
        A time is none, or a source is no log.
    """
    sources = [parse_url(url) for url in urls]
    given = "--from" if begin is not None else "--to" if until is not None else ""
    if given and (other := next((source for source in sources if source.scheme != "nats"), None)):
        raise ConfigError(f"{given} is for a log, nats://HOST:PORT; {other} has live readouts only")
    if begin is not None:
        if one := next((source for source in sources if "start" in source.options), None):
            raise ConfigError(f"--from: {one} says where to start already; give one of the two")
        sources = [replace(source, options={**source.options, "start": begin}) for source in sources]
    try:
        end_ns = None if until is None else int(datetime.fromisoformat(until).timestamp() * 1e9)
    except ValueError:
        raise ConfigError(f"--to {until!r}: write a time such as 2026-11-28T10:00") from None
    return sources, end_ns


def _with_options(source: SourceUrl, more: dict[str, str]) -> SourceUrl:
    return replace(source, options={**more, **source.options})
