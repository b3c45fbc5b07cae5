"""Snapshots go on, whatever happens to one of them."""

import gc
import logging
import shutil
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from matplotlib import font_manager, mathtext

from astropix_stream.monitor import picture
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.snapshot import Snapshots
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import Stream, moment


@pytest.fixture(autouse=True)
def close_fonts():
    """Matplotlib keeps the files of fonts open, for each thread that drew."""
    yield
    parser: Any = mathtext.MathTextParser
    fonts: Any = font_manager
    parser._parse_cached.cache_clear()
    fonts._get_font.cache_clear()
    gc.collect()


class StandingFeed(Feed):
    """Has a view, and neither threads nor a receiver."""

    def __init__(self):
        self.stream = Stream()

    def view(self, choice, reset=None):
        return make_view(self.stream.accumulator, choice, moment(10))


@pytest.mark.parametrize("error", [RuntimeError("latex\nis not\nfound"), OSError(28, "full"), MemoryError()])
def test_one_that_fails_does_not_end_the_others(tmp_path, monkeypatch, caplog, error):
    draw = picture.draw
    fails = iter([error, error])

    def draw_or_fail(view):
        for failure in fails:
            raise failure
        return draw(view)

    monkeypatch.setattr(picture, "draw", draw_or_fail)
    with caplog.at_level(logging.WARNING), Snapshots(StandingFeed(), tmp_path / "made", 1000) as snapshots:
        for _ in range(3):
            snapshots._take()
        assert len(list((tmp_path / "made").glob("*.png"))) == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "no snapshot: " in said[0]
    assert "\n" not in said[0]
    assert "written again" in said[1]


def test_a_folder_that_was_deleted_is_made_again(tmp_path):
    with Snapshots(StandingFeed(), tmp_path / "a" / "b", 1000) as snapshots:
        shutil.rmtree(tmp_path / "a")
        snapshots._take()
        assert list((tmp_path / "a" / "b").glob("*.png"))
