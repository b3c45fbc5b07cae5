"""Alarms and notes on the page, in a real browser."""

import http.client
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("selenium")

from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout
from browser.page import LAPTOP, PHONE, WALL, monitor
from browser.test_page import APX, HERE, send, simulated

PICTURES = os.environ.get("APX_PICTURES")  # a folder to keep screenshots in, to look at
RULES = """
alarms:
  - {when: silence, name: <b>DAQ</b> silent, above: 2s, clear_after: 0s}
  - {when: loss, above: 1%}
  - {when: hot pixels, above: 2}
"""


def texts(page, selector):
    return page.run(f"return [...document.querySelectorAll('{selector}')].map((e) => e.textContent)")


def hidden(page, selector):
    return page.run(f"return document.querySelector('{selector}').hidden")


def keep(page, name, *, whole=True):
    if PICTURES:
        page.screenshot(Path(PICTURES, f"{name}.png"), whole=whole)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "monitor.yaml"
    file.write_text(RULES)
    return file


def test_an_alarm_is_seen_everywhere_and_goes_again(browser, url, sender, file):
    with monitor(APX, url, *HERE, "--config", file) as (program, address):
        page = browser.open(address)
        page.until(lambda: not hidden(page, ".alarm-bar"))
        assert texts(page, "#alarm-bar li span:first-child") == ["<b>DAQ</b> silent"], "text, and no markup"
        page.until(lambda: page.driver.title.startswith("▲ 1 alarm, ◌ quiet: AstroPix"))
        assert "b3261e" in page.run("return document.querySelector('#icon').href")
        rows = page.run(
            "return [...document.querySelectorAll('#alarm-rules tbody tr')].map((row) => row.dataset.state)"
        )
        assert rows == ["raised", "ok", "ok"]
        assert texts(page, "#alarm-log li span:nth-child(2)") == ["raised"]
        readouts, _ = simulated(300)
        send(sender, readouts)
        page.until(lambda: hidden(page, ".alarm-bar"))
        page.until(lambda: page.driver.title.startswith("● live: AstroPix"))
        assert texts(page, "#alarm-log li span:nth-child(2)") == ["cleared", "raised"]
        file.write_text("alarms: [{when: rate, below: -3}]")
        program.send_signal(signal.SIGHUP)
        page.until(lambda: texts(page, "#alarms-trouble")[0])
        assert "monitor.yaml:1:30: alarms[0].below: -3 is not a limit" in texts(page, "#alarms-trouble")[0]
        browser.look_into_logs()
        assert browser.messages == []


def test_the_sound_is_off_unless_somebody_wants_it(browser, url, file):
    with monitor(APX, url, *HERE, "--config", file) as (_, address):
        page = browser.open(address)
        page.until(lambda: not hidden(page, ".alarm-bar"))
        assert page.run("return desk.audio") is None
        page.click("#sound")
        page.until(lambda: page.run("return desk.audio?.state") == "running")
        page.driver.refresh()
        page.wait()
        assert page.run("return document.querySelector('#sound').checked"), "it is remembered"
        assert texts(page, "#sound-note") == ["click anywhere to let it sound"]
        page.click("h1")
        page.until(lambda: hidden(page, "#sound-note"))


def test_notes_are_text_and_everybody_sees_them(browser, url, sender):
    with monitor(APX, url, *HERE) as (_, address):
        page = browser.open(address)
        assert not hidden(page, "#no-alarms")
        evil = "<img src=x onerror=\"document.title='owned'\"><script>1</script>"
        page.find("#note [name=author]").send_keys("Ana")
        page.find("#note [name=text]").send_keys(evil)
        page.click("#note button")
        page.until(lambda: texts(page, "#note-list li"))
        assert texts(page, "#note-list li span:last-child") == [evil]
        assert texts(page, "#note-list li span:nth-child(2)") == ["Ana"]
        assert page.run("return document.querySelectorAll('#note-list img, #note-list script').length") == 0
        assert page.run("return document.querySelector('#note [name=text]').value") == ""
        page.driver.switch_to.new_window("tab")
        other = browser.open(address)
        other.until(lambda: texts(other, "#note-list li span:last-child") == [evil])
        post = """
            return fetch("api/notes.json", {
                method: "POST", headers: {"Content-Type": "application/json"},
                body: JSON.stringify({text: "more"}),
            })
        """
        for _ in range(12):
            other.run(post)
        other.find("#note [name=text]").send_keys("one too many")
        other.click("#note button")
        other.until(lambda: "too many notes at once" in texts(other, "#note-trouble")[0])
        assert other.run("return document.querySelector('#note [name=text]').value") == "one too many"


def test_a_first_load_stays_small(browser, url):
    """What goes over the wire for a first load, as the browser's own requests: at most 0.6 MB."""
    with monitor(APX, url, *HERE) as (_, address):
        host = address.removeprefix("http://")
        browser.open(address)
        browser.look_into_logs()
        paths = {request.removeprefix(address) for request in browser.requests if request.startswith("http")}
        paths = {path for path in paths if path.startswith("/")} | {"/"}
        total = 0
        connection = http.client.HTTPConnection(host)
        for path in paths:
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            total += len(connection.getresponse().read())
        connection.close()
        named = {path.split("?")[0] for path in paths}
        assert named >= {"/assets/desk.js", "/assets/desk.css", "/assets/bokeh.min.js"}
        assert total < 600_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures(browser, url, sender, file, theme):
    """With an alarm that is raised, notes and a log, on a laptop, a wall and a phone: nothing is cut."""
    with monitor(APX, url, *HERE, "--config", file) as (_, address):
        readouts, _ = simulated(500)
        send(sender, readouts)
        page = browser.open(f"{address}/?theme={theme}")
        page.find("#note [name=author]").send_keys("Ana")
        page.find("#note [name=text]").send_keys("Beam on, 120 GeV protons; threshold 200 mV. " * 4)
        page.click("#note button")
        page.until(lambda: texts(page, "#note-list li"))
        page.until(lambda: not hidden(page, ".alarm-bar"))
        for name, size in (("laptop", LAPTOP), ("wall", WALL), ("phone", PHONE)):
            browser.resize(size)
            page.settle()
            assert page.run("return document.documentElement.scrollWidth <= innerWidth"), name
            assert page.run(
                """
                const bar = document.querySelector(".alarm-bar").getBoundingClientRect()
                return bar.width > 0 && bar.top >= 0 && bar.bottom <= innerHeight
                """
            ), name
            keep(page, f"{theme}-{name}", whole=name != "wall")


def test_a_finger_finds_what_it_needs(browser, url, file):
    with monitor(APX, url, *HERE, "--config", file) as (_, address):
        browser.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        browser.resize(PHONE)
        page = browser.open(address)
        small = page.run(
            """
            return [...document.querySelectorAll(".desk button, .desk a, .desk input, .desk textarea")]
                .filter((e) => !e.closest("label:has(input[type=checkbox])"))
                .map((e) => [e.getBoundingClientRect(), e.outerHTML])
                .filter(([box]) => box.width < 44 || box.height < 44)
            """
        )
        assert small == []


def test_the_setup_of_a_file_is_text(browser, tmp_path):
    path = tmp_path / "run.apx"
    content = {"args": {"threshold": "<b>100</b>", "vinj": 250.0}, "chip": [{"vcasc2": 1.1}]}
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, content)) as file:
        file.write(AstroPix4Readout(b"\xbc", 0, 1).to_bytes())
    with monitor(APX, str(path), *HERE) as (_, address):
        page = browser.open(address)
        page.until(lambda: texts(page, "#setup") == ["Setup: threshold <b>100</b>, vinj 250.0."])
        page.click(".setup summary")
        assert texts(page, "#setup-lines td:first-child") == ["args.threshold", "args.vinj", "chip[0].vcasc2"]
        keep(page, "setup")
