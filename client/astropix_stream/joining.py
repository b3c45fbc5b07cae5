"""Which readout completes a hit that was split: only the next one of the same run and source. Pure.

The end of a readout may hold the beginning of a hit (`extra_bytes`), and the next readout the rest of it. The
next readout is the one that arrived next and whose readout_id is larger by 1. Where a readout is missing
between the two, where a run begins, or where they came out of order, their bytes belong to different hits,
and put together they would be a hit that no pixel had. Then nothing is joined, and the second readout says so
with the status ORPHAN_BYTES_DROPPED. A duplicate neither gives nor takes bytes.

Larger by 1 it is also where the DAQ multicasts one readout in `stride`: the rest of the hit is in a readout
that was not sent.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol, TypeVar

_U32 = 0xFFFFFFFF

#: Extra bytes that nothing completes, for they are longer than a hit of any kind: what a readout is given
#: whose predecessor has extra bytes that are not for it. Its status then is ORPHAN_BYTES_DROPPED.
UNJOINABLE = bytes(256)


class Decodable(Protocol):
    """A readout, as far as joining goes; see `fmt`."""

    readout_id: int

    def decode(self, extra_bytes: bytes | None = None, /) -> Sequence[object]:
        """Return the hits; the first may begin in `extra_bytes`."""

    def extra_bytes(self) -> bytes | None:
        """Return the beginning of a hit at the end."""


D = TypeVar("D", bound=Decodable)


class Joiner:
    """Carries the extra bytes of each readout of one source to the next.

    Give it the readouts in order of arrival. One joiner serves one source, or one file.
    """

    __slots__ = ("_extra", "_last_id")

    def __init__(self) -> None:
        self._last_id = -1
        self._extra: bytes | None = None

    def decode(self, readout: Decodable, *, begins_run: bool = False, duplicate: bool = False) -> None:
        """Decode a readout, which then has its hits.

        Parameters
        ----------
        readout
            One that was decoded before keeps the hits that it has.
        begins_run
            It is the first of a run, as `batch.RunStart` says.
        duplicate
            The same readout came before, as `batch.Batch.duplicates` says.
        """
        if duplicate:
            readout.decode()
            return
        readout.decode(self.extra_for(readout.readout_id, begins_run=begins_run))
        self.note(readout.readout_id, readout.extra_bytes())

    def note(self, readout_id: int, extra: bytes | None = None) -> None:
        """Note a readout that needs nothing, and what it leaves to the next."""
        self._last_id, self._extra = readout_id, extra

    @property
    def pending(self) -> bool:
        """Whether the latest readout left something to the next."""
        return bool(self._extra)

    def extra_for(self, readout_id: int, *, begins_run: bool = False) -> bytes | None:
        """Return what a readout that comes now may complete; None for nothing."""
        if not self._extra:
            return None
        is_next = readout_id == (self._last_id + 1) & _U32
        return self._extra if is_next and not begins_run else UNJOINABLE


def decoded(
    readouts: Sequence[D], joiner: Joiner, run_starts: Collection[int] = (), duplicates: bytes = b""
) -> Iterator[D]:
    """Decode readouts of one source that follow those given to `joiner` before; iterate over them.

    Parameters
    ----------
    readouts
        In order of arrival.
    joiner
        That of their source.
    run_starts
        Positions at which a run begins.
    duplicates
        A mask as `batch.Batch.duplicates`; empty where there are none.
    """
    for position, readout in enumerate(readouts):
        is_duplicate = bool(duplicates) and bool(duplicates[position])
        joiner.decode(readout, begins_run=position in run_starts, duplicate=is_duplicate)
        yield readout


class Following:
    """Follows those readouts of a batch that may give or take bytes, where another decoder has done the rest.

    Parameters
    ----------
    joiner, run_starts, duplicates
        As for `decoded`.
    """

    def __init__(self, joiner: Joiner, run_starts: Collection[int], duplicates: bytes) -> None:
        self._joiner, self.run_starts, self.duplicates = joiner, run_starts, duplicates
        self._last = -1  # position of the latest readout that the joiner knows of

    @property
    def pending(self) -> bool:
        """Whether the readout before the batch left something to the next."""
        return self._joiner.pending

    def take(self, i: int, readout_ids: Any) -> bytes | None:
        """Return what the readout at a position may complete; None for nothing.

        The readouts in between, and those before the first, are taken for such that leave nothing.
        `readout_ids` are those of all in the batch.
        """
        if self.is_duplicate(i):
            return None
        self._pass_by(i - 1, readout_ids)
        return self._joiner.extra_for(int(readout_ids[i]), begins_run=i in self.run_starts)

    def give(self, i: int, readout_ids: Any, extra: bytes | None) -> None:
        """Note what a readout, for which `take` was called, leaves to the next."""
        if not self.is_duplicate(i):
            self._joiner.note(int(readout_ids[i]), extra)
            self._last = i

    def end(self, readout_ids: Any) -> None:
        """Leave the joiner after the last readout."""
        self._pass_by(len(readout_ids) - 1, readout_ids)

    def _pass_by(self, i: int, readout_ids: Any) -> None:
        """Tell the joiner of the latest readout up to `i`, if it was not decoded here: it leaves nothing."""
        while i > self._last and self.is_duplicate(i):
            i -= 1
        if i > self._last:
            self._joiner.note(int(readout_ids[i]))
            self._last = i

    def after(self, i: int, count: int) -> int:
        """Return the position after `i` of the next of `count` readouts that is no duplicate."""
        i += 1
        while i < count and self.is_duplicate(i):
            i += 1
        return i

    def is_duplicate(self, i: int) -> bool:
        """Tell whether a readout came before."""
        return bool(self.duplicates) and bool(self.duplicates[i])
