"""The document of one viewer, without a browser."""

import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("bokeh")

from bokeh.document import Document

from astropix_stream.monitor import coloured, page
from astropix_stream.monitor.drawing import encoded
from astropix_stream.monitor.page import Page
from astropix_stream.monitor.shown import take_reset
from astropix_stream.monitor.status import make_status
from astropix_stream.monitor.view import make_view
from astropix_stream.monitor.words import stream_words
from unit.monitor.stream import Stream, moment


class StandingFeed:
    """Gives views of a stream that a test fills."""

    source = "tcp://relay:5556"

    def __init__(self):
        self.stream = Stream()
        self.views = 0

    @property
    def version(self):
        return self.stream.accumulator.present and self.stream.accumulator.present.version

    def stream_words(self):
        return encoded(stream_words(make_status(self.stream.accumulator, moment(10)), moment(10)))

    @property
    def geometry(self):
        return self.stream.accumulator.geometry

    def view(self, choice, reset=None):
        self.views += 1
        return make_view(self.stream.accumulator, choice, moment(10), reset)

    def reset(self, choice):
        return take_reset(self.stream.accumulator, choice, moment(10))


@pytest.fixture
def feed():
    return StandingFeed()


class Viewer:
    """The other end: says what is wished, and has drawn everything, or nothing."""

    def __init__(self, feed):
        self.document = Document()
        self.page = Page(self.document, feed)
        self.words, self.drawn = {}, {}
        self.talk = self.document.roots[0].tags[-1]
        self.talk.on_change("words", self.hear)
        self.wish()

    def hear(self, attr, old, new):
        self.news = json.loads(new)
        for name, values in self.news.pop("drawn", {}).items():
            assert self.document.get_model_by_name(name) is not None
            self.drawn.setdefault(name, {}).update(values)
        self.words |= self.news

    def draw(self):
        self.talk.seen = self.words["redraw"]

    def data(self, source, column):
        """A column of numbers that is drawn."""
        return numbers_of(self.drawn[source]["data"][column])

    def wish(self, **choice):
        self.serial = getattr(self, "serial", 0) + 1
        self.talk.wish = json.dumps({"serial": self.serial, "choice": choice})


def numbers_of(values):
    if isinstance(values, list):
        return [numbers_of(one) if isinstance(one, dict) else one for one in values]
    numbers = np.frombuffer(base64.b64decode(values["f8"]))
    return numbers.reshape(values.get("shape", -1))


def test_words_and_plots(feed):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    assert viewer.words["readouts"] == "100"
    assert viewer.data("tot.bars", "hits").sum() == 100


def test_a_browser_that_sleeps_gets_no_more(feed):
    viewer = Viewer(feed)
    for i in range(100):
        feed.stream.run(i, 1, 1.0)
        viewer.page.update()
    assert viewer.words["redraw"] < 10
    assert feed.views < 10
    viewer.draw()
    viewer.page.update()
    viewer.draw()
    feed.stream.run(0, 7, 9.0)
    viewer.page.update()
    assert viewer.words["readouts"] == "7"


def test_a_wish_is_drawn_at_once_and_a_wrong_one_is_told(feed):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    viewer.wish(chip=3)
    assert viewer.words["shown"]["chip"] == 3
    viewer.wish(chip="many", tot_bins="100000")
    viewer.page.update()
    assert viewer.words["refused"] == {
        "chip": "'many' is not a chip: chips are 0 to 31",
        "tot_bins": "100000 is out of range: 1 to 1000",
    }
    assert (viewer.words["shown"]["chip"], viewer.words["shown"]["tot_bins"]) == (3, 1000)
    viewer.draw()
    viewer.wish(chip="")
    assert (viewer.words["refused"], viewer.words["shown"]["chip"]) == ({}, None)
    assert viewer.words["answered"] == viewer.serial


def test_a_run_that_is_not_there_is_told_at_its_field(feed):
    viewer = Viewer(feed)
    viewer.wish(run="77")
    assert viewer.words["shown"]["run"] == 77  # it may come out of history
    viewer.draw()
    feed.stream.run(0, 100, 1.0)
    viewer.page.update()
    assert viewer.words["shown"]["run"] is None
    assert viewer.words["refused"] == {"run": "run 77 cannot be shown here"}


def test_nothing_is_said_twice(feed, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(page, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    viewer.draw()
    before = viewer.words["redraw"]
    for now_s[0] in (0.5, 1.0, 4.5):
        viewer.page.update()
    assert viewer.words["redraw"] == before
    now_s[0] = 5.0
    viewer.page.update()  # that the browser sees that we are there
    assert viewer.words["redraw"] == before + 1
    assert viewer.news.keys() == {"redraw"}
    feed.stream.run(100, 1, 2.0)
    viewer.page.update()
    assert viewer.news["readouts"] == "101"
    assert "tot_range_us" not in str(viewer.news)  # of the kind, which is the same


def test_a_hidden_page_hears_of_the_stream_alone(feed):
    viewer = Viewer(feed)
    viewer.talk.hidden = True
    viewer.draw()
    feed.stream.run(0, 100, 1.0)
    viewer.page.update()
    assert viewer.words["readouts"] == "0"
    viewer.talk.hidden = False
    assert viewer.words["readouts"] == "100"


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"serial": "x", "choice": {}}', '{"choice": 7}'])
def test_what_our_script_does_not_say_is_nothing(feed, text):
    viewer = Viewer(feed)
    viewer.talk.wish = text
    viewer.page.update()
    assert viewer.words["refused"] == {}


def test_frozen(feed):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    viewer.wish(frozen=True)
    feed.stream.run(100, 100, 2.0)
    viewer.page.update()
    assert viewer.words["readouts"] == "100"
    assert viewer.words["state"] == "quiet"
    viewer.draw()
    viewer.wish(frozen=False)
    assert viewer.words["readouts"] == "200"


def test_reset_and_back(feed):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    viewer.wish(reset=1)
    feed.stream.run(100, 5, 2.0)
    viewer.page.update()
    assert viewer.words["readouts"] == "5"
    viewer.draw()
    viewer.wish(reset=0)
    assert viewer.words["readouts"] == "105"


PARTS = {
    "chips": {"chips"},
    "pixel": {"pixel_tot", "pixel_history", "noise", "noise_rates"},
    "spectrum": {"trend"},
    "correlations": {"correlation_columns", "correlation_rows", "coincidence", "clusters"},
    "readouts": set(),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_figures_of_a_part_come_when_it_is_opened(feed, part):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    before = {root.name for root in viewer.document.roots}
    viewer.draw()
    viewer.wish(panel=part)
    names = [root.name for root in viewer.document.roots]
    assert set(names) - before == PARTS[part]
    assert viewer.words["shown"]["panel"] == part
    viewer.draw()
    viewer.wish(panel="overview")
    viewer.draw()
    viewer.wish(panel=part)
    assert [root.name for root in viewer.document.roots] == names


def test_what_is_not_open_is_not_drawn(feed):
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    viewer.draw()
    viewer.wish(panel="chips")
    viewer.draw()
    feed.stream.run(100, 50, 2.0)
    viewer.page.update()
    assert viewer.data("tot.bars", "hits").sum() == 100
    assert sum(one.sum() for one in viewer.data("chips.maps", "hits")) == 150
    viewer.draw()
    viewer.wish(panel="overview")
    assert viewer.data("tot.bars", "hits").sum() == 150


def test_a_logarithmic_axis_and_a_fit(feed):
    pytest.importorskip("iminuit")
    for i in range(30):
        feed.stream.run(10 * i, 10, 0.1 * i)
    viewer = Viewer(feed)
    viewer.draw()
    viewer.wish(tot_log=True)
    assert viewer.data("tot.bars", "top").max() == pytest.approx(2.477, abs=0.001)  # of 300
    assert viewer.data("tot.bars", "bottom")[0] == pytest.approx(-0.301, abs=0.001)
    viewer.draw()
    viewer.wish(tot_log=True, fit="gaussian", fit_from=0, fit_to=20)
    assert viewer.words["fit_text"].startswith("Gaussian, 0 to 20 µs: ")
    viewer.draw()
    viewer.wish(tot_log=False)
    assert viewer.data("tot.bars", "top").max() == 300


def test_a_run_against_another(feed):
    feed.stream.run(0, 40, 1.0)
    feed.stream.run(0, 10, 5.0)
    viewer = Viewer(feed)
    viewer.draw()
    for compare_as, wanted in (("ratio", 1.0), ("difference", 0.0)):
        viewer.wish(compare=1, compare_as=compare_as)
        assert viewer.data("tot.bars", "top")[1] == pytest.approx(wanted)  # of 4 to 8 µs
        assert viewer.data("hit_map.image", "shown")[0][3, 5] == pytest.approx(wanted)
        assert compare_as in viewer.words["compared"]
        viewer.draw()
    viewer.wish(compare=1)
    assert viewer.drawn["tot.y"]["axis_label"] == "hits"
    assert len(viewer.data("tot.outline", "x")) > 10


def test_a_ratio_as_uncertain_as_large_is_not_drawn(feed):
    feed.stream.run(0, 1, 1.0)
    feed.stream.run(0, 40, 5.0)
    viewer = Viewer(feed)
    viewer.draw()
    viewer.wish(compare=1, compare_as="ratio")
    assert np.isnan(viewer.data("tot.bars", "top")).all()
    assert not len(viewer.data("tot.errors", "x"))


def test_a_page_with_nothing_to_say_takes_no_lock(feed, monkeypatch):
    """A look at an idle page changes nothing and says nothing; what is new is found all the same."""
    now = [1000.0]
    monkeypatch.setattr("astropix_stream.monitor.page.time.monotonic", lambda: now[0])
    feed.stream.run(0, 10, 1.0)
    viewer = Viewer(feed)
    due = []
    for _ in range(40):
        now[0] += 1
        if viewer.page._is_due(now[0]):
            before = dict(viewer.words)
            viewer.page.update()
            viewer.draw()
            due.append(viewer.words != before)
    assert 8 <= len(due) < 20, "while it settles, then each five seconds"
    assert due[-1]
    assert not viewer.page._is_due(now[0])
    feed.stream.run(10, 1, 2.0)
    assert viewer.page._is_due(now[0])


def test_of_two_images_the_one_of_the_wished_scale_is_visible(feed):
    """Bokeh goes on painting with the colours before, where those of one image are changed."""
    feed.stream.run(0, 100, 1.0)
    viewer = Viewer(feed)
    for log in (False, True, False):
        viewer.draw()
        viewer.wish(log=log)
        shown = {name: viewer.drawn[f"hit_map.of_{name}"]["visible"] for name in ("linear", "log")}
        assert shown == {"linear": not log, "log": log}
        for name in shown:
            image = viewer.document.get_model_by_name(f"hit_map.of_{name}")
            assert image.glyph.color_mapper.name == f"hit_map.{name}"


def test_a_scale_has_two_ends_where_all_is_alike():
    limits = {log: coloured.fit_colours("noise", [np.array([[0.0, 13.0]])], log=log) for log in (False, True)}
    assert limits[False]["noise.linear"] == {"low": 0.0, "high": 13.0}
    assert limits[True]["noise.log"] == {"low": pytest.approx(1.3), "high": 13.0}
    nothing = coloured.fit_colours("noise", [np.zeros((2, 2))], log=True)["noise.log"]
    assert 0 < nothing["low"] < nothing["high"]
