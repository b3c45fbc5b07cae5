"""The bridge's loop: the connection, the streams, what there is to watch, and reloads."""

import asyncio
import logging
import time
from collections.abc import Callable

from astropix_bridge import log
from astropix_bridge.inflow import Directory
from astropix_bridge.log import Link
from astropix_bridge.metrics import Sample, metrics, states
from astropix_bridge.mirrors import Mirrors
from astropix_bridge.model import BridgeConfig
from astropix_bridge.stream import StreamWriter
from astropix_daemon import metrics_server
from astropix_daemon.metrics_server import MetricsServer
from astropix_relay.host import logs, systemd
from astropix_stream import __version__, clock
from astropix_stream.checking.rules import changed_keys
from astropix_stream.errors import ConfigError
from astropix_stream.log.access import check_installed, end, wait
from astropix_stream.log.messages import stream_name

_log = logging.getLogger(__name__)

_DISCOVER_S = 0.1  # between looks for a relay's answer
_ASK_AGAIN_S = 20.0  # for streams that a relay did not have before
_LAST_S = 5.0  # at the end, for what was read to be stored
_AT_ONCE = frozenset({"streams", "batch"})  # keys that a reload takes up


class Bridge:
    """Stores what comes from relays in a log, until `stop`.

    Parameters
    ----------
    config
        From where, and where to.
    load
        Reads the configuration again, for `reload`.
    each_second
        Called by the loop.

    Raises
    ------
    ConfigError
        A file that the configuration names cannot be read, or no client for NATS is installed.
    """

    def __init__(
        self,
        config: BridgeConfig,
        load: Callable[[], BridgeConfig] | None = None,
        each_second: Callable[[], None] = lambda: None,
    ) -> None:
        check_installed()
        self.config = config
        self._access = log.log_access(config.nats)
        self._load = load or (lambda: config)
        self._each_second = each_second
        self._directory = Directory(config)
        self.writers: dict[str, StreamWriter] = {}
        self._mirrors: Mirrors | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._failure: BaseException | None = None
        self._started_s = time.time()

    def stop(self) -> None:
        """End `run`; may be called from a signal handler or another thread."""
        if self._loop is None:  # `run` has not begun, and will end at once
            self._stop.set()
        else:
            self._loop.call_soon_threadsafe(self._stop.set)

    def reload(self) -> None:
        """Take up what has changed in the configuration, soon; may be called as `stop`."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._reload.set)

    async def run(self) -> None:
        """Bridge until `stop` is called; then store what still waits, and close."""
        self._loop = asyncio.get_running_loop()
        self._link = Link(self._access)
        listen = self.config.metrics.listen
        server = None if listen is None else metrics_server.serve(listen, metrics, states)
        link = asyncio.create_task(self._link.run())
        filling = asyncio.create_task(self._fill())
        filling.add_done_callback(self._note_end)
        systemd.notify(READY=1, STATUS="starting")
        try:
            while not self._stop.is_set() and self._failure is None:
                if self._reload.is_set():
                    self._take_up_reload()
                self._watch(server)
                await wait(self._stop, 1.0)
            systemd.notify(STOPPING=1)
            await asyncio.gather(*(writer.finish(_LAST_S) for writer in self.writers.values()))
        finally:
            await end(filling, *self._tasks.values(), *self._ending)
            await end(link)
            self._directory.close()
            if server is not None:
                server.close()
        if self._failure is not None:
            raise self._failure

    async def _fill(self) -> None:
        if self.config.mirror is None:
            await self._discover()
        else:
            self._mirrors = Mirrors(self.config, self._link)
            await self._mirrors.run()

    async def _discover(self) -> None:
        """Open the streams that are named, or that the relays have; those that appear later, too."""
        while True:
            self._directory.ask()
            found = None
            again_s = time.monotonic() + _ASK_AGAIN_S
            while found is None and time.monotonic() < again_s:
                await asyncio.sleep(_DISCOVER_S)
                found = self._directory.answers()
                kinds = found or {}
                names = self.config.streams or kinds
                self._open({name: kinds.get(name, self.config.readout_uid) for name in names})
            if found is None and not self.writers:
                _log.info("no relay has told its streams yet: %s", ", ".join(self.config.sources))
            await asyncio.sleep(max(0.0, again_s - time.monotonic()))

    def _open(self, streams: dict[str, int]) -> None:
        for name, readout_uid in streams.items():
            if name not in self.writers:
                writer = StreamWriter(self.config, name, readout_uid, self._link)
                self.writers[name] = writer
                task = self._tasks[name] = asyncio.create_task(writer.run())
                task.add_done_callback(self._note_end)
                _log.info("%s: storing into %s as %s", name, self._access, stream_name(name))

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._stop.set()

    def _take_up_reload(self) -> None:
        self._reload.clear()
        systemd.notify_reloading()
        try:
            new = self._load()
        except (ConfigError, OSError) as error:
            for line in str(error).splitlines():
                _log.error("%s", line, extra=logs.ALWAYS)
            _log.error("reload refused: the old configuration stays", extra=logs.ALWAYS)
        else:
            for key in changed_keys(self.config, new):
                if key not in _AT_ONCE:
                    _log.warning("%s: the change waits for a restart", key, extra=logs.ALWAYS)
            self.config = self.config.model_copy(update={key: getattr(new, key) for key in _AT_ONCE})
            for name, writer in list(self.writers.items()):
                writer.config = self.config
                if self.config.streams and name not in self.config.streams:
                    del self.writers[name]
                    ending = asyncio.create_task(_end(writer, self._tasks.pop(name)))
                    self._ending.add(ending)
                    ending.add_done_callback(self._ending.discard)
            _log.info("reloaded; streams: %s", ", ".join(self.config.streams) or "every one of the relay's")
        systemd.notify(READY=1)

    def _watch(self, server: "MetricsServer[Sample] | None") -> None:
        self._each_second()
        if server is not None:
            server.sample = self.sample()
        systemd.notify(WATCHDOG=1, STATUS=self.status())

    def sample(self) -> Sample:
        """Return everything there is to watch, as of now."""
        streams = [writer.sample() for writer in self.writers.values()]
        link = self._link
        mirrors = [] if self._mirrors is None else self._mirrors.samples
        connected = link.connection is not None
        now_s = clock.now().s
        return Sample(now_s, __version__, connected, link.connections, streams, mirrors, self._started_s)

    def status(self) -> str:
        """Return in one line what the streams are doing, for ``systemctl status``."""
        words = [f"{name} {writer.state}" for name, writer in self.writers.items()]
        if self.config.mirror is None:
            return "; ".join(words) or "waiting for a relay"
        return "; ".join(states(self.sample())) or f"waiting for {self.config.mirror}"


async def _end(writer: StreamWriter, task: "asyncio.Task[None]") -> None:
    """Let a stream go, once what was read is stored."""
    try:
        await writer.finish(_LAST_S)
    finally:
        await end(task)
