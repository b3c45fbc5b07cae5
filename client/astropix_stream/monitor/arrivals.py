"""What comes to the page: batches, what a receiver tells of itself, and the parts of a batch by run. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astropix_stream.batch import Batch
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.monitor.runs import RunData


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch as it came in.

    Attributes
    ----------
    batch
        Its payload is empty if it was skipped.
    at
        When it came.
    skipped
        It is not decoded, since what waits is too much already.
    """

    batch: Batch
    at: Moment
    skipped: bool = False

    @property
    def received_ns(self) -> int:
        """When it was received, ns since the Unix epoch: by the relay, if it comes out of its history."""
        return self.batch.received_ns if self.batch.recovered else self.at.ns

    @property
    def second(self) -> int:
        """The second in which it was received, by our monotonic clock."""
        age_s = max(0, self.at.ns - self.received_ns) / 1e9
        return math.floor(self.at.s - age_s)


@dataclass(frozen=True, slots=True)
class Reception:
    """What a receiver tells of itself at one moment.

    Attributes
    ----------
    at
        The moment.
    ledger, state, age_s, lag_s
        As of the receiver.
    trouble
        Why no readout can arrive, if so.
    report
        The relay's latest heartbeat; None without a relay.
    relay_id, first_report
        Of the first heartbeat.
    stride
        The DAQ multicasts one readout in so many.
    ended
        No more readouts will come: the source is a file, read to its end.
    """

    at: Moment
    ledger: Ledger
    state: State = State.QUIET
    age_s: float | None = None
    lag_s: float = 0.0
    trouble: str = ""
    report: dict[str, Any] | None = None
    relay_id: int | None = None
    first_report: dict[str, Any] | None = None
    stride: int = 1
    ended: bool = False

    def differs(self, other: "Reception") -> bool:
        """Tell whether it says something new, beside that time has gone on."""
        if self is other:
            return False
        return (self.state, self.trouble, self.ended, self.ledger) != (
            other.state,
            other.trouble,
            other.ended,
            other.ledger,
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a batch that belongs to one run."""

    run: RunData
    arrival: Arrival
    begin: int
    end: int
    begins_run: bool

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def payload(self) -> memoryview:
        """The bytes of its readouts."""
        ends = self.arrival.batch.ends
        return memoryview(self.arrival.batch.payload)[
            ends[self.begin - 1] if self.begin else 0 : ends[self.end - 1]
        ]

    def part(self, begin: int, end: int) -> "Segment":
        """Return some of it."""
        return replace(self, begin=begin, end=end, begins_run=self.begins_run and begin == self.begin)


def without_duplicates(arrival: Arrival) -> Arrival:
    """Leave out readouts that came before."""
    batch = arrival.batch
    return replace(arrival, batch=batch.without_duplicates()) if any(batch.duplicates) else arrival


def ends_of(segments: Sequence[Segment]) -> NDArray[np.int64]:
    """Return where each readout ends in the payloads of segments, back to back."""
    ends, offset = [], 0
    for one in segments:
        all_ends = one.arrival.batch.ends
        first = all_ends[one.begin - 1] if one.begin else 0
        ends.append(np.asarray(all_ends[one.begin : one.end], np.int64) + (offset - first))
        offset = int(ends[-1][-1])
    return np.concatenate(ends)
