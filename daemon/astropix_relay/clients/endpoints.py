"""Where clients come in: the publisher, the archive where there is history, and the gate before both."""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

import zmq

from astropix_relay.clients.archive import Archive
from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Handover, Listener
from astropix_relay.clients.publisher import Publisher
from astropix_relay.clients.security import Clients, load_clients, load_secret
from astropix_relay.configuration.model import Config
from astropix_relay.history import History

_log = logging.getLogger(__name__)


class Endpoints:
    """The sockets that clients connect to, and who may.

    Parameters
    ----------
    context
        ZeroMQ context; stays open on `close`.
    config
        Where to listen, and for whom.
    handover
        Where listening sockets are kept.
    relay_id
        Random number of this start of the relay.
    histories
        By the streams' names.
    hello
        What each new connection is told.

    Raises
    ------
    OSError
        An endpoint cannot be bound.
    ConfigError
        The keys cannot be read.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        config: Config,
        handover: Handover,
        *,
        relay_id: int,
        histories: Mapping[str, History],
        hello: bytes,
    ) -> None:
        self._handover = handover
        self._clients: Clients = {}
        with contextlib.ExitStack() as opened:  # what is opened last is closed first
            self.gate = self._open_gate(context, config)
            opened.callback(self.gate.close)
            self.archive: Archive | None = None
            endpoint = config.history_endpoint()
            if endpoint is not None:
                listener = self._listen(opened, endpoint, "history.endpoint")
                self.archive = Archive(context, listener, relay_id, histories, self.gate)
                opened.callback(self.archive.close)
            listener = self._listen(opened, config.publish.endpoint, "publish.endpoint")
            queue = config.publish.subscriber_queue
            self.publisher = Publisher(context, listener, hello, queue, self.gate)
            opened.callback(self.publisher.close)
            self._opened = opened.pop_all()

    def _open_gate(self, context: "zmq.Context[zmq.Socket[bytes]]", config: Config) -> Gate:
        publish, security = config.publish, config.security
        options: dict[str, Any] = {"max_clients": publish.max_clients, "never_refuse": publish.never_refuse}
        if security is None:
            return Gate(context, **options)
        self._clients = load_clients(security)
        return Gate(context, **options, pair=load_secret(security), provider=self._clients.get)

    def _listen(self, opened: contextlib.ExitStack, endpoint: str, key: str) -> Listener:
        listener = Listener(endpoint, self._handover, key)
        opened.callback(listener.close)
        return listener

    @property
    def history_port(self) -> int | None:
        """The TCP port of history, as clients are told it."""
        return None if self.archive is None else self.archive.port

    def filenos(self) -> list[int]:
        """Return the descriptors that tell of something from a client."""
        history = [] if self.archive is None else [self.archive.fileno()]
        return [self.publisher.fileno(), *history, *self.gate.filenos()]

    def use_clients(self, clients: Clients) -> None:
        """Let in these clients from now on, and throw out those that are no longer among them."""
        removed = [name for key, name in self._clients.items() if key not in clients]
        added = [name for key, name in clients.items() if key not in self._clients]
        self._clients = clients
        self.gate.provider = clients.get
        if added:
            _log.info("clients now allowed: %s", ", ".join(added))
        if removed:
            _log.info("clients no longer allowed: %s; all connections are closed", ", ".join(removed))
            self.publisher.drop_clients()
            if self.archive is not None:
                self.archive.drop_clients()

    def close(self) -> None:
        """Close every socket; a second call does nothing."""
        self._opened.close()
