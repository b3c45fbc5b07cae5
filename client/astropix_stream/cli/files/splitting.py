"""When a recording goes on in a new file, as `--split` says. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from astropix_stream.batch import Batch
from astropix_stream.errors import ConfigError

_SIZES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIMES = {"s": 1, "min": 60, "h": 3600}
_QUANTITY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([A-Za-z]+)", re.ASCII)
_WORDS = ("runs", "source")


@dataclass(frozen=True, slots=True)
class Splitting:
    """What begins a new file, besides a second source, that always does."""

    runs: bool = False
    size: float = float("inf")
    """Bytes in a file."""
    seconds: float = float("inf")
    """Since the first readout of a file was received."""

    @property
    def divides(self) -> bool:
        """Whether a source may have more than one file."""
        return self != Splitting()

    def fitting(self, batch: Batch, begin: int, size: int) -> int:
        """Return the end of the readouts, from `begin` on, that still go into a file of `size` bytes."""
        offset = batch.ends[begin - 1] if begin else 0
        return bisect_right(batch.ends, self.size - size + offset)

    def is_over(self, age_s: float) -> bool:
        """Return whether a file of this age is not continued."""
        return age_s >= self.seconds


def parse_splitting(words: Iterable[str]) -> Splitting:
    """Read the values of --split.

    Raises
    ------
    ConfigError
        One of them means nothing.
    """
    found: dict[str, float] = {}
    runs = False
    for word in words:
        match = _QUANTITY.fullmatch(word)
        number = float(match[1]) if match else 0.0
        unit = match[2] if match else ""
        if number and unit in _SIZES:
            found["size"] = number * _SIZES[unit]
        elif number and unit in _TIMES:
            found["seconds"] = number * _TIMES[unit]
        elif word in _WORDS:
            runs = runs or word == "runs"
        else:
            raise ConfigError(f"--split {word!r}: write runs, source, a size as 1GiB or a time as 1h")
    return Splitting(runs=runs, **found)
