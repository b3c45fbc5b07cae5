"""Where readouts begin in bytes that hold many of them, and their numbers, at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.gathering import Ints, everywhere, offsets_of
from astropix_stream.errors import FormatError
from astropix_stream.fmt import HEADER_SIZE, MAGIC, MAX_DATA, Kind, Readout, split

_MOST_WITHIN = 16  # magics within readouts that are looked at one by one: random data have 1 in 16 MiB

_HEADER_DTYPE = np.dtype(
    {
        "names": ["magic", "readout_id", "timestamp", "length"],
        "formats": ["V3", "<u4", "<u8", "<u4"],
        "offsets": [0, 3, 7, 15],
        "itemsize": HEADER_SIZE,
    }
)


class Readouts(NamedTuple):
    """Readouts with their headers in one piece, where each begins and the last ends, and their numbers."""

    raw: bytes
    begins: Ints
    ids: Ints
    timestamps: NDArray[np.uint64]
    objects: Sequence[Readout[Any]] = ()

    def at(self, i: int, kind: Kind) -> Readout[Any]:
        """Return one of them as an object."""
        if self.objects:
            return self.objects[i]
        return kind.readout_class.from_bytes(self.raw[self.begins[i] : self.begins[i + 1]])


def find_readouts(raw: bytes) -> Readouts:
    """Find the readouts in bytes that are nothing else.

    Raises
    ------
    FormatError
        If the bytes are not whole readouts.
    """
    found, damage = find_whole(raw)
    if damage:
        raise damage
    if found.begins[-1] < len(raw):
        told = f"{len(raw) - found.begins[-1]} bytes left over after the last whole readout"
        raise FormatError(told, offset=int(found.begins[-1]))
    return found


def find_whole(raw: bytes) -> tuple[Readouts, FormatError | None]:
    """Find the whole readouts at the beginning of some bytes.

    The magic is searched everywhere, and left out where it occurs within a readout. If those that are left
    follow one another exactly, no other division is possible; else the bytes are wrong, and one walk decides.

    Parameters
    ----------
    raw
        Readouts; the last may be incomplete.

    Returns
    -------
    readouts
        Those that are whole. Where the last ends, an incomplete one begins, or what is no readout.
    damage
        Says what is no readout; None if nothing is.
    """
    data = np.frombuffer(raw, np.uint8)
    begins = np.flatnonzero(data[: max(0, len(raw) - HEADER_SIZE + 1)] == MAGIC[0])
    begins = begins[(data[begins + 1] == MAGIC[1]) & (data[begins + 2] == MAGIC[2])]
    lengths = _headers(raw, begins)["length"].astype(np.int64)
    offsets = offsets_of(lengths + HEADER_SIZE)
    for _ in range(_MOST_WITHIN):
        wrong = np.flatnonzero(offsets[:-1] != begins)[:1]
        if not len(wrong) or begins[wrong[0]] > offsets[wrong[0]]:
            break
        begins, lengths = np.delete(begins, wrong), np.delete(lengths, wrong)
        offsets = offsets_of(lengths + HEADER_SIZE)
    if np.array_equal(offsets[:-1], begins) and (lengths <= MAX_DATA).all():
        if offsets[-1] > len(raw):
            return _read(raw, offsets[:-1]), None
        if len(raw) - offsets[-1] < HEADER_SIZE:
            return _read(raw, offsets), None
    sizes: list[int] = []
    damage = None
    try:
        for datagram, _, _ in split(raw):
            sizes.append(len(datagram))
    except FormatError as error:
        damage = error
    return _read(raw, offsets_of(np.array(sizes, np.int64))), damage


def _read(raw: bytes, begins: Ints) -> Readouts:
    headers = _headers(raw, begins[:-1])
    ids, timestamps = headers["readout_id"].astype(np.int64), headers["timestamp"].astype(np.uint64)
    return Readouts(raw, begins, ids, timestamps)


def _headers(raw: bytes, begins: Ints) -> NDArray[Any]:
    """Gather the headers that begin at some places."""
    return everywhere(raw, HEADER_SIZE)[begins].view(_HEADER_DTYPE)
