"""All pages that are open, told what is new in one go."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from bokeh.document import Document

from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.page import Page

REDRAW_S = 1.0
_log = logging.getLogger(__name__)


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
        self._pages: dict[Page, asyncio.Task[None] | None] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self, document: Document) -> None:
        """Fill the document of a browser that loads the page."""
        page = Page(document, self._desk.feed, self._desk)
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
                    self._pages[page] = self._tell(page)

    def _tell(self, page: Page) -> asyncio.Task[None] | None:
        """Begin to tell a browser what is new to it, if anything is."""
        try:
            news = page.news()
        except Exception:  # whatever it is: it is the trouble of one browser, and somebody has to hear of it
            _log.exception("a page was not updated")
            return None
        return None if news is None else asyncio.create_task(self._send(page, news))

    async def _send(self, page: Page, news: str) -> None:
        try:
            await page.tell(news)
        except Exception:
            _log.exception("a page was not updated")
