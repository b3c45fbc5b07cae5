"""The reference has every public name: functions and classes by autodoc, constants in a table."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from astropix_stream.receiving.receiver import Receiver

PAGES = Path(__file__).parents[2] / "docs/reference"
MODULES = ("sock", "relay", "fmt", "fileio", "columns", "errors")


def documented():
    """Return what autodoc is told to show: modules, and classes and functions by their full names."""
    text = "\n".join(page.read_text() for page in PAGES.glob("*.md"))
    found = re.findall(r"^\.\. auto(\w+):: (\S+)", text, re.MULTILINE)
    return {name for kind, name in found if kind == "module"}, {
        name for kind, name in found if kind != "module"
    }


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_is_there(name):
    module = importlib.import_module(f"astropix_stream.{name}")
    modules, things = documented()
    public = getattr(module, "__all__", None) or [
        key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    for one in filter(lambda key: key[0] != "_", public):
        value = getattr(module, one)
        if inspect.isclass(value) or inspect.isfunction(value):
            full = f"{value.__module__}.{value.__qualname__}"
            assert value.__doc__, one
            assert module.__name__ in modules or value.__module__ in modules or full in things, one
        else:
            assert f"`{one}`" in (PAGES / f"{name}.md").read_text(), one


def test_what_receivers_share_is_there():
    _, things = documented()
    assert f"{Receiver.__module__}.{Receiver.__qualname__}" in things
    for name in ("receive", "receive_batch", "receive_async", "columns", "wait_ready", "state", "close"):
        assert getattr(Receiver, name).__doc__, name
