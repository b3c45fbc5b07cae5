"""Both clocks at one moment. Pure modules are handed a `Moment`; only the shells call `now`."""

import time
from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time: `s`, monotonic seconds, to measure with; `ns` since the Unix epoch, to tell people."""

    s: float
    ns: int


def now() -> Moment:
    """Read both clocks."""
    return Moment(time.monotonic(), time.time_ns())
