"""The pictures in docs/images, taken of the page at work: make screenshots."""

import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("bokeh")
pytest.importorskip("selenium")

from browser.page import LAPTOP, PHONE, WALL, monitor
from programs import Program

pytestmark = [
    pytest.mark.skipif(os.environ.get("SCREENSHOTS") != "1", reason="make screenshots takes them"),
    pytest.mark.timeout(400),  # half a minute of rates to look at, and many pictures
]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
APX = (sys.executable, "-m", "astropix_stream.cli")


def test_pictures(browser, group, port, url):
    IMAGES.mkdir(parents=True, exist_ok=True)
    here = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0)
    with monitor(APX, url, "--listen", "127.0.0.1:0") as (_, address):
        with Program(*APX, "simulate", *here, "--rate", 300, "--seconds", 15, "--seed", 5) as daq:
            assert daq.wait(60) == 0
        page = browser.open(address + "/?window_min=1&tot_to=300")
        with Program(
            *APX, "simulate", *here, "--rate", 400, "--seconds", 300, "--seed", 3, "--loss", "0.02%"
        ):
            page.until(lambda: len(page.values("run")) == 2)
            time.sleep(30)  # for rates to look at
            for name, window, query, whole in (
                ("monitor", LAPTOP, "", True),
                ("monitor-dark", WALL, "&theme=dark", False),
                ("monitor-phone", PHONE, "", True),
                ("monitor-outline", LAPTOP, "&compare=1", False),
                ("monitor-spectrum", LAPTOP, "&panel=spectrum&fit=moyal&fit_from=40&fit_to=150", False),
                ("monitor-pixel", LAPTOP, "&panel=pixel&noise_in=hz&noise_above=5", True),
            ):
                browser.resize(window)
                page = browser.open(address + "/?window_min=1&tot_to=300" + query)
                page.answered()
                page.until_drawn()
                page.screenshot(IMAGES / f"{name}.png", whole=whole)


def test_pictures_of_twelve_chips(browser, group, port, url):
    here = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--ttl", 0, "--kind", "astep")
    with monitor(APX, url, "--listen", "127.0.0.1:0", "--kind", "astep") as (_, address):
        with Program(*APX, "simulate", *here, "--chips", 12, "--rate", 400, "--seconds", 120, "--seed", 3):
            browser.resize(LAPTOP)
            page = browser.open(address + "/?panel=chips&log=1")
            page.until(lambda: page.number("readouts") > 8000, 60)
            page.until_drawn()
            page.screenshot(IMAGES / "monitor-chips.png", whole=True)
