"""Pictures for logbooks: the same for everybody, at any time of the year."""

import gc
import time
import warnings
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("matplotlib")

import matplotlib
import numpy as np
from matplotlib import font_manager, mathtext
from matplotlib.axes import Axes

from astropix_stream.monitor import picture
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.rates import Series
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


@pytest.fixture
def stream():
    stream = Stream()
    for i in range(30):
        stream.run(100 * i, 100, i * 1.0)
    return stream


def test_it_does_not_depend_on_what_a_person_set_for_his_plots(stream):
    view = make_view(stream.accumulator, Choice(), moment(30))
    plain = picture.draw(view)
    own: dict[Any, Any] = {
        "text.usetex": True,
        "timezone": "Asia/Tokyo",
        "font.size": 30,
        "savefig.dpi": 20,
        "axes.grid": True,
    }
    with matplotlib.rc_context(own):
        assert picture.draw(view) == plain


@pytest.fixture
def summer_ends_at(monkeypatch):
    """Let summer time end some seconds after a moment."""

    def set_zone(ns, after_s):
        begin = time.gmtime(ns / 1e9 + after_s)
        local = time.strftime("%H:%M:%S", time.gmtime(ns / 1e9 + after_s + 3600))
        monkeypatch.setenv("TZ", f"STD0SUM,0/0,J{begin.tm_yday}/{local}")
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("after_s", [-5, 15, 100])
def test_the_rate_curve_goes_on_through_the_end_of_summer_time(stream, summer_ends_at, monkeypatch, after_s):
    summer_ends_at(moment(0).ns, after_s)
    lines = []
    plot = Axes.plot

    def noting(panel, x, *rest, **more):
        lines.append(x)
        return plot(panel, x, *rest, **more)

    monkeypatch.setattr(Axes, "plot", noting)
    picture.draw(make_view(stream.accumulator, Choice(), moment(30)))
    times = [time.timestamp() for time in lines[0]]
    walls = [time.replace(tzinfo=None) for time in lines[0]]
    assert len(times) > 20
    assert times == sorted(times)
    assert walls == sorted(walls)


@pytest.mark.parametrize("quantity", ["hits", "tot", "median"])
@pytest.mark.parametrize("log", [True, False])
def test_nothing_is_warned_of_from_the_first_moment_on(quantity, log):
    choice = Choice(quantity=quantity, log=log)
    stream = Stream()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.draw(make_view(stream.accumulator, choice, moment(0)))
        stream.run(0, 1, 0.5)
        picture.draw(make_view(stream.accumulator, choice, moment(0.6)))


def test_many_losses_are_a_curve(stream, monkeypatch):
    view = make_view(stream.accumulator, Choice(), moment(30))
    marks = []
    monkeypatch.setattr(Axes, "axvline", lambda *_, **__: marks.append(1))
    for lost, expected in ((20, 20), (21, 0)):
        marks.clear()
        begins = np.arange(60, dtype=np.float64) + 970
        series = Series(begins, 1, begins * 0, begins * 0, np.where(begins < 970 + lost, 3.0, 0.0), 1000.0)
        picture.draw(replace(view, series=series))
        assert len(marks) == expected
