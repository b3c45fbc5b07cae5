"""What a monitor knows, as the bytes of its state file. Pure.

The layout, little-endian::

    0   magic        4s   "APXM"
    4   version      u16  2; files of version 1 have no slices
    6   head_size    u32  bytes of the head
    10  crc          u32  CRC-32 of all that follows
    14  head         JSON: all numbers and texts, and for each part its arrays and size
    .   parts        each zlib's, one for the rates and one for each run: its arrays, back to back

An array's zeros at its end are left out, and of a large one all rows of zeros. Of `Histograms` everything is
kept that is an array or a number, by its name: a program with other histograms does not take the runs of this
one, and says so.
"""

import json
import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astropix_stream.batch import Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.places import Place
from astropix_stream.errors import FormatError, WireError
from astropix_stream.fmt import Kind, kind_of
from astropix_stream.monitor.accumulate import MAX_RUNS, Memory
from astropix_stream.monitor.geometry import geometry_of
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.rates import RateHistory
from astropix_stream.monitor.runs import RunData, Tally
from astropix_stream.monitor.slices import Slices

MAGIC = b"APXM"
VERSION = 2
MAX_BYTES = 50_000_000
"""Of a file; the oldest runs are left out where it would be more."""
_HEAD = struct.Struct("<4sHII")
_MAX_ARRAY = 1 << 28  # bytes; ours have 32 MiB at most
_LARGE = 1 << 24  # bytes of an array of which only rows with something are kept
_LEVEL = 1  # of zlib: most is zeros, which the fastest finds as well
_SLICES = "slices."  # before the names of their arrays
_RUN_FIELDS = (
    "number", "first_id", "first_timestamp", "began_ns", "last_id", "last_timestamp", "last_s", "skipped",
    "version",
)  # fmt: skip


class Packed(NamedTuple):
    """A run as bytes, to be used again as long as the run does not change."""

    version: int
    arrays: list[list[Any]]
    part: bytes


class Unpacked(NamedTuple):
    """What a file held: the memory, other texts and numbers, and runs that could not be taken up."""

    memory: Memory
    more: dict[str, Any]
    left_out: int


def pack(
    memory: Memory, more: Mapping[str, Any], known: dict[int, Packed] | None = None, most: int = MAX_BYTES
) -> tuple[bytes, int]:
    """Return the bytes of a state file, and how many of the oldest runs were left out to keep them in bounds.

    Parameters
    ----------
    memory
        What to keep.
    more
        Anything else, as JSON takes it.
    known
        Runs by their number, packed before; it is brought up to date.
    most
        Bytes that there may be.
    """
    known = {} if known is None else known
    for run in memory.runs:
        if run.number not in known or known[run.number].version != run.version:
            known[run.number] = _pack_counts(run)
    for number in known.keys() - {run.number for run in memory.runs}:
        del known[number]
    runs, left_out = list(range(len(memory.runs))), 0
    while True:
        whole = _put_together(memory, runs, more, known)
        if len(whole) <= most or not runs:
            return whole, left_out
        others = [place for place in runs if place != memory.present] or runs
        runs.remove(others[0])
        left_out += 1


def _put_together(
    memory: Memory, places: list[int], more: Mapping[str, Any], known: Mapping[int, Packed]
) -> bytes:
    runs = [memory.runs[place] for place in places]
    tallies: list[Tally] = []
    began_s, arrays = memory.rates.to_arrays()
    shapes, rates = _pack_arrays((str(i), array) for i, array in enumerate(arrays))
    parts = [rates, *(known[run.number].part for run in runs)]
    head = {
        "saved": list(memory.saved),
        "run_count": memory.run_count,
        "present": places.index(memory.present) if memory.present in places else None,
        "current": [[*one, places.index(place)] for one, place in memory.current.items() if place in places],
        "tally": _tally(memory.tally),
        "skipped": memory.skipped,
        "position": memory.position and list(memory.position),
        "totals": memory.totals and asdict(memory.totals),
        "received_ns": memory.received_ns,
        "rates": {"began_s": began_s, "shift_s": memory.rates.shift_s, "arrays": shapes},
        "runs": [_run(run, tallies) | {"arrays": known[run.number].arrays} for run in runs],
        "tallies": [_tally(tally) for tally in tallies],
        "more": dict(more),
        "parts": [len(part) for part in parts],
    }
    text = json.dumps(head).encode()
    rest = b"".join([text, *parts])
    return _HEAD.pack(MAGIC, VERSION, len(text), zlib.crc32(rest)) + rest


def _tally(tally: Tally) -> dict[str, Any]:
    lost_at = {place.key: count for place, count in tally.lost_at.items() if count}
    return asdict(tally) | {"lost_at": lost_at}


def _run(run: RunData, tallies: list[Tally]) -> dict[str, Any]:
    """Return a run's numbers. The end of one and the beginning of the next are one tally, and stay so."""
    places = []
    for tally in (run.since, run.until):
        if tally is not None and not any(tally is known for known in tallies):
            tallies.append(tally)
        places.append(next((i for i, known in enumerate(tallies) if known is tally), None))
    return {name: getattr(run, name) for name in _RUN_FIELDS} | {
        "source": list(run.source),
        "since": places[0],
        "until": places[1],
        "kind": fingerprint(run.counts.geometry.kind),
        "numbers": {name: value for name, value in _state_of(run.counts) if not _is_array(value)},
    }


def _state_of(counts: Histograms) -> Iterable[tuple[str, Any]]:
    without = ("geometry", *counts.passing, *counts.untouched)
    return ((name, value) for name, value in vars(counts).items() if name not in without)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _pack_counts(run: RunData) -> Packed:
    arrays = [(name, value) for name, value in _state_of(run.counts) if _is_array(value)]
    slices = [(_SLICES + name, array) for name, array in run.slices.to_arrays().items()]
    return Packed(run.version, *_pack_arrays([*arrays, *slices]))


def _pack_arrays(named: Iterable[tuple[str, NDArray[Any]]]) -> tuple[list[list[Any]], bytes]:
    """Return name, type and shape of arrays with how many of their values and rows are kept, and these."""
    shapes, packer, pieces = [], zlib.compressobj(_LEVEL), []
    for name, array in named:
        rows = np.zeros(0, np.int32)
        if array.ndim == 2 and array.nbytes > _LARGE:
            rows = np.flatnonzero(array.any(axis=1)).astype(np.int32)
            flat = array[rows].reshape(-1)
        else:
            flat = array.reshape(-1)
            found = np.flatnonzero(flat)
            flat = flat[: int(found[-1]) + 1 if len(found) else 0]
        shapes.append([name, array.dtype.str, list(array.shape), len(flat), len(rows)])
        pieces += [packer.compress(one.tobytes()) for one in (rows, flat) if len(one)]
    return shapes, b"".join([*pieces, packer.flush()])


def fingerprint(kind: Kind) -> list[Any]:
    """Return what of a kind decides what its histograms mean."""
    rule = kind.pixel_rule
    numbers = (kind.uid, kind.clock_mhz, kind.rows, kind.columns, kind.limit, kind.layers, kind.chips)
    return [*numbers, kind.tot_bin_ticks, None if rule is None else repr(rule)]


def unpack(data: bytes, expected: Kind | None = None) -> Unpacked:
    """Read the bytes of a state file.

    Parameters
    ----------
    data
        All of them.
    expected
        The kind that readouts are decoded as now; its settings may be others than usual.

    Raises
    ------
    FormatError
        It is no such file, one of a newer program, or damaged.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{len(data)} bytes are more than a state file has")
    if len(data) < _HEAD.size or data[:4] != MAGIC:
        raise FormatError("it is not the state of a monitor")
    _, version, size, crc = _HEAD.unpack_from(data)
    if version > VERSION:
        raise FormatError(f"it is of a newer program: its format is {version}, and this one knows {VERSION}")
    text = data[_HEAD.size : _HEAD.size + size]
    if version == 0 or len(text) < size or zlib.crc32(memoryview(data)[_HEAD.size :]) != crc:
        raise FormatError("it is damaged")
    try:
        return _take_apart(json.loads(text), data[_HEAD.size + size :], expected)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, WireError, zlib.error):
        raise FormatError("it is damaged") from None


def _take_apart(head: Mapping[str, Any], rest: bytes, expected: Kind | None) -> Unpacked:
    parts = _split(rest, head["parts"])
    rates = head["rates"]
    memory_rates = RateHistory.from_arrays(
        float(rates["began_s"]), float(rates["shift_s"]), list(_arrays(parts[0], rates["arrays"]).values())
    )
    tallies = [_read_tally(one) for one in head["tallies"]]
    runs: list[RunData] = []
    places: dict[int, int] = {}
    for i, (one, part) in enumerate(zip(head["runs"][:MAX_RUNS], parts[1:], strict=False)):
        run = _read_run(one, part, tallies, expected)
        if run is not None:
            places[i] = len(runs)
            runs.append(run)
    position, totals = head["position"], head["totals"]
    memory = Memory(
        saved=Moment(float(head["saved"][0]), int(head["saved"][1])),
        runs=runs,
        present=places.get(head["present"]),
        current={
            Source(str(address), int(port)): places[place]
            for address, port, place in head["current"]
            if place in places
        },
        run_count=int(head["run_count"]),
        tally=_read_tally(head["tally"]),
        skipped=int(head["skipped"]),
        rates=memory_rates,
        position=None if position is None else Position(int(position[0]), int(position[1])),
        totals=None if totals is None else Counts.from_json(totals),
        received_ns=int(head["received_ns"]),
    )
    return Unpacked(memory, dict(head["more"]), len(head["runs"]) - len(runs))


def _split(rest: bytes, sizes: list[int]) -> list[bytes]:
    parts, begin = [], 0
    for size in sizes:
        parts.append(rest[begin : begin + size])
        begin += size
    if begin != len(rest) or min(sizes) < 0:
        raise ValueError("parts of another size")
    return parts


def _arrays(part: bytes, shapes: list[list[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a part. It gives no more bytes than they have, whatever was packed."""
    sizes = [4 * rows + np.dtype(dtype).itemsize * kept for _, dtype, _, kept, rows in shapes]
    if any(np.dtype(dtype).itemsize * math.prod(shape) > _MAX_ARRAY for _, dtype, shape, *_ in shapes):
        raise ValueError("an array that is too large")
    unpacker, found = zlib.decompressobj(), {}
    flat = unpacker.decompress(part, sum(sizes) + 1)
    if len(flat) != sum(sizes) or not unpacker.eof:
        raise ValueError("arrays of another size")
    begin = 0
    for (name, dtype, shape, kept, rows), size in zip(shapes, sizes, strict=True):
        array = np.zeros(shape, np.dtype(dtype))
        values = np.frombuffer(flat, np.dtype(dtype), kept, begin + 4 * rows)
        if rows:
            array[np.frombuffer(flat, np.int32, rows, begin)] = values.reshape(rows, -1)
        else:
            array.reshape(-1)[:kept] = values
        found[name] = array
        begin += size
    return found


def _read_tally(value: Mapping[str, Any]) -> Tally:
    by_key = {place.key: place for place in Place}
    lost_at = Counter({by_key[key]: int(count) for key, count in value["lost_at"].items() if key in by_key})
    return Tally(
        int(value["at_ns"]), int(value["held"]), lost_at, int(value["duplicates"]), int(value["late"])
    )


def _read_run(
    value: Mapping[str, Any], part: bytes, tallies: list[Tally], expected: Kind | None
) -> RunData | None:
    """Return a run; None if its histograms do not fit into this program's."""
    uid = int(value["kind"][0])
    known = (kind for kind in (expected, kind_of(uid)) if kind is not None)
    kinds = [kind for kind in known if fingerprint(kind) == value["kind"]]
    if not kinds:
        return None
    counts = Histograms(geometry_of(kinds[0]))
    mine = {name: (one.dtype.str, one.shape) for name, one in vars(counts).items() if _is_array(one)}
    theirs = {
        name: (dtype, tuple(shape))
        for name, dtype, shape, *_ in value["arrays"]
        if not name.startswith(_SLICES)
    }
    if not theirs.items() <= mine.items() or not mine.keys() - theirs.keys() <= set(counts.untouched):
        return None
    numbers = {name for name, one in _state_of(counts) if not _is_array(one)}
    if numbers != set(value["numbers"]):
        return None
    arrays = _arrays(part, value["arrays"])
    of_slices = {name.removeprefix(_SLICES): arrays.pop(name) for name in arrays.keys() - mine.keys()}
    for name, one in (arrays | value["numbers"]).items():
        setattr(counts, name, one)
    slices = Slices.from_arrays(of_slices, counts) if of_slices else Slices()
    source = Source(str(value["source"][0]), int(value["source"][1]))
    until = None if value["until"] is None else tallies[value["until"]]
    fields = {name: value[name] for name in _RUN_FIELDS}
    if not all(isinstance(one, int | float) for one in fields.values()):
        raise TypeError("a run's numbers are not numbers")
    return RunData(
        source=source, since=tallies[value["since"]], until=until, counts=counts, slices=slices, **fields
    )
