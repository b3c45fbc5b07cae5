"""What the hits of all kinds have in common."""

from collections.abc import Sequence
from typing import Any, ClassVar

from astropix_stream.errors import FormatError
from astropix_stream.fmt.framing import BytesLike


def bit_field(size: int, place: tuple[int, int], doc: str) -> int:
    """Make the property that reads some bits of a hit.

    Parameters
    ----------
    size : int
        Bytes of the hit.
    place : tuple of int
        First and last bit, counted from the most significant of `Hit.bits`.
    doc : str
        The property's docstring.
    """
    first, last = place
    shift, mask = 8 * size - 1 - last, (1 << (last - first + 1)) - 1
    # Declared as what reading it gives, so that type checkers know `hit.row` for an int.
    return property(lambda hit: hit.bits >> shift & mask, doc=doc)  # type: ignore[return-value]


class Hit:
    """One hit. Every field is worked out when it is read, from one integer. Equal when their bytes are.

    Parameters
    ----------
    data : bytes-like
        The bytes of the hit, with the order of the bits in each reversed (`reverse_bit_order`).
    readout_id, timestamp : int
        Those of the readout; the timestamp in ns since the Unix epoch.
    decoding_order : int
        Place among the hits of the readout, from 0.

    Attributes
    ----------
    bits : int
        The data as one integer, big-endian.

    Raises
    ------
    FormatError
        If the data are not as many bytes as a hit has.
    """

    __slots__ = ("bits", "decoding_order", "readout_id", "timestamp")

    #: Bytes of a hit.
    SIZE: ClassVar[int] = 0
    #: The columns of a table of hits that is exchanged: names, in order, and types as NumPy writes them.
    TYPES: ClassVar[dict[str, str]] = {"readout_id": "u4", "timestamp": "u8", "decoding_order": "u2"}
    #: The order of the fields, for printing and tables.
    ATTRIBUTE_NAMES: ClassVar[tuple[str, ...]] = tuple(TYPES)
    #: First and last bit of each field that is in `bits`, counted from the most significant.
    BIT_FIELDS: ClassVar[dict[str, tuple[int, int]]] = {}

    bits: int
    readout_id: int
    timestamp: int
    decoding_order: int

    def __init__(self, data: BytesLike, readout_id: int, timestamp: int, decoding_order: int) -> None:
        if len(data) != self.SIZE:
            raise FormatError(f"a hit is {self.SIZE} bytes, not {len(data)}", offset=0)
        self.bits = int.from_bytes(data, "big")
        self.readout_id = readout_id
        self.timestamp = timestamp
        self.decoding_order = decoding_order

    def attribute_values(self, names: Sequence[str] | None = None) -> list[Any]:
        """Values of the fields named, or of all, in the order of `ATTRIBUTE_NAMES`."""
        return [getattr(self, name) for name in (self.ATTRIBUTE_NAMES if names is None else names)]

    def _key(self) -> Any:
        """Return what two equal hits have in common."""
        return self.bits

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type(self)) or (isinstance(other, Hit) and isinstance(self, type(other))):
            return bool(self._key() == other._key())
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _place(self) -> str:
        """Name what was hit, in the words of a person."""
        return f"{self.SIZE} bytes"

    def __str__(self) -> str:
        return f"hit {self.decoding_order} of readout {self.readout_id}: {self._place()}"

    def __repr__(self) -> str:
        values = zip(self.ATTRIBUTE_NAMES, self.attribute_values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in values)})"

    def _repr_html_(self) -> str:
        """Return a table of the fields, for notebooks."""
        from astropix_stream import markup  # noqa: PLC0415  (a DAQ does not pay for it)

        return markup.table(self, self.ATTRIBUTE_NAMES, [self.attribute_values()])
