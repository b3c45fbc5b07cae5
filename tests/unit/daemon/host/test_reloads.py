"""A reload that is answered, through the directory of the service."""

import os
import signal
import threading

import pytest

from astropix_relay.host import reloads


@pytest.fixture
def signalled():
    came = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: came.set())
    yield came
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("text", ["", "a mistake\nreload refused"])
def test_the_answer_comes_to_who_asked(tmp_path, text):
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
    before = signal.signal(signal.SIGHUP, lambda *_: reloads.answer(text, environ))
    try:
        assert reloads.request(os.getpid(), 5, environ) == text
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not list(tmp_path.iterdir())


def test_no_answer_is_an_error_and_leaves_nothing(tmp_path, signalled):
    with pytest.raises(TimeoutError):
        reloads.request(os.getpid(), 0.05, {"RUNTIME_DIRECTORY": str(tmp_path)})
    assert signalled.is_set()
    assert not list(tmp_path.iterdir())


def test_without_a_directory_nobody_answers(signalled):
    assert reloads.request(os.getpid(), 0.05, {}) is None
    assert signalled.wait(5)
    reloads.answer("nobody hears it", {})


def test_who_asked_and_is_gone_is_no_error(tmp_path):
    (tmp_path / "reload-1").touch()
    reloads.answer("late", {"RUNTIME_DIRECTORY": str(tmp_path)})
