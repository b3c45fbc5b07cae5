"""Help as plain text, for the commands of the library and of the daemons.

Rich's panels cut long names and defaults in a narrow terminal, need characters that ASCII does not have, and
take ``[convert]`` for markup. Here every line is wrapped, and nothing is cut.
"""

import re
import textwrap
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

_INDENT = "  "
_DEEPER = "      "
_BETWEEN = re.compile(r"(\S+)<=x<=([\d.]+)")
_AT_LEAST = re.compile(r"x>=([\d.]+)")


class Command(TyperCommand):
    """A command whose help is plain text."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "rich_markup_mode": None})

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name: [OPTIONS] FILE..."""
        return ["[OPTIONS]", *_usage(self.get_params(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, in the sections that these name."""
        _write_sections(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, a line each, and what else follows the options."""
        _write_epilog(self.epilog or "", formatter)


class Group(TyperGroup):
    """Commands whose help is plain text."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "rich_markup_mode": None})

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands, each with the whole of its first paragraph."""
        _write_sections(self.get_params(ctx), ctx, formatter)
        commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(one.name, _summary(one.help)) for one in commands if one and not one.hidden])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write what follows the commands."""
        _write_epilog(self.epilog or "", formatter)


def _summary(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _usage(params: Iterable[Any]) -> list[str]:
    pieces = []
    for param in params:
        if param.param_type_name == "argument":
            name = _argument(param)
            pieces.append((name if param.required else f"[{name}]") + "..." * (param.nargs != 1))
    return pieces


def _argument(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _write_sections(params: Iterable[Any], ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in params:
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            sections["Arguments"].append((_argument(param), param.help or ""))
        else:
            section = getattr(param, "rich_help_panel", None) or "Options"
            names, text = param.get_help_record(ctx)
            sections.setdefault(section, []).append((names, _bounds(text)))
    for title, rows in sections.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def _bounds(text: str) -> str:
    """Say in words what click says in signs."""
    return _AT_LEAST.sub(r"\1 or more", _BETWEEN.sub(r"\1 to \2", text))


def _write_epilog(text: str, formatter: Any) -> None:
    """Write each paragraph; the commands among them follow one another without an empty line."""
    before_is_command = False
    for paragraph in filter(None, text.split("\n\n")):
        is_command = paragraph.startswith(("apx ", "astropix-", "sudo "))
        if not (is_command and before_is_command):
            formatter.write("\n")
        deeper = _DEEPER if is_command else _INDENT
        words = " ".join(paragraph.split()) if not is_command else paragraph
        lines = textwrap.wrap(
            words, formatter.width, initial_indent=_INDENT, subsequent_indent=deeper,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        formatter.write("\n".join(lines) + "\n")
        before_is_command = is_command
