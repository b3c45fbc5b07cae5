"""The values on the way of the data: from where, which run, what a socket gave, what is handed out. Pure."""

import operator
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, compress
from typing import Any, NamedTuple, Self

from astropix_stream.addresses import joined


class Source(NamedTuple):
    """Address and port that a DAQ sends from."""

    address: str
    port: int

    def __str__(self) -> str:
        return joined(self.address, self.port)


@dataclass(slots=True)
class Run:
    """A run of the DAQ: readout_ids that begin again.

    `number` counts from 1 for each source. `first_id`, `first_timestamp`, `last_id` and `last_timestamp` are
    those of the first and the latest readout; timestamps are ns since the Unix epoch.
    """

    number: int
    first_id: int
    first_timestamp: int
    last_id: int
    last_timestamp: int


class Position(NamedTuple):
    """Where a readout stands in what one start of a relay has published."""

    relay_id: int
    sequence: int


class RunStart(NamedTuple):
    """From this position on, the readouts just received belong to this run.

    It is new, or goes on after a stray that seemed to begin another. A run is believed once its second
    readout comes: where the first ones were handed out before, `before` says how many of the source's latest
    readouts, just before this batch, belong to the run too.
    """

    position: int
    source: Source
    run: Run
    before: int = 0


# More than the largest datagram, so that one that fills its slot was cut (MSG_TRUNC) and is rejected as such.
SLOT_SIZE = 65536 + 64


class Drained(NamedTuple):
    """What one read took out of a socket, in the order in which the kernel queued it.

    Attributes
    ----------
    payload, sizes
        The datagrams back to back, and the bytes of each.
    sources
        Where each came from.
    drops
        The kernel's running count of datagrams dropped on this socket, as of each datagram (u32, wraps);
        empty where the platform does not tell, or as long as nothing was dropped.
    exhausted
        Nothing waited any more.
    even
        All are of one size and from one source.
    heads
        The fields of `fmt.HEADER` at the beginning of each datagram (garbage where one is shorter), as
        columns; may be empty.
    """

    payload: bytes
    sizes: Sequence[int]
    sources: Sequence[Source]
    drops: Sequence[int]
    exhausted: bool
    even: bool = False
    heads: Sequence[Sequence[Any]] = ()

    def datagrams(self) -> Iterator[bytes]:
        """Iterate over the datagrams."""
        begin = 0
        for size in self.sizes:
            yield self.payload[begin : begin + size]
            begin += size


NOTHING = Drained(b"", (), (), (), True)

One = tuple[bytes, Source, Sequence[int]]
"""A datagram that was read alone, where it came from, and the drop count, as in `Drained`."""


def drained_one(datagram: bytes, source: Source, drops: Sequence[int]) -> Drained:
    """Return one datagram as a drain after which more may wait."""
    return Drained(datagram, (len(datagram),), (source,), drops, False, True)


@dataclass(slots=True, repr=False)
class Batch:
    """Readouts of one source that arrived together, as bytes and as columns. Only who makes one changes it.

    Attributes
    ----------
    source
        Address and port that the DAQ sent from.
    received_ns
        When the first of them was read from multicast: ns since the Unix epoch, clock of the reading host.
    payload
        The datagrams back to back, byte for byte.
    readout_ids, timestamps, ends
        One entry a readout; readout i stands at ``payload[ends[i - 1]:ends[i]]``. Where a range says as much
        it is one: `ends` of readouts of one size, `readout_ids` that count on.
    recovered
        They come from the relay's history, after a loss or for a late joiner.
    runs
        The runs that begin among them, and at which readout.
    duplicates
        A mask, one byte a readout: 1 where the same readout had come before. Empty where none had.
    position
        The relay's number of the first of them, those of the others follow; None where no relay gave one.
    """

    source: Source
    received_ns: int
    payload: bytes
    readout_ids: Sequence[int]
    timestamps: Sequence[int]
    ends: Sequence[int]
    recovered: bool = False
    runs: Sequence[RunStart] = ()
    duplicates: bytes = b""
    position: Position | None = None

    def __len__(self) -> int:
        return len(self.ends)

    def __repr__(self) -> str:
        ids = f", ids {self.readout_ids[0]} to {self.readout_ids[-1]}" if self.ends else ""
        return f"<Batch from {self.source}: {len(self)} readouts{ids}, {len(self.payload)} bytes>"

    @property
    def run_starts(self) -> set[int]:
        """The positions of the readouts that begin a run, or go on with another than the one before them."""
        return {start.position for start in self.runs}

    def datagrams(self) -> Iterator[bytes]:
        """Iterate over the bytes of each readout."""
        begin = 0
        for end in self.ends:
            yield self.payload[begin:end]
            begin = end

    def without_duplicates(self) -> Self:
        """Return the readouts that had not come before; runs begin at the same readouts, or the next ones."""
        if not any(self.duplicates):
            return self
        kept = [i for i, is_duplicate in enumerate(self.duplicates) if not is_duplicate]
        datagrams = list(compress(self.datagrams(), map(operator.not_, self.duplicates)))
        return replace(
            self,
            payload=b"".join(datagrams),
            readout_ids=[self.readout_ids[i] for i in kept],
            timestamps=[self.timestamps[i] for i in kept],
            ends=list(accumulate(map(len, datagrams))),
            runs=[start._replace(position=bisect_left(kept, start.position)) for start in self.runs],
            duplicates=b"",
        )

    def first(self, count: int) -> Self:
        """Return the first `count` readouts, with the runs that begin among them."""
        if count >= len(self):
            return self
        runs = [start for start in self.runs if start.position < count]
        return replace(self.part(0, count), runs=runs)

    def part(self, begin: int, end: int) -> Self:
        """Return the readouts from position `begin` up to, not including, `end`; it has no `runs`."""
        skip = self.ends[begin - 1] if begin else 0
        return replace(
            self,
            payload=self.payload[skip : self.ends[end - 1]],
            readout_ids=self.readout_ids[begin:end],
            timestamps=self.timestamps[begin:end],
            ends=[at - skip for at in self.ends[begin:end]],
            runs=(),
            duplicates=self.duplicates[begin:end],
            position=self.position and Position(self.position.relay_id, self.position.sequence + begin),
        )


def concatenated(batches: Sequence[Batch]) -> Batch:
    """Return the readouts of several batches of one source, at least one, as one that came with the first."""
    if len(batches) == 1:
        return batches[0]
    begins = [0, *accumulate(map(len, batches))]
    offsets = [0, *accumulate(len(batch.payload) for batch in batches)]
    masked = any(batch.duplicates for batch in batches)
    return replace(
        batches[0],
        payload=b"".join(batch.payload for batch in batches),
        readout_ids=[readout_id for batch in batches for readout_id in batch.readout_ids],
        timestamps=[timestamp for batch in batches for timestamp in batch.timestamps],
        ends=[end + offset for batch, offset in zip(batches, offsets, strict=False) for end in batch.ends],
        runs=[
            start._replace(position=start.position + begin)
            for batch, begin in zip(batches, begins, strict=False)
            for start in batch.runs
        ],
        duplicates=b"".join(batch.duplicates or bytes(len(batch)) for batch in batches) if masked else b"",
    )
