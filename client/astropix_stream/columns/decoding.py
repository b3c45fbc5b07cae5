"""From many readouts to a table of hits: the clean ones at once, each other by its own `decode`."""

import pkgutil
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from astropix_stream.columns.decoder import Decoder, Found, OneByOne, hit_dtype
from astropix_stream.columns.finding import Readouts, find_readouts
from astropix_stream.columns.gathering import Ints, offsets_of
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import (
    ASTROPIX4,
    HEADER_SIZE,
    Decoding,
    Kind,
    Readout,
    kind_of_class,
)
from astropix_stream.fmt.walk import IDLE
from astropix_stream.joining import Following, Joiner

_MATCHED = 1 << Decoding.ORPHAN_BYTES_MATCHED
_DROPPED = 1 << Decoding.ORPHAN_BYTES_DROPPED
_NOT_USED = 1 << Decoding.ORPHAN_BYTES_NOT_USED
_EXTRA = 1 << Decoding.VALID_EXTRA_BYTES
_U32 = 0xFFFFFFFF

BytesLike: TypeAlias = bytes | bytearray | memoryview

#: A hit of AstroPix 4: the fields of `AstroPix4Hit.ATTRIBUTE_NAMES`, in that order. Signed, and wider than
#: their bits, so that a difference of two or a ``row * 32 + column`` does not wrap; only the timestamp is the
#: file's u64.
HIT_DTYPE = hit_dtype(ASTROPIX4)


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
        return decode_found(find_readouts(bytes(readouts)), kind, follow)
    objects = list(readouts)
    kind = _kind_of_all(objects, kind)
    pieces = [readout.data() for readout in objects]
    raw = bytes(HEADER_SIZE).join([b"", *pieces])  # what is in the headers does not matter any more
    begins = offsets_of(np.fromiter(map(len, pieces), np.int64, len(pieces)) + HEADER_SIZE)
    readout_ids = np.fromiter([readout.readout_id for readout in objects], np.int64, len(objects))
    timestamps = np.fromiter([readout.timestamp for readout in objects], np.uint64, len(objects))
    return decode_found(Readouts(raw, begins, readout_ids, timestamps, objects), kind, follow)


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


class Counted(NamedTuple):
    """What is in readouts, where the hits themselves do not matter."""

    hit_counts: Ints
    """Shape (n,): hits found in each."""
    statuses: NDArray[np.uint8]
    """Shape (n,): as `Decoded.statuses`."""


def count_found(readouts: Readouts, kind: Kind, follow: Following) -> Counted:
    """Count the hits of readouts, without making a table of them."""
    found, joined, rest = _find(readouts, kind, follow)
    counts = np.bincount(found.owners, minlength=len(readouts.ids))
    counts[[*joined]] += 1
    counts[found.unclean] += np.array([len(readout.find()) for readout in rest], np.int64)
    return Counted(counts, _statuses(readouts, found))


def decode_found(
    readouts: Readouts, kind: Kind, follow: Following, make_table: Callable[[Kind, int], Any] | None = None
) -> Decoded:
    """Decode readouts that were found before.

    Parameters
    ----------
    readouts, kind
        The readouts, and what they are.
    follow
        What they may give to and take from others.
    make_table
        Makes what the columns are assigned to, by their names; by default an array of `hit_dtype`.
    """
    decoder = _decoder(kind)
    found, joined, rest = _find(readouts, kind, follow)
    owners = found.owners
    records = decoder.gather(readouts.raw, found.positions)
    if joined:  # it is the first hit of the second readout
        hits, seconds = b"".join(joined.values()), np.array([*joined], np.int64)
        first = decoder.gather(hits, np.arange(0, len(hits), len(hits) // len(joined)))
        records, owners = _merged(records, owners, first, seconds)
    if rest:
        more = np.repeat(found.unclean, [len(readout.find()) for readout in rest])
        records, owners = _merged(records, owners, decoder.collect(rest), more)
    hit_counts = np.bincount(owners, minlength=len(readouts.ids))
    table = make_table(kind, len(records)) if make_table else np.empty(len(records), hit_dtype(kind))
    decoder.fill(table, records)
    table["readout_id"] = readouts.ids[owners]
    table["timestamp"] = readouts.timestamps[owners]
    table["decoding_order"] = np.arange(len(records)) - offsets_of(hit_counts)[owners]
    return Decoded(table, readouts.ids, readouts.timestamps, hit_counts, _statuses(readouts, found))


def _merged(records: NDArray[Any], owners: Ints, more: NDArray[Any], of: Ints) -> tuple[NDArray[Any], Ints]:
    """Put more records among those that there are, in the order of the readouts that they are of."""
    places = np.searchsorted(owners, of) + np.arange(len(of))
    old = np.ones(len(owners) + len(of), bool)
    old[places] = False
    all_records, all_owners = np.empty(len(old), records.dtype), np.empty(len(old), np.int64)
    all_records[old], all_records[places] = records, more
    all_owners[old], all_owners[places] = owners, of
    return all_records, all_owners


def _statuses(readouts: Readouts, found: Found) -> NDArray[np.uint8]:
    return np.zeros(len(readouts.ids), np.uint8) if found.statuses is None else found.statuses


def _find(
    readouts: Readouts, kind: Kind, follow: Following
) -> tuple[Found, dict[int, bytes], list[Readout[Any]]]:
    """Find hits, put together what was split, and decode the unclean readouts, in the order of all.

    Returns
    -------
    found : Found
        The hits of the clean readouts, which the others are, and the statuses of all.
    joined : dict
        The bytes of the hits that were put together of clean readouts, by the second of the two.
    rest : list of readouts
        The unclean ones.
    """
    decoder = _decoder(kind)
    found = decoder.find(readouts.raw, readouts.begins)
    found = found._replace(statuses=_statuses(readouts, found))
    if readouts.objects:  # those that were decoded before, perhaps with bytes of another, stay as they are
        decoded = np.fromiter([readout.decoded() for readout in readouts.objects], bool, len(readouts.ids))
        found = _without(found, np.flatnonzero(decoded))
    joined, rest = _join(kind, readouts, found, follow, continues_anywhere=decoder.continues_anywhere)
    return _without(found, np.array([*rest], np.int64)), joined, list(rest.values())


def _without(found: Found, more: Ints) -> Found:
    """Leave more readouts to their own decode."""
    if not len(more):
        return found
    unclean = np.union1d(found.unclean, more)
    clean = ~np.isin(found.owners, more)
    return found._replace(positions=found.positions[clean], owners=found.owners[clean], unclean=unclean)


def _join(
    kind: Kind, readouts: Readouts, found: Found, follow: Following, *, continues_anywhere: bool
) -> tuple[dict[int, bytes], dict[int, Readout[Any]]]:
    """Put together what was split, and decode the unclean readouts; set their statuses.

    Where a hit may be continued by anything, that readout is decoded, too, that follows one which leaves
    bytes to it: what it does with these, and what it leaves itself, only its own decode can tell.
    """
    joined: dict[int, bytes] = {}
    rest: dict[int, Readout[Any]] = {}
    statuses, count = _statuses(readouts, found), len(readouts.ids)
    if not len(found.unclean) and not follow.duplicates and count and not continues_anywhere:
        return _join_clean(kind, readouts, found, follow), rest
    unclean = set(found.unclean.tolist())
    pieces = _split_pieces(readouts.raw, found, statuses)
    turns = sorted(unclean.union(pieces))
    if continues_anywhere and follow.pending:
        _add(turns, unclean, follow.after(-1, count), count)
    # Numbers of NumPy are slow, one by one.
    ids = readouts.ids.tolist() if turns else readouts.ids
    while turns:
        i = heappop(turns)
        extra = follow.take(i, ids)
        if i in unclean:
            readout = readouts.at(i, kind)
            readout.find(extra)
            statuses[i] = readout.decoding_status()
            left = readout.extra_bytes()
            rest[i] = readout
            if continues_anywhere and left and not follow.is_duplicate(i):
                _add(turns, unclean, follow.after(i, count), count)
        else:
            orphans, left = pieces[i]
            if extra and orphans and (hit := _joined(kind, statuses, i, extra, orphans)):
                joined[i] = hit
        follow.give(i, ids, left)
    follow.end(ids)
    return joined, rest


def _join_clean(kind: Kind, readouts: Readouts, found: Found, follow: Following) -> dict[int, bytes]:
    """Do what `_join` does where all readouts are clean and each is given bytes by the one before it."""
    joined: dict[int, bytes] = {}
    if found.orphans is None or found.extras is None:
        follow.end(readouts.ids)
        return joined
    raw, ids, statuses = readouts.raw, readouts.ids, _statuses(readouts, found)
    takers = np.flatnonzero(statuses & _NOT_USED)
    if len(takers) and takers[0] == 0:
        takers = takers[1:]
        begin, end = found.orphans[0].tolist()
        extra = follow.take(0, ids)
        if extra:
            statuses[0] ^= _NOT_USED | _DROPPED
            if len(hit := extra + raw[begin:end].rstrip(IDLE)) == kind.hit_class.SIZE:
                joined[0] = hit
    takers = takers[(statuses[takers - 1] & _EXTRA) != 0]
    statuses[takers] ^= _NOT_USED | _DROPPED
    goes_on = ids[takers] == ids[takers - 1] + 1 & _U32
    if follow.run_starts:
        goes_on &= ~np.isin(takers, [*follow.run_starts])
    takers, size = takers[goes_on], kind.hit_class.SIZE
    orphans, extras = found.orphans[takers].tolist(), found.extras[takers - 1].tolist()
    for i, (begin, end), (first, last) in zip(takers.tolist(), orphans, extras, strict=True):
        hit = raw[first:last] + raw[begin:end].rstrip(IDLE)
        if len(hit) == size:
            joined[i] = hit
    statuses[[*joined]] ^= _DROPPED | _MATCHED
    first, last = found.extras[-1].tolist()
    follow.give(len(ids) - 1, ids, raw[first:last] or None)
    return joined


def _joined(kind: Kind, statuses: NDArray[np.uint8], i: int, extra: bytes, orphans: bytes) -> bytes:
    """Put a hit together, and say so in the status of the second readout; return nothing if it is none."""
    hit = extra + orphans.rstrip(IDLE)
    whole = len(hit) == kind.hit_class.SIZE
    statuses[i] ^= _NOT_USED | (_MATCHED if whole else _DROPPED)
    return hit if whole else b""


def _add(turns: list[int], unclean: set[int], i: int, count: int) -> None:
    """Let a readout be decoded in its turn, if there is one."""
    if i < count and i not in unclean:
        unclean.add(i)
        heappush(turns, i)


def _split_pieces(
    raw: bytes, found: Found, statuses: NDArray[np.uint8]
) -> dict[int, tuple[bytes, bytes | None]]:
    """Return the orphans and the extra bytes of the clean readouts that have some."""
    if found.orphans is None or found.extras is None:
        return {}
    split = np.flatnonzero(statuses & (_NOT_USED | _EXTRA))
    spans = zip(split.tolist(), found.orphans[split].tolist(), found.extras[split].tolist(), strict=True)
    return {i: (raw[begin:end], raw[first:last] or None) for i, (begin, end), (first, last) in spans}
