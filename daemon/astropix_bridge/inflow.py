"""Where readouts come from: a receiver of the library's, never waited for, opened again where needed."""

import contextlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import zmq

from astropix_bridge.model import BridgeConfig
from astropix_bridge.numbering import Numberer, relay_counts
from astropix_stream import clock, keys, wire, zeromq
from astropix_stream.batch import Batch, Position
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.errors import ReceiveTimeout, RefusedError, WireError
from astropix_stream.opening import open_receiver
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.url import SourceUrl, parse_url

_log = logging.getLogger(__name__)

_DRAIN = 256  # batches at a time, before all else has its turn


class AnyReadout:
    """Stands for a class of readouts: the bridge looks at none of them."""

    @classmethod
    def from_bytes(cls, data: bytes, /) -> bytes:
        """Return the bytes as they are."""
        return data


def source_urls(config: BridgeConfig, stream: str | None) -> list[SourceUrl]:
    """Return the sources of a stream, with the relay's keys."""
    urls = [parse_url(text) for text in config.sources]
    options = {"server_key": config.server_key, "key_file": config.key_file, "stream": stream}
    given = {name: value for name, value in options.items() if value is not None}
    return [replace(url, options={**url.options, **given}) if url.scheme == "tcp" else url for url in urls]


class Inflow:
    """One stream's readouts, numbered by their relay, or here where there are several sources or no relay.

    Parameters
    ----------
    config
        The bridge's.
    stream
        The stream's name.
    """

    def __init__(self, config: BridgeConfig, stream: str) -> None:
        self._urls = source_urls(config, stream)
        self._stride = config.stride
        self.numbered_here = len(self._urls) > 1 or self._urls[0].scheme != "tcp"
        self._numberer = Numberer(secrets.randbits(53))
        self._receiver: Receiver[Any] | None = None
        self.refused = ""
        self._lost_before = 0  # by receivers that were closed

    @property
    def is_open(self) -> bool:
        """Whether there is a receiver."""
        return self._receiver is not None

    def open(self, end: Position | None) -> None:
        """Begin at a position, or (again) at the oldest that the relay's history has.

        Raises
        ------
        ConfigError, OSError
            As the receivers' classes do.
        """
        if self._receiver is not None:
            if self.numbered_here:
                return
            self._receiver.close()
        start: dict[str, Any] = {} if self.numbered_here else {"start": end or "oldest"}
        if self._stride != 1:  # else what the relay says of the stream
            start["stride"] = self._stride
        urls: SourceUrl | Sequence[SourceUrl] = self._urls if len(self._urls) > 1 else self._urls[0]
        self._receiver = open_receiver(AnyReadout, urls, **start)

    def fileno(self) -> int:
        """Return what is readable while something may wait."""
        assert self._receiver is not None
        return self._receiver.fileno()

    def drain(self) -> tuple[list[Batch], bool]:
        """Return what waits, and whether there may be more."""
        batches: list[Batch] = []
        receiver = self._receiver
        if receiver is None:
            return batches, False
        try:
            while len(batches) < _DRAIN:
                batch = receiver.receive_batch(timeout=0.0)
                batches.append(self._numberer.number(batch) if self.numbered_here else batch)
        except ReceiveTimeout:
            self.refused = "" if receiver.connected else self.refused
            return batches, False
        except RefusedError as error:
            if str(error) != self.refused:
                _log.warning("%s", error)
            self.refused = str(error)
            return batches, False
        return batches, True

    @property
    def ledger(self) -> Ledger:
        """The receiver's account."""
        return Ledger() if self._receiver is None else self._receiver.ledger

    @property
    def state(self) -> State:
        """The receiver's state."""
        return State.NO_NETWORK if self._receiver is None else self._receiver.state

    def beat(self) -> tuple[bytes, Counts] | None:
        """Return the relay's latest heartbeat as the log takes it, and its counts; None before the first."""
        receiver = self._receiver
        if receiver is None:
            return None
        if self.numbered_here:
            counts = relay_counts(receiver.ledger)
            report = {"state": receiver.state, "joined": receiver.connected, "totals": counts.to_json()}
            return _pack_beat(self._numberer.next, report, receiver.notes), counts
        assert isinstance(receiver, RelayReceiver)
        if receiver.report is None or receiver.reported is None:
            return None
        try:
            counts = Counts.from_json(receiver.report.get("totals"))
        except WireError:
            return None
        return _pack_beat(receiver.reported, receiver.report, receiver.notes), counts

    def close(self) -> None:
        """Close the receiver; a second call does nothing."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None


def _pack_beat(position: Position, report: dict[str, Any], notes: Mapping[str, str]) -> bytes:
    """Return a heartbeat as the log takes it: with the operator's notes, which are in a relay's hello."""
    if notes:
        report = {**report, "notes": wire.notes_to_json(notes)}
    header = wire.pack_header((0, 0, *position, clock.now().ns, wire.NO_SOURCE))
    return header + wire.pack_json(report)


class Directory:
    """Asks relays which streams they have: they tell each new connection.

    Parameters
    ----------
    config
        The bridge's.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._urls = [url for url in source_urls(config, None) if url.scheme == "tcp"]
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []

    def ask(self) -> None:
        """Ask them all again."""
        self._hang_up()
        self._sockets = [self._connect(url) for url in self._urls]

    def _connect(self, url: SourceUrl) -> "zmq.Socket[bytes]":
        sock = self._context.socket(zmq.SUB)
        options = {**zeromq.OPTIONS, zmq.MAXMSGSIZE: zeromq.MAX_MESSAGE}
        for option, value in {**options, zmq.IPV6: int(zeromq.needs_ipv6(url.endpoint))}.items():
            sock.setsockopt(option, value)
        if (
            own := keys.read_client_keys(url.options.get("server_key"), url.options.get("key_file"))
        ) is not None:
            own.set_on(sock)
        sock.setsockopt(zmq.SUBSCRIBE, wire.HELLO_TOPIC)
        sock.connect(url.endpoint)
        return sock

    def answers(self) -> dict[str, int] | None:
        """Return the streams of the relays, each with its kind, once; None as long as none has answered."""
        found: dict[str, int] | None = None
        for sock in self._sockets:
            with contextlib.suppress(zmq.Again, WireError):
                found = (found or {}) | wire.parse_hello(sock.recv(zmq.NOBLOCK)).streams
        if found is not None:
            self._hang_up()
        return found

    def _hang_up(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def close(self) -> None:
        """Close the connections."""
        self._hang_up()
        self._context.term()
