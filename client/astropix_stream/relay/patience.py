"""How long to wait for what does not come, in a process that may itself have been stopped meanwhile.

Pure.
"""


class Patience:
    """Is spent after so many seconds without a reason to hope, of those in which we looked.

    After SIGCONT, or when a debugger goes on, the clock has moved while what came meanwhile still waits, and
    the thread that fetches it may be slower than we are. So a single step between two looks counts for half
    of the limit at most.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._spent_s = 0.0
        self._looked_s: float | None = None

    def renew(self, now_s: float) -> None:
        """Begin again."""
        self._spent_s, self._looked_s = 0.0, now_s

    def spent(self, now_s: float) -> bool:
        """Look at the clock; return whether it has been long enough."""
        if self._looked_s is not None:
            self._spent_s += min(now_s - self._looked_s, self._limit_s / 2)
        self._looked_s = now_s
        return self._spent_s >= self._limit_s

    def next_look_s(self) -> float:
        """Return in how many seconds to look again."""
        return min(max(0.0, self._limit_s - self._spent_s), self._limit_s / 2)
