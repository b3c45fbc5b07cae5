"""Columns of AstroPix 3: half hits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.walked import Walked
from astropix_stream.fmt import AstroPix3Hit


class AstroPix3Columns(Walked):
    """Half hits of 5 bytes."""

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Work out all fields."""
        super().fill(table, records)
        fill_tot(table, records, AstroPix3Hit.CLOCK_MHZ)


def fill_tot(table: NDArray[Any], words: NDArray[np.uint64], clock_mhz: float) -> None:
    """Work out the TOT of half hits."""
    ticks = words & np.uint64(0xFFF)
    table["tot"] = ticks
    table["tot_us"] = ticks / clock_mhz
