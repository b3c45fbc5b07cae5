"""Readouts that come back: what an output sent, passed on by other relays and outputs until it is here again.

Pure. Each output on the way is another source, so that the source does not tell whose readout it was; the
bytes do.
"""

from collections import deque

from astropix_stream.batch import Source

BACK_WITHIN_S = 0.5  # a LAN or a relay takes some 10 ms; a program that plays a file again takes longer
LOOP_AFTER = 10  # of such readouts: a DAQ may by chance send two that are equal
MAX_KNOWN = 20_000  # readouts, 3 MiB


class Echoes:
    """Knows the readouts of the last half second, and what of them comes again from another source."""

    def __init__(self) -> None:
        self.count = 0
        """Readouts that came back."""
        self._known: dict[int, tuple[Source, float]] = {}  # by the hash of their bytes: from where, and when
        self._order: deque[int] = deque()

    def is_one(self, datagram: bytes, source: Source, now_s: float) -> bool:
        """Take in a readout; return whether it is one that came from another source just before."""
        self._forget(now_s)
        key = hash(datagram)
        known = self._known.get(key)
        if known is None:
            self._known[key] = source, now_s
            self._order.append(key)
            return False
        if known[0] == source:
            return False
        self.count += 1
        return True

    @property
    def are_a_loop(self) -> bool:
        """Whether so many came back that it can be no chance."""
        return self.count >= LOOP_AFTER

    def _forget(self, now_s: float) -> None:
        known, order = self._known, self._order
        while order and (now_s - known[order[0]][1] > BACK_WITHIN_S or len(order) > MAX_KNOWN):
            del known[order.popleft()]
