"""AstroPix 4: hits of 8 bytes, each a pixel. Kind 4000.

Reverse the bit order inside every byte of the hit, then read the 64 bits from the most significant
(`BIT_FIELDS`). ``ts_dec1`` and ``ts_dec2`` are the 17 bits coarse·8 + fine, converted from Gray code.
"""

from typing import ClassVar

from astropix_stream.fmt.hits import Hit, bit_field
from astropix_stream.fmt.kinds import Kind
from astropix_stream.fmt.readouts import WalkedReadout
from astropix_stream.fmt.walk import Walk

HIT_SIZE = 8
CLOCK_MHZ = 20  # the clock of ts_dec1 and ts_dec2
ROLLOVER = 1 << 17  # they count in 17 bits
ROWS, COLUMNS = 13, 16

_WALK = Walk(HIT_SIZE, range(0xE0, 0xFF))
parse_hits = _WALK.parse


def _gray_table(low: int, high: int) -> list[int]:
    """Convert from Gray code to binary every number of which only the bits `low` to `high` - 1 are set."""
    table = [0]
    for bit in range(low, high):
        table += [binary ^ ((2 << bit) - 1) for binary in table]
    return table


# The conversion is linear in xor: two small tables, that cost nothing at import, do for 17 bits.
_BINARY_LOW = _gray_table(0, 8)
_BINARY_HIGH = _gray_table(8, 17)


#: First and last bit of each field that is in the 64 bits of a hit, counted from the most significant.
BIT_FIELDS = {
    "chip_id": (0, 4),
    "payload": (5, 7),
    "row": (8, 12),
    "column": (13, 17),
    "ts_neg1": (18, 18),
    "ts_coarse1": (19, 32),
    "ts_fine1": (33, 35),
    "ts_tdc1": (36, 40),
    "ts_neg2": (41, 41),
    "ts_coarse2": (42, 55),
    "ts_fine2": (56, 58),
    "ts_tdc2": (59, 63),
}


def _field(name: str, doc: str) -> int:
    """Make the property that reads one of `BIT_FIELDS`."""
    return bit_field(HIT_SIZE, BIT_FIELDS[name], doc)


class AstroPix4Hit(Hit):
    """One hit of an AstroPix 4 chip.

    Every field is worked out when it is read, from one 64-bit integer. Hits are equal when their 8 bytes are.

    Parameters
    ----------
    data : bytes-like
        The 8 bytes of the hit, with the order of the bits in each reversed (`reverse_bit_order`).
    readout_id, timestamp : int
        Those of the readout; the timestamp in ns since the Unix epoch.
    decoding_order : int
        Place among the hits of the readout, from 0.

    Attributes
    ----------
    bits : int
        The data as one 64-bit integer, big-endian.

    Raises
    ------
    FormatError
        If the data are not 8 bytes.
    """

    __slots__ = ()

    SIZE = HIT_SIZE
    TYPES: ClassVar[dict[str, str]] = {
        "chip_id": "u1", "payload": "u1", "readout_id": "u4", "timestamp": "u8", "decoding_order": "u1",
        "row": "u1", "column": "u1", "ts_neg1": "u1", "ts_coarse1": "u2", "ts_fine1": "u1", "ts_tdc1": "u1",
        "ts_neg2": "u1", "ts_coarse2": "u2", "ts_fine2": "u1", "ts_tdc2": "u1", "ts_dec1": "u4",
        "ts_dec2": "u4", "tot_us": "f8",
    }  # fmt: skip
    ATTRIBUTE_NAMES = tuple(TYPES)
    BIT_FIELDS = BIT_FIELDS

    chip_id = _field("chip_id", "Number of the chip in its chain.")
    payload = _field("payload", "Payload bits of the start byte.")
    row = _field("row", "Row of the pixel.")
    column = _field("column", "Column of the pixel.")
    ts_neg1 = _field("ts_neg1", "Clock edge of the first timestamp.")
    ts_coarse1 = _field("ts_coarse1", "Coarse part of the first timestamp, in Gray code with the fine part.")
    ts_fine1 = _field("ts_fine1", "Fine part of the first timestamp.")
    ts_tdc1 = _field("ts_tdc1", "TDC value of the first timestamp.")
    ts_neg2 = _field("ts_neg2", "Clock edge of the second timestamp.")
    ts_coarse2 = _field("ts_coarse2", "Coarse part of the second timestamp, in Gray code with the fine part.")
    ts_fine2 = _field("ts_fine2", "Fine part of the second timestamp.")
    ts_tdc2 = _field("ts_tdc2", "TDC value of the second timestamp.")

    @property
    def ts_dec1(self) -> int:
        """First timestamp, in clock ticks: coarse and fine part, converted from Gray code."""
        bits = self.bits
        return _BINARY_HIGH[bits >> 36 & 0x1FF] ^ _BINARY_LOW[bits >> 28 & 0xFF]

    @property
    def ts_dec2(self) -> int:
        """Second timestamp, in clock ticks; beyond 17 bits where the counter rolled over since the first."""
        bits = self.bits
        ticks = _BINARY_HIGH[bits >> 13 & 0x1FF] ^ _BINARY_LOW[bits >> 5 & 0xFF]
        return ticks if ticks >= self.ts_dec1 else ticks + ROLLOVER

    @property
    def tot_us(self) -> float:
        """Time over threshold, in µs."""
        return (self.ts_dec2 - self.ts_dec1) / CLOCK_MHZ

    def _place(self) -> str:
        return f"chip {self.chip_id}, column {self.column}, row {self.row}, TOT {self.tot_us:.2f} us"


class AstroPix4Readout(WalkedReadout[AstroPix4Hit]):
    """One readout of an AstroPix 4 detector; its methods are those of `Readout`.

    Parameters
    ----------
    data : bytes-like
        As the board sent them; trailing padding ``ff`` is stripped.
    readout_id : int
        Sequential number that the DAQ host assigns, u32.
    timestamp : int, optional
        ns since the Unix epoch, u64; by default the host's clock now.

    Raises
    ------
    ValueError
        If the readout_id or the timestamp does not fit its field.
    """

    __slots__ = ()

    UID = 4000
    HIT_CLASS = AstroPix4Hit
    WALK = _WALK


ASTROPIX4 = Kind(
    uid=AstroPix4Readout.UID,
    name="AstroPix 4",
    readout_class=AstroPix4Readout,
    clock_mhz=CLOCK_MHZ,
    rows=ROWS,
    columns=COLUMNS,
    tot_bin_ticks=4,  # 0.2 µs: fine beside the 5 µs width of an injection peak
    tot_range_us=400.0,
    decoder="astropix_stream.columns.astropix4:AstroPix4Columns",
)
