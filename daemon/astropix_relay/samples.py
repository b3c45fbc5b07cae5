"""What there is to watch, at one moment. Pure; `metrics` puts it into the form of Prometheus.

The loop takes a `Sample` each second and hands it over; the server's threads see nothing else, so that no
scrape can stop a readout or see half of a change. Apart from `metrics`, since a relay that serves no metrics
does not need the 6 MiB that prometheus_client brings.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # their modules reach sockets
    from astropix_relay.clients.gate import DoorSample
    from astropix_stream.multicast.sockets import SocketMemory


class Turns:
    """How long the turns of the loop took, from waking up until it waits again: seconds, in buckets."""

    BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        self.total_s = 0.0
        self._noted: list[float] = []
        self.note = self._noted.append
        """Note a turn; what is noted is counted by `count`."""

    def count(self) -> None:
        """Count the turns noted since the last call: each second, many at once from warm caches."""
        for seconds in self._noted:
            self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.total_s += sum(self._noted)
        self._noted.clear()


class StreamSample(NamedTuple):
    """A stream: what its heartbeat says, and what only its relay needs to know."""

    name: str
    report: Mapping[str, Any]
    messages: int
    bytes: int
    memory: "SocketMemory"
    rejoins: Mapping[str, int]


class OutletSample(NamedTuple):
    """An output: readouts sent, not sent by reason (an errno, or ours), whether it stopped as a loop."""

    stream: str
    group: str
    sent: int
    not_sent: Mapping[str, int]
    stopped: bool = False


class Sample(NamedTuple):
    """Everything at one moment; nothing in it changes any more."""

    at_s: float
    version: str
    relay_id: int
    streams: Sequence[StreamSample]
    doors: Sequence["DoorSample"]
    subscriptions: int
    ignored: int
    requests: Mapping[str, int]
    turns: Sequence[int]
    turns_s: float
    reassembly_failures: int | None
    refused_addresses: int = 0
    dropped_log_lines: int = 0
    outlets: Sequence[OutletSample] = ()
