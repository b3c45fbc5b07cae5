"""Many readouts at once, to a NumPy table of hits.

A readout is clean when its data, idle and padding bytes aside, are whole hits one after another. In clean
ones NumPy finds the hits, in all readouts together; the others go through `AstroPix4Readout.decode`.
The hits are the same in either case. NumPy is no requirement of the wheel: it comes with its extra
``columns``.
"""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, TypeAlias

from astropix_stream.errors import FormatError
from astropix_stream.fmt import (
    BIT_FIELDS,
    CLOCK_MHZ,
    HEADER_SIZE,
    HIT_SIZE,
    MAGIC,
    MAX_DATA,
    REVERSED,
    ROLLOVER,
    AstroPix4Hit,
    AstroPix4Readout,
    split,
)
from astropix_stream.joining import Following, Joiner

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise ImportError("astropix_stream.columns needs NumPy: pip install 'astropix-stream[columns]'") from None

BytesLike: TypeAlias = bytes | bytearray | memoryview
Ints: TypeAlias = NDArray[np.int64]

_TYPES = {
    "readout_id": np.int64,
    "timestamp": np.uint64,
    "decoding_order": np.int32,
    "ts_dec1": np.int32,
    "ts_dec2": np.int32,
    "tot_us": np.float64,
}

#: One hit: the fields of `AstroPix4Hit.ATTRIBUTE_NAMES`, in that order. Signed, and wider than their bits, so
#: that a difference of two or a ``row * 32 + column`` does not wrap; only the timestamp is the file's u64.
HIT_DTYPE = np.dtype(
    [(name, _TYPES.get(name, np.int16)) for name in AstroPix4Hit.ATTRIBUTE_NAMES], align=True
)

_HEADER_DTYPE = np.dtype(
    {
        "names": ["magic", "readout_id", "timestamp", "length"],
        "formats": ["V3", "<u4", "<u8", "<u4"],
        "offsets": [0, 3, 7, 15],
        "itemsize": HEADER_SIZE,
    }
)

# Classes of bytes; a header is a boundary, and otherwise idle.
_IDLE, _OTHER, _START, _BOUNDARY = range(4)
_CLASSES = bytes(_IDLE if byte in (0xBC, 0xFF) else _START if byte >= 0xE0 else _OTHER for byte in range(256))
_HEADER_CLASSES = bytes([_BOUNDARY] + [_IDLE] * (HEADER_SIZE - 1))


class Decoded(NamedTuple):
    """Hits of many readouts, and what a live page wants to know of each of the n readouts."""

    hits: NDArray[Any]
    """Table of `HIT_DTYPE`, in the order of the readouts."""
    readout_ids: Ints
    """Shape (n,)."""
    timestamps: NDArray[np.uint64]
    """Shape (n,): ns since the Unix epoch."""
    hit_counts: Ints
    """Shape (n,): hits found in each."""
    statuses: NDArray[np.uint8]
    """Shape (n,): the bits of `fmt.Decoding`, 0 where nothing was wrong."""


def decode_columns(readouts: BytesLike | Iterable[AstroPix4Readout]) -> NDArray[Any]:
    """Decode many readouts to a table of hits.

    Parameters
    ----------
    readouts : bytes-like, or iterable of AstroPix4Readout
        Bytes are whole readouts with their headers, back to back: the body of a file, the payload of a relay
        message.

    Returns
    -------
    ndarray
        Structured array of `HIT_DTYPE`: the hits of each readout in turn. One that was split between a
        readout and the next is among those of the second; see `joining`. A readout on which `decode` was
        called before keeps the hits that it has.

    Raises
    ------
    FormatError
        If the bytes are not whole readouts.

    Notes
    -----
    A call takes some 0.1 ms, and then 0.1 to 0.3 µs a hit: give it hundreds of readouts at a time. The memory
    it needs is some 5 times the bytes: a long run goes through `fileio.ApxReader.batches`.
    """
    return decode_batch(readouts).hits


def decode_batch(
    readouts: BytesLike | Iterable[AstroPix4Readout],
    *,
    joiner: Joiner | None = None,
    run_starts: Collection[int] = (),
    duplicates: bytes = b"",
) -> Decoded:
    """Decode many readouts, and tell for each how many hits it has and what was wrong with it.

    Parameters
    ----------
    readouts
        As for `decode_columns`, of one source, in order of arrival.
    joiner
        That of the source, where the readouts follow those of an earlier call. By default they stand alone.
    run_starts
        Positions of readouts that begin a run: nothing is joined over them.
    duplicates
        A mask as `batch.Batch.duplicates`: these readouts neither give nor take extra bytes.

    Raises
    ------
    FormatError
        As `decode_columns`.
    """
    follow = Following(joiner or Joiner(), run_starts, duplicates)
    if isinstance(readouts, bytes | bytearray | memoryview):
        raw = bytes(readouts)
        begins = _find_readouts(raw)
        headers = _headers(raw, begins[:-1])
        readout_ids, timestamps = (
            headers["readout_id"].astype(np.int64),
            headers["timestamp"].astype(np.uint64),
        )
        return _decode(raw, begins, readout_ids, timestamps, None, follow=follow)
    objects = list(readouts)
    pieces = [readout.data() for readout in objects]
    raw = bytes(HEADER_SIZE).join([b"", *pieces])  # what is in the headers does not matter any more
    begins = _offsets(np.fromiter(map(len, pieces), np.int64, len(pieces)) + HEADER_SIZE)
    readout_ids = np.fromiter([readout.readout_id for readout in objects], np.int64, len(objects))
    timestamps = np.fromiter([readout.timestamp for readout in objects], np.uint64, len(objects))
    return _decode(raw, begins, readout_ids, timestamps, objects, follow=follow)


def _headers(raw: bytes, begins: Ints) -> NDArray[Any]:
    """Gather the headers that begin at some places."""
    return _everywhere(raw, HEADER_SIZE)[begins].view(_HEADER_DTYPE)


def _offsets(lengths: Ints) -> Ints:
    """Where each of some pieces begins, and where the last ends."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _everywhere(buffer: Any, size: int) -> NDArray[Any]:
    """View a buffer as pieces of some size, one at every offset, to gather or set many pieces at once."""
    return np.ndarray(max(0, len(buffer) - size + 1), f"V{size}", buffer, strides=(1,))


def _find_readouts(raw: bytes) -> Ints:
    """Find where each readout begins, and the end of the last.

    The magic is searched everywhere. If the readouts that begin there follow one another exactly, no other
    division is possible; else (the magic occurs in data, or the bytes are wrong) one walk decides.
    """
    data = np.frombuffer(raw, np.uint8)
    begins = np.flatnonzero(data[: max(0, len(raw) - HEADER_SIZE + 1)] == MAGIC[0])
    begins = begins[(data[begins + 1] == MAGIC[1]) & (data[begins + 2] == MAGIC[2])]
    lengths = _headers(raw, begins)["length"].astype(np.int64)
    offsets = _offsets(lengths + HEADER_SIZE)
    if np.array_equal(offsets, np.append(begins, len(raw))) and (lengths <= MAX_DATA).all():
        return offsets
    walked = _offsets(np.array([len(datagram) for datagram, _, _ in split(raw)], np.int64))
    if walked[-1] < len(raw):
        raise FormatError(f"{len(raw) - walked[-1]} bytes left over after the last whole readout")
    return walked


def _decode(
    raw: bytes,
    begins: Ints,
    readout_ids: Ints,
    timestamps: NDArray[np.uint64],
    objects: list[AstroPix4Readout] | None,
    *,
    follow: Following,
) -> Decoded:
    positions, owners, unclean = _find_hits(raw, begins)
    words = _words_at(raw, positions)
    statuses = np.zeros(len(readout_ids), np.uint8)
    if len(unclean):
        rest = [
            objects[i] if objects else AstroPix4Readout.from_bytes(raw[begins[i] : begins[i + 1]])
            for i in unclean
        ]
        follow.decode(rest, unclean.tolist(), readout_ids)
        statuses[unclean] = [readout.decoding_status() for readout in rest]
        words, owners = _merge(words, owners, unclean, [readout.decode() for readout in rest])
    follow.end(readout_ids)
    hit_counts = np.bincount(owners, minlength=len(statuses))
    hits = _make_table(words)
    hits["readout_id"] = readout_ids[owners]
    hits["timestamp"] = timestamps[owners]
    hits["decoding_order"] = np.arange(len(hits)) - _offsets(hit_counts)[owners]
    return Decoded(hits, readout_ids, timestamps, hit_counts, statuses)


def _find_hits(raw: bytes, begins: Ints) -> tuple[Ints, Ints, Ints]:
    """Find the hits of the clean readouts.

    In each readout a chain of hits goes from the first start byte to the first 8 or more bytes on, and so
    forth. The readout is clean if these hits leave nothing but idle and padding bytes.

    Parameters
    ----------
    raw : bytes
        Readouts with their headers.
    begins : ndarray, shape (n + 1,)
        Where each begins, and the end of the last.

    Returns
    -------
    positions, owners : ndarray, shape (hits,)
        Where each hit begins, and in which of the readouts it is.
    unclean : ndarray
        The readouts left to the ordinary decoder.
    """
    classes = np.frombuffer(bytearray(raw + bytes(HEADER_SIZE)).translate(_CLASSES), np.uint8)
    _everywhere(classes, HEADER_SIZE)[begins] = np.void(_HEADER_CLASSES)
    nodes = np.flatnonzero(classes >= _START)
    boundary = classes[nodes] == _BOUNDARY
    hits = _reach(boundary, _follow(nodes, boundary))
    positions, owners = nodes[hits], (np.cumsum(boundary) - 1)[hits]

    _everywhere(classes, HIT_SIZE)[positions] = np.void(bytes(HIT_SIZE))
    classes[begins] = _IDLE
    unclean = np.zeros(len(begins), bool)
    unclean[np.searchsorted(begins, np.flatnonzero(classes != _IDLE), "right") - 1] = True
    unclean[owners[positions + HIT_SIZE > begins[owners + 1]]] = True
    # A final ff is padding, or else the end of a hit that the ordinary decoder does not see either.
    unclean[:-1] |= np.frombuffer(raw, np.uint8)[begins[1:] - 1] == 0xFF
    clean = ~unclean[owners]
    return positions[clean], owners[clean], np.flatnonzero(unclean)


def _follow(nodes: Ints, boundary: NDArray[np.bool_]) -> Ints:
    """Give for each start byte the next that can follow its hit, for a boundary the first of its readout.

    Where there is none, it is one past the last node.
    """
    end = len(nodes)
    after = np.where(boundary, nodes, nodes + HIT_SIZE)
    following = np.arange(1, end + 1)
    following[-1] = end - 1
    while (inside := (nodes[following] < after) & ~boundary[following]).any():
        following += inside
    following[boundary[following]] = end
    return following


def _reach(roots: NDArray[np.bool_], following: Ints) -> Ints:
    """List the nodes on the chains that begin at some roots, without the roots.

    Each turn follows twice as many links as the one before, so that one readout with thousands of hits costs
    no more than thousands with one.
    """
    end = len(roots)
    reached = np.append(roots, False)
    following = np.append(following, end)
    while (following < end).any():
        reached[following[reached]] = True
        following = following[following]
    reached[:end] &= ~roots
    return np.flatnonzero(reached[:end])


def _words_at(raw: bytes, positions: Ints) -> NDArray[np.uint64]:
    """Gather the 8 bytes at each position as `AstroPix4Hit.bits`."""
    gathered = _everywhere(raw, HIT_SIZE)[positions].tobytes()
    return np.frombuffer(gathered.translate(REVERSED), ">u8").astype(np.uint64)


def _merge(
    words: NDArray[np.uint64], owners: Ints, unclean: Ints, lists: list[list[AstroPix4Hit]]
) -> tuple[NDArray[np.uint64], Ints]:
    """Put the hits of the unclean readouts among the others, in the order of the readouts."""
    more = np.array([hit.bits for hits in lists for hit in hits], np.uint64)
    owners = np.concatenate((owners, np.repeat(unclean, [len(hits) for hits in lists])))
    order = np.argsort(owners, kind="stable")
    return np.concatenate((words, more))[order], owners[order]


def _make_table(words: NDArray[np.uint64]) -> NDArray[Any]:
    """Work out the fields that are in the bits of the hits, and leave the others empty."""
    table = np.empty(len(words), HIT_DTYPE)
    for name, (first, last) in BIT_FIELDS.items():
        table[name] = words >> np.uint64(63 - last) & np.uint64((1 << (last - first + 1)) - 1)
    ticks1 = _ticks(words >> np.uint64(28))
    ticks2 = _ticks(words >> np.uint64(5))
    ticks2[ticks2 < ticks1] += ROLLOVER
    table["ts_dec1"] = ticks1
    table["ts_dec2"] = ticks2
    table["tot_us"] = (ticks2 - ticks1) / CLOCK_MHZ
    return table


def _ticks(gray: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Convert the lowest 17 bits from Gray code to binary."""
    binary = (gray & np.uint64(ROLLOVER - 1)).astype(np.int32)
    for shift in (1, 2, 4, 8, 16):
        binary ^= binary >> shift
    return binary
