"""Help texts are shown as they are written, whole, in any width, in characters that every terminal has."""

import re

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from astropix_bridge.command import app as bridge
from astropix_relay.command import app as relay
from astropix_stream import cli
from astropix_stream.cli.terminal import helping

APPS = {"apx": cli.build(), "astropix-relay": relay, "astropix-bridge": bridge}
PAGES = [
    (program, name)
    for program, app in APPS.items()
    for name in ("", *(n for n, one in vars(get_command(app))["commands"].items() if not one.hidden))
]
TEXTS = (
    "pip install 'astropix-stream[convert]'", "udp://GROUP:PORT[?interface=NAME]", "[red]x[/red]", "[/]",
    r"a\[b]", r"a\\[b]", "run[1].apx", "[[URL]]", "HOST[:PORT]", "[",
)  # fmt: skip


def shown(app, *words, columns=80):
    environment = {"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    result = CliRunner(env=environment).invoke(app, [*words, "--help"], terminal_width=columns)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_is_taken_for_markup(text):
    app = typer.Typer(cls=helping.Group, help=text)

    @app.command("this", cls=helping.Command, help=text, epilog=text)
    def _this(option: str = typer.Option("x", help=text)) -> None: ...

    @app.command("that")
    def _that() -> None: ...

    assert shown(app).count(text) >= 2
    assert shown(app, "this").count(text) >= 3


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(("program", "name"), PAGES)
def test_the_help_is_whole_and_fits(program, name, columns):
    text = shown(APPS[program], *name.split(), columns=columns)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= columns
    assert "..." not in re.sub(r"^Usage: .*(\n  .*)*", "", text)
    group = get_command(APPS[program])
    command = vars(group)["commands"][name] if name else group
    written = [
        text for one in (command, *command.params) for text in (one.help, getattr(one, "epilog", None))
    ]
    squeezed = re.sub(r"\s", "", text)
    for word in " ".join(filter(None, written)).split():
        assert word in squeezed, word


def test_arguments_options_and_examples_have_their_places():
    text = shown(APPS["apx"], "send")
    assert text.startswith("Usage: ")
    assert " [OPTIONS] FILE...\n" in text
    assert "\nArguments:\n  FILE  Files to play" in text
    places = [text.index(title) for title in ("Arguments:", "Options:", "Network:", "Examples:")]
    assert places == sorted(places)
    assert "[default: 5007; 1 to 65535]" in " ".join(text.split())
    assert "[1 or more]" in text
    assert "\n  apx send run.apx  (as fast as it was recorded)\n  apx send run.apx --speed 10" in text
    assert "[URL]" in shown(APPS["apx"], "doctor")
