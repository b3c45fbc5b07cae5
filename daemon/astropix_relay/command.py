"""The command ``astropix-relay``: run the relay, check a configuration, print its schema."""

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import zmq

from astropix_daemon import commands
from astropix_relay.clients.handover import Handover
from astropix_relay.clients.security import exposed_secret, has_secret, load_clients, load_secret
from astropix_relay.configuration.checks import endpoint_problems, interface_problems
from astropix_relay.configuration.consistency import warnings
from astropix_relay.configuration.loading import load_config, schema
from astropix_relay.configuration.model import Config, SecurityConfig
from astropix_relay.host import logs, reloads, systemd
from astropix_relay.service import Relay
from astropix_stream import __version__, distributions, keys
from astropix_stream.errors import ConfigError

_log = logging.getLogger("astropix_relay")

CANNOT_START = 1
WRONG_INPUT = commands.WRONG_INPUT
RELOAD_TIMEOUT_S = 20.0

app = commands.make_app(
    "Join multicast groups and republish every readout over ZeroMQ.",
    "0 stopped as asked, 1 cannot start, 2 wrong configuration or option",
)


def _interfaces(incomplete: str) -> list[str]:
    """Offer this host's interfaces; what that brings along is 1.5 MiB that a relay does not need."""
    from astropix_stream.cli.terminal import completing  # noqa: PLC0415

    return completing.interfaces(incomplete)


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        _refuse_conflict()
        print(f"astropix-relay {__version__} (pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()})")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(cls=commands.Command)
def run(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration file; every key is explained in config/relay.yaml."),
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Multicast group to relay.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="UDP port of the group.")] = None,
    interface: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Interface to join on, by name or address.",
            autocompletion=_interfaces,
        ),
    ] = None,
    publish: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Where subscribers connect: tcp://ADDRESS:PORT.")
    ] = None,
) -> None:
    """Relay until SIGTERM or SIGINT.

    Without a file 239.1.1.1:5007 is relayed to tcp://127.0.0.1:5556; options win over the file.

    Example: astropix-relay run --interface eth1 --publish 'tcp://*:5556'
    """
    _refuse_conflict()
    options: dict[str, object] = {"group": group, "port": port, "interface": interface, "publish": publish}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload has nothing to do yet; by default it would end us
    try:
        checked = _read(config, options)
    except ConfigError as error:
        Handover().let_go_all()  # clients are to be refused, and not to wait for a relay that cannot start
        _fail(str(error), WRONG_INPUT)
    log = _set_up_log(checked)
    _allow_connections()
    try:
        relay = Relay(checked, lambda: _read(config, options), log)
    except (OSError, ConfigError, zmq.ZMQError) as error:
        _fail(f"cannot start: {commands.reason(error)}", CANNOT_START)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop())
    signal.signal(signal.SIGHUP, lambda *_: relay.reload())
    systemd.barrier(5)  # the sockets are in the store before anybody may restart us
    systemd.notify(READY=1, STATUS=relay.telling.status())
    relay.run()


@app.command(cls=commands.Command)
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration file.")]) -> None:
    """Check a configuration file: all mistakes at once, each with its line and column.

    Keys, interfaces and endpoints are looked at as a start would.
    """
    config = _load(file, {})
    for warning in (*warnings(config), *interface_problems(config), *endpoint_problems(config, file)):
        print(f"warning: {warning}", file=sys.stderr)
    if config.security is not None:
        try:
            _check_keys(config.security, file.stem)
        except ConfigError as error:
            _fail(str(error), WRONG_INPUT)
    print(f"{file}: valid, {len(config.streams)} stream{'s' * (len(config.streams) != 1)}")


def _check_keys(security: SecurityConfig, instance: str) -> None:
    """Read the keys as a start does.

    Raises
    ------
    ConfigError
        They are not right, a line for each.
    """
    logging.basicConfig(format="warning: %(message)s")
    wrong = [exposed_secret(instance)]
    for load in (load_secret, partial(load_clients, refuse_broken=True)):
        try:
            load(security)
        except ConfigError as error:
            wrong.append(str(error))
    if security.secret_key is None and not os.environ.get("CREDENTIALS_DIRECTORY"):
        wrong.pop(1)  # only the service has it
        if not has_secret(instance):
            wrong.append(
                f"no secret key for the service: there is no astropix-relay.{instance}.key_secret in "
                "/etc/credstore (see docs/operating.md)"
            )
    if texts := [text for text in wrong if text]:
        raise ConfigError("\n".join(texts))


@app.command(cls=commands.Command, hidden=True)
def reload(
    config: Annotated[Path, typer.Option(help="The relay's configuration file.")],
    pid: Annotated[int, typer.Argument(help="The relay's process.")],
) -> None:
    """Have a relay reload, and fail if it refuses. For ExecReload= in the service's unit."""
    _load(config, {})
    try:
        answer = reloads.request(pid, RELOAD_TIMEOUT_S)
    except TimeoutError:
        _fail(f"the relay did not answer within {RELOAD_TIMEOUT_S:.0f} s: see its journal", CANNOT_START)
    except OSError as error:
        _fail(f"cannot ask process {pid} to reload: {commands.reason(error)}", CANNOT_START)
    if answer:
        _fail(answer, WRONG_INPUT)


@app.command("schema", cls=commands.Command)
def print_schema() -> None:
    """Print the JSON schema of the configuration file, for editors."""
    print(json.dumps(schema(), indent=2))


@app.command(cls=commands.Command)
def keygen(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where to put the two files; made if it is missing.")
    ],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Whose keys they are, such as the name of a client's host.")
    ] = "relay",
) -> None:
    """Make a key pair: NAME.key for the other side, NAME.key_secret for this one alone.

    Example: astropix-relay keygen /etc/astropix-relay/keys
    """
    try:
        public, secret = keys.write_pair(directory, name)
    except ConfigError as error:
        _fail(str(error), WRONG_INPUT)
    except FileExistsError as error:
        _fail(f"{error.filename} exists already, and is left as it is", CANNOT_START)
    except OSError as error:
        _fail(f"cannot write to {directory}: {commands.reason(error)}", CANNOT_START)
    print(f"public key: {public}\nsecret key: {secret}")


def _refuse_conflict() -> None:
    if conflict := distributions.conflict():
        _fail(f"cannot start: {conflict}", CANNOT_START)


def _load(file: Path | None, overrides: dict[str, object]) -> Config:
    try:
        return _read(file, overrides)
    except ConfigError as error:
        _fail(str(error), WRONG_INPUT)


def _read(file: Path | None, overrides: dict[str, object]) -> Config:
    return load_config(commands.read_text(file), file=str(file), overrides=overrides)


def _set_up_log(config: Config) -> logs.SummingHandler:
    handler = logs.set_up(config.log.level)
    for warning in warnings(config):
        _log.warning("%s", warning)
    return handler


def _allow_connections() -> None:
    """Take all the descriptors that we may have: each connection is one, those that stay silent too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(message: str, code: int) -> NoReturn:
    logs.finish()
    print(message, file=sys.stderr)
    raise typer.Exit(code)
