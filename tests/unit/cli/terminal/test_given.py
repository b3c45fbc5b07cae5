"""The options that a person wrote, whatever their defaults are."""

from typing import Annotated

import pytest
import typer

from astropix_stream.cli.terminal.given import Given
from astropix_stream.errors import ConfigError

seen: list[Given] = []
app = typer.Typer(add_completion=False)


@app.command()
def command(
    context: typer.Context,
    url: str,
    page: Annotated[bool, typer.Option("--page/--no-page")] = True,
    every: Annotated[float, typer.Option("-e", "--every")] = 60.0,
    name: Annotated[str | None, typer.Option(envvar="GIVEN_NAME")] = None,
) -> None:
    """Remember what was given."""
    seen.append(Given(context))


def given(*words: str) -> Given:
    seen.clear()
    app([*words], standalone_mode=False)
    return seen[0]


def test_what_is_written_counts_not_the_value(monkeypatch):
    monkeypatch.setenv("GIVEN_NAME", "x")
    assert "--every" in given("x", "--every", "60")
    assert "--every" in given("x", "-e", "60")
    assert not any(name in given("x") for name in ("--every", "--page", "--no-page", "--name", "url"))


def test_the_first_one_written_is_refused():
    with pytest.raises(ConfigError, match=r"^--every needs a reason$"):
        given("x", "--every", "1", "--name", "y").refuse(
            "--page", "--every", "--name", because="needs a reason"
        )
    given("x", "--name", "y").refuse("--page", "--every", because="needs a reason")


@pytest.mark.parametrize("word", ["--page", "--no-page"])
def test_a_flag_is_named_as_it_was_written(word):
    with pytest.raises(ConfigError, match=f"^{word} is too much"):
        given("x", word).refuse("--page", because="is too much")
