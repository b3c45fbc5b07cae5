"""What a kind of readout brings so that many readouts are decoded at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.gathering import Ints
from astropix_stream.fmt import Kind, Readout

# Wider than the exchanged types where these are unsigned, so that a difference of two or a
# ``row * 32 + column`` does not wrap; only times are unsigned as they are in the file.
_WIDE = {"u1": np.int16, "u2": np.int32, "u4": np.int64, "u8": np.uint64}
_NARROW = {
    "decoding_order": np.int32,  # objects may have more data than a datagram
    "ts_coarse1": np.int16,
    "ts_coarse2": np.int16,
    "ts_dec1": np.int32,
    "ts_dec2": np.int32,
}


def hit_dtype(kind: Kind) -> "np.dtype[Any]":
    """Give the type of a table of hits in memory: the fields of `Kind.types`, in that order."""
    return np.dtype(
        [(name, _NARROW.get(name, _WIDE.get(type_, type_))) for name, type_ in kind.types.items()],
        align=True,
    )


class Found(NamedTuple):
    """Hits of clean readouts, and which readouts are not clean."""

    positions: Ints
    """Shape (hits,): where each begins."""
    owners: Ints
    """Shape (hits,): in which of the readouts it is."""
    unclean: Ints
    """The readouts that are left to their own `decode`, in order."""
    statuses: NDArray[np.uint8] | None = None
    """Shape (readouts,): bits of `fmt.Decoding` of clean ones; None where a clean one has none."""
    orphans: Ints | None = None
    """Shape (readouts, 2): where the bytes before the first start byte begin and end; None for none."""
    extras: Ints | None = None
    """Shape (readouts, 2): the same of the extra bytes at the end."""


class Decoder(Protocol):
    """How the hits of a kind are found and read. `Kind.decoder` names what makes one of a `Kind`.

    A record is what a hit needs to work out its fields, in an array of any type.
    """

    continues_anywhere: bool
    """Whether a readout that seems clean may yet begin with the rest of a hit of the one before."""

    def find(self, raw: bytes, begins: Ints) -> Found:
        """Find the hits in readouts with their headers, which begin and end at `begins`."""

    def gather(self, raw: bytes, positions: Ints) -> NDArray[Any]:
        """Make the records of the hits at some positions."""

    def collect(self, readouts: Sequence[Readout[Any]]) -> NDArray[Any]:
        """Make the records of the hits of readouts that are decoded one by one."""

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Work out all fields but readout_id, timestamp and decoding_order."""


class OneByOne:
    """Leaves every readout to its own `decode`: for a kind that brings nothing else."""

    continues_anywhere = False

    def __init__(self, kind: Kind) -> None:
        self._names = [
            name for name in kind.types if name not in ("readout_id", "timestamp", "decoding_order")
        ]
        dtype = hit_dtype(kind)
        self._dtype = np.dtype([(name, dtype[name]) for name in self._names])

    def find(self, raw: bytes, begins: Ints) -> Found:
        """Find nothing."""
        none = np.zeros(0, np.int64)
        return Found(none, none, np.arange(len(begins) - 1))

    def gather(self, raw: bytes, positions: Ints) -> NDArray[Any]:
        """Make the records of no hits."""
        return np.zeros(len(positions), self._dtype)

    def collect(self, readouts: Sequence[Readout[Any]]) -> NDArray[Any]:
        """Make a record of the fields of each hit."""
        hits = [tuple(hit.attribute_values(self._names)) for readout in readouts for hit in readout.decode()]
        return np.array(hits, self._dtype)

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Copy the fields."""
        for name in self._names:
            table[name] = records[name]
