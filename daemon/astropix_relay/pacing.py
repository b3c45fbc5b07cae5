"""When to send what: live readouts as they come, recovered ones no faster than the far network may take them.

Pure. What was lost on the way and recovered comes as one burst, which small receivers on a far LAN would lose
a second time. While it is sent at `max_rate`, what is live waits behind it, so that the order stays.
"""

from collections import deque
from collections.abc import Iterator, Sequence

MAX_HELD_BYTES = 16 << 20
_COST = 100  # bytes of Python's for each readout held, besides its own
_AT_ONCE_S = 0.01  # of the rate: what may leave in one piece


class Pacer:
    """Holds datagrams until it is their turn.

    Parameters
    ----------
    max_rate
        Readouts a second, while recovered ones are among them.
    """

    def __init__(self, max_rate: float) -> None:
        self.max_rate = max_rate
        self.skipped = 0
        """Readouts that were given up, since more waited than may be held: the oldest."""
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._allowed = 0.0
        self._at_s = 0.0

    def take(self, datagrams: Sequence[bytes], now_s: float, *, recovered: bool) -> Sequence[bytes]:
        """Take in readouts; return those to send at once."""
        if not recovered and not self._held:
            return datagrams
        if not self._held:
            self._at_s = now_s
            self._allowed = 1.0
        self._held.extend(datagrams)
        self._held_bytes += sum(map(len, datagrams)) + _COST * len(datagrams)
        while self._held_bytes > MAX_HELD_BYTES:
            self._pop()
            self.skipped += 1
        return ()

    def due(self, now_s: float) -> Iterator[bytes]:
        """Yield the readouts whose turn has come."""
        if not self._held:
            return
        most = max(1.0, self.max_rate * _AT_ONCE_S)
        self._allowed = min(most, self._allowed + (now_s - self._at_s) * self.max_rate)
        self._at_s = now_s
        while self._held and self._allowed >= 1.0:
            self._allowed -= 1.0
            yield self._pop()

    def due_s(self) -> float:
        """Return when to call `due` again; infinite while nothing is held."""
        return self._at_s + max(0.0, 1.0 - self._allowed) / self.max_rate if self._held else float("inf")

    def _pop(self) -> bytes:
        datagram = self._held.popleft()
        self._held_bytes -= len(datagram) + _COST
        return datagram
