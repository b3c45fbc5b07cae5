"""Columns of AstroPix 4."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.walked import Walked
from astropix_stream.fmt import CLOCK_MHZ, ROLLOVER


class AstroPix4Columns(Walked):
    """Hits of 8 bytes, with two counters in Gray code."""

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Work out all fields."""
        super().fill(table, records)
        fill_times(table, records)


def fill_times(table: NDArray[Any], words: NDArray[np.uint64]) -> None:
    """Work out the two times and the TOT of AstroPix 4."""
    ticks1 = _ticks(words >> np.uint64(28))
    ticks2 = _ticks(words >> np.uint64(5))
    ticks2[ticks2 < ticks1] += ROLLOVER
    table["ts_dec1"] = ticks1
    table["ts_dec2"] = ticks2
    table["tot_us"] = (ticks2 - ticks1) / CLOCK_MHZ


def _ticks(gray: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Convert the lowest 17 bits from Gray code to binary."""
    binary = (gray & np.uint64(ROLLOVER - 1)).astype(np.int32)
    for shift in (1, 2, 4, 8, 16):
        binary ^= binary >> shift
    return binary
