"""A simulated detector: readouts of chips in a beam, as their DAQ would send them.

Pure, the standard library alone, and the same for the same seed. What is hit is the same for every kind of
readout; a `Board` makes bytes of it, with idle bytes, noise and cut hits as real boards have them.
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, NamedTuple

from astropix_stream.errors import ConfigError
from astropix_stream.fmt import (
    ASTEP,
    ASTROPIX3,
    ASTROPIX4,
    BIT_FIELDS,
    CLOCK_MHZ,
    HIT_SIZE,
    ROLLOVER,
    AstroPix3Hit,
    AstroPix3Readout,
    Kind,
    Readout,
    kind_of,
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
    """What each chip sees; all TOT in µs, all places in rows and columns.

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


class Flash(NamedTuple):
    """A pixel that is hit."""

    chip: int
    """Number of the chip among those that there are, from 0."""
    column: int
    row: int
    ns: int
    """When it went above threshold, on the clock of the DAQ host."""
    tot_us: float


class Board(ABC):
    """What a kind of board makes of pixels that are hit.

    Parameters
    ----------
    kind
        The kind of its readouts.
    draw
        Source of all random numbers.
    """

    #: What its chips see if nothing else is said.
    BEAM: ClassVar[Beam] = Beam()
    #: Chips that its readouts can tell apart.
    MOST_CHIPS: ClassVar[int] = MAX_CHIP + 1

    def __init__(self, kind: Kind, draw: random.Random) -> None:
        self.kind = kind
        self._draw = draw

    @abstractmethod
    def data(self, flashes: Iterator[Flash]) -> bytes:
        """Make the data of one readout."""

    def _idle(self) -> bytes:
        """Make what is between two hits: idle bytes, and sometimes padding among them."""
        length = self._draw.randrange(1, 9)
        if self._draw.random() < 0.05:
            return _IDLE * length + _PADDING + _IDLE
        return _IDLE * length


class AstroPix4Board(Board):
    """Sends clean readouts, as the real one did in all 775 of a run."""

    def data(self, flashes: Iterator[Flash]) -> bytes:
        """Make the data of one readout."""
        data = _IDLE * 2
        for flash in flashes:
            start = flash.ns * CLOCK_MHZ // 1000
            stop = start + max(1, round(flash.tot_us * CLOCK_MHZ))
            edges = self._draw.getrandbits(2)
            data += pack_hit(flash.row, flash.column, start, stop, chip=flash.chip, edges=edges)
            data += self._idle()
        return data + _IDLE * 4 + _PADDING * 2


class _HalfHits(Board):
    """What boards with chips of version 3 share: two half hits for each pixel."""

    BEAM = replace(
        Beam(), row=17.0, column=17.0, row_sigma=5.0, column_sigma=6.0, tot_us=4.0, tot_width_us=0.8,
        injected_tot_us=11.0, injected_sigma_us=0.4,
    )  # fmt: skip
    _ALONE = 0.08  # of the pixels have only one half hit: the other came too late, or was below threshold
    _TS_NS = 400  # of a step of the 8 bits of a half hit's timestamp

    def _halves(self, flash: Flash, chip: int) -> list[bytes]:
        """Make the column and the row of a pixel, their bits in the order in which they are described."""
        draw, clock_mhz = self._draw, self.kind.clock_mhz
        rule = self.kind.pixel_rule
        low, high = rule.tot_window if rule else (0, 0)
        longer = round(draw.gauss((low + high) / 2, (high - low) / 6))
        tot = min(4095 - high, max(1, round(flash.tot_us * clock_mhz)))
        ts = flash.ns // self._TS_NS
        halves = [
            _pack_half(chip, 1, flash.column, ts, tot),
            _pack_half(chip, 0, flash.row, ts + draw.randrange(2), max(1, tot + longer)),
        ]
        if draw.random() < self._ALONE:
            del halves[draw.randrange(2)]
        return halves


def _pack_half(chip: int, is_column: int, location: int, ts: int, tot: int) -> bytes:
    fields = {
        "chip_id": chip,
        "payload": 4,
        "is_column": is_column,
        "location": location,
        "ts": ts & 0xFF,
        "tot_msb": tot >> 8,
        "tot_lsb": tot & 0xFF,
    }
    size = AstroPix3Hit.SIZE
    bits = sum(value << 8 * size - 1 - AstroPix3Hit.BIT_FIELDS[name][1] for name, value in fields.items())
    return bits.to_bytes(size, "big")


class AstroPix3Board(_HalfHits):
    """Sends half hits; of a real run's readouts a fifth ended within one, whose rest began the next."""

    _CUT_OFF = 0.2  # of the readouts end within a half hit
    _CUT_SHORT = 0.003  # of the half hits lack their end

    def __init__(self, kind: Kind, draw: random.Random) -> None:
        super().__init__(kind, draw)
        self._rest = b""

    def data(self, flashes: Iterator[Flash]) -> bytes:
        """Make the data of one readout."""
        draw = self._draw
        data, self._rest = self._rest + _IDLE * 2, b""
        for flash in flashes:
            for half in self._halves(flash, flash.chip):
                sent = reverse_bit_order(half)
                data += (
                    sent[: draw.randrange(1, 5)] if draw.random() < self._CUT_SHORT else sent + self._idle()
                )
        whole = data.rstrip(_IDLE + _PADDING)
        if len(whole) > 2 * AstroPix3Hit.SIZE and draw.random() < self._CUT_OFF:
            at = len(whole) - draw.randrange(1, AstroPix3Hit.SIZE)
            if whole[at] not in AstroPix3Readout.WALK.starts and whole[at] not in _IDLE + _PADDING:
                self._rest = whole[at:]
                return whole[:at]
        return data + _IDLE * 4 + _PADDING * 2


class AStepBoard(_HalfHits):
    """Sends frames from three layers of chips; of a real file's frames 1 in 100 is of another length."""

    MOST_CHIPS = 96
    _BAD = 0.01
    _NOISE = 0.0003  # of the frames are followed by some bytes of noise
    _TICK_NS = 50  # of the FPGA's timestamp, where the kind does not say

    def data(self, flashes: Iterator[Flash]) -> bytes:
        """Make the data of one readout: frames in the order of their time, and nothing else."""
        draw, layers = self._draw, max(1, self.kind.layers)
        readout_class: Any = self.kind.readout_class
        tick_ns = readout_class.TICK_NS or self._TICK_NS
        data = b""
        for flash in sorted(flashes, key=lambda flash: flash.ns):
            number, layer = divmod(flash.chip, layers)
            time = int(flash.ns / tick_ns) % (1 << 8 * readout_class.TIMESTAMP_BYTES)
            for half in self._halves(flash, number):
                rest = bytes([layer + 1]) + half
                if draw.random() < self._BAD:
                    rest = (
                        rest[: draw.choice([2, 3, 4, 5])] if draw.random() < 0.7 else rest + draw.randbytes(2)
                    )
                rest += time.to_bytes(readout_class.TIMESTAMP_BYTES, "little")
                data += bytes([len(rest)]) + rest
                if draw.random() < self._NOISE:
                    data += draw.randbytes(draw.randrange(1, 6))
        return data


#: What simulates each kind that can be simulated, by uid.
BOARDS: dict[int, type[Board]] = {
    ASTROPIX4.uid: AstroPix4Board,
    ASTROPIX3.uid: AstroPix3Board,
    ASTEP.uid: AStepBoard,
}


class Detector:
    """Chips in a beam, and the DAQ host that reads them out.

    Parameters
    ----------
    seed
        The same seed gives the same readouts; None another each time.
    rate
        Readouts per second.
    hits
        Mean number of pixels hit in a readout; they are Poisson-distributed.
    beam
        Where the hits are, and their TOT.
    chip
        Number of the first chip in its chain.
    chips
        How many there are; where there are layers, they are dealt out to these.
    kind
        Of the readouts.

    Raises
    ------
    ConfigError
        If there is no board for this kind, or it has not so many chips.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        rate: float = 100.0,
        hits: float = 3.0,
        beam: Beam | None = None,
        chip: int = 0,
        chips: int = 1,
        kind: Kind = ASTROPIX4,
    ) -> None:
        if kind.uid not in BOARDS or (kind.layers and not kind.half_hits):
            there_are = ", ".join(str(kind_of(uid)) for uid in BOARDS)
            raise ConfigError(f"{kind} with these settings cannot be simulated; there are {there_are}")
        self._random = random.Random(seed)
        self._board = BOARDS[kind.uid](kind, self._random)
        if chip + chips > self._board.MOST_CHIPS:
            raise ConfigError(
                f"{kind.name} has chips 0 to {self._board.MOST_CHIPS - 1}, not {chip + chips - 1}"
            )
        self.kind = kind
        self.rate = rate
        self.hits = hits
        self.beam = self._board.BEAM if beam is None else beam
        self.chips = chips
        self._chips = range(chip, chip + chips)
        self._rows = _profile(self.beam.row, self.beam.row_sigma, kind.rows)
        self._columns = _profile(self.beam.column, self.beam.column_sigma, kind.columns)
        pixels = [(row, column) for row in range(kind.rows) for column in range(kind.columns)]
        self.noisy = self._random.sample(pixels, self.beam.noisy_pixels)

    def readouts(self, start_ns: int = 0) -> Iterator[tuple[float, Readout[Any]]]:
        """Iterate without end over readouts and when each is due, in seconds after the first.

        Their timestamps are those of a DAQ that starts at `start_ns`.
        """
        readout_id = 0
        while True:
            due_s = readout_id / self.rate
            yield due_s, self.readout(readout_id & 0xFFFFFFFF, start_ns + round(due_s * 1e9))
            readout_id += 1

    def readout(self, readout_id: int, timestamp: int) -> Readout[Any]:
        """Make a readout: what was hit since the one before it."""
        flashes = (self._flash(timestamp) for _ in range(self._count_hits()))
        return self.kind.readout_class(self._board.data(flashes), readout_id, timestamp)

    def _count_hits(self) -> int:
        """Draw from Poisson's distribution: how many waiting times fit into one."""
        count, waited = -1, 0.0
        while waited <= self.hits:
            waited += self._random.expovariate(1.0)
            count += 1
        return count

    def _flash(self, timestamp: int) -> Flash:
        """Hit a pixel within the interval that ends at `timestamp` ns."""
        before_ns = int(self._random.random() / self.rate * 1e9)
        (row, column), tot_us = self._pixel_and_tot()
        chip = self._chips[0] if len(self._chips) == 1 else self._random.choice(self._chips)
        return Flash(chip, column, row, timestamp - before_ns, min(tot_us, _MAX_TOT_US))

    def _pixel_and_tot(self) -> tuple[tuple[int, int], float]:
        draw, beam = self._random, self.beam
        kind = draw.random()
        if kind < beam.noise and self.noisy:
            return draw.choice(self.noisy), draw.expovariate(12.0 / beam.tot_us)
        if kind < beam.noise + beam.background:
            pixel = draw.randrange(self.kind.rows), draw.randrange(self.kind.columns)
        else:
            (row,) = draw.choices(range(self.kind.rows), cum_weights=self._rows)
            (column,) = draw.choices(range(self.kind.columns), cum_weights=self._columns)
            pixel = row, column
        if draw.random() < beam.injected:
            return pixel, draw.gauss(beam.injected_tot_us, beam.injected_sigma_us)
        return pixel, beam.tot_us + beam.tot_width_us * self._moyal()

    def _moyal(self) -> float:
        """Draw from Moyal's distribution: minus the logarithm of the square of a normal number."""
        return -2.0 * math.log(max(abs(self._random.gauss(0.0, 1.0)), 1e-9))
