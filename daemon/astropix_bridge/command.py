"""The command ``astropix-bridge``: run the bridge, check a configuration, print its schema."""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from astropix_bridge.model import BridgeConfig, load_config, schema
from astropix_bridge.service import Bridge
from astropix_daemon import commands
from astropix_relay.host import logs
from astropix_stream import __version__, distributions
from astropix_stream.errors import ConfigError

CANNOT_START = 1
WRONG_INPUT = commands.WRONG_INPUT

app = commands.make_app(
    "Store what relays publish in a NATS JetStream log, each readout once and in order.",
    "0 stopped as asked, 1 cannot start, 2 wrong configuration or option",
)


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"astropix-bridge {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(cls=commands.Command)
def run(  # noqa: PLR0917  (typer)
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Configuration file; every key is explained in config/bridge.yaml."
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="tcp://RELAY:PORT or udp://GROUP:PORT; several for redundant relays.",
        ),
    ] = None,
    nats: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="nats://HOST:PORT; several of one cluster.")
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Stream to store; by default every one of the relay's."),
    ] = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of this place, in the subjects.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(metavar="N", help="Servers that hold a copy: 1, 3 or 5.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="TIME", help="Longest wait to share a message, such as 20ms.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="DOMAIN", help="Mirror the streams of a beam line's log, on a hub."),
    ] = None,
) -> None:
    """Store until SIGTERM or SIGINT.

    Without a file every stream of tcp://127.0.0.1:5556 goes to nats://127.0.0.1:4222; options win over the
    file.

    Example: astropix-bridge run --from tcp://relay:5556 --nats nats://host:4222
    """
    if conflict := distributions.conflict():
        _fail(f"cannot start: {conflict}", CANNOT_START)
    options: dict[str, object] = {
        "from": source or None,
        "nats": nats or None,
        "stream": stream or None,
        "site": site,
        "replicas": replicas,
        "batch": batch,
        "mirror": mirror,
    }
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload has nothing to do yet; by default it would end us
    checked = _load(config, options)
    log = logs.set_up(checked.log.level)
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # what it tells we tell in our own words
    try:
        bridge = Bridge(checked, lambda: _read(config, options), log.tick)
    except (OSError, ConfigError) as error:
        _fail(f"cannot start: {commands.reason(error)}", CANNOT_START)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: bridge.stop())
    signal.signal(signal.SIGHUP, lambda *_: bridge.reload())
    try:
        asyncio.run(bridge.run())
    except (OSError, ConfigError) as error:
        _fail(commands.reason(error), CANNOT_START)


@app.command(cls=commands.Command)
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file.")]) -> None:
    """Check a configuration file: all mistakes at once, each with its line and column."""
    config = _load(file, {})
    streams = ", ".join(config.streams) or "every stream of the relay"
    origin = ", ".join(config.sources)
    if config.mirror is not None:
        streams = ", ".join(config.streams) or "every stream"
        origin = f"the log of {config.mirror}, as mirrors,"
    print(f"{file}: valid; {streams} from {origin} to {', '.join(config.nats.servers)}")


@app.command("schema", cls=commands.Command)
def print_schema() -> None:
    """Print the JSON schema of the configuration file, for editors."""
    print(json.dumps(schema(), indent=2))


def _load(file: Path | None, overrides: dict[str, object]) -> BridgeConfig:
    try:
        return _read(file, overrides)
    except ConfigError as error:
        _fail(str(error), WRONG_INPUT)


def _read(file: Path | None, overrides: dict[str, object]) -> BridgeConfig:
    return load_config(commands.read_text(file), file=str(file), overrides=overrides)


def _fail(message: str, code: int) -> NoReturn:
    logs.finish()
    print(message, file=sys.stderr)
    raise typer.Exit(code)
