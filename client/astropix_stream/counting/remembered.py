"""The latest readouts of a source, to know one that comes again. Pure.

Two readouts are the same if their datagrams are: id, timestamp and data. Nearly every readout is new, as its
id tells, and nobody asks: so batches are kept as they are, and cost nothing but their memory. Where that
would be too much, a readout becomes a digest of 64 bits, Python's own keyed hash (SipHash).
"""

from array import array
from collections import deque
from collections.abc import Sequence

from astropix_stream.batch import Batch

KEPT = 8192  # readouts of a source
# What is kept as it came: so many bytes, and more where batches are large and their bytes are all they cost.
_KEPT_BYTES, _BYTES_A_READOUT = 1 << 16, 72
_COST = 400  # bytes that a batch costs besides its payload
_DIGEST_SIZE = 8


def digest(batch: Batch, position: int) -> int:
    """Return what stands for a readout: a signed number of 64 bits, of its datagram.

    Without a payload, of its id and timestamp: all that is known then.
    """
    if not batch.payload:
        return hash((batch.readout_ids[position], batch.timestamps[position]))
    begin = batch.ends[position - 1] if position else 0
    return hash(batch.payload[begin : batch.ends[position]])


class Remembered:
    """The last 8192 readouts of one source."""

    __slots__ = ("_cost", "_count", "_digests", "_fresh", "_look_at")

    def __init__(self) -> None:
        self._fresh: deque[Batch] = deque()  # not digested yet
        self._count = self._cost = 0
        self._look_at = _KEPT_BYTES
        self._digests = bytearray()  # of those before them

    def add(self, batches: Sequence[Batch], count: int) -> None:
        """Add batches of so many readouts in all; this is on the way of each readout."""
        self._fresh += batches
        self._count += count
        cost = self._cost
        for batch in batches:
            cost += _COST + len(batch.payload)
        self._cost = cost
        if cost > self._look_at:
            self._make_room()

    def age(self, batch: Batch, position: int) -> int:
        """Return how many readouts ago the same one was added last: 1 for the very last; 0 if none was."""
        self._digest_fresh()
        digests, wanted = self._digests, digest(batch, position).to_bytes(_DIGEST_SIZE, "little", signed=True)
        end = len(digests)
        while (at := digests.rfind(wanted, 0, end)) >= 0:
            if at % _DIGEST_SIZE == 0:
                return (len(digests) - at) // _DIGEST_SIZE
            end = at + _DIGEST_SIZE - 1
        return 0

    def _make_room(self) -> None:
        """Forget what is old without a look at it, as far as that goes; digest the rest if it is too much."""
        while self._count - len(self._fresh[0].ends) >= KEPT:
            oldest = self._fresh.popleft()
            self._count -= len(oldest.ends)
            self._cost -= _COST + len(oldest.payload)
            self._digests.clear()
        if self._cost > _KEPT_BYTES + _BYTES_A_READOUT * self._count:
            self._digest_fresh()
        self._look_at = self._cost + _KEPT_BYTES

    def _digest_fresh(self) -> None:
        if not self._fresh:
            return
        found: list[int] = []
        for batch in self._fresh:
            if batch.payload and len(batch.ends) == 1:
                found.append(hash(batch.payload))
            else:
                found += [digest(batch, i) for i in range(len(batch.ends))]
        self._digests += array("q", found).tobytes()
        self._fresh.clear()
        self._count = self._cost = 0
        self._look_at = _KEPT_BYTES
        del self._digests[: -KEPT * _DIGEST_SIZE]
