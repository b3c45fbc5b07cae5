"""When to read a socket again: at once for a lone readout, in batches while readouts come fast.

Pure. One wake, one system call and one message for 50 readouts instead of one cost less than the readouts
themselves; but a lone readout must not wait for company.
"""

MAX_DELAY = 0.001  # seconds that a readout may wait for others


class Pace:
    """Tells how long to rest after a socket was drained to its end.

    Readouts come fast when a drain found more than one, or followed the previous one within `max_delay_s`.
    Never rest while the socket still holds datagrams: above 100 000/s its buffer would overflow.
    """

    def __init__(self, max_delay_s: float = MAX_DELAY) -> None:
        self.max_delay_s = max_delay_s
        self._previous_s = float("-inf")

    def rest_s(self, drained_at_s: float, count: int) -> float:
        """Return for how long after `drained_at_s` the next drain should wait.

        Parameters
        ----------
        drained_at_s
            Monotonic time at which the drain began.
        count
            Datagrams found.
        """
        if not count:
            return 0.0
        fast = count > 1 or drained_at_s - self._previous_s < self.max_delay_s
        self._previous_s = drained_at_s
        return self.max_delay_s if fast else 0.0
