"""When each readout of a recording is due, and what a bad network makes of it.

Pure: no clock, no sleep, no socket. `apx send` waits for what stands here, and sends it. The steps are
generators, one after another: `schedule` the files, `select` a part, `repeat` it, apply a `Pacing`.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count as count_from
from itertools import islice
from typing import NamedTuple, TypeAlias

from astropix_stream.fmt import HEADER, HEADER_SIZE, MAGIC

Recorded: TypeAlias = tuple[bytes, int, int]
"""The exact bytes of a readout, its readout_id and its timestamp (ns): what `ApxReader.datagrams` gives."""

CLOCK_SET_NS = 1_000_000_000  # a timestamp older than the newest by more than this: the DAQ's clock was set
MAX_PAUSE_S = 86400.0  # a longer one inside a file: the DAQ's clock was set, as from 1970 to the time of day
DEFAULT_PERIOD_NS = 1_000_000_000  # between passes over a file whose timestamps do not tell
AT_ONCE = math.inf  # as a speed
_U32, _U64 = (1 << 32) - 1, (1 << 64) - 1


class Due(NamedTuple):
    """A readout, and when to send it: `after_s` seconds after the first."""

    after_s: float
    raw: bytes
    readout_id: int
    timestamp: int


class Extent(NamedTuple):
    """What one pass over a selection amounts to."""

    readouts: int = 0
    duration_s: float = 0.0
    """From the first readout to the last, with the original timing."""
    first_id: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0

    @property
    def period_s(self) -> float:
        """After how long the next pass begins: the duration and one mean interval."""
        if self.readouts < 2 or not self.duration_s:
            return DEFAULT_PERIOD_NS / 1e9
        return self.duration_s * self.readouts / (self.readouts - 1)

    @property
    def shift_ns(self) -> int:
        """By how much the timestamps of each pass are newer: their span and one mean interval."""
        span = self.newest_ns - self.oldest_ns
        return span + span // (self.readouts - 1) if self.readouts > 1 and span else DEFAULT_PERIOD_NS


def schedule(files: Iterable[Iterable[Recorded]], max_pause_s: float = MAX_PAUSE_S) -> Iterator[Due]:
    """Give every readout the time that its timestamp asks for, since the first.

    A file begins when the one before it has ended, since their dates may be years apart. Readouts that were
    recorded out of order stay so, and are due with the newest before them. Where the clock steps back, or by
    more than `max_pause_s` forward, the next readout is due at once.
    """
    due_s = 0.0
    longest_ns = max_pause_s * 1e9
    for readouts in files:
        origin = newest = None
        for raw, readout_id, timestamp in readouts:
            if origin is None or newest is None or not -CLOCK_SET_NS <= timestamp - newest <= longest_ns:
                origin, newest = timestamp - round(due_s * 1e9), timestamp
            newest = max(newest, timestamp)
            due_s = max(due_s, (timestamp - origin) / 1e9)
            yield Due(due_s, raw, readout_id, timestamp)


def select(dues: Iterable[Due], start: int = 0, count: int | None = None) -> Iterator[Due]:
    """Leave out the first `start` readouts and what follows the next `count`; the first is due at once."""
    begin_s = None
    for due in islice(dues, start, None if count is None else start + count):
        if begin_s is None:
            begin_s = due.after_s
        yield due._replace(after_s=due.after_s - begin_s)


def measure(dues: Iterable[Due]) -> Extent:
    """Walk over one pass to know its extent beforehand: for a progress bar, and to repeat it."""
    count, first, last = 0, None, None
    oldest, newest = _U64, 0
    for due in dues:
        first, last = first or due, due
        oldest, newest = min(oldest, due.timestamp), max(newest, due.timestamp)
        count += 1
    if first is None or last is None:
        return Extent()
    return Extent(count, last.after_s, first.readout_id, oldest, newest)


def repeat(open_pass: Callable[[], Iterable[Due]], extent: Extent) -> Iterator[Due]:
    """Play a selection again and again, each pass later than the one before it by the selection's span.

    Timestamps are shifted, so that a pass is no duplicate of another. Each pass is a run of its own: if the
    recording begins in the middle of a run, later passes count its readout_ids from 0, as a DAQ does, so
    that the missing beginning does not look like a loss.
    """
    if not extent.readouts:
        return
    for number in count_from():
        from_zero = number > 0
        for due in open_pass():
            from_zero = from_zero and due.readout_id >= extent.first_id  # until the next run in the file
            readout_id = due.readout_id - extent.first_id * from_zero
            timestamp = due.timestamp + number * extent.shift_ns & _U64
            raw = repack(due.raw, readout_id, timestamp) if number else due.raw
            yield Due(due.after_s + number * extent.period_s, raw, readout_id, timestamp)


class Pacing(NamedTuple):
    """How fast to play: at `rate` readouts per second, or else `speed` times as fast as recorded."""

    speed: float = 1.0
    rate: float | None = None

    def apply(self, dues: Iterable[Due]) -> Iterator[Due]:
        """Play faster or slower."""
        for position, due in enumerate(dues):
            after_s = due.after_s / self.speed if self.rate is None else position / self.rate
            yield due._replace(after_s=after_s)

    def duration_s(self, extent: Extent) -> float:
        """Return how long one pass takes."""
        if self.rate is None:
            return extent.duration_s / self.speed
        return max(0, extent.readouts - 1) / self.rate


def repack(raw: bytes, readout_id: int, timestamp: int) -> bytes:
    """Return the readout `raw` with another readout_id and timestamp (ns), its data untouched."""
    header = HEADER.pack(MAGIC, readout_id & _U32, timestamp & _U64, len(raw) - HEADER_SIZE)
    return header + raw[HEADER_SIZE:]


def restamp(raw: bytes, timestamp: int) -> bytes:
    """Return the readout `raw` with another timestamp (ns)."""
    return repack(raw, HEADER.unpack_from(raw)[1], timestamp)


class BadNetwork:
    """Loses, doubles and swaps datagrams by chance, to test a monitor with.

    Parameters
    ----------
    loss, duplicate, reorder
        Chances, from 0 to 1, that a datagram is lost; comes twice; comes after the next one.
    seed
        The same seed has the same effect on the same number of datagrams.

    Attributes
    ----------
    lost, duplicated, reordered : int
        How many were, so far.
    """

    def __init__(
        self, *, loss: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0, seed: int | None = None
    ) -> None:
        self._loss, self._duplicate, self._reorder = loss, duplicate, reorder
        self._random = random.Random(seed)
        self._held: bytes | None = None
        self.lost = self.duplicated = self.reordered = 0

    def carry(self, datagram: bytes) -> list[bytes]:
        """Take in a datagram; return those that come out now."""
        if self._happens(self._loss):
            self.lost += 1
            return []
        if self._held is None and self._happens(self._reorder):
            self._held = datagram
            return []
        out = [datagram]
        if self._happens(self._duplicate):
            self.duplicated += 1
            out.append(datagram)
        if self._held is not None:
            self.reordered += 1
            out += self.rest()
        return out

    def rest(self) -> list[bytes]:
        """Return what is held back, when no more datagrams come."""
        held, self._held = self._held, None
        return [] if held is None else [held]

    def _happens(self, chance: float) -> bool:
        # Ask nothing of the generator for what is switched off: --loss 1% alone then loses the same readouts
        # whatever else the program can do.
        return chance > 0.0 and self._random.random() < chance
