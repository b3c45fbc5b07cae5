"""The state of a stream in one word, the same in heartbeats, the commands, the page and the metrics.

Pure. `StateTracker` is told what arrives and what was lost, and answers for a given time.
"""

from collections import deque
from enum import StrEnum

from astropix_stream.batch import Source
from astropix_stream.clock import Moment

QUIET_AFTER_S = 3.0  # without a readout
LOSING_FOR_S = 10.0  # after the last loss
LAG_LIMIT_S = 2.0
_BUCKET_S = 60.0  # the least lag of each of the last ten minutes
_KEPT_S = 600.0
_MAX_SOURCES = 64


class State(StrEnum):
    """What a stream is doing, worst first."""

    NO_NETWORK = "no network"
    """The membership or the interface is gone, or the relay cannot be reached."""
    NO_LOG = "no log"
    """The log cannot be reached, or there is none."""
    UPSTREAM_LOST = "upstream lost"
    """The relay hears none of the relays that it takes the stream from."""
    LOSING = "losing"
    """Readouts were lost in the last 10 s."""
    LAGGING = "lagging"
    """Readouts arrive more than 2 s later than the fastest of their source in 10 minutes."""
    QUIET = "quiet"
    """All is connected, the DAQ sends nothing."""
    LIVE = "live"
    """Readouts arrive."""


class _Lag:
    """By how much the readouts of one source lag behind the fastest of the last ten minutes.

    The difference alone says nothing: clocks differ, and a recorded run may be played back years later. So
    does a change of it while our wall clock is set, which is why we measure with the monotonic one.
    """

    def __init__(self) -> None:
        self._least: deque[tuple[float, float]] = deque()  # when a minute began, and its least
        self._least_of_all = 0.0
        self._last_timestamp_ns = 0
        self.noted_s = float("-inf")
        self.excess_s = 0.0

    def note(self, timestamp_ns: int, now: Moment) -> None:
        if timestamp_ns < self._last_timestamp_ns - LAG_LIMIT_S * 1e9:  # another file, or a clock was set
            self._least.clear()
        self._last_timestamp_ns = timestamp_ns
        self.noted_s = now.s
        lag_s = now.s - timestamp_ns / 1e9
        if not self._least or now.s - self._least[-1][0] >= _BUCKET_S:
            self._least.append((now.s, lag_s))
            while now.s - self._least[0][0] > _KEPT_S:
                self._least.popleft()
            self._least_of_all = min(least for _, least in self._least)
        elif lag_s < self._least[-1][1]:
            self._least[-1] = (self._least[-1][0], lag_s)
            self._least_of_all = min(self._least_of_all, lag_s)
        self.excess_s = lag_s - self._least_of_all


class StateTracker:
    """Follows one stream."""

    def __init__(self) -> None:
        self._lags: dict[Source, _Lag] = {}
        self._last_readout_s: float | None = None
        self._last_loss_s: float | None = None
        self._lost = 0

    def received(self, source: Source, timestamp_ns: int, now: Moment) -> None:
        """Note a batch, by its last readout."""
        lag = self._lags.get(source)
        if lag is None:
            if len(self._lags) >= _MAX_SOURCES:
                self._lags.clear()
            lag = self._lags[source] = _Lag()
        lag.note(timestamp_ns, now)
        self._last_readout_s = now.s

    @property
    def lag_s(self) -> float:
        """Received minus timestamp, less the least of this in ten minutes; of the source that lags most."""
        since_s = (self._last_readout_s or 0.0) - QUIET_AFTER_S
        return max((lag.excess_s for lag in self._lags.values() if lag.noted_s >= since_s), default=0.0)

    def lost(self, total: int, now: Moment) -> None:
        """Note how many readouts were lost so far."""
        if total > self._lost:
            self._last_loss_s = now.s
        self._lost = total

    def age_s(self, now: Moment) -> float | None:
        """Return the age of the last readout; None before the first."""
        return None if self._last_readout_s is None else now.s - self._last_readout_s

    def state(self, now: Moment, *, connected: bool) -> State:
        """Return the state at `now`."""
        if not connected:
            return State.NO_NETWORK
        if self._last_loss_s is not None and now.s - self._last_loss_s < LOSING_FOR_S:
            return State.LOSING
        age_s = self.age_s(now)
        if age_s is None or age_s > QUIET_AFTER_S:
            return State.QUIET
        return State.LAGGING if self.lag_s > LAG_LIMIT_S else State.LIVE
