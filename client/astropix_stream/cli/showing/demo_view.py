"""What `apx demo` shows: a table and pictures on a terminal, elsewhere a line each second."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from astropix_stream import numbers
from astropix_stream.batch import Batch
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout

TOT_BIN_US = 20.0


class Way:
    """One of the two ways that the readouts take, and what arrived on it.

    Attributes
    ----------
    readouts, hits : int
        How many.
    latest : AstroPix4Hit or None
        The last hit.
    pixels, tot_bins : collections.Counter
        Hits by (row, column), and by TOT.
    """

    def __init__(self, name: str, source: OpenSource) -> None:
        self.name = name
        self.source = source
        self.readouts = self.hits = 0
        self.rate = 0.0
        self.latest: AstroPix4Hit | None = None
        self.pixels: Counter[tuple[int, int]] = Counter()
        self.tot_bins: Counter[int] = Counter()
        self._meter = numbers.RateMeter()
        self.tick(0.0)

    def take(self, batch: Batch) -> None:
        """Note what arrived."""
        for raw in batch.datagrams():
            self.readouts += 1
            for hit in AstroPix4Readout.from_bytes(raw).hits():
                self.hits += 1
                self.pixels[hit.row, hit.column] += 1
                self.tot_bins[int(hit.tot_us / TOT_BIN_US)] += 1
                self.latest = hit

    def tick(self, now_s: float) -> None:
        """Measure the rate."""
        self.rate = self._meter.note(now_s, self.readouts)

    def missing(self, sent: int) -> int:
        """Return how many readouts were lost: those that are known to be, or simply did not come."""
        ledger = self.source.receiver.ledger
        return max(ledger.lost, sent - ledger.delivered)

    def to_json(self) -> dict[str, Any]:
        """Return the counts for programs."""
        ledger = self.source.receiver.ledger
        return {"readouts": self.readouts, "hits": self.hits, "lost": ledger.lost}


class View(AbstractContextManager["View"], ABC):
    """Shows the two ways."""

    every_s = 1.0

    def __init__(self, ways: list[Way]) -> None:
        self._ways = ways
        self._next_s = self.every_s

    def update(self, elapsed_s: float, sent: int) -> None:
        """Show how it is, as often as one likes."""
        if elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + self.every_s
        for way in self._ways:
            way.tick(elapsed_s)
        self.show(elapsed_s, sent)

    @abstractmethod
    def show(self, elapsed_s: float, sent: int) -> None:
        """Show how it is."""

    def show_verdict(self, sent: int) -> None:
        """Say how it went, in the end."""
        print(f"sent {numbers.counted(sent, 'readout')}")
        for way in self._ways:
            print(f"{way.name}: {numbers.counted(way.readouts, 'readout')}, {way.source.account()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Lines(View):
    """A line each second."""

    def show(self, elapsed_s: float, sent: int) -> None:
        """Print a line."""
        arrived = "  ".join(
            f"{way.name}: {way.readouts}, {way.source.receiver.ledger.lost} lost" for way in self._ways
        )
        print(f"{elapsed_s:4.0f} s  sent {sent}  {arrived}  last: {self._ways[-1].latest or 'no hit yet'}")


class Records(View):
    """A JSON object each second, and one at the end."""

    def show(self, elapsed_s: float, sent: int) -> None:
        """Print an object."""
        ways = {way.name.split()[-1]: way.to_json() for way in self._ways}
        print(json.dumps({"seconds": round(elapsed_s, 1), "sent": sent, **ways}))

    def show_verdict(self, sent: int) -> None:
        """Print the accounts in full."""
        ways = {way.name.split()[-1]: way.to_json() | way.source.account_json() for way in self._ways}
        print(json.dumps({"sent": sent, **ways}))
