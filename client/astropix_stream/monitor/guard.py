"""Who may load the page, and how often: in front of every route of the server, its WebSocket included."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from bokeh.server.tornado import BokehTornado
from bokeh.server.util import match_host
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

NOT_OURS = "this is not one of the addresses that the page is shown under (--allow-origin)"
OTHER_SITE = "another website asked for this; open the page itself"
TOO_MANY = "too many browsers load the page at once; try again in a few seconds"

MAX_SESSIONS = 64
"""Documents open at a time: each takes 4 MB and a part of every redraw."""
LOADS = 12
"""Loads of the page at once; making its document takes 0.3 s of CPU."""
LOADS_PER_S = 0.5
"""Further loads in a second."""


class Bucket:
    """Lets so many through at once, and so many a second after that. Pure."""

    def __init__(self, size: float, per_s: float) -> None:
        self._size, self._per_s = size, per_s
        self._left, self._looked_s = size, 0.0

    def take(self, now_s: float) -> bool:
        """Return whether one more may pass."""
        self._left = min(self._size, self._left + (now_s - self._looked_s) * self._per_s)
        self._looked_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


_READ_ONLY = "this is only read, with GET or HEAD"


class _Answer(RequestHandler):
    """Answers every method with a status and a sentence."""

    def initialize(self, status: int, text: str) -> None:
        self._status, self._text = status, text

    def prepare(self) -> None:
        self.set_status(self._status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        if self._status == 503:
            self.set_header("Retry-After", "5")
        if self._status in (204, 405):
            self.set_header("Allow", "GET, HEAD, OPTIONS")
        self.finish(f"{self._text}\n" if self._text else None)  # to tornado, even '' is a body


class _Head(RequestHandler):
    """Answers HEAD of the page without making its document."""

    def head(self) -> None:
        self.set_header("Content-Type", "text/html")


class GuardedApplication(BokehTornado):  # type: ignore[misc]  # it is Any to mypy, see pyproject.toml
    """Bokeh's server, which answers only to the page's own names and bounds what loads may cost.

    Bokeh checks the origin of a WebSocket, but not where tornado takes it for the same as the host: a website
    that lets its own name point to this host (DNS rebinding) would get the page and its data.

    Parameters
    ----------
    applications, options
        As `BokehTornado` takes them.
    hosts
        What may stand in a request's Host.
    clock
        Gives monotonic seconds.
    """

    def __init__(
        self,
        applications: Any,
        *,
        hosts: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self._hosts = tuple(hosts)
        self._clock = clock
        self._loads = Bucket(LOADS, LOADS_PER_S)
        super().__init__(applications, **options)

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> Any:
        """Return what answers a request: a refusal, or the route's handler."""
        refusal = self._refusal(request)
        if refusal is not None:
            return self.get_handler_delegate(request, _Answer, {"status": refusal[0], "text": refusal[1]})
        if request.method == "HEAD" and request.path == "/":
            return self.get_handler_delegate(request, _Head)
        return super().find_handler(request)

    def _refusal(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        return self._refusal_of_place(request) or _refusal_of_route(request) or self._refusal_of_load(request)

    def _refusal_of_place(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        if not self._is_ours(request.host):
            return 403, NOT_OURS
        # A link to the page is welcome; a picture or script of another site that only loads it is not.
        headers = request.headers
        if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
            return 403, OTHER_SITE
        origin = headers.get("Origin")
        if request.method not in ("GET", "HEAD") and origin is not None and not self._is_ours(origin):
            return 403, OTHER_SITE
        return None

    def _refusal_of_load(self, request: HTTPServerRequest) -> tuple[int, str] | None:
        if request.path == "/" and request.method == "GET" and not self._may_load():
            return 503, TOO_MANY
        return None

    def _is_ours(self, place: str) -> bool:
        """Tell whether a Host, or an Origin, is one of the page's own."""
        host = place.lower().removeprefix("https://").removeprefix("http://")
        return any(match_host(host, ours) for ours in self._hosts)

    def _may_load(self) -> bool:
        open_now = sum(len(list(context.sessions)) for context in self._applications.values())
        return open_now < MAX_SESSIONS and self._loads.take(self._clock())


def _refusal_of_route(request: HTTPServerRequest) -> tuple[int, str] | None:
    if request.path == "/autoload.js":  # embeds the page into another site
        return 404, "this is not served; there are / and /api"
    if request.method in ("GET", "HEAD") or request.path.startswith("/api/"):
        return None
    return (204, "") if request.method == "OPTIONS" else (405, _READ_ONLY)
