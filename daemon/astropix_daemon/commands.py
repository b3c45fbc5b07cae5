"""How the commands of the daemons treat their arguments: as `apx` does."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from astropix_stream import usage
from astropix_stream.cli.terminal import helping
from astropix_stream.errors import ConfigError

WRONG_INPUT = 2
Command = helping.Command

# Newer versions of typer carry their own copy of click, older ones import click: this is the class of either.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def make_app(description: str, exit_codes: str) -> typer.Typer:
    """Make a command with `-h`, completion, and its help where nothing is asked for."""
    return typer.Typer(
        cls=helping.Group,
        help=description,
        epilog=f"Exit codes: {exit_codes}.",
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run a command with the arguments of this process; say in one line what is wrong with them."""
    try:
        code = app(prog_name=name, standalone_mode=False)
    except _UsageError as error:
        _explain(error, name)
        code = WRONG_INPUT
    sys.exit(code or 0)


def read_text(file: Path | None) -> str:
    """Return the text of a configuration file; without one it is empty.

    Raises
    ------
    ConfigError
        It cannot be read, or is not UTF-8.
    """
    try:
        return "" if file is None else file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error}") from None


def reason(error: Exception) -> str:
    """Return why something failed: the system's words without its number, where there are such."""
    return getattr(error, "strerror", None) or str(error)


def _explain(error: Any, name: str) -> None:
    command = error.ctx.command_path if error.ctx else name
    text = " ".join(usage.explain(error).split())
    print(f"{command}: {text} (see {command} --help)", file=sys.stderr)
