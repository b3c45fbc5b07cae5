"""The parts of the page that are worked out only while somebody looks at them."""

import pytest

from astropix_stream.monitor import panels
from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.events import EventsPanel
from astropix_stream.monitor.pixels import PixelPanel
from astropix_stream.monitor.shown import make_shown
from astropix_stream.monitor.trend import TrendPanel
from unit.monitor.stream import Stream, moment


def made(panel):
    stream = Stream()
    shown = make_shown(stream.accumulator, Choice(panel=panel), moment(1), None)
    return panels.make(shown, stream.accumulator)


@pytest.mark.parametrize(
    ("panel", "kind"),
    [
        ("chips", ChipsPanel),
        ("pixel", PixelPanel),
        ("spectrum", TrendPanel),
        ("correlations", CorrelationsPanel),
        ("readouts", EventsPanel),
    ],
)
def test_the_open_part_is_made(panel, kind):
    assert isinstance(made(panel), kind)


def test_the_overview_has_nothing_of_its_own():
    assert made("overview") is None


def test_the_others_are_not(monkeypatch):
    called = []
    for name in panels._MAKE:
        monkeypatch.setitem(panels._MAKE, name, lambda *given, name=name: called.append(name))
    made("pixel")
    made("overview")
    assert called == ["pixel"]
