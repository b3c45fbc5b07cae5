"""What can be told of the decoding of a readout, for all kinds."""

from enum import IntEnum


class Decoding(IntEnum):
    """What can be told of the decoding of a readout: the numbers of the bits of a `DecodingStatus`.

    The last two are known to AstroPix software but never set here: our decoders visit every byte. Those that
    walk over start bytes never set INVALID_EXTRA_BYTES either; they drop what does not begin with one.
    """

    ORPHAN_BYTES_MATCHED = 0
    """The bytes before the first start byte completed a hit that began in the previous readout."""
    ORPHAN_BYTES_DROPPED = 1
    """They did not make a hit with the extra bytes of the previous readout."""
    ORPHAN_BYTES_NOT_USED = 2
    """There were such bytes, and no extra bytes of a previous readout."""
    VALID_EXTRA_BYTES = 3
    """A hit began at the very end; see `Readout.extra_bytes`."""
    INVALID_EXTRA_BYTES = 4
    """Bytes that belong to no hit, after the first: noise between the frames of an A-STEP."""
    INCOMPLETE_HIT_DROPPED = 5
    """A hit was cut short by the start byte of another; or a frame is not of the length that frames have."""
    NOT_ALL_BYTES_VISITED = 6
    """The decoder stopped before the end."""
    UNKNOWN_FATAL_ERROR = 7
    """The decoder failed."""


class DecodingStatus(int):
    """The bits of `Decoding` that a readout has set: false with none, indexed by a `Decoding` member."""

    __slots__ = ()

    def __getitem__(self, bit: int) -> bool:
        return bool(self >> bit & 1)

    def __str__(self) -> str:
        return ", ".join(bit.name for bit in Decoding if self[bit]) or "clean"

    def __repr__(self) -> str:
        return f"DecodingStatus({int(self):#x}: {self})"


def problem_name(bit: Decoding) -> str:
    """Give the name of a bit in small letters, for people."""
    return bit.name.replace("_", " ").lower()


#: The bits that a walk over start bytes can set, and their names for people.
WALK_PROBLEMS = tuple(
    (bit, problem_name(bit))
    for bit in (
        Decoding.ORPHAN_BYTES_MATCHED,
        Decoding.ORPHAN_BYTES_DROPPED,
        Decoding.ORPHAN_BYTES_NOT_USED,
        Decoding.VALID_EXTRA_BYTES,
        Decoding.INCOMPLETE_HIT_DROPPED,
    )
)
