"""The live page in a real browser: what it shows is what was sent."""

import re
import sys
import threading
import time
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("selenium")

import zmq
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from astropix_relay.configuration.loading import default_config
from astropix_stream import wire
from astropix_stream.cli.playing.simulation import Detector, pack_hit
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from browser.page import LAPTOP, PHONE, WALL, Browser, monitor
from programs import Program
from relays import running

APX = (sys.executable, "-m", "astropix_stream.cli")
SHARED = Path(__file__).parents[3] / "shared" / "data"
HERE = ("--listen", "127.0.0.1:0")


@pytest.fixture
def page_at(url):
    """The address of a page that shows the group."""
    with monitor(APX, url, *HERE) as (_, address):
        yield address


@contextmanager
def running_relay(group, port, endpoint="tcp://127.0.0.1:0"):
    with running(default_config(group=group, port=port, interface="127.0.0.1", publish=endpoint)) as relay:
        yield relay.publisher.endpoint


def simulated(count, seed=1):
    """Return simulated readouts and the number of their hits."""
    readouts = [readout for _, readout in islice(Detector(seed=seed).readouts(), count)]
    return readouts, sum(len(readout.decode()) for readout in readouts)


def send(sender, readouts):
    """Send as a DAQ does now, in portions that the receive buffer of any machine holds."""
    for i, readout in enumerate(readouts):
        sender.send_readout(AstroPix4Readout(readout.data(), readout.readout_id))
        if i % 100 == 99:
            time.sleep(0.005)  # paces a load; nothing waits for it


def hits_of(chip, hits, readout_id, ticks=200):
    data = b"\xbc".join(pack_hit(row, column, 0, ticks, chip=chip) for column, row in hits)
    return AstroPix4Readout(data, readout_id, 10**18 + readout_id)


def test_the_numbers_on_the_page_are_those_that_were_sent(browser, page_at, sender):
    page = browser.open(page_at)
    assert page.text("state") == "quiet"
    assert page.text("run") == "no run yet"
    readouts, hits = simulated(3000)
    send(sender, readouts)
    page.until_text("state", "live")
    page.until_number("readouts", 3000)
    page.until_number("hits", hits)
    assert page.text("live_fraction") == "100\u202f%"
    assert page.text("holds") == "This page holds all the run's readouts since run start."
    assert page.text("ids") == "ids 0 to 2\u202f999"
    page.until(lambda: sum(map(sum, page.data("hit_map", "hits"))) == hits)
    assert sum(page.data("per_readout", "readouts")) == 3000
    outside = int(page.text("outside").split()[0]) if page.text("outside") else 0
    assert sum(page.data("tot", "hits")) + outside == hits


def test_it_asks_no_other_host_and_the_browser_complains_of_nothing(browser, page_at, sender):
    page = browser.open(page_at)
    send(sender, simulated(200)[0])
    page.until_number("readouts", 200)
    for name, value in (("quantity", "tot"), ("window_min", "60")):
        page.choose(name, value)
    page.click("input[name=log]")
    page.until(lambda: page.data("hit_map", "tot"))
    assert browser.hosts() == {page_at.removeprefix("http://")}
    assert browser.messages == []


@pytest.mark.shared
def test_the_real_run(browser, page_at, group, port):
    page = browser.open(page_at)
    file = SHARED / "run_20250723.apx"
    options = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0, "--rate", 2000)
    with Program(*APX, "send", file, *options) as program:
        assert program.wait() == 0
    page.until_number("readouts", 775)
    page.until_number("hits", 776)
    assert page.text("run_text").startswith("first readout 2025-07-23")
    assert page.text("live_fraction") == "100\u202f%"
    page.until(lambda: page.hits_at(9, 0) == 776)
    assert page.inside("table td")[0] == "0/9/0"


class TestRuns:
    def test_a_new_run_begins_from_zero_and_the_finished_one_stays(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, simulated(1000, seed=1)[0])
        page.until_number("readouts", 1000)
        send(sender, simulated(300, seed=2)[0])
        page.until_number("readouts", 300)
        page.until(lambda: len(page.options("run")) == 3)
        assert page.options("run")[0] == "Current run"
        second, first = page.values("run")
        assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z", first)
        assert page.values("compare") == [first]  # a run is not its own overlay
        page.choose("compare", first)
        page.until(lambda: page.text("compared").endswith(" × 0.3"))
        assert re.match(r"overlay: \d\d:\d\d:\d\d × ", page.text("compared"))
        page.until(lambda: page.data("tot", "y"))
        page.choose("run", first)
        page.until_number("readouts", 1000)
        page.until(lambda: page.values("compare") == [second])
        assert page.address()["run"] == first

    def test_losses_are_counted_and_marked(self, browser, page_at, sender):
        page = browser.open(page_at)
        readouts, _ = simulated(2000)
        send(sender, readouts[:1000] + readouts[1020:])
        page.until_number("readouts", 1980)
        page.until_text("live_fraction", "99.00\u202f%")
        assert page.text("state") == "losing"
        assert page.text("holds") == (
            "This page holds 99.00\u202f% of the run's readouts since run start; "
            "20 missed: 20 before the socket."
        )
        page.until(lambda: sum(page.data("rates", "lost")) == 20)


class TestView:
    def test_freeze_stops_the_view_and_not_the_counting(self, browser, page_at, sender):
        page = browser.open(page_at)
        readouts, hits = simulated(600)
        send(sender, readouts[:200])
        page.until_number("readouts", 200)
        page.click("#freeze")
        page.until(lambda: page.text("frozen").startswith("view frozen at"))
        assert page.find("#freeze").get_attribute("aria-pressed") == "true"
        send(sender, readouts[200:])
        clock = page.text("time")
        page.until(lambda: page.text("time") != clock)  # it goes on saying how the stream does
        assert page.number("readouts") == 200
        assert sum(page.data("per_readout", "readouts")) == 200
        page.click("#freeze")
        page.until_number("readouts", 600)
        page.until_number("hits", hits)
        assert page.text("frozen") == ""

    def test_reset_counts_anew_for_this_viewer_alone(self, browser, page_at, sender):
        page = browser.open(page_at)
        readouts, hits = simulated(500)
        send(sender, readouts[:400])
        page.until_number("readouts", 400)
        page.click("#reset")
        page.until_number("readouts", 0)
        send(sender, readouts[400:])
        page.until_number("readouts", 100)
        assert page.text("since").startswith("since the reset at")
        assert sum(page.data("per_readout", "readouts")) == 100
        page.click("#whole")
        page.until_number("readouts", 500)
        page.until_number("hits", hits)

    def test_two_viewers(self, browser, page_at, sender, tmp_path):
        readouts, hits = simulated(500)
        with Browser(tmp_path / "second") as second:
            mine, theirs = browser.open(page_at), second.open(page_at)
            send(sender, readouts[:200])
            for page in (mine, theirs):
                page.until_number("readouts", 200)
            mine.click("#freeze")
            mine.until(lambda: mine.text("frozen"))
            theirs.click("#reset")
            theirs.until_number("readouts", 0)
            send(sender, readouts[200:])
            theirs.until_number("readouts", 300)
            assert mine.number("readouts") == 200
            mine.click("#freeze")
            mine.until_number("readouts", 500)
            mine.until_number("hits", hits)

    def test_hot_pixels_are_listed_and_masked(self, browser, page_at, sender):
        page = browser.open(page_at)
        everywhere = [(column, row) for column in range(16) for row in range(13)]
        send(sender, [hits_of(0, [*everywhere, *[(4, 7)] * 100], i) for i in range(50)])
        page.until_number("hits", 50 * 308)
        page.until(lambda: page.inside("table td")[:2] == ["0/4/7", "5\u202f050"])
        linear = page.colour_at("hit_map", 0, 0)
        page.click("input[name=log]")
        page.until(lambda: page.colour_at("hit_map", 0, 0) != linear)
        page.click("input[name=log]")
        page.until(lambda: page.colour_at("hit_map", 0, 0) == linear)
        page.click("table input[type=checkbox]")
        page.until(lambda: page.hits_at(4, 7) == 0)
        assert page.find("input[name=masked]").get_attribute("value") == "0/4/7"
        page.until(lambda: sum(page.data("tot", "hits")) == 50 * 207)
        assert page.number("hits") == 50 * 308
        page.type("masked", "0/0/0 nonsense")
        page.until(lambda: "chip/column/row" in page.refused("masked"))
        assert page.value("masked") == "0/0/0"
        page.click("#unmask")
        page.until(lambda: page.refused("masked") == "")
        page.until(lambda: page.hits_at(4, 7) == 50 * 101)

    def test_chips(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, [hits_of(i % 2 * 5, [(3, 4)] * (1 + i % 2), i) for i in range(40)])
        page.until_number("hits", 60)
        page.until(lambda: page.options("chip") == ["all chips", "chip 0", "chip 5"])
        page.choose("chip", "5")
        page.until(lambda: page.hits_at(3, 4) == 40)
        page.choose("chip", "0")
        page.until(lambda: page.hits_at(3, 4) == 20)

    def test_the_tot_axis(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, [hits_of(0, [(3, 4)], i, ticks=20 * i + 2) for i in range(100)])
        page.until_number("hits", 100)
        page.type("tot_to", "50")
        page.type("tot_bins", "10")
        page.until(lambda: page.data("tot", "hits") == [5] * 10)
        page.until(lambda: page.text("outside") == "50 hits out of range")

    def test_hover_tells_the_values(self, browser, page_at, sender):
        page = browser.open(page_at)
        everywhere = [(column, row) for column in range(16) for row in range(13)]
        send(sender, [hits_of(0, everywhere, i) for i in range(30)])
        page.until_number("hits", 30 * 208)
        box = page.run(
            """
            const figure = Bokeh.documents[0].roots().find((root) => root.name == "hit_map")
            const view = Bokeh.index.find_one(figure)
            const {left, top} = view.canvas_view.el.getBoundingClientRect(), {x_scale, y_scale} = view.frame
            return [left + x_scale.compute(9), top + y_scale.compute(4)]
            """
        )
        page.driver.execute_cdp_cmd(
            "Input.dispatchMouseEvent", {"type": "mouseMoved", "x": box[0], "y": box[1]}
        )
        tip = page.until(lambda: "".join(page.inside(".bk-Tooltip, .bk-tooltip-content")))
        assert "9, 4" in tip
        assert "30" in tip
        assert "10.0 µs" in tip

    def test_pan_and_zoom_stay_while_data_come(self, browser, page_at, sender):
        page = browser.open(page_at)
        readouts, _ = simulated(400)
        send(sender, readouts[:200])
        page.until_number("readouts", 200)
        page.run(
            """
            const figure = Bokeh.documents[0].roots().find((root) => root.name == "tot")
            figure.x_range.setv({start: 20, end: 80})
            """
        )
        send(sender, readouts[200:])
        page.until_number("readouts", 400)
        page.settle()
        script = 'return Bokeh.documents[0].roots().find((root) => root.name == "tot").x_range.end'
        assert page.run(script) == 80

    def test_a_link_chooses_a_run_that_the_page_does_not_know_yet(self, browser, page_at, sender):
        send(sender, simulated(100)[0])
        send(sender, simulated(50, seed=2)[0])
        page = browser.open(page_at + "/?compare=1")  # by its number on this page
        page.until(lambda: page.text("compared").endswith(" × 0.5"))
        assert page.address()["compare"] == page.values("run")[1]
        page = browser.open(page_at + "/?compare=&run=77")
        page.until_number("readouts", 50)
        page.until(lambda: page.find("select[name=run]").get_attribute("value") == "")

    def test_a_link_chooses_what_is_shown(self, browser, page_at, sender):
        page = browser.open(page_at + "/?window_min=60&log=1&tot_to=100")
        page.until(lambda: page.find("select[name=window_min]").get_attribute("value") == "60")
        page.until(lambda: page.find("input[name=log]").is_selected())
        send(sender, simulated(10)[0])
        page.until(lambda: page.data("tot", "right") and max(page.data("tot", "right")) == 100)


class TestControls:
    """What controls show is what plots show, and what the address and the links say."""

    @pytest.fixture
    def page(self, browser, page_at, sender):
        page = browser.open(page_at)
        for seed, chip in ((1, 0), (2, 3)):
            send(sender, [hits_of(chip, [(i % 16, i % 13)], i, ticks=20 * i) for i in range(100 * seed)])
            send(sender, [hits_of(0, [(5, 5)] * (i % 3), 100 * seed + i) for i in range(50)])
            page.until_number("readouts", 100 * seed + 50)
        return page

    def assert_as_the_api(self, page):
        """Compare what is drawn with what a script gets that asks for the same."""
        api = page.run("return fetch(document.querySelector('[data-json]').href).then((r) => r.json())")
        choice = api["choice"]
        for name in ("run", "compare", "chip", "quantity", "window_min", "tot_from", "tot_to", "tot_bins"):
            shown = page.value(name)
            assert str(choice[name] if choice[name] is not None else "") in (shown, f"{shown}.0"), name
        assert choice["log"] == page.find("input[name=log]").is_selected()
        assert choice["masked"] == page.value("masked").split()
        assert page.data("tot", "hits") == api["tot"]
        assert page.data("per_readout", "readouts") == api["per_readout"]
        assert [round(edge, 3) for edge in page.data("tot", "right")] == api["tot_edges_us"][1:]
        assert sum(page.data("hit_map", "hits")[0]) == sum(map(sum, api["hit_map"]))
        if choice["compare_as"] == "overlay":  # else the map is against the other run
            quantity = {"hits": "hit_map", "tot": "mean_tot_us", "median": "median_tot_us"}[
                choice["quantity"]
            ]
            drawn = [value for value in page.data("hit_map", "shown")[0] if isinstance(value, int | float)]
            wanted = [value for row in api[quantity] for value in row if value]
            assert [value for value in drawn if value] == pytest.approx(wanted, abs=1e-3)
        link = page.run("return location.href")
        assert ("chip=" in link) == (choice["chip"] is not None)
        return link

    WISHES = (
        ("chip", "0"), ("compare", ""), ("compare_as", "ratio"), ("compare_as", "difference"),
        ("compare_as", "overlay"), ("tot_log", None), ("quantity", "tot"), ("quantity", "median"),
        ("window_min", "60"),
        ("tot_from", "10"), ("tot_to", "33"), ("tot_to", "abc"), ("tot_to", "1e9"), ("tot_bins", "17"),
        ("tot_bins", "100000"), ("tot_bins", ""), ("tot_from", "9999"), ("masked", "0/5/5 3/1/1"),
        ("masked", "0/5/5 x"), ("log", None), ("chip", "3"), ("run", ""),
    )  # fmt: skip

    def test_each(self, browser, page):
        """One wish after another; what a mistake is about must not undo what was chosen elsewhere."""
        chip = ""
        for name, value in self.WISHES:
            if name in ("compare", "run"):
                value = page.values(name)[-1]  # noqa: PLW2901  (the oldest run, by its time)
            if value is None:
                page.click(f"input[name={name}]")
            elif page.find(f"[name={name}]").tag_name == "select":
                page.choose(name, value)
            else:
                page.type(name, value)
            chip = value if name == "chip" else chip
            page.answered()
            link = self.assert_as_the_api(page)
            assert page.value("chip") == chip
            shown = page.value(name)
            page = browser.open(link)
            page.answered()
            assert page.value(name) == shown
            self.assert_as_the_api(page)

    def test_a_bad_link_is_told_at_each_field_and_forgotten(self, browser, page_at, sender):
        page = browser.open(page_at + "/?tot_to=abc&tot_bins=7&chip=x&colour=red&panel=x&theme=dark")
        page.answered()
        assert page.refused("tot_to") == "write a number"
        assert page.refused("chip").startswith("'x' is not a chip")
        assert re.fullmatch(
            "panel: 'x' is not one of .*; colour: there is no such setting", page.text("error")
        )
        assert (page.value("tot_to"), page.value("tot_bins"), page.value("chip")) == ("400", "7", "")
        assert page.run("return location.search") == "?theme=dark&tot_bins=7"
        page.open_part("chips")
        page.type("tot_to", "50")  # no step of its own
        page.answered()
        page.driver.back()
        page.until(lambda: page.run("return document.body.dataset.panel") == "overview")
        page.answered()
        assert page.run("return location.search") == "?theme=dark&tot_bins=7"
        assert (page.value("tot_to"), page.value("tot_bins")) == ("400", "7")
        page = browser.open(page_at)
        page.answered()
        assert (page.value("tot_to"), page.value("tot_bins"), page.refused("tot_to")) == ("400", "100", "")

    def test_copy_link(self, page):
        page.type("tot_bins", "20")
        page.answered()
        page.click("#link")
        page.until(lambda: page.find("#link").text == "Copied")


class TestTakeHome:
    def test_plots_as_png(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, simulated(200)[0])
        page.until_number("readouts", 200)
        for name in ("hit_map", "tot", "rates", "per_readout", "problems"):
            page.click(f"button[data-png={name}]")
            page.until(lambda name=name: list(browser.downloads.glob(f"{name}_2*Z.png")))
            (path,) = browser.downloads.glob(f"{name}_2*Z.png")
            assert path.read_bytes().startswith(b"\x89PNG")

    def test_numbers_as_csv_and_json(self, browser, page_at, sender):
        page = browser.open(page_at)
        _, hits = simulated(200)
        send(sender, simulated(200)[0])
        page.until_number("readouts", 200)
        page.click("a[data-csv=tot]")
        page.until(lambda: list(browser.downloads.glob("tot_2*Z.csv")))
        (path,) = browser.downloads.glob("tot_2*Z.csv")
        rows = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")][1:]
        assert sum(int(row[2]) for row in rows) in range(hits - 50, hits + 1)
        assert "# live_fraction: 1.0\n" in path.read_text()
        assert page.find("a[data-json]").get_attribute("href").startswith(page_at + "/api/histograms.json?")


class TestRelay:
    def test_late_join_fills_in_what_the_relay_holds(self, browser, group, port, sender):
        readouts, hits = simulated(2000)
        with running_relay(group, port) as endpoint:
            with RelayReceiver(AstroPix4Readout, endpoint, timeout=10) as witness:
                witness.wait_ready(10)
                send(sender, readouts[:1500])
                assert len([witness.receive() for _ in range(1500)]) == 1500
            with monitor(APX, endpoint, *HERE) as (_, address):
                page = browser.open(address)
                page.until_number("readouts", 1500)
                assert page.text("since") == "since run start"
                send(sender, readouts[1500:])
                page.until_number("readouts", 2000)
                page.until_number("hits", hits)
                assert page.text("holds") == "This page holds all the run's readouts since run start."

    def test_without_history_it_says_since_when(self, browser, page_at, sender):
        readouts, _ = simulated(100)
        page = browser.open(page_at)
        send(sender, readouts[50:])
        page.until_number("readouts", 50)
        assert re.fullmatch(r"since \d\d:\d\d:\d\d", page.text("since"))

    def test_a_lost_relay_is_told_within_5_seconds_and_when_it_is_back(
        self, browser, group, port, sender, tcp_port
    ):
        endpoint = f"tcp://127.0.0.1:{tcp_port}"
        readouts, _ = simulated(300)
        with monitor(APX, endpoint, *HERE) as (_, address):
            page = browser.open(address)
            page.until_text("state", "no network")
            with running_relay(group, port, endpoint):
                page.until_text("state", "quiet")
                send(sender, readouts[:100])
                page.until_number("readouts", 100)
            lost_s = time.monotonic()
            page.until_text("state", "no network")
            assert time.monotonic() - lost_s < 5.0
            assert page.text("state_text").startswith("the relay is not heard any more; last readout")
            with running_relay(group, port, endpoint):
                page.until_text("state", "quiet", "live")
                send(sender, readouts[100:])
                page.until_number("readouts", 300)
                page.until_text("state", "live", "quiet")

    def test_texts_from_the_wire_stay_texts(self, browser):
        evil = "<img src=x onerror=\"document.title='broken'\"><b>gone</b>"
        report = {"joined": False, "membership": evil, "totals": {}}
        with FakeRelay(report) as endpoint, monitor(APX, endpoint, *HERE) as (_, address):
            page = browser.open(address)
            page.until_text("state", "no network")
            assert page.text("state_text") == f"the relay does not receive: {evil}; no readout yet"
            assert page.driver.title.startswith("✕ no network: AstroPix, tcp://")
            assert page.inside("b, img") == []


class FakeRelay:
    """Greets, and beats five times a second, with any report."""

    def __init__(self, report):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        header = wire.Header(0, 0, 1, 0, 0, wire.NO_SOURCE)
        beat = [wire.beat_topic("astropix"), wire.pack_header(header), wire.pack_json(report)]
        hello = wire.Hello(version="1", relay_id=1, streams={"astropix": 4000}, history_port=None)
        self._messages = [[wire.pack_hello(hello)], beat]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._done.wait(0.2):
            for message in self._messages:
                self._socket.send_multipart(message)

    def __enter__(self):
        self._thread.start()
        return f"tcp://127.0.0.1:{self._port}"

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._socket.close(0)
        self._context.term()


class TestEverywhere:
    def test_a_phone(self, browser, page_at, sender):
        browser.resize(PHONE)
        page = browser.open(page_at)
        send(sender, simulated(500)[0])
        page.until_number("readouts", 500)
        page.settle()
        assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
        wide = page.run(
            "return [...document.querySelectorAll('main *')].map((e) => e.getBoundingClientRect().right)"
            ".filter((right) => right > innerWidth)"
        )
        assert wide == []

    def test_a_control_rooms_screen(self, browser, page_at, sender):
        browser.resize(WALL)
        page = browser.open(page_at + "/?theme=dark")
        send(sender, simulated(3000)[0])
        page.until_number("readouts", 3000)
        page.settle()
        assert page.run("return document.documentElement.scrollHeight") <= WALL[1]
        size = "return parseFloat(getComputedStyle(document.querySelector(arguments[0])).fontSize)"
        # On a screen of 55 inches 40 px are 25 mm, read with ease from 5 m; 20 px can be read.
        assert page.run(size, ".state .word") >= 40
        assert page.run(size, ".tiles dd") >= 40
        assert page.run(size, ".tiles dt") >= 20
        assert page.run(size, ".holds") >= 20
        assert page.run("return Bokeh.documents[0].roots()[0].below[0].major_label_text_font_size") == "19px"

    def test_a_laptop(self, browser, page_at):
        browser.resize(LAPTOP)
        page = browser.open(page_at)
        page.settle()
        assert page.run("return document.documentElement.scrollWidth") <= LAPTOP[0]

    def test_the_keyboard_reaches_everything(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, simulated(10)[0])
        page.until_number("readouts", 10)
        wanted = set(page.run(
            "return [...document.querySelectorAll('select, input, button, a')]"
            ".filter((e) => e.offsetParent && !e.disabled).map((e) => e.outerHTML.slice(0, 60))"
        ))  # fmt: skip
        page.run(
            "window.reached = [];"
            "document.addEventListener('focusin', (e) => reached.push(e.target.outerHTML.slice(0, 60)))"
        )
        tabs = Keys.TAB * (len(wanted) + 60)  # Bokeh's tools have stops of their own
        ActionChains(page.driver, duration=0).send_keys(tabs).perform()
        assert wanted <= set(page.run("return window.reached"))
        page.run("document.querySelector('#freeze').focus()")
        page.find("#freeze").send_keys(Keys.SPACE)
        page.until(lambda: page.text("frozen"))

    def test_when_the_program_is_gone_the_page_says_so_and_comes_back(self, browser, url, tcp_port):
        listen = ("--listen", f"127.0.0.1:{tcp_port}")
        with monitor(APX, url, *listen) as (_, address):
            page = browser.open(address)
            page.choose("window_min", "60")
            page.until(lambda: "window_min=60" in page.driver.current_url)
        page.until(lambda: not page.find(".lost").get_attribute("hidden"))
        assert page.text("state") == "monitor offline"
        assert re.fullmatch(r"since \d\d:\d\d:\d\d", page.text("state_text"))
        assert page.driver.title.startswith("✕ monitor offline since ")
        assert page.find("#icon").get_attribute("href").startswith("data:image/svg+xml")
        with monitor(APX, url, *listen):
            page.until(
                lambda: page.run("return document.querySelector('.lost').hidden && window.apx?.started")
            )
            page.until(lambda: page.find("select[name=window_min]").get_attribute("value") == "60")
