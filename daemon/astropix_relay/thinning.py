"""How many readouts fit into a bandwidth: one in `stride`, evenly spaced, so that none is late. Pure.

A subscriber that may have only so many bytes a second would otherwise wait behind a queue that grows. The
stride follows what was sent: up as soon as a window was too large, down once a smaller one has been enough
for a while.
"""

import math

WINDOW_S = 1.0  # with one heartbeat in each
_FILLED = 0.9  # of the bandwidth: what a stride is chosen for
_WORTH = 0.8  # of the stride: a smaller one that is larger than this is not worth an uneven step
_PATIENCE_S = 3.0  # of windows that a smaller stride would have served, before it is taken
_MAX_STRIDE = 1 << 20
_BURST_S = 0.5  # of the bandwidth: what may leave ahead of time before the stride is raised at once
_SHORTEST_S = 0.1  # for which readouts gather


class Thinning:
    """Chooses the stride for a bandwidth.

    Parameters
    ----------
    max_bandwidth
        Bytes per second.
    """

    def __init__(self, max_bandwidth: int) -> None:
        self.max_bandwidth = max_bandwidth
        self.stride = 1
        self._spent = 0
        self._began_s: float | None = None
        self._ahead = 0.0  # bytes sent ahead of the bandwidth, and since when there were any
        self._ahead_since_s = self._last_s = 0.0
        self._enough: list[int] = []  # the smaller strides of the latest windows

    def spend(self, size: int, now_s: float) -> None:
        """Note bytes that leave; the stride may change."""
        if self._began_s is None:
            self._began_s = self._last_s = now_s - _SHORTEST_S  # the first message has gathered before
        self._ahead = max(0.0, self._ahead - self.max_bandwidth * (now_s - self._last_s))
        if not self._ahead:
            self._ahead_since_s = self._last_s
        self._ahead += size
        self._spent += size
        self._last_s = now_s
        if self._ahead > _BURST_S * self.max_bandwidth:
            lasts_s = max(now_s - self._ahead_since_s, _SHORTEST_S / 10)
            self._choose(self.max_bandwidth + self._ahead / lasts_s, now_s)
        elif now_s - self._began_s >= WINDOW_S:
            self._choose(self._spent / (now_s - self._began_s), now_s)

    def _choose(self, rate: float, now_s: float) -> None:
        """Take the stride for what is sent at a rate with the present one."""
        wanted = math.ceil(self.stride * rate / (_FILLED * self.max_bandwidth)) or 1
        self._spent, self._began_s, self._ahead = 0, now_s, 0.0
        if wanted > self.stride and rate > self.max_bandwidth:
            self.stride = min(_MAX_STRIDE, wanted)
            self._enough.clear()
        elif wanted <= _WORTH * self.stride:
            self._enough.append(wanted)
            if len(self._enough) >= _PATIENCE_S / WINDOW_S:
                self.stride = max(self._enough)
                self._enough.clear()
        else:
            self._enough.clear()
