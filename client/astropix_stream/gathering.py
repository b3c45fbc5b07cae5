"""Decide for how long readouts may gather before the next look, so that one wake takes many. Pure.

To go to sleep and to wake up costs a program as much as 20 readouts in a batch. Where readouts come fast, it
rests for a while and then takes all that has come. Where they come slowly, a rest would only be one more
wake, and each readout is taken at once.
"""

GATHER_S = 0.005
"""The longest rest by default: nobody who looks sees it, and 1000 readouts/s are 200 wakes/s."""


class Gathering:
    """Follows how fast something comes, by the last two looks.

    Readouts that are at least half of `longest_s` apart are taken one by one, without a rest. So with 5 ms
    none is held at 200/s or 400/s.

    Parameters
    ----------
    longest_s
        The longest rest; 0 for none.

    Attributes
    ----------
    until_s : float
        When to look again, monotonic time; in the past for at once.
    one_by_one : bool
        Readouts come so slowly that each is to be taken by itself, as soon as it is there.
    safe_s : float
        A rest that loses nothing even if meanwhile they come far faster than before; none is longer.
    """

    def __init__(self, longest_s: float = GATHER_S) -> None:
        self.longest_s = longest_s
        self.until_s = 0.0
        self.one_by_one = False
        self.safe_s = float("inf")
        self._last_s = self._before_s = float("-inf")
        self._count = 0

    def note(self, now_s: float, count: int, fill: float = 0.0, *, more: bool = False) -> None:
        """Note what a look found, if it found anything.

        Parameters
        ----------
        now_s
            Monotonic time.
        count
            How much there was, at least 1.
        fill
            How much of the room for what waits it took: a rest never lasts until that room is full.
        more
            More may wait already, so that there is to be no rest.
        """
        since_s, apart_s = now_s - self._last_s, (now_s - self._before_s) / (self._count + count)
        self._before_s, self._last_s, self._count = self._last_s, now_s, count
        if apart_s >= self.longest_s / 2:
            self.until_s, self.one_by_one = 0.0, self.longest_s > 0
            return
        rest_s = min(self.longest_s, self.safe_s)
        if fill * rest_s > since_s:
            rest_s = since_s / fill
        self.until_s, self.one_by_one = 0.0 if more else now_s + rest_s, False

    def left_s(self, now_s: float) -> float:
        """Return how long to rest from now on, never more than `longest_s`."""
        return min(max(0.0, self.until_s - now_s), self.longest_s)
