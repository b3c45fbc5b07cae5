"""The log as the bridge uses it: one connection, streams that are made or checked, and where each ends."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astropix_bridge.model import BridgeConfig, KeepConfig, NatsConfig
from astropix_stream.batch import Position
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.log import access, messages
from astropix_stream.log.access import Access, Connection
from astropix_stream.url import parse_url

if TYPE_CHECKING:
    from nats.js.api import StreamConfig, StreamInfo

_log = logging.getLogger(__name__)

DUPLICATE_WINDOW_S = 120.0
WRONG_LAST = (10070, 10071)  # JetStream's numbers of those errors: of its last message, the id or the number
_RETRY_S = (0.1, 2.0)  # between attempts, growing


def log_access(config: NatsConfig) -> Access:
    """Return how to reach the log.

    Raises
    ------
    ConfigError
        A file cannot be read.
    """
    servers = tuple(server for text in config.servers for server in parse_url(text).servers)
    password = ""
    if config.password_file is not None:
        try:
            password = Path(config.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {config.password_file}: {error}") from None
    files = {name: getattr(config, name) for name in ("creds", "nkey", "ca", "cert", "cert_key")}
    paths = {name: Path(file) for name, file in files.items() if file is not None}
    return Access(servers, config.domain, user=config.user or "", password=password, **paths).checked()


@dataclass(frozen=True, slots=True)
class End:
    """Where a stream of the log ends: its number of the last message, and the position behind that."""

    sequence: int
    position: Position | None


class Link:
    """Keeps a connection to the log, and makes another when it ends.

    Parameters
    ----------
    access
        The log.
    """

    def __init__(self, where: Access) -> None:
        self.access = where
        self.trouble = "not connected yet"
        """Why there is no connection; empty while there is one."""
        self.connections = 0
        self._connection: Connection | None = None
        self._there = asyncio.Event()
        self._gone = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self.permission = ""
        """What the server has forbidden since the connection began."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever the connection comes or goes."""
        self._listeners.append(listener)

    @property
    def connection(self) -> Connection | None:
        """The connection; None while there is none."""
        return self._connection

    async def wait(self) -> Connection:
        """Wait until there is a connection."""
        while self._connection is None:
            self._there.clear()
            await self._there.wait()
        return self._connection

    async def drop(self, connection: Connection) -> None:
        """Give a connection up that does not answer; another server may."""
        if self._connection is connection:
            self._gone.set()

    async def run(self) -> None:
        """Connect, and again, until this is cancelled."""
        known, wait_s = self.access, _RETRY_S[0]
        last: list[str] = []
        while True:
            try:
                connection = await access.connect(
                    known, "astropix-bridge", closed=self._ended, complain=self._complain, skip=last
                )
            except Exception as error:  # whatever nats-py raises: it may be there again in a moment
                self._tell(access.describe(error))
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S[1])
                continue
            wait_s = _RETRY_S[0]
            self._begin(connection)
            servers = (*self.access.servers, *connection.known_servers())
            known, last = replace(known, servers=tuple(dict.fromkeys(servers))), [connection.server]
            try:
                await self._gone.wait()
            finally:
                self._connection = None
                self._change()
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(connection.close(), 1.0)
            self._tell("the connection ended")

    def _begin(self, connection: Connection) -> None:
        self._gone.clear()
        self.permission = ""
        if self.trouble and self.connections:
            _log.info("%s: connected again, to %s", self.access, connection.server)
        elif not self.connections:
            _log.info("%s: connected to %s", self.access, connection.server)
        self.trouble = ""
        self.connections += 1
        self._connection = connection
        self._there.set()
        self._change()

    def _change(self) -> None:
        for listener in self._listeners:
            listener()

    def _tell(self, words: str) -> None:
        if words != self.trouble:
            _log.warning("%s", f"{self.access}: {words}")  # the log sums up what has the same first value
        self.trouble = words

    async def _ended(self) -> None:
        self._gone.set()

    async def _complain(self, error: Exception) -> None:
        text = access.describe(error)
        if "permissions" in text and text != self.permission:
            self.permission = text
            _log.warning("%s", f"{self.access}: {text}")


async def make_streams(connection: Connection, config: BridgeConfig, stream: str) -> None:
    """Make the stream and that of the heartbeats where they are missing; tell where one is set up otherwise.

    Raises
    ------
    Exception
        Whatever nats-py raises; see `access.describe`.
    ConfigError
        The stream is there, for other subjects.
    """
    name = messages.stream_name(stream)
    info = await _make(connection, stream_config(name, config.site, stream, config.keep))
    subject = messages.data_subject(config.site, stream)
    if info.config.subjects != [subject]:
        subjects = ", ".join(info.config.subjects or ()) or "none: it is a mirror"
        raise ConfigError(f"{name} is for other subjects ({subjects}), not {subject}: check the site's name")
    for difference in differences(info.config, config.keep):
        _log.warning("%s is left as it is: %s", name, difference)
    with contextlib.suppress(Exception):  # without heartbeats in the log readers miss little
        await _make(connection, beats_config(config.keep))


async def _make(connection: Connection, wanted: "StreamConfig") -> "StreamInfo":
    from nats.js.errors import NotFoundError  # noqa: PLC0415

    name = wanted.name or ""
    try:
        return await connection.context.stream_info(name)
    except NotFoundError:
        info = await connection.context.add_stream(wanted)
        _log.info("made %s in the log", name)
        return info


def stream_config(name: str, site: str, stream: str, keep: KeepConfig) -> "StreamConfig":
    """Return how a stream of readouts is set up."""
    from nats.js.api import RetentionPolicy, StorageType, StreamConfig  # noqa: PLC0415

    return StreamConfig(
        name=name,
        description="AstroPix readouts, stored by astropix-bridge",
        subjects=[messages.data_subject(site, stream)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType(keep.storage),
        num_replicas=keep.replicas,
        max_age=keep.age,
        max_bytes=keep.size or -1,
        duplicate_window=min(DUPLICATE_WINDOW_S, keep.age or DUPLICATE_WINDOW_S),
        allow_direct=True,
    )


def beats_config(keep: KeepConfig) -> "StreamConfig":
    """Return how the stream of heartbeats is set up: the last one of each subject."""
    from nats.js.api import StorageType, StreamConfig  # noqa: PLC0415

    return StreamConfig(
        name=messages.BEATS,
        description="the latest heartbeat of each relay's stream, stored by astropix-bridge",
        subjects=["apx.*.*.beat"],
        max_msgs_per_subject=1,
        storage=StorageType(keep.storage),
        num_replicas=keep.replicas,
        allow_direct=True,
    )


def differences(found: "StreamConfig", keep: KeepConfig) -> list[str]:
    """Return in what a stream differs from what the configuration says, a clause each."""
    pairs: list[tuple[str, Any, Any]] = [
        ("replicas", found.num_replicas, keep.replicas),
        ("age", found.max_age or 0, keep.age),
        ("size", max(0, found.max_bytes or 0), keep.size),
        ("storage", getattr(found.storage, "value", found.storage), keep.storage),
    ]
    return [f"keep.{key} is {is_!r}, not {wanted!r}" for key, is_, wanted in pairs if is_ != wanted]


async def find_end(connection: Connection, stream: str) -> End:
    """Ask the stream's leader where it ends.

    Raises
    ------
    Exception
        Whatever nats-py raises; see `access.describe`.
    """
    name = messages.stream_name(stream)
    state = (await connection.context.stream_info(name)).state
    if not state.messages:
        return End(state.last_seq, None)
    for sequence in range(state.last_seq, state.first_seq - 1, -1):  # those of others are passed over
        try:
            stored = await connection.context.get_msg(name, sequence)
            header = messages.parse_header(stored.data or b"")
        except WireError:
            continue
        except Exception as error:
            if access.error_code(error) == access.NO_MESSAGE:
                continue  # it was deleted
            raise
        return End(state.last_seq, Position(header.relay_id, header.sequence + header.count))
    return End(state.last_seq, None)
