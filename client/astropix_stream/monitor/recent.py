"""The latest readouts: as they came, to look at one by one, and decoded, to look for coincidences. Pure.

What is kept costs next to nothing as long as nobody looks: decoded tables are kept as they are, and of the
bytes only those of the last readouts of each decoding are copied.
"""

from collections import deque
from dataclasses import dataclass, replace
from itertools import repeat
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.batch import Source
from astropix_stream.columns import Decoded
from astropix_stream.monitor.histograms import Located

Ints: TypeAlias = NDArray[np.int64]

MAX_HITS = 1 << 16  # in decoded tables: some 7 MiB
MAX_CHUNKS = 4096
MAX_READOUTS = 512  # kept as bytes, and as many of those in which something was wrong
MAX_BYTES = 4 << 20  # of them


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Readouts that were decoded together."""

    run: int
    source: Source
    decoded: Decoded
    located: Located

    def __len__(self) -> int:
        return len(self.decoded.readout_ids)

    def part(self, begin: int, end: int) -> "Chunk":
        """Return some of its readouts."""
        decoded, located = self.decoded, self.located
        first, last = (int(decoded.hit_counts[:at].sum()) for at in (begin, end))
        inside = (located.owners >= begin) & (located.owners < end)
        return replace(
            self,
            decoded=Decoded(
                decoded.hits[first:last],
                decoded.readout_ids[begin:end],
                decoded.timestamps[begin:end],
                decoded.hit_counts[begin:end],
                decoded.statuses[begin:end],
            ),
            located=Located(located.table[inside], located.owners[inside] - begin),
        )


class Kept(NamedTuple):
    """A readout as it came."""

    run: int
    source: Source
    readout_id: int
    timestamp: int
    raw: bytes
    """With its header."""
    status: int
    """The bits of `fmt.Decoding`, as it was decoded after the readouts before it."""


class Recent:
    """The latest readouts, in bounded memory.

    Attributes
    ----------
    chunks
        What was decoded last, of at least one decoding; the oldest first.
    """

    def __init__(self) -> None:
        self.chunks: deque[Chunk] = deque()
        self._hits = 0
        self._last = _Shelf()
        self._troubled = _Shelf()

    def note(self, chunk: Chunk, payload: bytes, ends: Ints) -> None:
        """Keep what was decoded; readout i stands before ``ends[i]`` in the payload."""
        self.chunks.append(chunk)
        self._hits += len(chunk.located.table)
        while len(self.chunks) > 1 and (self._hits > MAX_HITS or len(self.chunks) > MAX_CHUNKS):
            self._hits -= len(self.chunks.popleft().located.table)
        count = len(chunk)
        self._last.add(chunk, payload, ends, np.arange(max(0, count - MAX_READOUTS), count))
        self._troubled.add(chunk, payload, ends, np.flatnonzero(chunk.decoded.statuses)[-MAX_READOUTS:])

    def readouts(self, run: int, *, troubled: bool = False) -> list[Kept]:
        """Return the readouts of a run that are kept, the newest first; or those with decode problems."""
        shelf = self._troubled if troubled else self._last
        return [Kept(*kept) for kept in reversed(shelf.kept) if kept[0] == run]

    def find(self, run: int, readout_id: int) -> tuple[Kept | None, Kept | None]:
        """Return the latest kept readout with an id, and the one just before it of its source, if kept."""
        for shelf in (self._last, self._troubled):
            before: Kept | None = None
            found: tuple[Kept | None, Kept | None] = (None, None)
            for kept in (Kept(*one) for one in shelf.kept if one[0] == run):
                if kept.readout_id == readout_id:
                    found = kept, before if before and before.readout_id == readout_id - 1 else None
                before = kept
            if found[0] is not None:
                return found
        return None, None

    def move(self, source: Source, count: int, run: int) -> list[Chunk]:
        """Count the latest readouts of a source to another run; return them as they were counted before."""
        moved: list[Chunk] = []
        chunks: list[Chunk] = []
        while self.chunks and count:
            chunk = self.chunks.pop()
            if chunk.source != source:
                chunks.append(chunk)
                continue
            cut = max(0, len(chunk) - count)
            last = chunk.part(cut, len(chunk))
            count -= len(last)
            if last.run != run:
                moved.append(last)
            chunks.append(replace(last, run=run))
            if cut:
                chunks.append(chunk.part(0, cut))
        self.chunks.extend(reversed(chunks))
        return moved

    def last_of(self, run: int) -> tuple[int, int] | None:
        """Return readout id and timestamp of a run's latest readout, if it is kept."""
        for chunk in reversed(self.chunks):
            if chunk.run == run and len(chunk):
                return int(chunk.decoded.readout_ids[-1]), int(chunk.decoded.timestamps[-1])
        return None


class _Shelf:
    """Readouts as bytes, so many of them and no more bytes than so many.

    Each is a bare tuple, which becomes `Kept` when it is read: each decoding keeps some hundreds of them, and
    a class takes ten times as long.
    """

    def __init__(self) -> None:
        self.kept: deque[tuple[int, Source, int, int, bytes, int]] = deque()
        self._bytes = 0

    def add(self, chunk: Chunk, payload: bytes, ends: Ints, which: Ints) -> None:
        """Keep some readouts of a chunk."""
        if not len(which):
            return
        decoded = chunk.decoded
        begins = np.where(which > 0, ends[which - 1], 0)
        spans = zip(begins.tolist(), ends[which].tolist(), strict=True)
        raws = [payload[begin:end] for begin, end in spans]
        columns = (decoded.readout_ids, decoded.timestamps, decoded.statuses)
        ids, timestamps, statuses = (column[which].tolist() for column in columns)
        self.kept.extend(
            zip(repeat(chunk.run), repeat(chunk.source), ids, timestamps, raws, statuses, strict=False)
        )
        self._bytes += sum(map(len, raws))
        while len(self.kept) > MAX_READOUTS or (self._bytes > MAX_BYTES and len(self.kept) > 1):
            self._bytes -= len(self.kept.popleft()[4])
