"""The command ``apx``: a module for each subcommand, imported only when that subcommand is asked for."""

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import typer

from astropix_stream.cli.terminal import completing, encoding, ending, helping, options

#: In the order of the help: a module each, with a function `command` and the text `EXAMPLES`.
COMMANDS = (
    "receive",
    "monitor",
    "top",
    "doctor",
    "record",
    "send",
    "info",
    "playback",
    "convert",
    "simulate",
    "demo",
    "conformance",
)

_EPILOG = (
    "A source is udp://GROUP:PORT[?interface=NAME&source=ADDRESS], tcp://HOST:PORT[?stream=NAME], "
    "nats://HOST:PORT[?stream=NAME&start=WHEN] or a file.\n\n"
    "Exit codes: 0 success; 1 something went wrong (nothing arrived in time, readouts were not sent); 2 "
    "wrong input, or a damaged file: what is whole of it is used, and a message says what is wrong where; "
    "130 interrupted by Ctrl-C before the work was done. Ctrl-C is the usual end of commands that run "
    "until they are stopped: they print their summary and end with 0 or 1."
)


def main() -> None:
    """Run ``apx`` with the arguments of this process."""
    encoding.prepare()
    if completing.ASKED in os.environ:
        completing.run(build(_wanted(completing.words())))
    sys.exit(run(sys.argv[1:], prepare=ending.prepare))


def run(args: Sequence[str], prepare: Callable[[], None] = lambda: None) -> int:
    """Run ``apx`` with these arguments; return the exit code. `prepare` is called once all is imported."""
    try:
        app = build(_wanted(args))
        prepare()
        return app(list(args), prog_name="apx", standalone_mode=False) or ending.OK
    except KeyboardInterrupt:
        return ending.INTERRUPTED
    except Exception as error:
        return ending.report(error)


def _wanted(args: Sequence[str]) -> Iterable[str]:
    """Return the command that the arguments name, so that no other is imported; all of them if none."""
    return next(([arg] for arg in args if arg in COMMANDS), COMMANDS)


def build(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Put ``apx`` together from some of its commands."""
    app = typer.Typer(
        name="apx",
        cls=helping.Group,
        help="Send, receive, record and look at AstroPix readouts.",
        epilog=_EPILOG,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_apx)
    for name in commands:
        module = importlib.import_module(f"{__name__}.{name}")
        text = _flowing(module.command.__doc__)
        app.command(name, cls=helping.Command, help=text, epilog=module.EXAMPLES)(module.command)
    return app


def _flowing(text: str) -> str:
    """Take the line ends out of the paragraphs: the help is as wide as the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _apx(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: options.Debug = False,
) -> None:
    if version:
        _print_version()
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _print_version() -> None:
    from astropix_stream import __version__, distributions  # noqa: PLC0415  (importlib.metadata is slow)

    if conflict := distributions.conflict():
        raise ending.Problem(conflict)
    print(f"apx {__version__}")
    print(f"astropix_analysis: {distributions.imported_as()}")
