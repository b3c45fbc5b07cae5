"""Many readouts at once, to a NumPy table of hits, for each kind of readout.

NumPy finds the hits of clean readouts, in all of them together (see `decoder.Decoder`); the others go through
their own `decode`. The hits are the same in either case. NumPy is no requirement of the wheel: it comes with
its extra ``columns``.
"""

import pkgutil
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

try:
    import numpy as np
    from numpy.typing import NDArray
except ImportError:
    raise ImportError("astropix_stream.columns needs NumPy: pip install 'astropix-stream[columns]'") from None

from astropix_stream.columns.decoder import Decoder, Found, OneByOne, hit_dtype
from astropix_stream.columns.gathering import Ints, everywhere, offsets_of
from astropix_stream.columns.pixels import Pixels, match_pixels
from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import (
    ASTROPIX4,
    HEADER_SIZE,
    MAGIC,
    MAX_DATA,
    Decoding,
    Kind,
    Readout,
    kind_of_class,
    split,
)
from astropix_stream.fmt.walk import IDLE
from astropix_stream.joining import Following, Joiner

__all__ = [
    "HIT_DTYPE",
    "Decoded",
    "Decoder",
    "Found",
    "Pixels",
    "decode_batch",
    "decode_columns",
    "hit_dtype",
    "match_pixels",
]

_MATCHED = 1 << Decoding.ORPHAN_BYTES_MATCHED
_DROPPED = 1 << Decoding.ORPHAN_BYTES_DROPPED
_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES

BytesLike: TypeAlias = bytes | bytearray | memoryview

#: A hit of AstroPix 4: the fields of `AstroPix4Hit.ATTRIBUTE_NAMES`, in that order. Signed, and wider than
#: their bits, so that a difference of two or a ``row * 32 + column`` does not wrap; only the timestamp is the
#: file's u64.
HIT_DTYPE = hit_dtype(ASTROPIX4)

_HEADER_DTYPE = np.dtype(
    {
        "names": ["magic", "readout_id", "timestamp", "length"],
        "formats": ["V3", "<u4", "<u8", "<u4"],
        "offsets": [0, 3, 7, 15],
        "itemsize": HEADER_SIZE,
    }
)


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


def decode_columns(
    readouts: BytesLike | Iterable[Readout[Any]], kind: Kind | type[Readout[Any]] | None = None
) -> NDArray[Any]:
    """Decode many readouts to a table of hits.

    Parameters
    ----------
    readouts : bytes-like, or iterable of readouts
        Bytes are whole readouts with their headers, back to back: the body of a file, the payload of a relay
        message.
    kind : Kind or class of readouts, optional
        What the readouts are. By default that of the first object, and AstroPix 4 for bytes.

    Returns
    -------
    ndarray
        Structured array of `hit_dtype`: the hits of each readout in turn; of a kind with half hits, those
        (`match_pixels` makes pixels of them). One that was split between a readout and the next is among
        those of the second; see `joining`. A readout on which `decode` was called before keeps the hits that
        it has.

    Raises
    ------
    FormatError
        If the bytes are not whole readouts.
    ConfigError
        If the objects are not all of the kind.

    Notes
    -----
    A call takes some 0.1 ms, and then 0.1 to 0.3 µs a hit: give it hundreds of readouts at a time. The memory
    it needs is some 10 times the bytes: a long run goes through `fileio.ApxReader.batches`.
    """
    return decode_batch(readouts, kind).hits


def decode_batch(
    readouts: BytesLike | Iterable[Readout[Any]],
    kind: Kind | type[Readout[Any]] | None = None,
    *,
    joiner: Joiner | None = None,
    run_starts: Collection[int] = (),
    duplicates: bytes = b"",
) -> Decoded:
    """Decode many readouts, and tell for each how many hits it has and what was wrong with it.

    Parameters
    ----------
    readouts, kind
        As for `decode_columns`, of one source, in order of arrival.
    joiner
        That of the source, where the readouts follow those of an earlier call. By default they stand alone.
    run_starts
        Positions of readouts that begin a run: nothing is joined over them.
    duplicates
        A mask as `batch.Batch.duplicates`: these readouts neither give nor take extra bytes.

    Raises
    ------
    FormatError, ConfigError
        As `decode_columns`.
    """
    follow = Following(joiner or Joiner(), run_starts, duplicates)
    if isinstance(readouts, bytes | bytearray | memoryview):
        kind = ASTROPIX4 if kind is None else _as_kind(kind)
        raw = bytes(readouts)
        begins = _find_readouts(raw)
        headers = _headers(raw, begins[:-1])
        readout_ids, timestamps = (
            headers["readout_id"].astype(np.int64),
            headers["timestamp"].astype(np.uint64),
        )
        return _decode(kind, _Readouts(raw, begins, readout_ids, timestamps), follow)
    objects = list(readouts)
    kind = _kind_of_all(objects, kind)
    pieces = [readout.data() for readout in objects]
    raw = bytes(HEADER_SIZE).join([b"", *pieces])  # what is in the headers does not matter any more
    begins = offsets_of(np.fromiter(map(len, pieces), np.int64, len(pieces)) + HEADER_SIZE)
    readout_ids = np.fromiter([readout.readout_id for readout in objects], np.int64, len(objects))
    timestamps = np.fromiter([readout.timestamp for readout in objects], np.uint64, len(objects))
    return _decode(kind, _Readouts(raw, begins, readout_ids, timestamps, objects), follow)


def _as_kind(kind: Kind | type[Readout[Any]]) -> Kind:
    return kind if isinstance(kind, Kind) else kind_of_class(kind)


def _kind_of_all(objects: list[Readout[Any]], kind: Kind | type[Readout[Any]] | None) -> Kind:
    """Return the one kind that some readouts are of."""
    classes = set(map(type, objects))
    if kind is None and not classes:
        return ASTROPIX4
    if kind is None and len(classes) == 1:
        return kind_of_class(classes.pop())
    if kind is not None and all(issubclass(each, _as_kind(kind).readout_class) for each in classes):
        return _as_kind(kind)
    wanted = "one kind" if kind is None else _as_kind(kind).readout_class.__name__
    names = ", ".join(sorted(each.__name__ for each in classes))
    raise ConfigError(f"readouts of {wanted} are decoded together, not of {names}")


@lru_cache(maxsize=64)
def _decoder(kind: Kind) -> Decoder:
    decoder: Decoder = pkgutil.resolve_name(kind.decoder)(kind) if kind.decoder else OneByOne(kind)
    return decoder


def _headers(raw: bytes, begins: Ints) -> NDArray[Any]:
    """Gather the headers that begin at some places."""
    return everywhere(raw, HEADER_SIZE)[begins].view(_HEADER_DTYPE)


def _find_readouts(raw: bytes) -> Ints:
    """Find where each readout begins, and the end of the last.

    The magic is searched everywhere. If the readouts that begin there follow one another exactly, no other
    division is possible; else (the magic occurs in data, or the bytes are wrong) one walk decides.
    """
    data = np.frombuffer(raw, np.uint8)
    begins = np.flatnonzero(data[: max(0, len(raw) - HEADER_SIZE + 1)] == MAGIC[0])
    begins = begins[(data[begins + 1] == MAGIC[1]) & (data[begins + 2] == MAGIC[2])]
    lengths = _headers(raw, begins)["length"].astype(np.int64)
    offsets = offsets_of(lengths + HEADER_SIZE)
    if np.array_equal(offsets, np.append(begins, len(raw))) and (lengths <= MAX_DATA).all():
        return offsets
    walked = offsets_of(np.array([len(datagram) for datagram, _, _ in split(raw)], np.int64))
    if walked[-1] < len(raw):
        raise FormatError(f"{len(raw) - walked[-1]} bytes left over after the last whole readout")
    return walked


class _Readouts(NamedTuple):
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


def _decode(kind: Kind, readouts: _Readouts, follow: Following) -> Decoded:
    decoder = _decoder(kind)
    found = decoder.find(readouts.raw, readouts.begins)
    found = _leave_to_decode(found, readouts, follow, continues_anywhere=decoder.continues_anywhere)
    statuses = np.zeros(len(readouts.ids), np.uint8) if found.statuses is None else found.statuses
    joined, rest = _join(kind, readouts, found, statuses, follow)
    owners = found.owners
    records = decoder.gather(readouts.raw, found.positions)
    if joined:  # it is the first hit of the second readout
        hits, seconds = b"".join(joined.values()), np.array([*joined], np.int64)
        places = np.searchsorted(owners, seconds)
        first = decoder.gather(hits, np.arange(0, len(hits), len(hits) // len(joined)))
        records, owners = np.insert(records, places, first), np.insert(owners, places, seconds)
    if rest:
        counts = [len(readout.find()) for readout in rest]
        owners = np.concatenate((owners, np.repeat(found.unclean, counts)))
        order = np.argsort(owners, kind="stable")
        records, owners = np.concatenate((records, decoder.collect(rest)))[order], owners[order]
    hit_counts = np.bincount(owners, minlength=len(statuses))
    table = np.empty(len(records), hit_dtype(kind))
    decoder.fill(table, records)
    table["readout_id"] = readouts.ids[owners]
    table["timestamp"] = readouts.timestamps[owners]
    table["decoding_order"] = np.arange(len(table)) - offsets_of(hit_counts)[owners]
    return Decoded(table, readouts.ids, readouts.timestamps, hit_counts, statuses)


def _join(
    kind: Kind, readouts: _Readouts, found: Found, statuses: NDArray[np.uint8], follow: Following
) -> tuple[dict[int, bytes], list[Readout[Any]]]:
    """Put together what was split, and decode the unclean readouts, in the order of all; set their statuses.

    Returns
    -------
    joined : dict
        The bytes of the hits that were put together of clean readouts, by the second of the two.
    rest : list of readouts
        The unclean ones.
    """
    joined: dict[int, bytes] = {}
    rest = []
    unclean = set(found.unclean.tolist())
    pieces = _split_pieces(readouts.raw, found, statuses)
    ids = (
        readouts.ids.tolist() if unclean or pieces else readouts.ids
    )  # numbers of NumPy are slow, one by one
    for i in sorted(unclean.union(pieces)):
        extra = follow.take(i, ids)
        if i in unclean:
            readout = readouts.at(i, kind)
            readout.find(extra)
            statuses[i] = readout.decoding_status()
            follow.give(i, ids, readout.extra_bytes())
            rest.append(readout)
            continue
        orphans, left = pieces[i]
        if extra and orphans:
            hit = extra + orphans.rstrip(IDLE)
            whole = len(hit) == kind.hit_class.SIZE
            statuses[i] ^= _NOT_USED | (_MATCHED if whole else _DROPPED)
            if whole:
                joined[i] = hit
        follow.give(i, ids, left)
    follow.end(ids)
    return joined, rest


def _split_pieces(
    raw: bytes, found: Found, statuses: NDArray[np.uint8]
) -> dict[int, tuple[bytes, bytes | None]]:
    """Return the orphans and the extra bytes of the clean readouts that have some."""
    if found.orphans is None or found.extras is None:
        return {}
    split = np.flatnonzero(statuses & (_NOT_USED | _EXTRA))
    spans = zip(split.tolist(), found.orphans[split].tolist(), found.extras[split].tolist(), strict=True)
    return {i: (raw[begin:end], raw[first:last] or None) for i, (begin, end), (first, last) in spans}


def _leave_to_decode(
    found: Found, readouts: _Readouts, follow: Following, *, continues_anywhere: bool
) -> Found:
    """Take more readouts for unclean: those that were decoded before, perhaps with bytes of another.

    Where a hit may be continued by anything, also those that follow an unclean one.
    """
    count = len(readouts.ids)
    more = np.zeros(count + 1, bool)
    if continues_anywhere:
        for i in [*([-1] if follow.pending else []), *found.unclean.tolist()]:
            following = i + 1
            while following < count and follow.is_duplicate(following):
                following += 1
            more[following] = True
    if readouts.objects:
        more[:-1] |= np.fromiter([readout.decoded() for readout in readouts.objects], bool, count)
    if not more.any():
        return found
    more[found.unclean] = True
    clean = ~more[found.owners]
    return found._replace(
        positions=found.positions[clean], owners=found.owners[clean], unclean=np.flatnonzero(more[:-1])
    )
