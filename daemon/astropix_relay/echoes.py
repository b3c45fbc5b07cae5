"""Readouts that come again from another source: what an output sent, passed on by others, or merely a copy.

Pure. Each output on the way is another source, so that the source does not tell whose readout it was; the
bytes do. Copies also come where a DAQ sends on two ways, or where two relays multicast to one group: a
diamond, and no loop. So while it looks like a loop, the output holds what comes. Copies of readouts that
it has not sent are none of its own.
"""

import math
from collections import deque

from astropix_stream.batch import Source

HELD_S = 1.0  # to see whether copies come of readouts that were not sent
BACK_WITHIN_S = 0.5  # a LAN or a relay takes some 10 ms; a program that plays a file again takes longer
LOOKS_LIKE_LOOP = 10  # of such readouts: a DAQ may by chance send two that are equal
MAX_KNOWN = 20_000  # readouts, 3 MiB
_PROBED_S = HELD_S - BACK_WITHIN_S  # copies of what comes in this time are there before it is sent


class Echoes:
    """Knows the readouts of the last half second, and what of them comes again from another source."""

    def __init__(self) -> None:
        self.count = 0
        """Readouts that came again."""
        self.source: Source | None = None
        """As whose the last one of them came."""
        self._known: dict[int, tuple[Source, float]] = {}  # by the hash of their bytes: from where, and when
        self._order: deque[int] = deque()
        self._again = 0  # since it last looked like a loop
        self._held_since_s = math.inf
        self._probe_s = math.inf  # when the first readout came that is held
        self._copies = False  # what comes again does so without us

    def is_one(self, datagram: bytes, source: Source, now_s: float) -> bool:
        """Take in a readout; return whether it is one that came from another source just before."""
        self._forget(now_s)
        key = hash(datagram)
        known = self._known.get(key)
        if known is None:
            self._known[key] = source, now_s
            self._order.append(key)
            if self._is_held(now_s):
                self._probe_s = min(self._probe_s, now_s)
            return False
        if known[0] == source:
            return False
        self.count += 1
        self._again += 1
        self.source = source
        self._copies |= self._is_held(known[1])
        return True

    def look_like_loop(self, now_s: float) -> bool:
        """Return whether to hold what comes for `HELD_S` from now on, to see whether it is a loop."""
        if now_s - self._held_since_s >= HELD_S:
            self._held_since_s, self._again = math.inf, 0
        if self._copies or self._again < LOOKS_LIKE_LOOP or self._held_since_s < math.inf:
            return False
        self._held_since_s, self._probe_s = now_s, math.inf
        return True

    def are_a_loop(self, now_s: float) -> bool:
        """Return whether only what was sent came again: what is held had the time, too."""
        return not self._copies and now_s - self._probe_s >= BACK_WITHIN_S

    def _is_held(self, at_s: float) -> bool:
        """Return whether a readout of that time was held, and its copy is expected before it is sent."""
        return 0 < at_s - self._held_since_s <= _PROBED_S

    def _forget(self, now_s: float) -> None:
        known, order = self._known, self._order
        while order and (now_s - known[order[0]][1] > BACK_WITHIN_S or len(order) > MAX_KNOWN):
            del known[order.popleft()]
