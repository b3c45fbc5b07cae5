"""One stream's way in from other relays: a connection to each, read in the relay's own loop.

The receivers are those of the library: they connect by themselves, ask a relay's history for what was lost on
the way, and never block when they are read with a timeout of 0. libzmq looks names up in its own threads.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from astropix_relay.configuration.model import StreamConfig
from astropix_relay.confluence import Standing
from astropix_relay.forwarding import Brought
from astropix_stream import wire
from astropix_stream.batch import Position
from astropix_stream.counting.hops import parse_hops
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.multicast.sockets import SocketMemory
from astropix_stream.multicast.survey import Survey
from astropix_stream.relay.batches import batch_of_numbered
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.url import parse_url

_log = logging.getLogger(__name__)

_MAX_BATCHES = 16  # of one relay before the others have their turn: 1 MiB
_MAX_READING_S = 0.01  # of one relay: a page of history may hold thousands of messages
_PAGE_READOUTS = (
    500  # of history at once: a page of 1 MiB would hold up the loop for a tenth of a second and more
)
_RETRY_S = 5.0  # after what no waiting mends: another stream's name, a broken key file

Receiver = RelayReceiver[AstroPix4Readout]


class Arrived(NamedTuple):
    """What one look at all relays brought; `exhausted`: nothing waited any more."""

    brought: list[Brought]
    standings: dict[str, Standing]
    exhausted: bool


class Upstream:
    """The relays that one stream comes from.

    Call `read` when one of `filenos` is readable, and each second, since receivers look after their
    connections only then.

    Parameters
    ----------
    config
        The stream's part of the configuration; it has `upstreams`.
    oldest
        Whether to begin with what the relays' histories hold, to have it for those below.
    """

    def __init__(self, config: StreamConfig, *, oldest: bool) -> None:
        self.config = config
        self.rejoins: Counter[str] = Counter()
        self.opened = 0
        """How many connections were opened: a new one may have the descriptor of one that was closed."""
        self.stopped: dict[str, str] = {}
        """The relays that are not listened to, since a readout would run in a circle, and why."""
        self._oldest = oldest
        self._receivers: dict[str, Receiver] = {}
        self._troubles: dict[str, str] = {}
        self._retry_s: dict[str, float] = {}
        self._position: Position | None = None
        self._readout_uid: int | None = None

    @property
    def joined(self) -> bool:
        """Whether a relay is heard that itself gets readouts, as far as it says."""
        return any(
            r.connected and (r.report or {}).get("joined") is not False for r in self._receivers.values()
        )

    @property
    def membership(self) -> str:
        """Each relay, and what is wrong with it, in words."""
        return "from " + ", ".join(self._words(url) for url in self.config.upstreams)

    def _words(self, url: str) -> str:
        shown = url.partition("?")[0]
        trouble = self.stopped.get(url) or self._trouble(url)
        return f"{shown} ({trouble})" if trouble else shown

    def _trouble(self, url: str) -> str:
        receiver = self._receivers.get(url)
        if receiver is None or (receiver.ready and not receiver.connected):
            return self._troubles.get(url, "not heard")
        return "" if receiver.ready else self._troubles.get(url, receiver.trouble)

    def filenos(self) -> list[int]:
        """Return the descriptors that are readable while a relay has something; `check` opens new ones."""
        return [receiver.fileno() for receiver in self._receivers.values()]

    def read(self) -> Arrived:
        """Return what waits, within bounds. Never raises, never blocks."""
        brought: list[Brought] = []
        exhausted = True
        for url, receiver in self._receivers.items():
            exhausted &= self._read_one(url, receiver, brought)
        return Arrived(brought, self.standings(), exhausted)

    def _read_one(self, url: str, receiver: Receiver, brought: list[Brought]) -> bool:
        until_s = time.monotonic() + _MAX_READING_S
        try:
            for _ in range(_MAX_BATCHES):
                batch = receiver.receive_batch(timeout=0.0)
                brought.append((url, receiver.live_from, replace(batch, runs=()) if batch.runs else batch))
                if time.monotonic() > until_s:
                    return False
        except ReceiveTimeout:
            return True
        except (RefusedError, ConfigError) as error:
            self._note_trouble(url, str(error))
            return True
        return False

    def take_next(self, s: float, ns: int) -> list[tuple[str, wire.Numbered]]:
        """Return messages that are just what comes next on their paths; if there is none, `read`.

        `s` and `ns` are the two clocks at this moment.
        """
        return [
            (url, message)
            for url, receiver in self._receivers.items()
            for message in receiver.take_next(_MAX_BATCHES, s, ns)
        ]

    def as_brought(self, url: str, message: wire.Numbered) -> Brought:
        """Return what `take_next` gave as `read` would have."""
        return url, self._receivers[url].live_from, batch_of_numbered(message)

    def standings(self) -> dict[str, Standing]:
        """Return how far the paths have come."""
        return {url: _standing(receiver) for url, receiver in self._receivers.items()}

    def memory(self) -> SocketMemory:
        """Return nothing: there is no socket of datagrams."""
        return SocketMemory(0, 0, 0)

    def check(self, now_s: float, survey: Survey | None = None, *, starting: bool = False) -> None:
        """Open what is still to be opened."""
        for url in self.config.upstreams:
            if (
                url not in self._receivers
                and url not in self.stopped
                and now_s >= self._retry_s.get(url, 0.0)
            ):
                self._open(url, now_s)
        for url, receiver in self._receivers.items():
            if receiver.connected:
                self._troubles.pop(url, None)

    def note_position(self, position: Position | None) -> None:
        """Note where a receiver that is opened from now on has to begin."""
        self._position = position

    def _open(self, url: str, now_s: float) -> None:
        source = parse_url(url)
        source.options.setdefault("stream", self.config.name)
        start = self._position or ("oldest" if self._oldest else "live")
        if "max_bandwidth" in source.options:
            start = "live"  # of what is thinned, history is not asked
        try:
            receiver = RelayReceiver.from_url(
                AstroPix4Readout, source, any_kind=True, start=start, page_readouts=_PAGE_READOUTS
            )
        except (ConfigError, OSError) as error:
            self._retry_s[url] = now_s + _RETRY_S
            self._note_trouble(url, str(error))
            return
        self._receivers[url] = receiver
        self.opened += 1

    def _note_trouble(self, url: str, words: str) -> None:
        if self._troubles.get(url) != words:
            self._troubles[url] = words
            _log.warning("stream %s: %s", self.config.name, words)

    def stop(self, url: str, why: str) -> None:
        """Stop listening to a relay until the configuration changes."""
        _log.error("stream %s: %s is not listened to: %s", self.config.name, url.partition("?")[0], why)
        self.stopped[url] = why
        self._close_one(url)

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up other relays; those that stay are not disturbed. What was stopped is tried again."""
        self.config = config
        self.stopped.clear()
        self._retry_s.clear()
        for url in [url for url in self._receivers if url not in config.upstreams]:
            self._close_one(url)

    def _close_one(self, url: str) -> None:
        receiver = self._receivers.pop(url, None)
        self._troubles.pop(url, None)
        if receiver is not None:
            receiver.close()

    @property
    def readout_uid(self) -> int | None:
        """The kind of the readouts, as the first relay says that is heard; it stays while none says it."""
        uids = (receiver.readout_uid for receiver in self._receivers.values())
        self._readout_uid = next((uid for uid in uids if uid is not None), self._readout_uid)
        return self._readout_uid

    @property
    def stride(self) -> int | None:
        """The stride, as the first relay says that is heard."""
        return next((r.stride for r in self._receivers.values() if r.streams is not None), None)

    @property
    def notes(self) -> Mapping[str, str]:
        """What the setup is, as the first relay says that says anything."""
        return next((receiver.notes for receiver in self._receivers.values() if receiver.notes), {})

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        for url in list(self._receivers):
            self._close_one(url)

    def let_go(self) -> None:
        """Close: a connection cannot be handed to the next process, which asks history instead."""
        self.close()


def _standing(receiver: Receiver) -> Standing:
    cut_off = (receiver.report or {}).get("state") == State.UPSTREAM_LOST
    connected = receiver.connected and not cut_off
    thinned, missed, waiting = receiver.thinned, receiver.missed, receiver.waiting
    hops = () if waiting is None else parse_hops({"hops": list(waiting.hops)})
    return Standing(connected, receiver.position, receiver.live_from, receiver.report, thinned, missed, hops)
