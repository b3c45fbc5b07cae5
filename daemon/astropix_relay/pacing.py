"""When to send what: live readouts as they come, recovered ones no faster than the far network may take them.

Pure. What was lost on the way and recovered comes as one burst, which small receivers on a far LAN would lose
a second time. While it is sent at `max_rate`, what is live waits behind it, so that the order stays.
Where the DAQ itself is faster than that, the wait would never end: it is then a quarter more than its rate.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence

MAX_HELD_BYTES = 16 << 20
_COST = 100  # bytes of Python's for each readout held, besides its own
_AT_ONCE_S = 0.02  # of the rate: what may leave in one piece
_PAUSE_S = 0.002  # between pieces
_RATE_OVER_NS = 10**9  # of the DAQ's readouts, to know its rate
_NEAR, _FASTER = 1.1, 1.25  # from a rate of the DAQ that near to `max_rate` on, and by how much more than it
TRIAL_S = 1.0  # in which readouts come back that run in a circle


class Pacer:
    """Holds datagrams until it is their turn.

    Parameters
    ----------
    max_rate
        Readouts a second, while recovered ones are among them.
    trial
        How many may leave in the first second. The others wait: if these come back, it is a loop.
    """

    def __init__(self, max_rate: float, *, trial: float = math.inf) -> None:
        self.max_rate = max_rate
        self.skipped = 0
        """Readouts that were given up, since more waited than may be held: the oldest."""
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._allowed = 0.0
        self._at_s = 0.0
        self._trial, self._trial_ends_s = trial, math.inf
        self._daq_rate = 0.0
        self._count, self._since_ns = 0, 0

    def take(
        self, datagrams: Sequence[bytes], now_s: float, *, recovered: bool, received_ns: int = 0
    ) -> Sequence[bytes]:
        """Take in readouts; return those to send at once.

        Parameters
        ----------
        datagrams, now_s
            The readouts, and the time.
        recovered
            They come from history.
        received_ns
            When the first relay received them, by its clock; 0 where that is not known.
        """
        self._note_rate(len(datagrams), received_ns)
        if not recovered and not self._held and self._may_leave(now_s) >= len(datagrams):
            self._trial -= len(datagrams)
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

    def hold(self, until_s: float) -> None:
        """Let nothing leave until this time."""
        self._trial, self._trial_ends_s = 0, until_s

    def due(self, now_s: float) -> Iterator[bytes]:
        """Yield the readouts whose turn has come."""
        if not self._held:
            return
        most = max(1.0, self.rate * _AT_ONCE_S)
        self._allowed = min(most, self._allowed + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        while self._held and self._allowed >= 1.0 and self._may_leave(now_s) >= 1:
            self._allowed -= 1.0
            self._trial -= 1
            yield self._pop()

    def due_s(self) -> float:
        """Return when to call `due` again; infinite while nothing is held."""
        if not self._held:
            return math.inf
        if self._trial < 1:
            return self._trial_ends_s
        return self._at_s + max(min(_PAUSE_S, 1.0 / self.rate), (1.0 - self._allowed) / self.rate)

    @property
    def rate(self) -> float:
        """Readouts a second, while some are held."""
        return self.max_rate if _NEAR * self._daq_rate <= self.max_rate else _FASTER * self._daq_rate

    def _may_leave(self, now_s: float) -> float:
        """Return how many readouts may leave at this time; any number once the trial is over."""
        if self._trial < math.inf:
            if self._trial_ends_s == math.inf:
                self._trial_ends_s = now_s + TRIAL_S
            elif now_s >= self._trial_ends_s:
                self._trial = math.inf
        return self._trial

    def _note_rate(self, count: int, received_ns: int) -> None:
        """Follow how fast the DAQ sends, by the first relay's clock: recovered readouts come here at once."""
        lasted_ns = received_ns - self._since_ns
        if not 0 <= lasted_ns <= 10 * _RATE_OVER_NS:
            self._since_ns, self._count = received_ns, 0
        elif lasted_ns >= _RATE_OVER_NS:
            self._daq_rate = self._count * 1e9 / lasted_ns
            self._since_ns, self._count = received_ns, 0
        self._count += count

    def _pop(self) -> bytes:
        datagram = self._held.popleft()
        self._held_bytes -= len(datagram) + _COST
        return datagram
