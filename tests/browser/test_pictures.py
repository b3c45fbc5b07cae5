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

pytestmark = pytest.mark.skipif(os.environ.get("SCREENSHOTS") != "1", reason="make screenshots takes them")

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
            *APX, "simulate", *here, "--rate", 400, "--seconds", 120, "--seed", 3, "--loss", "0.02%"
        ):
            page.until_text("run", "run 2")
            time.sleep(30)  # for rates to look at
            for name, window, query, whole in (
                ("monitor", LAPTOP, "", True),
                ("monitor-dark", WALL, "&theme=dark", False),
                ("monitor-phone", PHONE, "", True),
                ("monitor-outline", LAPTOP, "&compare=1", False),
            ):
                browser.resize(window)
                page = browser.open(address + "/?window_min=1&tot_to=300" + query)
                page.until_text("run", "run 2")
                page.until(lambda page=page: page.data("rates", "readouts"))
                page.screenshot(IMAGES / f"{name}.png", whole=whole)
