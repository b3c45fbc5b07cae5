"""All pages that are open, told what is new in one go."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from bokeh.document import Document
from bokeh.plotting import figure

from astropix_stream.monitor import plots
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.page import Page
from astropix_stream.monitor.themes import LIGHT, Theme

REDRAW_S = 1.0
_log = logging.getLogger(__name__)


class Spare:
    """The figures of a viewer who is yet to come, made while there is time: half of what a load waits for."""

    def __init__(self) -> None:
        self._theme = LIGHT
        self._figures: list[figure] | None = None
        self._taken = False

    def take(self, theme: Theme) -> list[figure]:
        """Return new figures, and remember the theme: who comes next may well want the same."""
        figures = self._figures if theme is self._theme else None
        self._theme, self._figures, self._taken = theme, None, True
        return figures or plots.new_figures(theme)

    def make(self) -> None:
        """Make some if there are none; for each second. Not in that of a load, others may come with it."""
        if self._figures is None and not self._taken:
            self._figures = plots.new_figures(self._theme)
        self._taken = False


class Pages:
    """Makes the pages, and has them look at the feed once a second, all in the same moment.

    So they share what they see. A browser that takes its time is waited for, and holds up no other.

    Parameters
    ----------
    desk
        What they show: a feed, and what there is beside the plots.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spare = Spare()
        self._pages: dict[Page, asyncio.Task[None] | None] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self, document: Document) -> None:
        """Fill the document of a browser that loads the page."""
        page = Page(document, self._desk.feed, self._desk, self._spare.take)
        self._pages[page] = None
        document.on_session_destroyed(lambda _: self._close(page))

    def _close(self, page: Page) -> None:
        self._pages.pop(page, None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._task, *self._pages.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REDRAW_S)
            for page, task in list(self._pages.items()):
                if task is None or task.done():
                    self._pages[page] = asyncio.create_task(self._tick(page))
            self._spare.make()

    async def _tick(self, page: Page) -> None:
        try:
            await page.tick()
        except Exception:  # whatever it is: it is the trouble of one browser, and somebody has to hear of it
            _log.exception("a page was not updated")
