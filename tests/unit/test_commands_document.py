"""docs/commands.md is made from the help texts, so that it cannot drift.

``python tests/unit/test_commands_document.py`` writes it anew.
"""

import os
import re
import sys
from pathlib import Path

from typer.testing import CliRunner

from astropix_stream import cli

DOCUMENT = Path(__file__).parents[2] / "docs/commands.md"
HEAD = """# Commands

Made from the help texts by `make commands`; a test holds it against them.

"""


def document():
    """Return the page: the help of ``apx``, then of each of its commands."""
    parts = [HEAD, "```\n", help_text(), "```\n"]
    for name in cli.COMMANDS:
        parts += [f"\n## apx {name}\n\n```\n", help_text(name), "```\n"]
    return "".join(parts)


def help_text(*command):
    result = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}).invoke(
        cli.build(), [*command, "--help"], prog_name="apx", terminal_width=100
    )
    assert result.exit_code == 0, result.output
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", result.output).splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def test_the_document_says_what_the_help_says():
    assert DOCUMENT.read_text() == document(), "run: make commands"


if __name__ == "__main__":
    sys.exit(DOCUMENT.write_text(document()) <= 0 or os.EX_OK)
