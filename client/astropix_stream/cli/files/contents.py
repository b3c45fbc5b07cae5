"""What is in an .apx file, found in one walk over it."""

import importlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropix_stream.batch import Batch
from astropix_stream.cli.files.reading import Reading, assumed_kind, warn_if_doubtful
from astropix_stream.cli.terminal import progress
from astropix_stream.counting.counts import Counts
from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import Decoding, Kind, Readout
from astropix_stream.joining import Joiner, decoded


@dataclass
class Contents:
    """The contents of a file, less what is damaged in it.

    Attributes
    ----------
    readouts
        All that stand in the file, duplicates included.
    hits, decoding, longest_pause_ns
        Those of the duplicates are left out.
    oldest_ns, newest_ns
        Timestamps, ns since the Unix epoch; those that are 0 say nothing, and are not among them.
    untimed
        Readouts whose timestamp is 0.
    first_id
        Of the first run; above 0 where its beginning was not recorded.
    runs, missing, duplicates, reordered
        As the receivers count them.
    leftover_bytes
        Of an incomplete readout at the end.
    further_headers
        Headers of other files within this one, and where each is.
    trouble
        What is wrong with the file; empty if nothing is.
    """

    path: Path
    size_bytes: int
    header: FileHeader
    readouts: int = 0
    hits: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0
    untimed: int = 0
    longest_pause_ns: int = 0
    first_id: int = 0
    runs: int = 0
    missing: int = 0
    duplicates: int = 0
    reordered: int = 0
    kind: Kind | None = None
    """What the readouts were decoded as; None if there is no class for them."""
    decoding: Counter[Decoding] = field(default_factory=Counter)
    leftover_bytes: int = 0
    further_headers: list[tuple[int, FileHeader]] = field(default_factory=list)
    trouble: str = ""

    def note_times(self, oldest_ns: int, newest_ns: int) -> None:
        """Note the timestamps of more readouts."""
        self.oldest_ns = min(self.oldest_ns or oldest_ns, oldest_ns)
        self.newest_ns = max(self.newest_ns, newest_ns)

    @property
    def span_s(self) -> float:
        """Seconds from the oldest readout to the newest."""
        return (self.newest_ns - self.oldest_ns) / 1e9

    @property
    def rate(self) -> float:
        """Readouts per second, on average."""
        return (self.readouts - self.duplicates - 1) / self.span_s if self.span_s else 0.0

    @property
    def hit_rate(self) -> float:
        """Hits per second, on average."""
        return self.hits / self.span_s if self.span_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all of it for programs."""
        names = (
            "size_bytes", "readouts", "hits", "oldest_ns", "newest_ns", "untimed", "span_s",
            "longest_pause_ns", "rate", "hit_rate", "first_id", "runs", "missing", "duplicates", "reordered",
            "leftover_bytes", "trouble",
        )  # fmt: skip
        value: dict[str, Any] = {"file": str(self.path)} | {name: getattr(self, name) for name in names}
        if self.kind is None:
            value |= {"hits": None, "hit_rate": None}
        value["readout_uid"] = self.header.readout_uid
        value["decoding"] = {bit.name.lower(): count for bit, count in self.decoding.items()}
        value["header"] = dict(self.header)
        value["further_headers"] = [
            {"offset": offset, "header": dict(header)} for offset, header in self.further_headers
        ]
        return value


def examine(path: Path, kind: Kind | None = None, *, keep_duplicates: bool = False) -> Contents:
    """Read a file once.

    Parameters
    ----------
    path
        The file.
    kind
        What a person says that the readouts are; None believes the file.
    keep_duplicates
        Count the hits of duplicates too.

    Raises
    ------
    FormatError
        If it is not an .apx file; damage behind the header is skipped and told in `trouble`.
    OSError
        If it cannot be read.
    """
    try:
        many: Any = importlib.import_module("astropix_stream.columns.files")
    except ImportError:  # NumPy is an extra
        return _examine_one_by_one(path, kind, keep_duplicates=keep_duplicates)
    with many.Pieces(path, kind) as pieces, progress.open_file_display(path.stat().st_size) as display:
        contents = Contents(path, path.stat().st_size, pieces.header)
        contents.kind = kind = _kind_of(path, contents, kind)
        decoder = many.PieceDecoder(kind, keep_duplicates=keep_duplicates) if kind else None
        previous_ns: int | None = None
        for piece in pieces:
            previous_ns = _note_times(contents, piece, previous_ns)
            if decoder is not None:
                if contents.readouts == len(piece):
                    warn_if_doubtful(path, decoder.kind, piece)
                counted = decoder.count(piece)
                contents.hits += int(counted.hit_counts.sum())
                _note_statuses(contents, counted.statuses)
            if display.due(time.monotonic()):
                display.show(time.monotonic(), pieces.read_bytes, f"{contents.readouts} readouts")
        contents.leftover_bytes = pieces.leftover_bytes
        contents.further_headers = pieces.further_headers
        contents.trouble = pieces.trouble
        return _with_totals(contents, pieces.totals())


def _kind_of(path: Path, contents: Contents, kind: Kind | None) -> Kind | None:
    try:
        return assumed_kind(path, contents.header, kind)
    except FormatError:  # of an unknown kind all is told but the hits
        return None


def _with_totals(contents: Contents, totals: Counts) -> Contents:
    contents.runs, contents.missing, contents.reordered = totals.runs, totals.lost, totals.reordered
    return contents


def _note_times(contents: Contents, piece: Any, previous_ns: int | None) -> int | None:
    """Count the readouts of a piece, and note their times; return the last, for the pause to the next."""
    readouts = piece.readouts
    if not contents.readouts:
        contents.first_id = int(readouts.ids[0])
    contents.readouts += len(piece)
    contents.duplicates += int(piece.duplicates.sum())
    times = readouts.timestamps[~piece.duplicates]
    contents.untimed += int((times == 0).sum())
    times = times[times > 0]
    if not len(times):
        return previous_ns
    contents.note_times(int(times.min()), int(times.max()))
    later, earlier = times[1:], times[:-1]
    pauses = [int((later - earlier)[later > earlier].max(initial=0))]
    if previous_ns is not None:
        pauses.append(int(times[0]) - previous_ns)
    contents.longest_pause_ns = max(contents.longest_pause_ns, *pauses)
    return int(times[-1])


def _note_statuses(contents: Contents, statuses: Any) -> None:
    if statuses.any():
        for bit in Decoding:
            if count := int((statuses >> bit & 1).sum()):
                contents.decoding[bit] += count


def _examine_one_by_one(path: Path, kind: Kind | None, *, keep_duplicates: bool) -> Contents:
    with Reading(path, kind) as reading:
        contents = Contents(path, path.stat().st_size, reading.header)
        contents.kind = kind = _kind_of(path, contents, kind)
        walk = _Walk(contents, kind.readout_class if kind else None, keep_duplicates=keep_duplicates)
        for batch in reading.batches():
            walk.take(batch)
        contents.leftover_bytes = reading.leftover_bytes
        contents.further_headers = reading.further_headers
        contents.trouble = reading.trouble
        return _with_totals(contents, reading.sequence.totals())


class _Walk:
    """Adds readouts to the contents."""

    def __init__(
        self, contents: Contents, readout_class: type[Readout[Any]] | None, *, keep_duplicates: bool
    ) -> None:
        self._contents = contents
        self._joiner = Joiner()
        self._previous_ns: int | None = None
        self._readout_class = readout_class
        self._keep_duplicates = keep_duplicates

    def take(self, batch: Batch) -> None:
        contents = self._contents
        if not contents.readouts:
            contents.first_id = batch.readout_ids[0]
        contents.readouts += len(batch)
        contents.duplicates += sum(batch.duplicates)
        unique = batch.without_duplicates()
        if not len(unique):
            return
        timestamps = [timestamp for timestamp in unique.timestamps if timestamp]
        contents.untimed += len(unique) - len(timestamps)
        if timestamps:
            contents.note_times(min(timestamps), max(timestamps))
        for timestamp in timestamps:
            self._note_pause(timestamp)
        if self._readout_class is not None:
            self._decode(batch if self._keep_duplicates else unique, self._readout_class)

    def _note_pause(self, timestamp: int) -> None:
        if self._previous_ns is not None:
            pause_ns = timestamp - self._previous_ns
            self._contents.longest_pause_ns = max(self._contents.longest_pause_ns, pause_ns)
        self._previous_ns = timestamp

    def _decode(self, batch: Batch, readout_class: type[Readout[Any]]) -> None:
        contents = self._contents
        readouts = readout_class.from_payload(batch.payload, batch.ends, batch.readout_ids, batch.timestamps)
        for readout in decoded(readouts, self._joiner, batch.run_starts, batch.duplicates):
            contents.hits += len(readout.hits())
            if status := readout.decoding_status():
                contents.decoding.update(bit for bit in Decoding if status[bit])
