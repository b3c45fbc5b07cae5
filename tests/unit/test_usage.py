"""What is wrong with the words of a command line, in a sentence of ours."""

from typing import Annotated

import pytest
import typer

from astropix_stream import usage

app = typer.Typer(add_completion=False)


@app.command()
def command(
    url: Annotated[str, typer.Argument(metavar="URL")],
    number: Annotated[int, typer.Argument()] = 0,
    *,
    port: Annotated[int, typer.Option("-p", "--port", min=1, max=65535)] = 1,
    count: Annotated[int, typer.Option(min=1)] = 1,
    share: Annotated[float, typer.Option(max=1)] = 0.0,
    many: Annotated[list[int] | None, typer.Option()] = None,
    tail: Annotated[float, typer.Option()] = 0.0,
    flag: Annotated[bool, typer.Option("--flag")] = False,
) -> None:
    """Take parameters of each type."""
    raise typer.BadParameter("say more.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("x --port 70000", "--port must be from 1 to 65535, not '70000'"),
        ("x -p 0", "--port must be from 1 to 65535, not '0'"),
        ("x --port abc", "--port must be a whole number from 1 to 65535, not 'abc'"),
        ("x --port 1.5", "--port must be a whole number from 1 to 65535, not '1.5'"),
        ("x --count 0", "--count must be 1 or more, not '0'"),
        ("x --share 2", "--share must be at most 1, not '2'"),
        ("x --share abc", "--share must be a number, at most 1, not 'abc'"),
        ("x --tail abc", "--tail must be a number, not 'abc'"),
        ("x --many abc", "--many must be a whole number, not 'abc'"),
        ("x abc", "NUMBER must be a whole number, not 'abc'"),
        ("x", "say more"),
        ("", "Missing argument 'URL'"),
        ("x --bogus", "No such option: --bogus"),
        ("x --prt 1", "No such option: --prt. Did you mean --port?"),
        ("x --count", "Option '--count' requires an argument"),
    ],
)
def test_it_says_what_would_be_right(words, told):
    with pytest.raises(typer.BadParameter.__bases__[0]) as caught:  # typer's UsageError, or click's
        app(words.split(), standalone_mode=False)
    assert usage.explain(caught.value) == told


def test_what_else_pydantic_says_is_told_without_its_words():
    class Refusal(Exception):
        def errors(self, *, include_url):
            return [{"type": "new_in_pydantic_9", "input": "x", "msg": "Input should be otherwise"}]

    class Param:
        param_type_name, opts = "option", ["--new"]

    error = typer.BadParameter("Input should be otherwise")
    error.__cause__ = Refusal()
    setattr(error, "param", Param())  # noqa: B010  (its type is typer's own)
    assert usage.explain(error) == "--new must be another value, not 'x'"


def test_the_text_of_a_parser_names_its_option():
    class Param:
        param_type_name, opts, message = "option", ["--speed"], ""

    error = typer.BadParameter("'fast' is not a number")
    setattr(error, "param", Param())  # noqa: B010
    assert usage.explain(error) == "--speed: 'fast' is not a number"
