"""The latest readouts one by one: what each byte is, the hits, and what was wrong. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from astropix_stream import numbers
from astropix_stream.fmt import Decoding, DecodingStatus, Kind, spans
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.recent import Kept
from astropix_stream.monitor.shown import Shown

MAX_LISTED = 50
MAX_SHOWN_BYTES = 2048
MAX_SHOWN_HITS = 256

#: What each bit means, for somebody who looks at the bytes.
EXPLAINED = {
    Decoding.ORPHAN_BYTES_MATCHED: "the bytes before the first hit complete one of the readout before",
    Decoding.ORPHAN_BYTES_DROPPED: (
        "the bytes before the first hit do not complete what the readout before began; they were dropped"
    ),
    Decoding.ORPHAN_BYTES_NOT_USED: (
        "there are bytes before the first hit, and the readout before began none; they were dropped"
    ),
    Decoding.VALID_EXTRA_BYTES: "a hit begins at the end; its rest is expected in the next readout",
    Decoding.INVALID_EXTRA_BYTES: "there are bytes that belong to no hit: noise",
    Decoding.INCOMPLETE_HIT_DROPPED: "a hit was cut short, or a frame has the wrong length; it was dropped",
    Decoding.NOT_ALL_BYTES_VISITED: "the decoder stopped before the end",
    Decoding.UNKNOWN_FATAL_ERROR: "the decoder failed",
}  # fmt: skip


class Listed(NamedTuple):
    """A readout in the list."""

    readout_id: int
    time: str
    hits: int
    size: int
    problems: str


class Piece(NamedTuple):
    """Bytes that follow one another and are the same."""

    text: str
    """As hexadecimal digits."""
    meaning: str
    """As `fmt.Meaning`."""
    hit: int | None


@dataclass(frozen=True, slots=True)
class Dissected:
    """One readout.

    Attributes
    ----------
    readout_id, size
        Its id, and how many bytes of data it has.
    head
        When, from where.
    pieces
        Its bytes, the first `MAX_SHOWN_BYTES`.
    rest
        How many bytes more there are.
    hits
        In words, the first `MAX_SHOWN_HITS`.
    problems
        What was wrong, a sentence each.
    """

    readout_id: int
    size: int
    head: str
    pieces: tuple[Piece, ...]
    rest: int
    hits: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EventsPanel:
    """The latest readouts.

    Attributes
    ----------
    listed
        The newest first; or those with decode problems.
    shown
        The one that was chosen, or else the newest; None if there is none.
    said
        Why there is no such readout, or none at all; empty otherwise.
    """

    listed: tuple[Listed, ...]
    shown: Dissected | None
    said: str


def make(shown: Shown, accumulator: Accumulator) -> EventsPanel:
    """Look at the latest readouts of the run."""
    recent, choice, kind = accumulator.recent, shown.choice, shown.geometry.kind
    if shown.run is None:
        return EventsPanel((), None, "No readout yet.")
    run = shown.run.number
    kept = recent.readouts(run, troubled=choice.troubled)
    listed = tuple(_listed(one, kind, shown.now.ns) for one in kept[:MAX_LISTED])
    wanted = choice.readout if choice.readout is not None else (kept[0].readout_id if kept else None)
    if wanted is None:
        none = "No readout with decode problems" if choice.troubled else "No readout of this run is kept"
        return EventsPanel(listed, None, f"{none}.")
    found, before = recent.find(run, wanted)
    if found is None:
        return EventsPanel(listed, None, _not_kept(recent.readouts(run), wanted))
    return EventsPanel(listed, _dissected(found, before, kind, shown.now.ns), "")


def _not_kept(kept: list[Kept], wanted: int) -> str:
    if not kept:
        return f"Readout {wanted} is not kept, nor any other of this run."
    return (
        f"Readout {wanted} is not kept: there are the latest {len(kept)}, ids {kept[-1].readout_id} to "
        f"{kept[0].readout_id}, and those with decode problems."
    )


def _listed(kept: Kept, kind: Kind, now_ns: int) -> Listed:
    readout: Any = kind.readout_class.from_bytes(kept.raw)
    return Listed(
        kept.readout_id,
        _time(kept.timestamp, now_ns),
        len(readout.find()),
        len(readout.data()),
        ", ".join(names_of(kept.status, kind)),
    )


def _time(timestamp: int, now_ns: int) -> str:
    return f"{numbers.clock(timestamp, now_ns)}.{timestamp // 10**6 % 1000:03d}" if timestamp else "–"


def names_of(status: int, kind: Kind) -> Iterator[str]:
    """Return what was wrong, as the kind calls it."""
    names = dict(kind.problems)
    for bit in Decoding:
        if status >> bit & 1:
            yield names.get(bit, bit.name.replace("_", " ").lower())


def _dissected(kept: Kept, before: Kept | None, kind: Kind, now_ns: int) -> Dissected:
    """Take a readout apart, as it was decoded after the one before it."""
    readout: Any = kind.readout_class.from_bytes(kept.raw)
    extra = _extra_of(before, kind)
    hits = readout.decode(extra)
    data = readout.data()
    pieces = tuple(
        Piece(data[span.begin : min(span.end, MAX_SHOWN_BYTES)].hex(), str(span.meaning), span.hit)
        for span in spans(data, kind, extra)
        if span.begin < MAX_SHOWN_BYTES
    )
    status = DecodingStatus(kept.status)
    problems = [EXPLAINED[bit] for bit in Decoding if status[bit]]
    if status[Decoding.ORPHAN_BYTES_MATCHED] and extra is None:
        problems.append("the readout before it is not kept, so that the completed hit is not shown")
    return Dissected(
        kept.readout_id,
        len(data),
        f"made {_time(kept.timestamp, now_ns)}, from {kept.source}",
        pieces,
        max(0, len(data) - MAX_SHOWN_BYTES),
        tuple(map(str, hits[:MAX_SHOWN_HITS])),
        tuple(problems),
    )


def _extra_of(before: Kept | None, kind: Kind) -> bytes | None:
    """Return the beginning of a hit that the readout before left."""
    if before is None:
        return None
    readout: Any = kind.readout_class.from_bytes(before.raw)
    readout.decode()
    extra: bytes | None = readout.extra_bytes()
    return extra
