"""A detector that is not there: readouts of an AstroPix 4 chip in a beam, as its DAQ would send them.

Pure, the standard library alone, and the same for the same seed. Hits are made as section 3 of the formats
asks: 64 bits, counters in Gray code, the bits of each byte reversed, idle bytes around them.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from astropix_stream.fmt import (
    BIT_FIELDS,
    CLOCK_MHZ,
    HIT_SIZE,
    ROLLOVER,
    AstroPix4Readout,
    reverse_bit_order,
)

ROWS, COLUMNS = 13, 16
MAX_CHIP = 30  # chip 31 would make the start byte ff, which is padding

_IDLE, _PADDING = b"\xbc", b"\xff"
_START_PAYLOAD = 0b111  # makes the first byte of a hit a start byte
_TDC = 0  # the real chip's fine interpolation is off: its runs have 0 here
_MAX_TOT_US = 1000.0


@dataclass(frozen=True, slots=True)
class Beam:
    """What the detector sees; all TOT in µs, all places in rows and columns.

    The spectrum of the TOT is that of a thin sensor in a beam (a Landau-like peak with a long tail, from
    Moyal's approximation) with the narrow peak of charge injection beside it, at the place and width that a
    real chip showed for 250 mV.
    """

    row: float = 5.5
    column: float = 8.0
    row_sigma: float = 2.0
    column_sigma: float = 2.5
    background: float = 0.1
    """Fraction of the hits that are anywhere on the chip."""
    noise: float = 0.03
    """Fraction of the hits that come from the noisy pixels, with a short TOT."""
    noisy_pixels: int = 3
    tot_us: float = 60.0
    """Most probable value."""
    tot_width_us: float = 8.0
    injected: float = 0.08
    """Fraction of the hits that are charge injection."""
    injected_tot_us: float = 240.0
    injected_sigma_us: float = 12.0


def pack_hit(
    row: int, column: int, start_ticks: int, stop_ticks: int, *, chip: int = 0, edges: int = 0
) -> bytes:
    """Return the 8 bytes of a hit, as the board sends them.

    Parameters
    ----------
    row, column
        Of the pixel, 0 to 31.
    start_ticks, stop_ticks
        Both timestamps, in ticks of the 20 MHz clock; their lower 17 bits are sent.
    chip
        Number of the chip in its chain, 0 to 30.
    edges
        Clock edges of both timestamps, as two bits.
    """
    first, second = _to_gray(start_ticks % ROLLOVER), _to_gray(stop_ticks % ROLLOVER)
    fields = {
        "chip_id": chip,
        "payload": _START_PAYLOAD,
        "row": row,
        "column": column,
        "ts_neg1": edges & 1,
        "ts_coarse1": first >> 3,
        "ts_fine1": first & 7,
        "ts_tdc1": _TDC,
        "ts_neg2": edges >> 1,
        "ts_coarse2": second >> 3,
        "ts_fine2": second & 7,
        "ts_tdc2": _TDC,
    }
    bits = sum(value << 63 - BIT_FIELDS[name][1] for name, value in fields.items())
    return reverse_bit_order(bits.to_bytes(HIT_SIZE, "big"))


def _to_gray(number: int) -> int:
    return number ^ number >> 1


def _profile(centre: float, sigma: float, size: int) -> list[float]:
    """Return the running sum of a Gaussian over the rows or columns, as `random.choices` wants it."""
    return list(accumulate(math.exp(-(((place - centre) / sigma) ** 2) / 2) for place in range(size)))


class Detector:
    """A chip in a beam, and the DAQ host that reads it out.

    Parameters
    ----------
    seed
        The same seed gives the same readouts; None another each time.
    rate
        Readouts per second.
    hits
        Mean number of hits in a readout; they are Poisson-distributed.
    beam
        Where the hits are, and their TOT.
    chip
        Number of the chip in its chain, 0 to 30.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        rate: float = 100.0,
        hits: float = 3.0,
        beam: Beam | None = None,
        chip: int = 0,
    ) -> None:
        self.rate = rate
        self.hits = hits
        self.beam = Beam() if beam is None else beam
        self._chip = chip
        self._random = random.Random(seed)
        self._rows = _profile(self.beam.row, self.beam.row_sigma, ROWS)
        self._columns = _profile(self.beam.column, self.beam.column_sigma, COLUMNS)
        pixels = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
        self.noisy = self._random.sample(pixels, self.beam.noisy_pixels)

    def readouts(self, start_ns: int = 0) -> Iterator[tuple[float, AstroPix4Readout]]:
        """Iterate for ever over readouts and when each is due, in seconds after the first.

        Their timestamps are those of a DAQ that starts at `start_ns`.
        """
        readout_id = 0
        while True:
            due_s = readout_id / self.rate
            yield due_s, self.readout(readout_id & 0xFFFFFFFF, start_ns + round(due_s * 1e9))
            readout_id += 1

    def readout(self, readout_id: int, timestamp: int) -> AstroPix4Readout:
        """Make a readout: what was hit since the one before it."""
        data = _IDLE * 2
        for _ in range(self._count_hits()):
            data += self._hit(timestamp) + self._idle()
        return AstroPix4Readout(data + _IDLE * 4 + _PADDING * 2, readout_id, timestamp)

    def _count_hits(self) -> int:
        """Draw from Poisson's distribution: how many waiting times fit into one."""
        count, waited = -1, 0.0
        while waited <= self.hits:
            waited += self._random.expovariate(1.0)
            count += 1
        return count

    def _idle(self) -> bytes:
        """Make what is between two hits: idle bytes, and sometimes padding among them."""
        length = self._random.randrange(1, 9)
        if self._random.random() < 0.05:
            return _IDLE * length + _PADDING + _IDLE
        return _IDLE * length

    def _hit(self, timestamp: int) -> bytes:
        """Make a hit within the interval that ends at `timestamp` ns."""
        start = timestamp * CLOCK_MHZ // 1000 - int(self._random.random() / self.rate * 1e6 * CLOCK_MHZ)
        (row, column), tot_us = self._pixel_and_tot()
        stop = start + max(1, round(min(tot_us, _MAX_TOT_US) * CLOCK_MHZ))
        return pack_hit(row, column, start, stop, chip=self._chip, edges=self._random.getrandbits(2))

    def _pixel_and_tot(self) -> tuple[tuple[int, int], float]:
        draw, beam = self._random, self.beam
        kind = draw.random()
        if kind < beam.noise and self.noisy:
            return draw.choice(self.noisy), draw.expovariate(1.0 / 5.0)
        if kind < beam.noise + beam.background:
            pixel = draw.randrange(ROWS), draw.randrange(COLUMNS)
        else:
            (row,) = draw.choices(range(ROWS), cum_weights=self._rows)
            (column,) = draw.choices(range(COLUMNS), cum_weights=self._columns)
            pixel = row, column
        if draw.random() < beam.injected:
            return pixel, draw.gauss(beam.injected_tot_us, beam.injected_sigma_us)
        return pixel, beam.tot_us + beam.tot_width_us * self._moyal()

    def _moyal(self) -> float:
        """Draw from Moyal's distribution: minus the logarithm of the square of a normal number."""
        return -2.0 * math.log(max(abs(self._random.gauss(0.0, 1.0)), 1e-9))
