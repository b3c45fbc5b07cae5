"""Help texts are shown as they are written."""

import re

import pytest
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from astropix_stream import cli
from astropix_stream.cli.terminal import helping

TEXTS = (
    "pip install 'astropix-stream[convert]'", "udp://GROUP:PORT[?interface=NAME]", "[red]x[/red]", "[/]",
    r"a\[b]", r"a\\[b]", "run[1].apx", "[[URL]]", "HOST[:PORT]", "[",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_an_escaped_text_is_shown_as_it_was(text):
    assert Text.from_markup(helping.escaped(text)).plain == text


def words_of(command):
    """Return every text that the help of a command has to show."""
    for thing in (command, *command.params):
        yield from filter(None, (getattr(thing, name, None) for name in ("help", "epilog")))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_shows_each_word(name):
    texts = list(words_of(vars(get_command(cli.build([name])))["commands"][name]))  # before they are escaped
    shown = CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}).invoke(
        cli.build([name]), [name, "--help"], prog_name="apx"
    )
    assert shown.exit_code == 0
    squeezed = re.sub(r"[\s│]", "", shown.output)
    for text in texts:
        for word in text.split():
            assert re.sub(r"[\s│]", "", word) in squeezed, (word, text)
