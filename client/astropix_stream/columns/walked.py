"""Hits that begin with a start byte, in many readouts at once: the NumPy side of `fmt.Walk`.

What comes after a start byte depends on the bytes around it alone: a hit, a hit that was cut short, or extra
bytes; and so does the start byte to go on with. NumPy works that out for every start byte, true or false, of
all readouts together, and follows the links from the first of each readout.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.decoder import Found
from astropix_stream.columns.gathering import Ints, everywhere, reach, words_at
from astropix_stream.fmt import HEADER_SIZE, REVERSED, Decoding, Kind, Readout

_IDLE_BYTE, _PADDING = 0xBC, 0xFF
# Classes of bytes, a bit each, so that the lowest bit of some of them tells the first that is not idle. A
# header is a boundary, and otherwise idle.
_IDLE, _OTHER, _START, _BOUNDARY = 0, 1, 2, 4
_HEADER_CLASSES = bytes([_BOUNDARY] + [_IDLE] * (HEADER_SIZE - 1))
_FEW = 24  # idle bytes that most often follow one another at most
_WORD = 8  # bytes that are looked at together
_ANY_OTHER = np.uint64(0x0101010101010101 * _OTHER)

_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES
_CUT_SHORT = 1 << Decoding.INCOMPLETE_HIT_DROPPED


class Walked:
    """Finds hits by the `WALK` of a kind's readouts, and reads the `BIT_FIELDS` of its hits."""

    continues_anywhere = False

    def __init__(self, kind: Kind) -> None:
        walk = kind.readout_class.WALK  # type: ignore[attr-defined]
        self._size: int = walk.hit_size
        self._fields: dict[str, tuple[int, int]] = kind.hit_class.BIT_FIELDS
        self._first, self._last = np.uint8(walk.starts[0]), np.uint8(walk.starts[-1])
        between = range(walk.starts[0], walk.starts[-1] + 1)
        self._in_a_row = bytes(between) == walk.starts
        self._classes = bytes(
            _IDLE if byte in (_IDLE_BYTE, _PADDING) else _START if walk.is_start[byte] else _OTHER
            for byte in range(256)
        )

    def find(self, raw: bytes, begins: Ints) -> Found:
        """Find the hits of all readouts, as if each stood alone."""
        classes = self._classify(raw, begins)
        lasts = _without_padding(raw, begins)
        marks = np.flatnonzero(classes >= _START)
        boundary = classes[marks] == np.uint8(_BOUNDARY)
        nodes, owners = marks[~boundary], (np.cumsum(boundary) - 1)[~boundary]
        roots = np.diff(owners, prepend=-1) > 0

        is_hit, is_extra, following, certain = self._link(classes, nodes, lasts[owners])
        certain[1:] &= ~(is_extra[1:] & is_extra[:-1])  # extra bytes go on to the end
        chain = reach(roots | certain, following)
        statuses = np.zeros(len(lasts), np.uint8)
        statuses[owners[chain & ~(is_hit | is_extra)]] = _CUT_SHORT
        extras = np.stack((lasts, lasts), axis=1)
        left = chain & is_extra
        extras[owners[left], 0] = nodes[left]
        statuses[owners[left]] |= _EXTRA
        orphans = np.stack((lasts, lasts), axis=1)
        orphans[owners[roots], 1] = nodes[roots]
        begun = np.flatnonzero(~_starts_or_ends(classes, begins[:-1] + HEADER_SIZE))
        orphans[begun, 0] = _pass_idle(classes, begins[begun] + HEADER_SIZE)
        statuses[begun] |= _NOT_USED
        hits = chain & is_hit
        none = np.zeros(0, np.int64)
        return Found(nodes[hits], owners[hits], none, statuses, orphans, extras)

    def _classify(self, raw: bytes, begins: Ints) -> NDArray[np.uint8]:
        """Return the class of each byte, and what is behind the last one: a boundary, and idle bytes."""
        size = len(raw)
        classes = np.zeros(size + _WORD, np.uint8)
        if self._in_a_row:  # a few comparisons take half the time of a table
            data = np.frombuffer(raw, np.uint8)
            is_start = data - self._first <= self._last - self._first
            is_busy = (data != np.uint8(_IDLE_BYTE)) & (data != np.uint8(_PADDING))
            np.add(is_busy.view(np.uint8), is_start.view(np.uint8), out=classes[:size])
        else:
            classes[:size] = np.frombuffer(raw.translate(self._classes), np.uint8)
        everywhere(classes, HEADER_SIZE)[begins[:-1]] = np.void(_HEADER_CLASSES)
        classes[size] = _BOUNDARY
        return classes

    def _link(
        self, classes: NDArray[np.uint8], nodes: Ints, lasts: Ints
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Ints, NDArray[np.bool_]]:
        """Say whether a hit or extra bytes begin at each start byte, and which start byte comes next.

        The last is a mask of those that are in no hit that begins before them.

        Parameters
        ----------
        classes
            Of all bytes.
        nodes, lasts
            Where the start bytes are, and where the data of their readouts end.
        """
        end = len(nodes)
        nexts = np.append(nodes, np.iinfo(np.int64).max)
        following = np.arange(1, end + 1)
        after = nodes + self._size
        is_extra = after > lasts
        is_hit = ~is_extra
        # A whole hit with a start byte inside counts if a start byte or the end comes next.
        inner = np.flatnonzero(is_hit & (nexts[1:] < after))
        counts = _starts_or_ends(classes, after[inner])
        is_hit[inner] = counts
        jumps = inner[counts]
        while len(jumps := jumps[nexts[following[jumps]] < after[jumps]]):
            following[jumps] += 1
        begun, ended = inner[counts] + 1, following[inner[counts]]
        within = np.bincount(begun, minlength=end + 1) - np.bincount(ended, minlength=end + 1)
        certain = np.cumsum(within)[:end] == 0
        following[(nexts[following] >= lasts) | is_extra] = end
        return is_hit, is_extra, following, certain

    def gather(self, raw: bytes, positions: Ints) -> NDArray[np.uint64]:
        """Gather the bytes of hits as `Hit.bits`."""
        return words_at(raw, positions, self._size, reverse=REVERSED)

    def collect(self, readouts: Sequence[Readout[Any]]) -> NDArray[np.uint64]:
        """Make the records of the hits of readouts that are decoded one by one."""
        found = b"".join(hit for readout in readouts for hit in readout.find())
        return self.gather(found, np.arange(0, len(found), self._size))

    def fill(self, table: NDArray[Any], records: NDArray[Any]) -> None:
        """Work out the fields that are bits of the hits."""
        fill_bits(table, records, self._fields, self._size)


def _starts_or_ends(classes: NDArray[np.uint8], places: Ints) -> NDArray[np.bool_]:
    """Tell whether what is not idle from each place on begins with a start byte, or is the next header."""
    found = np.zeros(len(places), bool)
    still = np.arange(len(places))
    for _ in range(_FEW // _WORD):
        words = everywhere(classes, _WORD)[places].view("<u8")
        found[still] = (words & (~words + np.uint64(1)) & _ANY_OTHER) == 0  # the lowest bit: the first byte
        idle = np.flatnonzero(words == 0)
        if not len(idle):
            return found
        still, places = still[idle], places[idle] + _WORD
    found[still] = classes[_pass_idle(classes, places)] != _OTHER
    return found


def _pass_idle(classes: NDArray[np.uint8], places: Ints) -> Ints:
    """Return the first place from each on that is not idle. The last byte is not."""
    found = places.copy()
    still = np.arange(len(places))
    for _ in range(_FEW):
        still = still[classes[found[still]] == _IDLE]
        if not len(still):
            return found
        found[still] += 1
    busy = np.flatnonzero(classes != _IDLE)  # long idle runs: linear time whatever they are
    found[still] = busy[np.searchsorted(busy, found[still])]
    return found


def _without_padding(raw: bytes, begins: Ints) -> Ints:
    """Return where the data of each readout end, without the padding at their end."""
    lasts = begins[1:].copy()
    data = np.frombuffer(raw, np.uint8)
    padded = np.flatnonzero(data[lasts - 1] == _PADDING)
    if len(padded):
        kept = np.flatnonzero(data != _PADDING)
        ends = kept[np.searchsorted(kept, lasts[padded]) - 1] + 1
        lasts[padded] = np.maximum(ends, begins[padded] + HEADER_SIZE)
    return lasts


def fill_bits(
    table: NDArray[Any], words: NDArray[np.uint64], fields: dict[str, tuple[int, int]], size: int
) -> None:
    """Fill the columns that are bits of the hits, each of so many bytes."""
    octets = words.astype(">u8").view(np.uint8).reshape(len(words), 8)[:, 8 - size :]
    for name, (first, last) in fields.items():
        mask = (1 << (last - first + 1)) - 1
        if first // 8 == last // 8:  # bytes take an eighth of the time of 64-bit numbers
            table[name] = octets[:, first // 8] >> np.uint8(7 - last % 8) & np.uint8(mask)
        else:
            table[name] = words >> np.uint64(8 * size - 1 - last) & np.uint64(mask)
