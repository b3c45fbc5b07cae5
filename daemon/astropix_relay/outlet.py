"""A stream's way out onto a multicast group: each readout, byte for byte."""

import contextlib
import errno
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from astropix_relay.configuration.model import OutputConfig
from astropix_relay.core import Message
from astropix_relay.echoes import HELD_S, Echoes
from astropix_relay.pacing import Pacer
from astropix_relay.samples import OutletSample
from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.errors import ConfigError, explain
from astropix_stream.multicast import interfaces

if TYPE_CHECKING:
    from astropix_stream.sock import MulticastSender

_log = logging.getLogger(__name__)

_TRIAL = 50  # readouts in the first second of an output, until it is known that they do not come back


class Outlet:
    """Multicasts a stream's readouts, and never waits for the network.

    An interface that is missing is waited for. Call `check` each second, and `pump` when `due_s` says so.

    Parameters
    ----------
    config
        The output's part of the configuration.
    """

    def __init__(self, config: OutputConfig) -> None:
        self.config = config
        self.pacer = Pacer(config.max_rate, trial=_TRIAL)
        self.echoes = Echoes()
        self.trouble = ""
        """Why nothing is sent; empty while all is well."""
        self.stopped = False
        """It would feed a loop; it is tried again when the configuration changes."""
        self.unsent = 0
        """Readouts that came while there was no socket."""
        self._sent_before, self._not_sent_before = 0, Counter[int]()  # by sockets that are closed
        self._sender: MulticastSender | None = None
        self._addresses: frozenset[str] = frozenset()

    @property
    def sent(self) -> int:
        """Readouts that the kernel took."""
        return self._sent_before + (self._sender.sent if self._sender is not None else 0)

    @property
    def not_sent(self) -> Counter[int]:
        """Readouts that it did not take, by errno."""
        return self._not_sent_before + (self._sender.not_sent if self._sender is not None else Counter())

    def check(self) -> None:
        """Open what is still to be opened; look which addresses are ours."""
        group, port = self.config.destination
        with contextlib.suppress(OSError):  # no descriptor is free: they are those of before
            found = interfaces.addresses(6 if ":" in group else 4)
            self._addresses = frozenset(address for _, address in found)
        if self._sender is not None or self.stopped:
            return
        from astropix_stream.sock import MulticastSender  # noqa: PLC0415  (few relays have outputs)

        try:
            self._sender = MulticastSender(group, port, self.config.ttl, interface=self.config.interface)
        except (ConfigError, OSError) as error:
            words = explain(error) if isinstance(error, OSError) else str(error)
            if words != self.trouble:
                _log.warning("output to %s: %s", self.config.multicast, words)
            self.trouble = words
        else:
            self.trouble = ""

    def take(
        self,
        datagrams: Sequence[bytes],
        now_s: float,
        *,
        recovered: bool,
        received_ns: int = 0,
        source: Source = wire.NO_SOURCE,
    ) -> None:
        """Send readouts now, or when it is their turn; not those that come again as another source's."""
        if self._sender is None:
            self.unsent += len(datagrams)
            return
        datagrams = [one for one in datagrams if not self.echoes.is_one(one, source, now_s)]
        if self._ends_loop(now_s):
            return
        if self.echoes.look_like_loop(now_s):
            self.pacer.hold(now_s + HELD_S)
        for datagram in self.pacer.take(datagrams, now_s, recovered=recovered, received_ns=received_ns):
            self._sender.send_data(datagram)

    def pump(self, now_s: float) -> None:
        """Send the readouts whose turn has come."""
        if self._sender is not None and not self._ends_loop(now_s):
            for datagram in self.pacer.due(now_s):
                self._sender.send_data(datagram)

    def _ends_loop(self, now_s: float) -> bool:
        """Stop if what we send comes back by other outputs; return whether it does."""
        if self.echoes.source is None or not self.echoes.are_a_loop(now_s):
            return False
        self.stop_loop(self.echoes.source, self.config.stream, ", passed on by another output")
        return True

    def due_s(self) -> float:
        """Return when to call `pump`."""
        return float("inf") if self._sender is None else self.pacer.due_s()

    def sends_as(self, source: Source) -> bool:
        """Whether readouts of this source are our own, come back to us."""
        return (
            self._sender is not None
            and source.port == self._sender.source_port
            and source.address in self._addresses
        )

    def stop_loop(self, source: Source, stream: str, way: str = "") -> None:
        """Stop sending what comes back in a stream, as the readouts of this source."""
        self.stop(
            f"a loop: what we send to {self.config.multicast} comes back in stream {stream}{way}, "
            f"with {source} as its source"
        )

    def stop(self, why: str) -> None:
        """Stop sending until the configuration changes."""
        _log.error("output to %s stops: %s", self.config.multicast, why)
        self.trouble, self.stopped = why, True
        self.close()

    def close(self) -> None:
        """Close the socket; a second call does nothing."""
        if self._sender is not None:
            self._sent_before, self._not_sent_before = self.sent, self.not_sent
            with contextlib.suppress(OSError):
                self._sender.close()
            self._sender = None


class Outlets:
    """All outputs of a relay.

    Parameters
    ----------
    outputs
        As the configuration has them.
    """

    def __init__(self, outputs: Sequence[OutputConfig]) -> None:
        self.all = [Outlet(output) for output in outputs]

    def reconfigure(self, outputs: Sequence[OutputConfig], *, retry: bool) -> None:
        """Take up other outputs; with `retry`, try again those that were stopped as a loop."""
        kept = {o.config: o for o in self.all if o.config in outputs and not (retry and o.stopped)}
        for outlet in self.all:
            if outlet not in kept.values():
                outlet.close()
        self.all = [kept.get(output) or Outlet(output) for output in outputs]

    def check(self) -> None:
        """Open what is still to be opened."""
        for outlet in self.all:
            outlet.check()

    def send(self, stream: str, messages: Iterable[Message], now_s: float) -> None:
        """Send the readouts of a stream's data messages to the outputs that take it, unless it is a loop."""
        for _, packed, payload in messages:
            header = wire.parse_message_header(packed)
            self.refuse_loop(header.source, stream)
            outlets = [o for o in self.all if o.config.stream == stream and not o.stopped]
            if not outlets:
                continue
            _, _, ends = wire.walk_payload(payload, header.count)
            datagrams = [payload[begin:end] for begin, end in pairwise((0, *ends))]
            for outlet in outlets:
                outlet.take(
                    datagrams,
                    now_s,
                    recovered=bool(header.flags & wire.REPLAYED),
                    received_ns=header.received_ns,
                    source=header.source,
                )

    def pump(self, now_s: float) -> float:
        """Send the readouts whose turn has come; return when to call again."""
        for outlet in self.all:
            outlet.pump(now_s)
        return min((outlet.due_s() for outlet in self.all), default=float("inf"))

    def refuse_loop(self, source: Source, stream: str) -> None:
        """Stop an output whose readouts come back to us, as their source tells."""
        for outlet in self.all:
            if outlet.sends_as(source):
                outlet.stop_loop(source, stream)

    def troubles(self, stream: str) -> str:
        """Return what is wrong with a stream's outputs, to be put behind its membership."""
        found = [outlet for outlet in self.all if outlet.trouble and outlet.config.stream == stream]
        return "".join(f"; output to {outlet.config.multicast}: {outlet.trouble}" for outlet in found)

    def sample(self) -> list[OutletSample]:
        """Return what there is to watch."""
        return [
            OutletSample(
                o.config.stream,
                o.config.multicast,
                o.sent,
                {**{errno.errorcode.get(n, str(n)): count for n, count in o.not_sent.items()},
                 "no_socket": o.unsent, "skipped": o.pacer.skipped, "came_back": o.echoes.count},
                o.stopped,
            )
            for o in self.all
        ]  # fmt: skip

    def close(self) -> None:
        """Close every socket."""
        for outlet in self.all:
            outlet.close()
