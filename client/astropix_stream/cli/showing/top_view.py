"""What `apx top` and `apx demo` show: a table on a terminal, elsewhere a line for each stream each second."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any

from astropix_stream import fmt, numbers
from astropix_stream.batch import Batch
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import QUIET_AFTER_S, State


class Hits:
    """Counts the hits in what arrives: all of them, or an estimate from the first part of each second.

    Decoding must not keep the receiver waiting: NumPy takes some 20 ms for the bytes allowed here, and plain
    Python as long for fewer.
    """

    def __init__(self) -> None:
        self.count = 0
        self._payloads: list[bytes] = []
        self._gathered = self._arrived = 0
        self._limit, self._decode = _decoder()

    def take(self, payload: bytes) -> None:
        """Note readouts back to back."""
        self._arrived += len(payload)
        if self._gathered < self._limit:
            self._payloads.append(payload)
            self._gathered += len(payload)

    def tick(self) -> None:
        """Decode what was gathered."""
        if self._gathered:
            found = self._decode(b"".join(self._payloads))
            self.count += round(found * self._arrived / self._gathered)
        self._payloads.clear()
        self._gathered = self._arrived = 0


def _decoder() -> tuple[int, Callable[[bytes], int]]:
    """Return how many bytes to decode each second, and the function that counts their hits."""
    try:
        from astropix_stream.columns import decode_columns  # noqa: PLC0415  (an extra of the wheel)
    except ImportError:
        return 64 << 10, _count_plainly
    return 2 << 20, lambda payload: len(decode_columns(payload))


def _count_plainly(payload: bytes) -> int:
    count = begin = 0
    while begin < len(payload):
        end = begin + fmt.HEADER_SIZE + fmt.parse_header(payload, begin)[2]
        count += len(fmt.parse_hits(payload[begin + fmt.HEADER_SIZE : end])[0])
        begin = end
    return count


class Row:
    """One stream: what arrived, how fast, and what its receiver says.

    Parameters
    ----------
    source
        Where it comes from.
    name
        What to call it; by default the source's URL.

    Attributes
    ----------
    readouts, bytes : int
        What arrived.
    readout_rate, hit_rate, byte_rate : float
        Per second, over the last three.
    state, lag_s, age_s, ledger
        As of the last tick; `age_s` is None before the first readout.
    """

    def __init__(self, source: OpenSource, name: str | None = None) -> None:
        self.source = source
        self.name = str(source) if name is None else name
        self.readouts = self.bytes = 0
        self.readout_rate = self.hit_rate = self.byte_rate = 0.0
        self.state = State.QUIET
        self.lag_s = 0.0
        self.age_s: float | None = None
        self.ledger = Ledger()
        self._hits = Hits()
        self._meters = [numbers.RateMeter() for _ in range(3)]

    def take(self, batch: Batch) -> None:
        """Note what arrived."""
        self.readouts += len(batch)
        self.bytes += len(batch.payload)
        self._hits.take(batch.payload)

    def tick(self, now: Moment) -> None:
        """Measure the rates, and ask the receiver."""
        self._hits.tick()
        counts = self.readouts, self._hits.count, self.bytes
        self.readout_rate, self.hit_rate, self.byte_rate = (
            meter.note(now.s, count) for meter, count in zip(self._meters, counts, strict=True)
        )
        receiver = self.source.receiver
        self.state, self.lag_s, self.age_s = receiver.state, receiver.lag_s, receiver.age_s
        self.ledger = receiver.ledger

    @property
    def hits(self) -> int:
        """Number of hits in what arrived, as of the last tick."""
        return self._hits.count

    @property
    def lag(self) -> str:
        """The lag as people read it; empty while nothing arrives."""
        return "" if self.age_s is None or self.age_s > QUIET_AFTER_S else f"{self.lag_s:.1f} s"

    @property
    def age(self) -> str:
        """When the last readout came, as people read it."""
        return "none yet" if self.age_s is None else f"{numbers.duration(self.age_s)} ago"

    @property
    def losses(self) -> list[str]:
        """What was lost, by place: '12 before the socket'."""
        return [f"{count} {place}" for place, count in self.ledger.lost_at.items() if count]

    def to_json(self, now: Moment) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "time_ns": now.ns,
            "url": str(self.source),
            "state": self.state,
            "readouts": self.readouts,
            "readouts_per_s": round(self.readout_rate, 1),
            "hits_per_s": round(self.hit_rate, 1),
            "bytes_per_s": round(self.byte_rate, 1),
            "lag_s": round(self.lag_s, 3),
            "last_readout_age_s": None if self.age_s is None else round(self.age_s, 3),
            "delivered": self.ledger.delivered,
            "lost": self.ledger.lost,
            "lost_at": self.ledger.to_json()["lost_at"],
        }


class View(AbstractContextManager["View"], ABC):
    """Shows the rows, after each tick.

    Parameters
    ----------
    rows
        The streams.
    heading
        Returns a line to show above them.
    """

    every_s = 1.0

    def __init__(self, rows: Sequence[Row], heading: Callable[[], str] | None = None) -> None:
        self._rows = rows
        self._heading = heading

    @abstractmethod
    def show(self, now: Moment) -> None:
        """Show how it is."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Lines(View):
    """A line for each stream."""

    def show(self, now: Moment) -> None:
        """Print the lines."""
        clock = datetime.fromtimestamp(now.ns / 1e9).strftime("%H:%M:%S")
        if self._heading is not None:
            print(f"{clock}  {self._heading()}")
        for row in self._rows:
            rates = f"{numbers.rate(row.readout_rate)} readouts, {numbers.rate(row.hit_rate)} hits"
            lost = ", ".join(row.losses) or "none"
            print(f"{clock}  {row.name}  {row.state}: {rates}, last {row.age}, lost: {lost}")


class Records(View):
    """A JSON object for each stream; the heading is for people."""

    def show(self, now: Moment) -> None:
        """Print the objects."""
        for row in self._rows:
            print(json.dumps(row.to_json(now)))
