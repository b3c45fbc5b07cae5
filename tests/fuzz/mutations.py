"""What a target is, and bytes that were right before something changed them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

# Where arithmetic goes wrong.
EDGES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, 2**53, 2**63 - 1, 2**64 - 1)


class Target(NamedTuple):
    """What is tried on one part of the code."""

    examples: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    """Raises where something is wrong."""
    a_round: int = 50
    """Examples before the next target has its turn."""
    shrinks: bool = True
    """Whether an example that failed is tried again in smaller forms: not at a program that it ended."""


class Edit(NamedTuple):
    """Cut `size` bytes at `at` (a part of the length, of 2^16), and put others there."""

    at: int
    size: int
    put: bytes

    def apply(self, data: bytes) -> bytes:
        at = self.at * (len(data) + 1) >> 16
        return data[:at] + self.put + data[at + self.size :]


numbers = st.tuples(st.sampled_from(EDGES), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["little", "big"]))
put = st.one_of(
    st.binary(max_size=9),
    numbers.map(lambda n: (n[0] & (1 << 8 * n[1]) - 1).to_bytes(n[1], n[2])),  # type: ignore[arg-type]
)
# As many bytes as are put, so that the rest stays in its place, or another number of them.
edits = st.builds(Edit, st.integers(0, 0xFFFF), st.integers(0, 9), put) | st.builds(
    lambda at, data: Edit(at, len(data), data), st.integers(0, 0xFFFF), put
)


def mutated(valid: st.SearchStrategy[bytes], most: int = 3) -> st.SearchStrategy[bytes]:
    """Return a strategy of these bytes with some edits, mostly few."""

    def apply(drawn: tuple[bytes, Sequence[Edit]]) -> bytes:
        data, some = drawn
        for edit in some:
            data = edit.apply(data)
        return data

    return st.tuples(valid, st.lists(edits, max_size=most)).map(apply)
