"""How to reach a NATS log: servers, credentials, encryption; and what its errors mean for a person."""

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astropix_stream.addresses import joined
from astropix_stream.errors import ConfigError, explain
from astropix_stream.url import SourceUrl

if TYPE_CHECKING:
    from nats.aio.client import Client

CONNECT_S = 3  # for a server to answer
_PING_S, _PINGS = 2, 2  # a peer that does not answer these any more is gone
_ANSWER_S = 5.0  # for JetStream to answer: longer than a cluster takes to elect a leader
_SERVICE_UNAVAILABLE = 503
_CANCEL_S = 0.5
_CLOSE_S = 2.0  # after a handshake that failed, nats-py waits without end for the transport to be closed
# JetStream's own numbers of its errors (server/errors.json of nats-server)
NO_JETSTREAM, NO_STREAM, NO_SPACE, NO_MESSAGE = (10039, 10076), 10059, (10023, 10047, 10077), 10037


@dataclass(frozen=True, slots=True)
class Access:
    """Servers of one log, and what they ask for before they let us in.

    Attributes
    ----------
    servers
        Host and port of each; one that answers is enough, and it tells the others of its cluster.
    domain
        JetStream domain that the log is in, where it is not that of the server.
    creds, nkey
        File with credentials (JWT and seed, ``.creds``), or with the seed of an nkey.
    user, password
        For servers that ask for those; never printed.
    ca, cert, cert_key
        Files for TLS: who signed the server's certificate, and ours if it asks for one.
    """

    servers: tuple[tuple[str, int], ...]
    domain: str | None = None
    creds: Path | None = None
    nkey: Path | None = None
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None

    @classmethod
    def from_url(cls, source: SourceUrl) -> "Access":
        """Take what a URL says of the access; a file that it names is read here.

        Raises
        ------
        ConfigError
            A file cannot be read, or what is given does not go together.
        """
        options = source.options
        files = {name: Path(options[name]) for name in _FILES if name in options}
        user, password = source.user or options.get("user", ""), source.password
        if "password_file" in options:
            if password or not user:
                raise ConfigError("password_file is for user=NAME, with no password in the URL")
            password = _read(Path(options["password_file"]))
        return cls(source.servers, options.get("domain"), user=user, password=password, **files).checked()

    def checked(self) -> "Access":
        """Return this, or raise `ConfigError` with what does not go together or cannot be read."""
        given = [name for name in ("creds", "nkey", "user") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"give one of creds, nkey and user, not {' and '.join(given)}")
        if self.user and not self.password:
            raise ConfigError("user needs a password: nats://USER:PASSWORD@HOST or password_file=FILE")
        for name in _FILES:
            if (file := getattr(self, name)) is not None:
                _read(file)
        if self.cert_key is not None and self.cert is None:
            raise ConfigError("cert_key is for cert=FILE")
        self._tls()
        return self

    def _tls(self) -> ssl.SSLContext | None:
        if self.ca is None and self.cert is None:
            return None  # where the server asks for TLS the system's authorities are believed
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.cert_key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"{self.ca or self.cert}: not a certificate: {error}") from None
        return context

    def options(self) -> dict[str, Any]:
        """Return what `nats.connect` is given."""
        options: dict[str, Any] = {"servers": [f"nats://{joined(*server)}" for server in self.servers]}
        for name, value in {
            "user": self.user,
            "password": self.password,
            "user_credentials": self.creds and str(self.creds),
            "nkeys_seed": self.nkey and str(self.nkey),
            "tls": self._tls(),
        }.items():
            if value:
                options[name] = value
        return options

    def __str__(self) -> str:
        return f"nats://{','.join(joined(*server) for server in self.servers)}"


_FILES = ("creds", "nkey", "ca", "cert", "cert_key")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"cannot read {file}: {reason}") from None


def check_installed() -> None:
    """Raise `ConfigError` if the client for NATS is not installed."""
    try:
        import nats  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigError("nats:// needs a client for NATS: pip install 'astropix-stream[nats]'") from None


class Connection:
    """A connection to one server of a log, made once: who loses it opens another.

    nats-py's own reconnecting gives up after two refused credentials and keeps what is to be published; both
    are better decided by who uses the connection.
    """

    def __init__(self, client: "Client", domain: str | None) -> None:
        self.client = client
        self.context = client.jetstream(domain=domain, timeout=_ANSWER_S)
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def close(self) -> None:
        """Close it, whatever state it is in."""
        await _close(self.client)

    def known_servers(self) -> list[tuple[str, int]]:
        """Return the servers of the cluster, as this one tells."""
        urls = self.client.discovered_servers
        return [(url.hostname, url.port) for url in urls if url.hostname and url.port]

    @property
    def server(self) -> str:
        """Address of the server."""
        url = self.client.connected_url
        return url.netloc.rpartition("@")[2] if url is not None else "no server"


async def connect(
    access: Access,
    name: str,
    *,
    closed: Callable[[], Awaitable[None]],
    complain: Callable[[Exception], Awaitable[None]],
    skip: Sequence[str] = (),
) -> Connection:
    """Connect to one of the servers.

    Parameters
    ----------
    access
        Which, and with what.
    name
        What the server's operator sees us called.
    closed
        Called when the connection has ended, for whatever reason.
    complain
        Called with errors of the server that do not end it, such as a permission that we have not.
    skip
        Servers to try last.

    Raises
    ------
    Exception
        Whatever nats-py raises; see `describe`.
    """
    import nats  # noqa: PLC0415
    from nats.aio.client import Client  # noqa: PLC0415

    options = access.options()
    servers = sorted(options.pop("servers"), key=lambda server: server.removeprefix("nats://") in skip)
    failures: list[BaseException] = []
    connected = False

    async def note(error: Exception) -> None:
        if connected:
            await complain(error)
        else:
            failures.append(error)  # nats-py then raises that there are no more servers, whatever it was

    async def end() -> None:
        if connected:
            await closed()

    for server in servers:
        client = Client()
        try:
            await client.connect(
                [server],
                name=name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=CONNECT_S,
                reconnect_time_wait=0,
                ping_interval=_PING_S,
                max_outstanding_pings=_PINGS,
                closed_cb=end,
                error_cb=note,
                **options,
            )
        except BaseException as error:  # nats-py raises its own, those of ssl, of sockets, of asyncio
            await _close(client)
            if not isinstance(error, Exception):
                raise
            if not isinstance(error, nats.errors.NoServersError):
                failures.append(error)
        else:
            connected = True
            return Connection(client, access.domain)
    raise next((error for error in failures if is_refusal(error)), failures[-1])


async def _close(client: "Client") -> None:
    closing = asyncio.ensure_future(client.close())
    _, running = await asyncio.wait([closing], timeout=_CLOSE_S)
    for task in running:
        task.cancel()
    if not running:
        closing.exception()  # whatever it was: it is closed


async def wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, but not for longer than this.

    Not by `wait_for`, which in Python 3.11 forgets to be cancelled where the event comes at the same time.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended: nats-py swallows a cancellation here and there."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_S)


def is_refusal(error: BaseException) -> bool:
    """Return whether a server is there and does not let us in."""
    text = str(error).lower()
    return "authorization" in text or "authentication" in text or isinstance(error, ssl.SSLError)


def error_code(error: BaseException) -> int | None:
    """Return JetStream's own number of an error; None for others."""
    code = getattr(error, "err_code", None)
    return code if isinstance(code, int) else None


def describe(error: BaseException, what: str = "") -> str:
    """Return in a line what an error of nats-py means, and what helps.

    Parameters
    ----------
    error
        Whatever was raised.
    what
        What it was about: the name of a stream.
    """
    text = str(error).removeprefix("nats: ").strip("'\"")
    if isinstance(error, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(error):
        words = "the server asks for a certificate of ours: cert=FILE and cert_key=FILE"
    elif isinstance(error, ssl.SSLError):
        words = f"the server's certificate is not believed (ca=FILE names who signed it): {error.reason}"
    elif is_refusal(error):
        words = f"the server refuses this client: {text} (check user, creds or nkey)"
    elif "permissions violation" in text.lower():
        words = f"the server's permissions do not allow it: {text}"
    elif error_code(error) is not None or getattr(error, "code", None) == _SERVICE_UNAVAILABLE:
        words = explain_code(error_code(error), str(getattr(error, "description", text)), what)
    elif isinstance(error, OSError) and error.errno:
        words = "nothing listens there" if error.errno == errno.ECONNREFUSED else explain(error)
    elif isinstance(error, TimeoutError) or "timeout" in text.lower():
        words = "no answer in time"
    else:
        words = text or type(error).__name__
    return words


def explain_code(code: int | None, description: str, what: str = "") -> str:
    """Return in a line what an error of JetStream's means; the parameters are those of `describe`."""
    if code == NO_STREAM:
        return f"the log has no stream {what}"
    if code in NO_SPACE:
        return f"the log's disk is full, or its limit is reached: {description}"
    if code is None or code in NO_JETSTREAM:
        return "the server answers, and JetStream does not: it is off, or too few nodes of the cluster are up"
    return description
