"""What `apx top` and `apx demo` show: a table on a terminal, elsewhere a line for each stream each second."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any

from astropix_stream import numbers
from astropix_stream.batch import Batch, Source, concatenated
from astropix_stream.cli.terminal import ending
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import QUIET_AFTER_S, State
from astropix_stream.fitting import SAMPLE, Doubt
from astropix_stream.fmt import ASTROPIX4, Kind, Readout
from astropix_stream.joining import Joiner, decoded

_MAX_SOURCES = 64  # whose split hits are put together: forged ones must not fill the memory


class Hits:
    """Counts the hits in what arrives: all of them, or an estimate from the first part of each second.

    Decoding must not keep the receiver waiting: NumPy takes some 20 ms for the bytes allowed here, and plain
    Python as long for fewer. Duplicates are left out.
    """

    def __init__(self) -> None:
        self.count = 0
        self.doubt = Doubt()
        self._batches: dict[Source, list[Batch]] = {}
        self._joiners: dict[Source, Joiner] = {}
        self._gathered = self._arrived = 0
        self._limit, self._count = _counter()

    def take(self, batch: Batch) -> None:
        """Note readouts."""
        batch = batch.without_duplicates()
        size = len(batch.payload)
        self._arrived += size
        if size and self._gathered < self._limit:
            self._batches.setdefault(batch.source, []).append(batch)
            self._gathered += size

    def tick(self, kind: Kind = ASTROPIX4) -> bool:
        """Decode what was gathered; return whether its kind is doubted, for the first time."""
        doubted = False
        found = 0
        for source, batches in self._batches.items():
            batch = concatenated(batches)
            if self.doubt.open:
                first = batch.part(0, min(len(batch), SAMPLE))
                doubted |= any(list(map(self.doubt.note, _readouts(first, kind))))
            if len(self._joiners) >= _MAX_SOURCES:
                self._joiners.clear()
            found += self._count(batch, kind, self._joiners.setdefault(source, Joiner()))
        if self._gathered:
            self.count += round(found * self._arrived / self._gathered)
        self._batches.clear()
        self._gathered = self._arrived = 0
        return doubted


def _readouts(batch: Batch, kind: Kind) -> list[Readout[Any]]:
    make = kind.readout_class.from_payload
    return make(batch.payload, batch.ends, batch.readout_ids, batch.timestamps)


def _counter() -> tuple[int, Callable[[Batch, Kind, Joiner], int]]:
    """Return how many bytes to decode each second, and the function that counts their hits."""
    try:
        from astropix_stream import columns  # noqa: PLC0415  (an extra of the wheel)
    except ImportError:
        return 64 << 10, _count_plainly
    return 2 << 20, lambda batch, kind, joiner: len(
        columns.decode_batch(batch.payload, kind, joiner=joiner, run_starts=batch.run_starts).hits
    )


def _count_plainly(batch: Batch, kind: Kind, joiner: Joiner) -> int:
    return sum(len(readout.hits()) for readout in decoded(_readouts(batch, kind), joiner, batch.run_starts))


class Row:
    """One stream: what arrived, how fast, and what its receiver says.

    Parameters
    ----------
    source
        Where it comes from.
    name
        What to call it; by default the source's URLs.

    Attributes
    ----------
    name : str
        In one line.
    readouts, bytes : int
        What arrived.
    readout_rate, hit_rate, byte_rate : float
        Per second, over the last three.
    decodes : bool
        Whether hits are counted: not those of an unknown kind of readouts.
    state, lag_s, age_s, ledger
        As of the last tick; `age_s` is None before the first readout.
    """

    def __init__(self, source: OpenSource, name: str | None = None) -> None:
        self.source = source
        self.names = [*map(str, source.paths)] if name is None else [name]
        """A line each: of several paths, the URLs."""
        self.name = " and ".join(self.names)
        self.readouts = self.bytes = 0
        self.readout_rate = self.hit_rate = self.byte_rate = 0.0
        self.state = State.QUIET
        self.lag_s = 0.0
        self.age_s: float | None = None
        self.ledger = Ledger()
        self.decodes = True
        self._hits = Hits()
        self._meters = [numbers.RateMeter() for _ in range(3)]

    def take(self, batch: Batch) -> None:
        """Note what arrived."""
        self.readouts += len(batch)
        self.bytes += len(batch.payload)
        if self.decodes:
            self._hits.take(batch)

    def tick(self, now: Moment) -> None:
        """Measure the rates, and ask the receiver."""
        receiver = self.source.receiver
        kind = self.source.kind
        self.decodes = kind.known
        if self.decodes and self._hits.tick(kind):
            ending.log.warning("%s: %s", self.source, self._hits.doubt.text)
        counts = self.readouts, self._hits.count, self.bytes
        self.readout_rate, self.hit_rate, self.byte_rate = (
            meter.note(now.s, count) for meter, count in zip(self._meters, counts, strict=True)
        )
        self.state, self.lag_s, self.age_s = receiver.state, receiver.lag_s, receiver.age_s
        self.ledger = receiver.ledger

    @property
    def hits(self) -> int:
        """Number of hits in what arrived, as of the last tick."""
        return self._hits.count

    @property
    def hits_per_s(self) -> str:
        """The rate of hits as people read it; empty where they are not counted."""
        return numbers.rate(self.hit_rate) if self.decodes else ""

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
        return self.ledger.places()

    @property
    def thinned(self) -> str:
        """What was left out to save bandwidth, as people read it; empty for nothing."""
        return f"{self.ledger.thinned} thinned out" if self.ledger.thinned else ""

    def to_json(self, now: Moment) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "time_ns": now.ns,
            "url": str(self.source),
            "state": self.state,
            "readouts": self.readouts,
            "readouts_per_s": round(self.readout_rate, 1),
            "hits_per_s": round(self.hit_rate, 1) if self.decodes else None,
            "bytes_per_s": round(self.byte_rate, 1),
            "lag_s": round(self.lag_s, 3),
            "last_readout_age_s": None if self.age_s is None else round(self.age_s, 3),
            "delivered": self.ledger.delivered,
            "lost": self.ledger.lost,
            "lost_at": self.ledger.to_json()["lost_at"],
            "hops": self.ledger.hops,
            "thinned": self.ledger.thinned,
            "duplicates": self.ledger.duplicates,
            "readout_uid": self.source.receiver.readout_uid,
            "doubt": self._hits.doubt.text,
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
            rates = f"{numbers.rate(row.readout_rate)} readouts, {row.hits_per_s or 'unknown'} hits"
            lost = ", ".join(row.losses) or "none"
            lost += f"; {row.thinned}" if row.thinned else ""
            print(f"{clock}  {row.name}  {row.state}: {rates}, last {row.age}, lost: {lost}")


class Records(View):
    """A JSON object for each stream; the heading is for people."""

    def show(self, now: Moment) -> None:
        """Print the objects."""
        for row in self._rows:
            print(json.dumps(row.to_json(now)))
