"""Numbers as people read them. Pure."""

import math
from collections import deque
from datetime import datetime

_RATE_OVER_S = 3.0


def duration(seconds: float) -> str:
    """Return a duration: '12 s', '3 min 20 s', '2 h 5 min'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Return a number of bytes: '512 bytes', '27.8 KiB', '1.2 GiB'."""
    if count < 1024:
        return f"{count:.0f} bytes"
    power = min(int(math.log(count, 1024)), 3)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def rate(per_second: float) -> str:
    """Return a rate: '12.9/s', '4710/s'."""
    return f"{per_second:.1f}/s" if per_second < 99.95 else f"{per_second:.0f}/s"


def moment(epoch_ns: int) -> str:
    """Return a time of day, local: '2025-07-23 09:25:36.707 CEST'."""
    local = datetime.fromtimestamp(epoch_ns / 1e9).astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{epoch_ns // 1_000_000 % 1000:03d} {local:%Z}"


def counted(count: int, thing: str) -> str:
    """Return '1 readout', '2 readouts'."""
    return f"{count} {thing}{'s' * (count != 1)}"


class RateMeter:
    """The rate over the last few seconds, from a count that grows."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> float:
        """Note the count at a time; return the rate per second."""
        samples = self._samples
        samples.append((now_s, count))
        while len(samples) > 2 and samples[1][0] <= now_s - _RATE_OVER_S:
            samples.popleft()
        begin_s, begin = samples[0]
        return (count - begin) / (now_s - begin_s) if now_s > begin_s else 0.0
