"""Bytes to readouts to hits, and back: pure, and the standard library alone.

Each kind of readout has a module: `astropix4` (4000), `astropix3` (3000), `astep` (3100). They share the
framing (`framing`), the data model (`readouts`, `hits`) and the walk over start bytes (`walk`). `kinds` is
the registry, by uid, open to a kind of your own (`register`). Any bytes decode, to hits and bits of
`Decoding`, in linear time.
"""

from astropix_stream.fmt.astep import ASTEP, AStepHit, AStepReadout
from astropix_stream.fmt.astropix3 import ASTROPIX3, AstroPix3Hit, AstroPix3Readout
from astropix_stream.fmt.astropix4 import (
    ASTROPIX4,
    BIT_FIELDS,
    CLOCK_MHZ,
    HIT_SIZE,
    ROLLOVER,
    AstroPix4Hit,
    AstroPix4Readout,
    parse_hits,
)
from astropix_stream.fmt.dividing import spans
from astropix_stream.fmt.framing import (
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MAX_DATA,
    MAX_DATAGRAM,
    parse_header,
    split,
)
from astropix_stream.fmt.hits import Hit
from astropix_stream.fmt.kinds import (
    Kind,
    UnknownReadout,
    find_kind,
    kind_of,
    kind_of_class,
    kinds,
    register,
    uid_to_readout_class,
    unregister,
)
from astropix_stream.fmt.meaning import Meaning, Span
from astropix_stream.fmt.pixels import Pixel, PixelRule, pair_half_hits
from astropix_stream.fmt.readouts import Readout, WalkedReadout
from astropix_stream.fmt.status import Decoding, DecodingStatus, problem_name
from astropix_stream.fmt.walk import REVERSED, Walk, reverse_bit_order

for _kind in (ASTROPIX3, ASTEP, ASTROPIX4):
    register(_kind)

__all__ = [
    "ASTEP",
    "ASTROPIX3",
    "ASTROPIX4",
    "BIT_FIELDS",
    "CLOCK_MHZ",
    "HEADER",
    "HEADER_SIZE",
    "HIT_SIZE",
    "MAGIC",
    "MAX_DATA",
    "MAX_DATAGRAM",
    "REVERSED",
    "ROLLOVER",
    "AStepHit",
    "AStepReadout",
    "AstroPix3Hit",
    "AstroPix3Readout",
    "AstroPix4Hit",
    "AstroPix4Readout",
    "Decoding",
    "DecodingStatus",
    "Hit",
    "Kind",
    "Meaning",
    "Pixel",
    "PixelRule",
    "Readout",
    "Span",
    "UnknownReadout",
    "Walk",
    "WalkedReadout",
    "find_kind",
    "kind_of",
    "kind_of_class",
    "kinds",
    "pair_half_hits",
    "parse_header",
    "parse_hits",
    "problem_name",
    "register",
    "reverse_bit_order",
    "spans",
    "split",
    "uid_to_readout_class",
    "unregister",
]
