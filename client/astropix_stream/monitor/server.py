"""The web server: who may see the page, the page itself, and /api for scripts."""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bokeh.server.server import BaseServer
from tornado import netutil
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import StaticFileHandler

from astropix_stream import errors, heap
from astropix_stream.addresses import joined
from astropix_stream.errors import ConfigError
from astropix_stream.monitor import export
from astropix_stream.monitor.desk import Desk
from astropix_stream.monitor.desk_routes import desk_routes
from astropix_stream.monitor.feed import Feed
from astropix_stream.monitor.guard import GuardedApplication
from astropix_stream.monitor.handlers import Handler, MissingHandler
from astropix_stream.monitor.pages import Pages

# A browser that goes away in the middle of a message, or asks for what is not there, is no news.
for _name in ("bokeh", "tornado.access"):
    logging.getLogger(_name).setLevel(logging.ERROR)

DEFAULT_LISTEN = "127.0.0.1:5006"
_HTTP_PORT = 80
_CHECK_S = 1.0  # between looks at whether the feed still runs
# Messages to browsers, snapshots and batches are large and of all sizes: the C library keeps free memory
# between them, 5 MiB more each minute with ten browsers and 20 000 readouts/s. To give it back takes 7 ms.
_GIVE_BACK_S = 30.0
_UNUSED_MS = 5000  # after which the document of a browser that never connected, or left, goes
_MAX_MESSAGE = 64 << 10  # bytes from a browser, which says what it wants to see, and writes notes
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.*-]+)(:(\d{1,5}|\*))?", re.ASCII | re.IGNORECASE)


class Listen(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether nobody from outside this machine can connect."""
        if self.host == "localhost":
            return True
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False

    @property
    def anywhere(self) -> bool:
        """Whether it is all addresses of this machine, and so none that a browser asks for."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_unspecified
        return False

    def __str__(self) -> str:
        return joined(self.host, self.port)


class Site(NamedTuple):
    """Where the page is served, and under which other addresses browsers may show it."""

    listen: Listen
    origins: tuple[str, ...]

    @classmethod
    def parse(cls, listen: str, origins: Sequence[str] = ()) -> "Site":
        """Read HOST:PORT, and origins as HOST, HOST:PORT or with http:// before it.

        Raises
        ------
        ConfigError
            One of them is wrong; or others could see the page, and nobody said under which address.
        """
        site = cls(_parse_listen(listen), tuple(_parse_origin(origin) for origin in origins))
        if not site.listen.loopback and not site.origins:
            raise ConfigError(
                f"--listen {listen} shows the page to other machines: "
                "say under which address with --allow-origin HOST[:PORT]"
            )
        return site

    def hosts(self, port: int) -> list[str]:
        """Return what may stand in the Host and Origin of a request, as Bokeh compares them."""
        names = ["127.0.0.1", "localhost", "::1"]
        if self.listen.host not in names and not self.listen.anywhere:
            names.append(self.listen.host)
        own = [joined(name, port) for name in names]
        if port == _HTTP_PORT:  # browsers leave it out
            own += [name.removesuffix(f":{port}") for name in own]
        # To Bokeh, a name without a port has any; of an IPv6 address it takes the colons for that of a port.
        of_six = [f"{origin}:{port}" for origin in self.origins if origin.endswith("]")]
        return [*self.origins, *of_six, *own]


def _parse_listen(text: str) -> Listen:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{text!r}: port must be from 0 to 65535, as in {DEFAULT_LISTEN}") from None
    if not host or port is None or text.rpartition(":")[2] != str(port):
        raise ConfigError(f"{text!r}: write an address to listen on as {DEFAULT_LISTEN}")
    return Listen(host, port)


def _parse_origin(text: str) -> str:
    host = text.removeprefix("https://").removeprefix("http://").rstrip("/").lower()
    if not _HOST.fullmatch(host):
        raise ConfigError(f"{text!r}: write an origin as monitor.example.org or 10.0.0.5:5006")
    return host


def serve(desk: Desk, site: Site | None, announce: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C, SIGTERM or the end of the feed; without a site, only wait for these.

    SIGHUP has the desk read its file again, if it has one.

    Parameters
    ----------
    desk
        What is shown: its feed, and what there is beside the plots.
    site
        Where; None: nowhere.
    announce
        Is told the page's URL once it can be opened.

    Raises
    ------
    OSError
        The address cannot be listened on.
    Exception
        What ended the feed.
    """
    sockets = [] if site is None else _bind(site.listen)
    try:
        asyncio.run(_wait(desk, lambda: None) if site is None else _serve(desk, site, sockets, announce))
    finally:
        for sock in sockets:
            sock.close()
    if desk.feed.error is not None:
        raise desk.feed.error


def _bind(listen: Listen) -> list[socket.socket]:
    try:
        return netutil.bind_sockets(listen.port, listen.host)
    except OSError as error:
        raise errors.with_context(error, f"cannot listen on {listen}", tcp=True) from None


async def _serve(
    desk: Desk, site: Site, sockets: list[socket.socket], announce: Callable[[str], None]
) -> None:
    port = sockets[0].getsockname()[1]
    pages = Pages(desk)
    hosts = site.hosts(port)
    application = GuardedApplication(
        {"/": pages.open},
        hosts=hosts,
        extra_websocket_origins=hosts,
        extra_patterns=[
            *_routes(desk.feed),
            *desk_routes(desk),
            (r"/api(/.*)?", MissingHandler, {"feed": desk.feed}),
        ],
        unused_session_lifetime_milliseconds=_UNUSED_MS,
        check_unused_sessions_milliseconds=_UNUSED_MS,
        websocket_max_message_size_bytes=_MAX_MESSAGE,
        include_headers=["Host"],
        compress_response=True,  # Bokeh's script is 1.3 MB, and 0.35 as gzip
    )
    http = HTTPServer(application, max_body_size=_MAX_MESSAGE)
    http.add_sockets(sockets)
    server = BaseServer(IOLoop.current(), application, http)
    server.start()
    async with pages:
        await _wait(desk, lambda: announce(f"http://{site.listen._replace(port=port)}"))
    server.stop()
    await http.close_all_connections()


async def _wait(desk: Desk, ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    with _signals_set(stop, desk.reload if desk.reloads else None):
        gc.freeze()  # what was imported stays: later collections need not look at it, and come sooner
        ready()
        given_s = time.monotonic()
        while not stop.is_set() and desk.feed.error is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _CHECK_S)
            if (now_s := time.monotonic()) >= given_s + _GIVE_BACK_S:
                given_s = now_s
                heap.give_back()


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event, reload: Callable[[], None] | None) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the server in order, and SIGHUP reload, if there is something to reload.

    Where a loop takes no signals, they raise as ever.
    """
    loop = asyncio.get_running_loop()
    wanted: dict[int, Callable[[], None]] = {signal.SIGINT: stop.set, signal.SIGTERM: stop.set}
    if reload is not None and hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = reload
    handled = []
    with contextlib.suppress(NotImplementedError, RuntimeError):
        for number, handler in wanted.items():
            loop.add_signal_handler(number, handler)
            handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


def _routes(feed: Feed) -> list[tuple[Any, ...]]:
    common = {"feed": feed}
    assets = str(resources.files(__package__).joinpath("assets"))
    return [
        (r"/api/state\.json", _StateHandler, common),
        (r"/api/histograms\.json", _HistogramsHandler, common),
        (rf"/api/({'|'.join(export.TABLES + export.PANEL_TABLES)})\.csv", _TableHandler, common),
        (r"/api/mask\.yaml", _MaskHandler, common),
        (r"/assets/(.*)", StaticFileHandler, {"path": assets}),
    ]


class _StateHandler(Handler):
    def get(self) -> None:
        self.write_json(export.state(self.view()) | {"setup": dict(self._feed.setup.lines)})


class _HistogramsHandler(Handler):
    def get(self) -> None:
        self.write_json(export.histograms(self.view()))


class _TableHandler(Handler):
    def get(self, name: str) -> None:
        view = self.view(export.panel_of(name))
        number = f"_{view.run.name}" if view.run else ""
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}{number}.csv"')
        self.finish(export.table(view, name))


class _MaskHandler(Handler):
    def get(self) -> None:
        view = self.view("pixel")
        self.set_header("Content-Type", "application/yaml; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="mask.yaml"')
        self.finish(export.mask(view, one_chip=bool(self.get_query_argument("chip", ""))))
