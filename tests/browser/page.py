"""The page as a person sees it, and what the browser has to say of it."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from programs import TIMEOUT, Program

LAPTOP, WALL, PHONE = (1440, 900), (1920, 1080), (390, 844)

_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_INSIDE = """
const search = (root) => [...root.querySelectorAll("*")].flatMap(
    (element) => [element, ...(element.shadowRoot ? search(element.shadowRoot) : [])])
"""


class Browser:
    """Chromium, driven by ChromeDriver; both end with the block."""

    def __init__(self, profile: Path) -> None:
        self.downloads = profile / "downloads"
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.resize(LAPTOP)
        self.messages: list[str] = []
        self.requests: list[str] = []

    def resize(self, size: tuple[int, int]) -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, url: str) -> "Page":
        self.driver.get(url)
        return Page(self, url).wait()

    def look_into_logs(self) -> None:
        """Keep what the browser complained of, and what it asked for."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("WARNING", "SEVERE"):
                self.messages.append(entry["message"])
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                parameters = message["params"]
                self.requests.append(parameters.get("url") or parameters["request"]["url"])

    def hosts(self) -> set[str]:
        """Every host that the browser asked for something since it began."""
        self.look_into_logs()
        return {
            parts.netloc
            for parts in map(urlsplit, self.requests)
            if parts.scheme in ("http", "https", "ws", "wss")
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()


class Page:
    """The page in one tab."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.driver = browser.driver
        self.tab = browser.driver.current_window_handle

    def wait(self) -> Self:
        """Wait until it is alive."""
        self.until(lambda: self.run("return window.apx?.started === true"))
        return self

    def until(self, condition, timeout=TIMEOUT):
        """Wait for a condition; return what it gave."""
        return WebDriverWait(self.driver, timeout, poll_frequency=0.05).until(lambda _: condition())

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, name: str) -> str:
        """Return what stands at a place of the page."""
        return self.run(f"return document.querySelector('[data-text={name}]').textContent")

    def number(self, name: str) -> int:
        return int(self.text(name).replace("\u202f", ""))

    def until_text(self, name: str, *wanted: str, timeout=TIMEOUT) -> None:
        """Wait until a text is one of some."""
        self.until(lambda: self.text(name) in wanted, timeout)

    def until_number(self, name: str, wanted: int) -> None:
        self.until(lambda: self.text(name) != "–" and self.number(name) == wanted)

    def find(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def choose(self, name: str, value: str) -> None:
        Select(self.find(f"select[name={name}]")).select_by_value(value)

    def options(self, name: str) -> list[str]:
        return self._of_options(name, "text")

    def values(self, name: str) -> list[str]:
        """Return the values to choose from, without the first one, which chooses nothing."""
        return self._of_options(name, "value")[1:]

    def _of_options(self, name: str, what: str) -> list[str]:
        """Read all options at once: the page may put others in their place at any moment."""
        return self.run(
            f"return [...document.querySelector('select[name={name}]').options].map(o => o.{what})"
        )

    def address(self) -> dict[str, str]:
        """Return what the address bar says."""
        return dict(parse_qsl(urlsplit(self.run("return location.href")).query))

    def open_part(self, name: str) -> None:
        """Open a part of the page, and wait until its figures are in their cards."""
        self.click(f"[data-open={name}]")
        self.until_drawn()

    def until_drawn(self) -> None:
        """Wait until the part of the page that was wished for is open, and its cards have their figures."""
        self.answered()
        script = (
            "return [...document.querySelectorAll('.card .plot')].filter((e) => e.offsetParent)"
            ".every((e) => e.querySelector('.bk-Figure'))"
        )
        self.until(lambda: self.run(script))

    def click_in(self, figure: str, x: float, y: float) -> None:
        """Click at a place of a plot, in its own coordinates."""
        script = """
            const figure = Bokeh.documents[0].roots().find((root) => root.name == arguments[0])
            const view = Bokeh.index.find_one(figure), element = view.canvas_view.el
            element.scrollIntoView({block: "center"})
            const {left, top} = element.getBoundingClientRect(), {x_scale, y_scale} = view.frame
            return [left + x_scale.compute(arguments[1]), top + y_scale.compute(arguments[2])]
            """
        self.settle()
        left, top = self.run(script, figure, x, y)
        for what in ("mousePressed", "mouseReleased"):
            event = {"type": what, "x": left, "y": top, "button": "left", "clickCount": 1}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def fetch(self, path: str) -> str:
        """Return what the page's program answers."""
        return self.run("return fetch(arguments[0]).then((r) => r.text())", path)

    def type(self, name: str, text: str) -> None:
        """Write over what is in a field; to clear it first would be a wish of its own, with an answer."""
        self.find(f"input[name={name}]").send_keys(Keys.CONTROL, "a", Keys.NULL, text or Keys.DELETE, "\t")

    def value(self, name: str) -> str:
        """Return what a control shows."""
        return self.run("return document.querySelector(`[name=${arguments[0]}]`).value", name)

    def refused(self, name: str) -> str:
        """Return what is said at a field that was refused."""
        script = "return document.getElementById(`refused-${arguments[0]}`)?.textContent ?? ''"
        return self.run(script, name)

    def answered(self) -> None:
        """Wait until the page shows what was wished last."""
        self.until(lambda: self.run("return apx.settled"))

    def data(self, figure: str, column: str):
        """Return a column of what a plot draws, by the name of its figure."""
        return self.run(
            """
            const figure = Bokeh.documents[0].roots().find((root) => root.name == arguments[0])
            for (const renderer of figure.renderers) {
                const values = renderer.data_source.data[arguments[1]]
                if (values != null) return JSON.parse(JSON.stringify(
                    [...values].map((value) => typeof value == "object" ? [...value] : value)))
            }
            """,
            figure,
            column,
        )

    def colour_at(self, figure: str, x: float, y: float) -> list[int]:
        """Return the colour that is painted at a place of a plot, in its own coordinates."""
        script = """
            const figure = Bokeh.documents[0].roots().find((root) => root.name == arguments[0])
            const view = Bokeh.index.find_one(figure), {canvas} = view.canvas_view.primary
            const scale = canvas.width / view.canvas_view.el.getBoundingClientRect().width
            const {x_scale, y_scale} = view.frame
            const [left, top] = [x_scale.compute(arguments[1]), y_scale.compute(arguments[2])]
            return [...canvas.getContext("2d").getImageData(scale * left, scale * top, 1, 1).data].slice(0, 3)
            """
        self.settle()
        return self.run(script, figure, x, y)

    def hits_at(self, column: int, row: int, columns: int = 16) -> int:
        """Return what the hit map draws at a pixel."""
        return self.data("hit_map", "hits")[0][row * columns + column]

    def inside(self, selector: str) -> list[str]:
        """Return the texts of elements, also of those within Bokeh's own (shadow) parts."""
        return self.run(
            _INSIDE
            + "return search(document).filter((e) => e.matches(arguments[0])).map((e) => e.textContent)",
            selector,
        )

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Keep a picture of what the window shows, or of the whole page."""
        if whole:
            self.browser.resize(tuple(self.run("return [innerWidth, document.documentElement.scrollHeight]")))
        self.settle()
        self.driver.save_screenshot(str(path))

    def settle(self) -> None:
        """Let the browser lay out and paint."""
        self.driver.execute_async_script(
            "const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => setTimeout(done)), 300)"
        )


@contextmanager
def monitor(apx, url, *options):
    """Run the page's program; give it and the page's address."""
    with Program(*apx, "monitor", url, *options) as program:
        yield program, program.wait_for("the page is at").removeprefix("the page is at ")
