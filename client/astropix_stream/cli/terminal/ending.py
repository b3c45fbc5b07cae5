"""How a command ends: its exit code, and the one line that says what was wrong."""

import _thread
import contextlib
import errno
import io
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

from astropix_stream import errors, usage
from astropix_stream.errors import AstropixError, ConfigError, FormatError

OK, WRONG, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

# Newer versions of typer carry their own copy of click, older ones import click: this is the class of either.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

# An OSError is about the input where a person named a file, an interface or an address that cannot be used.
_INPUT_ERRNOS = {
    errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ENODEV, errno.EADDRNOTAVAIL, errno.EINVAL,
}  # fmt: skip

# A source's URL where a file was wanted: a Path has only one slash of it.
_URL_AS_FILE = re.compile("(udp|tcp|nats):/")

_AGAIN_S = 0.01

log = logging.getLogger("astropix_stream")


class Problem(AstropixError):
    """What is wrong, raised when a command has done what it could; `code` is its exit code."""

    def __init__(self, text: str, code: int = WRONG) -> None:
        super().__init__(text)
        self.code = code


class _ToStderr(logging.Handler):
    """Writes log messages to what is the standard error now: a progress bar puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        print(f"{level}{self.format(record)}", file=sys.stderr)


def prepare() -> None:
    """Set up the process so that commands end well, with a summary, whoever ends them."""
    for number in _ending_signals():
        signal.signal(number, _interrupt)
    sys.unraisablehook = _interrupt_again
    logging.getLogger("astropix_stream.fileio").setLevel(logging.ERROR)  # commands say it themselves
    log.addHandler(_ToStderr())
    log.setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # whoever reads our output through a pipe waits for it


def _ending_signals() -> list[int]:
    """Return the signals that end a command: those that are not ignored, as SIGHUP is under nohup."""
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]  # Windows lacks some
    return [n for n in numbers if n is not None and signal.getsignal(n) is not signal.SIG_IGN]


def _interrupt(number: int, _: Any) -> NoReturn:
    raise KeyboardInterrupt(number)


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Obey a signal whose exception fell into a callback, such as the import system's, which drops it."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = unraisable.exc_value.args or (signal.SIGINT,)
    again = threading.Timer(_AGAIN_S, _thread.interrupt_main, number)  # once the callback has returned
    again.daemon = True
    again.start()


@contextlib.contextmanager
def deferred() -> Iterator[threading.Event]:
    """Set an event at Ctrl-C and the like, where an exception could fall between reading and counting.

    A second one interrupts whatever is going on.
    """
    asked = threading.Event()

    def ask(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in _ending_signals()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def only_warnings() -> None:
    """Leave out of the log what a command says better itself."""
    if not log.isEnabledFor(logging.DEBUG):
        log.setLevel(logging.WARNING)


def show_details() -> None:
    """Show what --debug asks for: the log in full, and tracebacks."""
    log.setLevel(logging.DEBUG)


def report(error: Exception) -> int:
    """Say in one line what was wrong; return the exit code."""
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    text, code = _explain(error)
    if text:
        print(" ".join(text.split()), file=sys.stderr)
    return code


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, _UsageError):
        return _explain_usage(error)
    if isinstance(error, Problem):
        return f"apx: {error}", error.code
    if isinstance(error, ConfigError | FormatError):
        return f"apx: {error}", WRONG_INPUT
    if isinstance(error, AstropixError):
        return f"apx: {error}", WRONG
    if isinstance(error, OSError):
        return f"apx: {explain_os_error(error)}", WRONG_INPUT if error.errno in _INPUT_ERRNOS else WRONG
    return f"apx: this is a bug: {type(error).__name__}: {error} (--debug shows where)", WRONG


def _explain_usage(error: Any) -> tuple[str, int]:
    command = error.ctx.command_path if error.ctx else "apx"
    return f"{command}: {usage.explain(error)} (see {command} --help)", WRONG_INPUT


def explain_os_error(error: OSError) -> str:
    """Return what the system said, with the file or with what would help."""
    if error.filename is not None:
        if url := _URL_AS_FILE.match(str(error.filename)):
            return (
                f"this command reads files, not {url[1]}:// sources; `apx record URL FILE.apx` makes a file"
            )
        return f"{error.filename}: {error.strerror}"
    return errors.explain(error)


def finish_with(code: int) -> NoReturn:
    """End a command that has said all there is to say."""
    raise typer.Exit(code)


def finish(*, wrong: bool = False, interrupted: bool = False) -> NoReturn:
    """End a command whose summary says the rest."""
    raise typer.Exit(WRONG if wrong else INTERRUPTED if interrupted else OK)


def leave_line() -> None:
    """Go to a new line where the terminal has written ^C."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def silence_stdout() -> None:
    """Send further output nowhere: the program that read it has ended, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
