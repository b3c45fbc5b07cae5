"""Serves the metrics and /healthz over HTTP, from threads that cannot hold up the daemon.

prometheus_client writes the metrics, wsgiref parses the requests; here is what keeps clients within bounds.
Whatever they do, there are at most `MAX_CLIENTS` of them, each is cut off after `REQUEST_S` or `MAX_REQUEST`
bytes, and closing waits for none.
"""

import contextlib
import errno
import io
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.registry import Collector

from astropix_daemon import listening
from astropix_daemon.addresses import Address, parse_listen_address

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import WriteableBuffer

_log = logging.getLogger(__name__)

STALE_S = 5.0  # a loop that has not turned for so long is not healthy
MAX_CLIENTS = 8  # at a time; a thread serves each, and further connections are closed at once
REQUEST_S = 2.0  # from accepting a connection to the last byte of the answer
MAX_REQUEST = 16 << 10  # bytes of request line and headers; Prometheus sends some 300
_WRITE_BUFFER = 64 << 10  # an answer in one piece
_RETRY_S = 0.1  # until the next try, while no connection can be accepted for want of descriptors


class Sample(Protocol):
    """Everything there is to watch at one moment."""

    @property
    def at_s(self) -> float:
        """When that was, by the monotonic clock."""


S = TypeVar("S", bound=Sample)


def serve(
    listen: str, metrics: Callable[[S], Iterator[Metric]], states: Callable[[S], Iterable[str]]
) -> "MetricsServer[S] | None":
    """Serve metrics; a daemon that cannot, such as the second one on a host, works all the same.

    Parameters
    ----------
    listen
        ``metrics.listen`` of the configuration.
    metrics, states
        As for `MetricsServer`.

    Returns
    -------
    MetricsServer or None
        None where the address cannot be bound, which the log tells.
    """
    try:
        server = MetricsServer(parse_listen_address(listen), metrics, states)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _log.warning("no metrics: cannot listen on %s (metrics.listen): %s", listen, reason)
        return None
    _log.info("metrics on %s", server.url)
    return server


class MetricsServer(Collector, Generic[S]):
    """Serves the latest sample on /metrics and /healthz.

    Parameters
    ----------
    address
        Where to listen.
    metrics
        Yields the metrics of a sample.
    states
        Yields a line for /healthz on each stream of a sample.

    Raises
    ------
    OSError
        The address cannot be bound.
    """

    def __init__(
        self,
        address: Address,
        metrics: Callable[[S], Iterator[Metric]],
        states: Callable[[S], Iterable[str]],
    ) -> None:
        self._of, self._states = metrics, states
        self.sample: S | None = None
        """The latest; the loop replaces it."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        ProcessCollector(registry=registry)
        self._metrics_app = make_wsgi_app(registry)
        self._writing = threading.Lock()
        self._server = _Server(address, self._answer)
        # Without an interval it would poll: `_Server.stop` wakes it.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(None,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_address[:2]
        return f"http://{Address(str(host), int(port))}/metrics"

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; for prometheus_client."""
        return iter(()) if self.sample is None else self._of(self.sample)

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer GET, and HEAD as GET without its body, which prometheus_client's app refuses."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        as_get = environ | {"REQUEST_METHOD": "GET", "QUERY_STRING": ""}
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            start_response(_line(HTTPStatus.METHOD_NOT_ALLOWED), [*_PLAIN_TEXT, ("Allow", "GET, HEAD")])
            return [b"use GET or HEAD\n"]
        if environ["PATH_INFO"] == "/metrics":
            with self._writing:  # one at a time: the threads share the interpreter with the loop
                body = b"".join(self._metrics_app(as_get, lambda *start: started.append(start)))
            [(status, headers)] = started
        else:
            code, text = self._tell(environ["PATH_INFO"])
            status, headers, body = _line(code), _PLAIN_TEXT, f"{text}\n".encode()
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [b"" if method == "HEAD" else body]

    def _tell(self, path: str) -> tuple[HTTPStatus, str]:
        """Return status and text of what is not for Prometheus."""
        if path != "/healthz":
            return HTTPStatus.NOT_FOUND, "there are /metrics and /healthz"
        sample = self.sample
        if sample is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, "starting"
        age_s = time.monotonic() - sample.at_s
        if age_s > STALE_S:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"the loop has not turned for {age_s:.0f} s"
        # A missing interface is no reason to restart: only words.
        return HTTPStatus.OK, "\n".join(("ok", *self._states(sample)))

    def close(self) -> None:
        """Stop, and cut clients off; a second call does nothing."""
        self._server.stop()
        self._thread.join()


_PLAIN_TEXT = [("Content-Type", "text/plain; charset=utf-8")]


def _line(status: HTTPStatus) -> str:
    return f"{status.value} {status.phrase}"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Accepts connections, up to a number at a time."""

    daemon_threads = True
    allow_reuse_port = False  # a second relay on the host has to notice
    request_queue_size = 128

    def __init__(self, address: Address, app: "WSGIApplication") -> None:
        self._connections: set[socket.socket] = set()
        self._closing = threading.Event()
        self.address_family, host = listening.address_to_bind(address.host)
        super().__init__((host, address.port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind, without asking the DNS for our name as HTTPServer does."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.server_address[0] != "::")
            )
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; where that fails, wait, so that trying again does not take a whole core."""
        try:
            return super().get_request()
        except OSError:
            self._closing.wait(_RETRY_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or close it."""
        if len(self._connections) >= MAX_CLIENTS:
            self.shutdown_request(request)
            return
        self._connections.add(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._connections.discard(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection; the body of the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that left or was too slow."""
        _log.debug("a scrape from %s failed", client_address, exc_info=True)

    def stop(self) -> None:
        """Stop accepting, and cut off the connected clients, which ends their threads."""
        self._closing.set()
        _cut(self.socket)  # wakes serve_forever
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            _cut(connection)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    # What an error that comes before the request line is told with.
    requestline = command = ""
    request_version = "HTTP/1.0"

    def setup(self) -> None:
        """Read and write within bounds."""
        self.connection = self.request
        bounded = _Bounded(self.request)
        self.rfile, self.wfile = io.BufferedReader(bounded), io.BufferedWriter(bounded, _WRITE_BUFFER)

    def handle(self) -> None:
        """Answer one request."""
        try:
            super().handle()
        except _TooLargeError:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: there is a scrape every few seconds."""


class _TooLargeError(Exception):
    """A client sent more than a request has."""


class _Bounded(io.RawIOBase):
    """A connection with an end for the request as a whole, where a socket's timeout starts at each byte."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end_s = time.monotonic() + REQUEST_S
        self._left = MAX_REQUEST

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._left:
            raise _TooLargeError
        with self._in_time():
            count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def write(self, data: Any) -> int:
        with self._in_time():
            self._connection.sendall(data)  # its timeout is for all of it
        return len(data)

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        left_s = self._end_s - time.monotonic()
        # wsgiref takes this error as the end of the connection, others as faults of the program.
        if left_s <= 0:
            raise ConnectionAbortedError(errno.ECONNABORTED, "too slow")
        self._connection.settimeout(left_s)
        try:
            yield
        except TimeoutError:
            raise ConnectionAbortedError(errno.ECONNABORTED, "too slow") from None
