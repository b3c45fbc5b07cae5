"""What bash has split is put together, and only the rest of the word is given back."""

import pytest

from astropix_stream.cli.terminal import completing


@pytest.mark.parametrize(
    ("parts", "at", "merged", "current", "held"),
    [
        (["apx", "rec"], 1, ["apx", "rec"], 1, ""),
        (["apx", "receive", ""], 2, ["apx", "receive", ""], 2, ""),
        (["apx", "receive"], 2, ["apx", "receive", ""], 2, ""),
        (["apx", "top", "tcp", ":", "//h", ":", "5?x"], 6, ["apx", "top", "tcp://h:5?x"], 2, "tcp://h:"),
        (
            ["apx", "top", "tcp", ":", "//h", ":", "5?s", "=", ""],
            8,
            ["apx", "top", "tcp://h:5?s="],
            2,
            "tcp://h:5?s=",
        ),
        (
            ["apx", "top", "tcp", ":", "//h", ":", "5?s", "="],
            8,
            ["apx", "top", "tcp://h:5?s="],
            2,
            "tcp://h:5?s=",
        ),
        (
            ["apx", "top", "a", ":", "b", "c", ":", "d", "--k"],
            7,
            ["apx", "top", "a:b", "c:d", "--k"],
            3,
            "c:",
        ),
        (["apx", "top", "'tcp://h:5?s=a"], 2, ["apx", "top", "'tcp://h:5?s=a"], 2, ""),
    ],
)
def test_words_are_mended(parts, at, merged, current, held):
    environ = {"COMP_WORDS": "\n".join(parts), "COMP_CWORD": str(at)}
    assert completing._mend_words(environ) == held
    assert (environ["COMP_WORDS"].split("\n"), environ["COMP_CWORD"]) == (merged, str(current))


def test_the_words_of_each_shell():
    assert completing.words({"COMP_WORDS": "apx\ntop\n"}) == ["apx", "top", ""]
    assert completing.words({"_TYPER_COMPLETE_ARGS": "apx top x"}) == ["apx", "top", "x"]
    assert completing.words({}) == []


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("ud", ["udp://"]),
        ("", []),
        ("ftp://x", []),
        ("udp://g:1", []),
        ("tcp://", []),
        ("udp://g:1?i", ["udp://g:1?interface="]),
        ("udp://g:1?source=1&i", ["udp://g:1?source=1&interface="]),
        ("nats://h?start=l", ["nats://h?start=live"]),
        ("nats://h?stream=a", []),
        ("tcp://h:1?server_key=ke", ["tcp://h:1?server_key=keys/"]),
        ("keys/r", ["keys/relay.key"]),
        ("none/", []),
    ],
)
def test_urls(word, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert completing.urls("") == []
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/relay.key").touch()
    (tmp_path / ".hidden").touch()
    assert completing.urls(word) == (found or (["keys/"] if not word else []))
