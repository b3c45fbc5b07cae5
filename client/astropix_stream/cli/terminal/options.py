"""Options that several subcommands share, and what their values may be."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from astropix_stream.cli.terminal import ending
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
_BAD_NETWORK = "A bad network, to test a monitor with"

Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, help="Show tracebacks and all log messages.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
KeepDuplicates = Annotated[
    bool,
    typer.Option("--keep-duplicates", help="Keep readouts that came a second time; else they are left out."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON, one line a record.")]

GroupOption = Annotated[str, typer.Option(help="Group, or address, to send to.", rich_help_panel=_NETWORK)]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="UDP port.", rich_help_panel=_NETWORK)]
InterfaceOption = Annotated[
    str | None,
    typer.Option(
        help="Interface to send through, by name or address; by default that of the route to the group.",
        rich_help_panel=_NETWORK,
        show_default=False,
    ),
]
Ttl = Annotated[
    int,
    typer.Option(
        min=0, max=255, help="Routers that a readout may pass; 0 keeps it on this host.",
        rich_help_panel=_NETWORK,
    ),
]  # fmt: skip

Speed = Annotated[
    float,
    typer.Option(parser=_speed, metavar="N|max", help="N times as fast as recorded, or without waiting."),
]
Rate = Annotated[float | None, typer.Option(parser=positive, metavar="N", help="Readouts per second.")]
Seed = Annotated[
    int | None, typer.Option(help="Random seed: the same seed gives the same readouts and losses.")
]

LossOption = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        help="Leave out this share of the readouts.",
        rich_help_panel=_BAD_NETWORK,
    ),
]
Duplicate = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        help="Send this share of the readouts twice.",
        rich_help_panel=_BAD_NETWORK,
    ),
]
Reorder = Annotated[
    float,
    typer.Option(
        parser=fraction,
        metavar="N%",
        help="Send this share of the readouts after the next one.",
        rich_help_panel=_BAD_NETWORK,
    ),
]

KindOption = Annotated[
    Kind | None,
    typer.Option(
        "--kind", parser=_kind, metavar="KIND",
        help="What the readouts are, whatever is said of them: astropix4, astropix3, astep, or a uid.",
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

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Files, .apx.", show_default=False)]
Urls = Annotated[
    list[str],
    typer.Argument(
        metavar="URL",
        help="Where from: udp://GROUP:PORT, tcp://RELAY:PORT, nats://HOST:PORT, a file, or - for standard "
        "input; several are redundant paths to the same readouts.",
        show_default=False,
    ),
]
Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Where from: udp://GROUP:PORT, tcp://RELAY:PORT or nats://HOST:PORT.",
        show_default=False,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Our NAME.key_secret, for relays with encryption.", show_default=False),
]
ServerKey = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The relay's public key.", show_default=False)
]
Follow = Annotated[
    bool,
    typer.Option("--follow", help="Of a file: go on with what is written to it, as tail -F does."),
]
From = Annotated[
    str,
    typer.Option(
        "--from", metavar="beginning|end", help="With --follow: with what is there, or with what comes."
    ),
]
Count = Annotated[int | None, typer.Option(min=1, help="End after so many readouts.")]
Timeout = Annotated[
    float | None,
    typer.Option(parser=positive, metavar="N", help="Give up after so many seconds without a readout."),
]
Seconds = Annotated[
    float | None, typer.Option(parser=positive, metavar="N", help="End after so many seconds.")
]


def with_keys(urls: Sequence[str], key: Path | None, server_key: Path | None) -> list[str]:
    """Put the keys of --key and --server-key into the relays' URLs that do not name their own."""
    if key is None and server_key is None:
        return list(urls)
    given = {"key_file": key, "server_key": server_key}
    named = {name: str(path) for name, path in given.items() if path is not None}
    parsed = [(url, parse_url(url)) for url in urls]
    return [str(_with_options(source, named)) if source.scheme == "tcp" else url for url, source in parsed]


def with_follow(urls: Sequence[str], follow: bool, begin: str) -> list[SourceUrl]:
    """Let files be followed, if --follow says so.

    Raises
    ------
    ConfigError
        There is no file to follow, or --from is neither beginning nor end.
    """
    sources = [parse_url(url) for url in urls]
    if begin not in ("beginning", "end"):
        raise ConfigError(f"--from {begin!r}: write beginning or end")
    if not follow:
        return sources
    if not any(source.scheme == "file" for source in sources):
        raise ConfigError("--follow is for a file that grows; what comes from a network is followed anyway")
    return [replace(one, options={"follow": begin}) if one.scheme == "file" else one for one in sources]


def with_times(
    urls: Sequence[str], begin: str | None, until: str | None
) -> tuple[list[str | SourceUrl], int | None]:
    """Put what --from says into the URLs of logs; return them, and ns since the Unix epoch of what --to says.

    Raises
    ------
    ConfigError
        A time is none, or a source is no log.
    """
    sources = [parse_url(url) for url in urls]
    given = "--from" if begin is not None else "--to" if until is not None else ""
    if given and (other := next((source for source in sources if source.scheme != "nats"), None)):
        raise ConfigError(f"{given} is for a log, nats://HOST:PORT; {other} has only what comes")
    if begin is not None:
        sources = [replace(source, options={**source.options, "start": begin}) for source in sources]
    try:
        end_ns = None if until is None else int(datetime.fromisoformat(until).timestamp() * 1e9)
    except ValueError:
        raise ConfigError(f"--to {until!r}: write a time such as 2026-11-28T10:00") from None
    return list(sources), end_ns


def _with_options(source: SourceUrl, more: dict[str, str]) -> SourceUrl:
    return replace(source, options={**more, **source.options})
