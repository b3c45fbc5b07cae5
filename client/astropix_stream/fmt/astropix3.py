"""AstroPix 3: half hits of 5 bytes, a row or a column each. Kind 3000, one chip read by a Nexys board.

The walk over the data is that of AstroPix 4, with another start byte. After the bits of each byte are
reversed, the 40 bits from the most significant are:

======  ============================  ======  ============================
bits    field                         bits    field
======  ============================  ======  ============================
0-4     chip_id                       16-23   ts (wraps)
5-7     payload (4 in a whole hit)    24-27   reserved
8       is_column                     28-31   tot_msb
9       reserved                      32-39   tot_lsb
10-15   location, 0 to 34
======  ============================  ======  ============================
"""

from typing import ClassVar

from astropix_stream.fmt.hits import Hit, bit_field
from astropix_stream.fmt.kinds import Kind
from astropix_stream.fmt.pixels import PixelRule
from astropix_stream.fmt.readouts import WalkedReadout
from astropix_stream.fmt.walk import Walk

HALF_HIT_SIZE = 5
CLOCK_MHZ = 200
SIZE = 35  # rows, and columns
LOCATIONS = 64  # that the field can hold

#: First and last bit of each field, counted from the most significant.
HALF_HIT_FIELDS = {
    "chip_id": (0, 4),
    "payload": (5, 7),
    "is_column": (8, 8),
    "location": (10, 15),
    "ts": (16, 23),
    "tot_msb": (28, 31),
    "tot_lsb": (32, 39),
}


def _field(name: str, doc: str) -> int:
    """Make the property that reads one of `HALF_HIT_FIELDS`."""
    return bit_field(HALF_HIT_SIZE, HALF_HIT_FIELDS[name], doc)


class AstroPix3Hit(Hit):
    """A half hit of an AstroPix 3 chip: a row or a column.

    The parameters are those of `AstroPix4Hit`, but for its 5 bytes.
    """

    __slots__ = ()

    SIZE = HALF_HIT_SIZE
    TYPES: ClassVar[dict[str, str]] = {
        "chip_id": "u1", "payload": "u1", "readout_id": "u4", "timestamp": "u8", "decoding_order": "u2",
        "is_column": "u1", "location": "u1", "ts": "u1", "tot_msb": "u1", "tot_lsb": "u1", "tot": "u2",
        "tot_us": "f8",
    }  # fmt: skip
    ATTRIBUTE_NAMES = tuple(TYPES)
    BIT_FIELDS = HALF_HIT_FIELDS
    #: The clock of the TOT.
    CLOCK_MHZ: ClassVar[int] = CLOCK_MHZ

    chip_id = _field("chip_id", "Number of the chip in its chain.")
    payload = _field("payload", "Bytes that follow the first; 4 in a whole hit.")
    is_column = _field("is_column", "1 for a column, 0 for a row.")
    location = _field("location", "Number of the row or column.")
    ts = _field("ts", "Timestamp, 8 bits of a counter.")
    tot_msb = _field("tot_msb", "Upper bits of the TOT.")
    tot_lsb = _field("tot_lsb", "Lower bits of the TOT.")

    @property
    def tot(self) -> int:
        """Time over threshold, in ticks of the clock."""
        return self.bits & 0xFFF

    @property
    def tot_us(self) -> float:
        """Time over threshold, in µs."""
        return self.tot / self.CLOCK_MHZ

    def _place(self) -> str:
        axis = "column" if self.is_column else "row"
        return f"chip {self.chip_id}, {axis} {self.location}, TOT {self.tot_us:.2f} us"


class AstroPix3Readout(WalkedReadout[AstroPix3Hit]):
    """One readout of an AstroPix 3 chip; its methods and parameters are those of `AstroPix4Readout`."""

    __slots__ = ()

    UID = 3000
    HIT_CLASS = AstroPix3Hit
    WALK = Walk(HALF_HIT_SIZE, range(0x20, 0x40))


ASTROPIX3 = Kind(
    uid=AstroPix3Readout.UID,
    name="AstroPix 3",
    readout_class=AstroPix3Readout,
    clock_mhz=CLOCK_MHZ,
    rows=SIZE,
    columns=SIZE,
    limit=LOCATIONS,
    tot_range_us=20.0,
    pixel_rule=PixelRule(tot_window=(12, 30), size=SIZE),
    decoder="astropix_stream.columns.astropix3:AstroPix3Columns",
)
