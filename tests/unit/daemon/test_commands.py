"""astropix-relay and astropix-bridge treat their arguments as apx does."""

import socket
import sys

import pytest

from astropix_bridge.command import app as bridge
from astropix_daemon import commands
from astropix_relay.command import app as relay

BOTH = pytest.mark.parametrize(
    ("app", "name"), [(relay, "astropix-relay"), (bridge, "astropix-bridge")], ids=["relay", "bridge"]
)


def run(monkeypatch, app, name, *words):
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as ended:
        commands.run(app, name)
    return ended.value.code


@BOTH
@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["run", "-h"], ["check", "-h"]])
def test_help_is_given_in_each_way_of_asking(monkeypatch, capsys, app, name, words):
    assert run(monkeypatch, app, name, *words) == 0
    said = capsys.readouterr()
    assert f"Usage: {name}" in said.out
    assert said.err == ""


@BOTH
@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["foo"], "No such command 'foo'"),
        (["check"], "Missing argument"),
        (["run", "--nope"], "No such option: --nope"),
        (["check", "/does/not/exist"], "cannot read /does/not/exist"),
    ],
)
def test_a_mistake_is_told_in_one_line(monkeypatch, capsys, app, name, words, wrong):
    assert run(monkeypatch, app, name, *words) == commands.WRONG_INPUT
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert wrong in said.err
    assert said.out == ""


@BOTH
def test_the_version_is_told(monkeypatch, capsys, app, name):
    assert run(monkeypatch, app, name, "--version") == 0
    assert capsys.readouterr().out.startswith(f"{name} ")


@BOTH
def test_the_shell_completes_commands_and_options(monkeypatch, capsys, app, name):
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    for typed, completed in ((["ch"], "check"), (["run", "--conf"], "--config")):
        monkeypatch.setenv(variable, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join([name, *typed]))
        monkeypatch.setenv("COMP_CWORD", str(len(typed)))
        run(monkeypatch, app, name)
        assert capsys.readouterr().out.split() == [completed]


def test_the_shell_completes_interfaces(monkeypatch, capsys):
    name = socket.if_indextoname(1)
    monkeypatch.setenv("_ASTROPIX_RELAY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"astropix-relay run --interface {name[:-1]}")
    monkeypatch.setenv("COMP_CWORD", "3")
    run(monkeypatch, relay, "astropix-relay")
    assert name in capsys.readouterr().out.split()
