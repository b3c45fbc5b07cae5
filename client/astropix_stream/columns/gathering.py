"""Gather pieces of a buffer at many places at once."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_STEPS = 64

Ints: TypeAlias = NDArray[np.int64]


def offsets_of(lengths: Ints) -> Ints:
    """Where each of some pieces begins, and where the last ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def everywhere(buffer: Any, size: int) -> NDArray[Any]:
    """View a buffer as pieces of some size, one at every offset, to gather or set many pieces at once."""
    return np.ndarray(max(0, len(buffer) - size + 1), f"V{size}", buffer, strides=(1,))


def words_at(raw: bytes, positions: Ints, size: int, *, reverse: bytes | None = None) -> NDArray[np.uint64]:
    """Gather up to 8 bytes at each position as one big-endian number, each byte first replaced by a table."""
    if len(positions) and positions.max() + 8 > len(raw):
        raw += bytes(8)
    gathered = everywhere(raw, 8)[positions].tobytes()
    if reverse is not None:
        gathered = gathered.translate(reverse)
    words = np.frombuffer(gathered, ">u8").astype(np.uint64)
    return words >> np.uint64(8 * (8 - size)) if size < 8 else words


def reach(roots: NDArray[np.bool_], following: Ints) -> NDArray[np.bool_]:
    """Mark the nodes on the chains that begin at some roots, with these.

    Chains of up to `_STEPS` nodes are followed step by step, all together, each up to a node that was reached
    before. Of longer ones each turn follows twice as many links as the one before, so that one readout with
    thousands of hits costs no more than thousands with one. A link to the number of nodes is the end of a
    chain.
    """
    end = len(roots)
    reached = np.append(roots, True)
    at = np.flatnonzero(roots)
    for _ in range(_STEPS):
        at = following[at]
        at = at[~reached[at]]
        if not len(at):
            return reached[:end]
        reached[at] = True
    following = np.append(following, end)
    while (following < end).any():
        reached[following[reached]] = True
        following = following[following]
    return reached[:end]
