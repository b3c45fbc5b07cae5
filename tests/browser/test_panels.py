"""The parts of the page in a real browser: chips, a pixel, spectra, coincidences, runs compared."""

import csv
import io
import json
import time

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("selenium")
pytest.importorskip("iminuit")

import yaml

from astropix_stream.cli.playing.simulation import Detector, pack_hit
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import ASTEP, AStepReadout, AstroPix4Readout
from browser.page import PHONE, WALL, monitor
from browser.test_page import APX, HERE, hits_of, send, simulated

pytestmark = pytest.mark.browser

EVERYWHERE = [(column, row) for column in range(16) for row in range(13)]


@pytest.fixture
def page_at(url):
    with monitor(APX, url, *HERE) as (_, address):
        yield address


@pytest.fixture
def twelve_at(url):
    with monitor(APX, url, *HERE, "--kind", "astep") as (_, address):
        yield address


def table(page, name):
    """Return the rows of a table as a script gets it that asks for what the page shows."""
    text = page.fetch(page.find(f"a[data-csv={name}]").get_attribute("href"))
    return list(csv.DictReader(io.StringIO("".join(x + "\n" for x in text.splitlines() if x[:2] != "# "))))


def histograms(page):
    return json.loads(page.fetch(page.find("[data-json]").get_attribute("href")))


def send_astep(sender, count):
    detector = Detector(seed=3, kind=ASTEP, chips=12)
    readouts = [detector.readout(i, i) for i in range(count)]
    for i, readout in enumerate(readouts):
        sender.send_readout(AStepReadout(readout.data(), readout.readout_id))
        if i % 100 == 99:
            time.sleep(0.005)  # paces a load; nothing waits for it


class TestAllChips:
    @pytest.fixture
    def page(self, browser, twelve_at, sender):
        page = browser.open(twelve_at + "/?panel=chips")
        send_astep(sender, 1000)
        page.until_number("readouts", 1000)
        page.until_drawn()
        page.until(lambda: len(page.data("chips", "chip")) == 12)
        return page

    def test_twelve_maps_with_their_rates(self, page):
        names = [f"{layer}.{chip}" for layer in (1, 2, 3) for chip in range(4)]
        assert page.data("chips", "chip") == names
        page.until(lambda: page.find("#chip-list").text.count("layer") == 12)
        drawn = [sum(chip) for chip in page.data("chips", "hits")]
        rows = table(page, "chips")
        assert [row["chip"] for row in rows] == names
        assert drawn == [int(row["hits"]) for row in rows]
        assert sum(drawn) == int(page.text("hits_text").split(" pixels")[0].replace("\u202f", ""))
        assert " Hz" in page.find("#chip-list").text

    def test_a_click_looks_closer(self, page):
        left, bottom = page.data("chips", "x")[7], page.data("chips", "y")[7]
        page.click_in("chips", left + 17, bottom + 17)
        page.until(lambda: page.address().get("chip") == "2.3")
        assert "panel" not in page.address()
        assert page.find(".card.hit_map").is_displayed()
        assert not page.find(".card.chips").is_displayed()

    def test_so_does_the_list(self, page):
        page.click("#chip-list tr:nth-child(12) button")
        page.until(lambda: page.address().get("chip") == "3.3")

    def test_half_hits(self, page):
        page.choose("maps_of", "halves")
        page.answered()
        page.until(lambda: page.text("chips_unit").startswith("half hits"))
        assert sum(int(row["hits"]) for row in table(page, "chips")) == page.number("hits")
        assert page.address()["maps_of"] == "halves"

    def test_its_link_opens_it(self, page, browser):
        link = page.run("return location.href")
        before = page.data("chips", "chip")
        again = browser.open(link)
        again.until_drawn()
        again.until(lambda: again.data("chips", "chip") == before)

    def test_it_fits_the_wall_and_a_phone(self, page, browser):
        for size in (PHONE, WALL):
            browser.resize(size)
            page.settle()
            assert page.run("return document.documentElement.scrollWidth") <= size[0]
        assert page.run("return document.documentElement.scrollHeight") <= WALL[1]

    def test_nobody_else_is_asked_and_nothing_is_complained_of(self, page, browser):
        for part in ("pixel", "spectrum", "correlations", "overview", "chips"):
            page.open_part(part)
        assert browser.hosts() == {page.url.removeprefix("http://").split("/")[0]}
        assert browser.messages == []


class TestPixel:
    @pytest.fixture
    def page(self, browser, page_at, sender):
        page = browser.open(page_at)
        send(sender, [hits_of(0, [*EVERYWHERE, *[(4, 7)] * 30], i) for i in range(50)])
        page.until_number("hits", 50 * 238)
        page.until(lambda: page.hits_at(4, 7) == 50 * 31)
        return page

    def test_a_click_on_the_map_shows_it(self, page):
        page.click_in("hit_map", 4, 7)
        page.until(lambda: page.address().get("panel") == "pixel")
        assert page.address()["pixel"] == "0/4/7"
        page.until_drawn()
        page.until_text("pixel_name", "0/4/7:")
        assert page.text("pixel_text").startswith("1\u202f550 hits")
        assert sum(page.data("pixel_tot", "hits")) == 1550
        assert sum(int(row["hits"]) for row in table(page, "pixel_tot")) == 1550
        assert page.data("pixel_history", "y")

    def test_noise_and_masks(self, page):
        page.open_part("pixel")
        page.until_text("pixel_name", "0/4/7, the busiest:")
        page.until(lambda: page.find("#noisy-list").text.startswith("0/4/7 1\u202f550"))
        assert page.text("noise_text").startswith("1 pixel above 5 σ")
        assert yaml.safe_load(page.fetch(page.find("#mask-file").get_attribute("href"))) == {0: [[4, 7]]}
        page.choose("noise_in", "hz")
        page.type("noise_above", "1e9")
        page.answered()
        page.until(lambda: page.text("noise_text").startswith("0 pixels above 1e+09 Hz"))
        page.choose("noise_in", "sigma")
        page.type("noise_above", "5")
        page.until(lambda: page.find("#noisy-list").text)
        page.click("#noisy-list input")
        page.until(lambda: page.address().get("masked") == "0/4/7")
        page.until(lambda: page.hits_at(4, 7) == 0)
        link = page.find("#mask-file").get_attribute("href")
        assert yaml.safe_load(page.fetch(f"{link}&chip=0")) == [[4, 7]]

    def test_a_pixel_that_is_not_one_is_told_at_its_field(self, page):
        page.open_part("pixel")
        page.type("pixel", "0/99/1")
        page.until(lambda: "column and row go from 0 to 31" in page.refused("pixel"))
        page.type("pixel", "0/1/2")
        page.until_text("pixel_name", "0/1/2:")
        assert page.refused("pixel") == ""
        page.click("#busiest")
        page.until_text("pixel_name", "0/4/7, the busiest:")

    def test_one_order_of_a_pixel_everywhere(self, page):
        """Chip, column, row: on the page, in its files, in what a person types and what a program prints."""
        hit = hits_of(0, [(4, 7)], 0).decode()[0]
        assert "chip 0, column 4, row 7" in str(hit)
        page.until(lambda: page.inside("table td")[:1] == ["0/4/7"])
        assert page.text("pixel") == "chip/column/row"
        assert list(table(page, "hit_map")[0])[:2] == ["column", "row"]


class TestSpectrum:
    def test_a_fit_its_values_and_its_trend(self, browser, page_at, sender):
        page = browser.open(page_at + "/?panel=spectrum&tot_to=300")
        send(sender, simulated(3000)[0])
        page.until_number("readouts", 3000)
        page.until_drawn()
        assert page.text("statistics").startswith(page.text("hits")[:3])
        page.choose("fit", "moyal")
        page.type("fit_from", "40")
        page.type("fit_to", "150")
        page.until(lambda: page.text("fit_text").startswith("Moyal, 40 to 15"))
        peak = float(page.text("fit_text").split("peak ")[1].split(" ±")[0])
        assert 55 < peak < 65
        assert "χ²/ndf " in page.text("fit_text")
        fit = histograms(page)["fit"]
        assert fit["peak_us"] == pytest.approx(peak, abs=0.1)
        page.until(lambda: page.address().get("fit_to") == "150")
        page.until(lambda: len(table(page, "trend")) >= 1 and table(page, "trend")[0]["peak_us"])
        page.click("input[name=tot_log]")
        page.answered()
        page.until(lambda: max(page.data("tot", "top")) < 5)  # its logarithm
        assert max(page.data("tot", "hits")) > 50
        page.choose("fit", "none")
        page.until_text("fit_text", "")

    def test_a_range_that_ends_before_it_begins_is_told(self, browser, page_at, sender):
        page = browser.open(page_at + "/?panel=spectrum")
        page.until_drawn()
        page.type("fit_from", "50")
        page.type("fit_to", "20")
        page.until(lambda: "must end after it begins" in page.refused("fit_to"))
        assert (page.value("fit_from"), page.value("fit_to")) == ("50", "")


def test_correlations(browser, page_at, sender):
    page = browser.open(page_at + "/?panel=correlations")
    readouts = []
    for i in range(160):
        data = b"\xbc".join([pack_hit(i % 13, i % 16, 0, 200), pack_hit(i % 13, i % 16, 0, 200, chip=1)])
        readouts.append(AstroPix4Readout(data, i))
    send(sender, readouts)
    page.until_number("readouts", 160)
    page.until_drawn()
    page.until(lambda: page.text("correlations_text").startswith("160 pairs of hits of chip 0 and chip 1"))
    rows = table(page, "correlation_columns")
    assert all((row["first"] == row["second"]) == (row["pairs"] == "10") for row in rows)
    assert (
        sum(value for value in page.data("correlation_rows", "shown")[0] if isinstance(value, int | float))
        == 160
    )
    assert page.data("clusters", "count")[0] == 320
    page.choose("chip", "1")
    page.until(lambda: "of chip 1 and chip 0" in page.text("correlations_text"))


class TestReadouts:
    @pytest.fixture
    def page(self, browser, page_at, sender):
        """The hit of readout 2 goes on in readout 3; 5 is cut short."""
        hit = pack_hit(3, 5, 7, 107)
        datas = [b"\xbc" + hit, b"", hit + hit[:3], hit[3:] + b"\xbc", hit, b"\xbc" + hit[:2] + hit]
        page = browser.open(page_at + "/?panel=readouts")
        for i, data in enumerate(datas):
            sender.send_readout(AstroPix4Readout(data, i))
        page.until_number("readouts", 6)
        page.until_drawn()
        page.until(lambda: page.find("#readout-list").text.startswith("5 "))
        return page

    def bytes_of(self, page):
        script = (
            "return [...document.querySelectorAll('#bytes .byte')].map((e) => [e.className, e.textContent])"
        )
        return [tuple(one) for one in page.run(script)]

    def test_bytes_in_the_colours_of_what_they_are_and_what_went_wrong(self, page):
        assert [row.split()[0] for row in page.find("#readout-list").text.splitlines()] == list("543210")
        page.until(lambda: ("byte dropped", "e0 80") in self.bytes_of(page) or self.bytes_of(page))
        assert [name for name, _ in self.bytes_of(page)] == [
            "byte idle",
            "byte dropped",
            "byte start",
            "byte hit",
        ]
        assert "cut short" in page.find("#dissected-problems").text
        assert "chip 0, column 5, row 3, TOT 5.00 us" in page.find("#dissected-hits").text

    def test_a_search_by_id(self, page):
        page.type("readout", "2")
        page.until(lambda: page.find("#dissected-head").text.startswith("readout 2, 11 bytes"))
        assert [name for name, _ in self.bytes_of(page)] == ["byte start", "byte hit", "byte extra"]
        assert page.address() == {"panel": "readouts", "readout": "2"}
        page.click("#readout-list tr:nth-child(3) button")
        page.until(lambda: page.find("#dissected-head").text.startswith("readout 3, "))
        assert self.bytes_of(page)[0][0] == "byte orphan"
        assert "complete one of the readout before" in page.find("#dissected-problems").text
        page.type("readout", "77")
        page.until(lambda: page.text("readout_said").startswith("Readout 77 is not kept"))
        page.click("#newest")
        page.until(lambda: page.find("#dissected-head").text.startswith("readout 5, "))

    def test_only_those_with_problems(self, page):
        page.click("input[name=troubled]")
        page.until(
            lambda: [row.split()[0] for row in page.find("#readout-list").text.splitlines()] == list("532")
        )
        assert page.browser.look_into_logs() or page.browser.messages == []


class TestRunsAgainstEachOther:
    @pytest.fixture
    def page(self, browser, url, sender, tmp_path):
        """A run of 40 readouts with two hits each; a file of 20 with one each."""
        path = tmp_path / "reference.apx"
        of_file = [hits_of(0, [(3, 4)], i) for i in range(20)]
        path.write_bytes(
            FileHeader(AstroPix4Readout, {}).serialize() + b"".join(one.to_bytes() for one in of_file)
        )
        with monitor(APX, url, *HERE, "--reference", path) as (_, address):
            page = browser.open(address)
            send(sender, [hits_of(0, [(3, 4)] * 2, i) for i in range(40)])
            page.until_number("readouts", 40)
            yield page

    def test_ratio_and_difference_with_a_file(self, page):
        page.until(lambda: page.values("compare") == ["reference"])
        assert page.options("compare")[1] == "reference reference.apx, 20 readouts"
        assert not page.find("[name=compare_as]").is_displayed()
        page.choose("compare", "reference")
        page.until_text("compared", "overlay: reference reference.apx × 2")
        page.choose("compare_as", "ratio")
        page.until_text("compared", "ratio: reference reference.apx × 2")
        page.until(lambda: 2 in page.data("tot", "top"))  # 80 hits, and 20 in half as many readouts
        page.choose("compare_as", "difference")
        page.until(lambda: 40 in page.data("tot", "top"))
        api = histograms(page)
        assert max(api["tot_compared"]["difference"]) == 40
        assert page.address() == {"compare": "reference", "compare_as": "difference"}

    def test_runs_are_named_by_their_first_readout(self, page, sender):
        send(sender, [hits_of(0, [(3, 4)], i) for i in range(30)])
        page.until_number("readouts", 30)
        page.until(lambda: len(page.values("run")) == 2)
        second, first = page.values("run")
        assert page.values("compare") == ["reference", first]
        assert page.options("run")[1].endswith(", 30 readouts")
        page.choose("run", first)
        page.until_number("readouts", 40)
        page.until(lambda: page.values("compare") == ["reference", second])
        state = page.run("return fetch('api/state.json').then((r) => r.json())")
        assert [run["name"] for run in state["runs"]] == [second, first]
