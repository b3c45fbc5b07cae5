"""Figures that are made before somebody wants them."""

import pytest

from astropix_stream.monitor import pages, plots
from astropix_stream.monitor.themes import LIGHT, THEMES

DARK = THEMES["dark"]


@pytest.fixture
def made(monkeypatch):
    """What was made, in place of figures: each a list of its own."""
    made = []

    def new_figures(theme):
        made.append([theme])
        return made[-1]

    monkeypatch.setattr(plots, "new_figures", new_figures)
    return made


def test_they_are_handed_out_once(made):
    spare = pages.Spare()
    spare.make()
    spare.make()
    assert made == [[LIGHT]]
    assert spare.take(LIGHT) is made[0]
    assert spare.take(LIGHT) is made[1]


def test_they_have_the_theme_of_who_came_last(made):
    spare = pages.Spare()
    spare.make()
    assert spare.take(DARK) == [DARK]
    spare.make()  # in the second of a load
    assert made == [[LIGHT], [DARK]]
    spare.make()
    assert spare.take(DARK) is made[2]
    assert spare.take(LIGHT) == [LIGHT]
