"""Help texts as they are written: nothing in them is Rich's markup, which would eat ``[convert]``."""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

_TAG = re.compile(r"(\\*)(\[[a-z#/@][^\[\]]*\])", re.IGNORECASE)


def escaped(text: str) -> str:
    """Return a text that Rich shows as this one."""
    return _TAG.sub(lambda found: rf"{found[1] * 2}\{found[2]}", text)


def _escape(command: Any) -> None:
    """Escape the texts of a command, its parameters and its subcommands; a second time does nothing."""
    if getattr(command, "is_escaped", False):
        return
    command.is_escaped = True
    for thing in (command, *command.params):
        for name in ("help", "epilog", "short_help"):
            if text := getattr(thing, name, None):
                setattr(thing, name, escaped(text))
    for subcommand in getattr(command, "commands", {}).values():
        _escape(subcommand)


class Command(TyperCommand):
    """A command whose help is text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _escape(self)
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """Commands whose help is text."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        _escape(self)
        super().format_help(ctx, formatter)
