"""Readouts that other paths have brought and one path has not brought yet, in little memory. Pure.

The arbiter knows by it whether what a path brings is new, or a later copy.
"""

from array import array
from collections import OrderedDict, deque

MAX_AWAITED = 1 << 21  # readouts of a source that a path has not brought yet: 16 MiB
MAX_NEWEST = 1 << 15  # of them, those that take 200 bytes each
CHUNK = 1 << 13  # of the others, those that stand in one array


class Awaited:
    """What the other paths brought and this one has not brought yet, by digest.

    The newest are in a dictionary. Of a path that is far behind the others are in plain arrays, 8 bytes each,
    in the order in which it will bring them.
    """

    def __init__(self) -> None:
        self._newest: OrderedDict[int, list[int]] = OrderedDict()
        self._count = 0
        self._older: deque[tuple[array[int], int]] = deque()  # with the place of the last one

    def add(self, key: int, place: int) -> None:
        """Await a readout that arrived as number `place`; the oldest make room for it."""
        self._newest.setdefault(key, []).append(place)
        self._count += 1
        if self._count > MAX_NEWEST:
            chunk: array[int] = array("q")
            last = place
            while len(chunk) < CHUNK:
                older, places = self._newest.popitem(last=False)
                chunk.extend([older] * len(places))
                last = places[-1]
            self._count -= len(chunk)
            self._older.append((chunk, last))
            if len(self._older) * CHUNK > MAX_AWAITED:
                self._older.popleft()

    def take(self, key: int) -> int | None:
        """Return the place of the first such readout, and stop waiting for it; None if there is none."""
        for chunk, last in self._older:
            place = _take_out(chunk, key, last)
            if place is not None:
                return place
        places = self._newest.get(key)
        if places is None:
            return None
        self._count -= 1
        if len(places) == 1:
            del self._newest[key]
        return places.pop(0)

    def forget(self, until: int) -> None:
        """Stop waiting for what arrived before number `until`."""
        while self._older and self._older[0][1] < until:
            self._older.popleft()
        while self._newest:
            key, places = next(iter(self._newest.items()))
            if places[0] >= until:
                break
            del self._newest[key]
            self._count -= len(places)

    def __bool__(self) -> bool:
        return bool(self._count or self._older)


def _take_out(chunk: "array[int]", key: int, last: int) -> int | None:
    """Take a digest out of a chunk, and return about which place it had.

    A path mostly brings them in this order. In another order the place may be one that the path has come to
    already; where the same readout arrived several times, one from before.
    """
    try:
        index = 0 if chunk and chunk[0] == key else chunk.index(key)
    except ValueError:
        return None
    place = last - len(chunk) + index + 1
    del chunk[index]
    return place
