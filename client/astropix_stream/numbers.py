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


def grouped(number: int) -> str:
    """Return '12 345', with narrow spaces."""
    return f"{number:,}".replace(",", _THIN)


def figure(value: float) -> str:
    """Return a number with about three digits: '0.4', '12.9', '20 013'."""
    return f"{value:.1f}" if value < 99.95 else grouped(round(value))


def counted(count: int, thing: str, *, group: bool = False) -> str:
    """Return '1 readout', '2 readouts'; with `group` '12 345 readouts', with narrow spaces."""
    return f"{grouped(count) if group else count} {thing}{'s' * (count != 1)}"


def shortened(text: str, width: int) -> str:
    """Return a text of at most so many characters: its middle is left out, '/data/2025…_run17.apx'."""
    if len(text) <= width:
        return text
    end = width // 2
    return f"{text[: max(0, width - 1 - end)]}…{text[len(text) - end :]}"


def time_of_day(epoch_ns: int) -> str:
    """Return a time of day, local: '09:25:36'."""
    return datetime.fromtimestamp(epoch_ns / 1e9).strftime("%H:%M:%S")


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


_THIN = "\u202f"  # narrow space that does not break, between thousands


def percentage(fraction: float) -> str:
    """Return '99.98 %'; 100 % only of what is whole."""
    if fraction >= 1.0:
        return f"100{_THIN}%"
    return f"{int(fraction * 1e4) / 100:.2f}{_THIN}%"


def age(seconds: float) -> str:
    """Return '0.3 s', '12 s', '3 min', '2 h 5 min', '4 d'."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d"


def clock(epoch_ns: int, now_ns: int) -> str:
    """Return a time of day in the local time zone; with the date if that is not today's."""
    then, now = (datetime.fromtimestamp(ns / 1e9).astimezone() for ns in (epoch_ns, now_ns))
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def zone(epoch_ns: int) -> str:
    """Return the local time zone."""
    return datetime.fromtimestamp(epoch_ns / 1e9).astimezone().strftime("%Z, UTC%z")


def iso(epoch_ns: int) -> str:
    """Return a time as ISO 8601, with the zone."""
    return datetime.fromtimestamp(epoch_ns / 1e9).astimezone().isoformat(timespec="milliseconds")
