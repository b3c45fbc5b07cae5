"""Columns of A-STEP frames, in many readouts at once: the NumPy side of `fmt.astep`.

A readout is clean when frames, whole or bad, follow one another from its first byte to its last. Those after
one that is not clean may begin with the rest of a frame, and are left to their own `decode` as well.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.astropix3 import fill_tot
from astropix_stream.columns.astropix4 import fill_times
from astropix_stream.columns.decoder import Found
from astropix_stream.columns.gathering import Ints, reach, words_at
from astropix_stream.columns.walked import fill_bits
from astropix_stream.fmt import HEADER_SIZE, Decoding, Kind, Readout
from astropix_stream.fmt.astep import LAYERS, LONGEST, SHORTEST

_BAD = 1 << Decoding.INCOMPLETE_HIT_DROPPED
_RECORD = np.dtype([("layer", np.uint8), ("bits", np.uint64), ("fpga_timestamp", np.uint64)])


class AStepColumns:
    """Half hits or hits in frames."""

    continues_anywhere = True

    def __init__(self, kind: Kind) -> None:
        self._whole: int = kind.readout_class.frame_length()  # type: ignore[attr-defined]
        self._hit_size: int = kind.hit_class.SIZE
        self._timestamp_bytes: int = kind.readout_class.TIMESTAMP_BYTES  # type: ignore[attr-defined]
        self._fields: dict[str, tuple[int, int]] = kind.hit_class.BIT_FIELDS
        self._clock_mhz = kind.clock_mhz
        self._half_hits = kind.half_hits

    def find(self, raw: bytes, begins: Ints) -> Found:
        """Find the whole frames of the clean readouts: chains of heads from the first byte to the last."""
        data = np.frombuffer(raw + b"\0", np.uint8)
        nodes = np.flatnonzero(
            (data[:-1] - np.uint8(SHORTEST) <= LONGEST - SHORTEST) & (data[1:] - np.uint8(1) < LAYERS)
        )
        bounds = np.searchsorted(nodes, begins)
        owners = np.repeat(np.arange(len(begins) - 1), np.diff(bounds))
        ends, lasts = nodes + 1 + data[nodes], begins[owners + 1]
        nexts = np.append(nodes, np.iinfo(np.int64).max)
        following = np.arange(1, len(nodes) + 1)
        behind = np.flatnonzero(nexts[1:] < ends)
        while len(behind := behind[nexts[following[behind]] < ends[behind]]):
            following[behind] += 1
        linked = (ends < lasts) & (nexts[following] == ends)
        firsts = begins[:-1] + HEADER_SIZE
        places = np.searchsorted(nodes, firsts)
        begun = nexts[places] == firsts
        roots = np.zeros(len(nodes), bool)
        roots[places[begun]] = True
        chain = reach(roots, np.where(linked, following, len(nodes)))

        unclean = ~begun & (firsts < begins[1:])
        unclean[owners[chain & ~linked & (ends != lasts)]] = True
        chain &= ~unclean[owners]
        whole = data[nodes] == self._whole
        statuses = np.zeros(len(unclean), np.uint8)
        statuses[owners[chain & ~whole]] = _BAD
        hits = chain & whole
        return Found(nodes[hits], owners[hits], np.flatnonzero(unclean), statuses)

    def gather(self, raw: bytes, positions: Ints) -> NDArray[Any]:
        """Gather layer, hit and timestamp of frames."""
        records = np.empty(len(positions), _RECORD)
        records["layer"] = np.frombuffer(raw, np.uint8)[positions + 1]
        records["bits"] = words_at(raw, positions + 2, self._hit_size)
        times = words_at(raw, positions + 2 + self._hit_size, self._timestamp_bytes)
        records["fpga_timestamp"] = times.byteswap() >> np.uint64(8 * (8 - self._timestamp_bytes))
        return records

    def collect(self, readouts: Sequence[Readout[Any]]) -> NDArray[Any]:
        """Make the records of the hits of readouts that are decoded one by one."""
        length = bytes([self._whole])
        found = b"".join(length + frame for readout in readouts for frame in readout.find())
        return self.gather(found, np.arange(0, len(found), self._whole + 1))

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Work out all fields."""
        words = records["bits"]
        table["layer"] = records["layer"]
        table["fpga_timestamp"] = records["fpga_timestamp"]
        fill_bits(table, words, self._fields, self._hit_size)
        if self._half_hits:
            fill_tot(table, words, self._clock_mhz)
        else:
            fill_times(table, words)
