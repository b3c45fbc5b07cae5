"""What is in an .apx file, found in one walk over it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astropix_stream.batch import Batch
from astropix_stream.cli.files.reading import Reading
from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import Decoding, Readout
from astropix_stream.joining import Joiner, decoded


@dataclass
class Contents:
    """The contents of a file, as far as it is whole.

    Attributes
    ----------
    readouts
        All that stand in the file, duplicates included.
    hits, decoding, longest_pause_ns
        Those of the duplicates are left out.
    oldest_ns, newest_ns
        Timestamps, ns since the Unix epoch.
    first_id
        Of the first run; above 0 where its beginning was not recorded.
    runs, missing, duplicates, reordered
        As the receivers count them.
    leftover_bytes
        Of an incomplete readout at the end.
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
    longest_pause_ns: int = 0
    first_id: int = 0
    runs: int = 0
    missing: int = 0
    duplicates: int = 0
    reordered: int = 0
    decodes: bool = True
    """There is a class for the kind of the readouts."""
    decoding: Counter[Decoding] = field(default_factory=Counter)
    leftover_bytes: int = 0
    trouble: str = ""

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
            "size_bytes", "readouts", "hits", "oldest_ns", "newest_ns", "span_s", "longest_pause_ns", "rate",
            "hit_rate", "first_id", "runs", "missing", "duplicates", "reordered", "leftover_bytes", "trouble",
        )  # fmt: skip
        value: dict[str, Any] = {"file": str(self.path)} | {name: getattr(self, name) for name in names}
        if not self.decodes:
            value |= {"hits": None, "hit_rate": None}
        value["readout_uid"] = self.header.readout_uid
        value["decoding"] = {bit.name.lower(): count for bit, count in self.decoding.items()}
        value["header"] = dict(self.header)
        return value


def examine(path: Path, *, keep_duplicates: bool = False) -> Contents:
    """Read a file once.

    Parameters
    ----------
    path
        The file.
    keep_duplicates
        Count the hits of duplicates too.

    Raises
    ------
    FormatError
        If it is not an .apx file; damage after the header is told in `trouble`.
    OSError
        If it cannot be read.
    """
    with Reading(path) as reading:
        contents = Contents(path, path.stat().st_size, reading.header)
        readout_class = None
        try:
            readout_class = reading.readout_class()
        except FormatError:  # of an unknown kind all is told but the hits
            contents.decodes = False
        walk = _Walk(contents, readout_class, keep_duplicates=keep_duplicates)
        for batch in reading.batches():
            walk.take(batch)
        contents.leftover_bytes = reading.leftover_bytes
        contents.trouble = reading.trouble
        totals = reading.sequence.totals()
    contents.runs, contents.missing, contents.reordered = totals.runs, totals.lost, totals.reordered
    return contents


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
            contents.oldest_ns = batch.timestamps[0]
        contents.readouts += len(batch)
        contents.duplicates += sum(batch.duplicates)
        unique = batch.without_duplicates()
        if not len(unique):
            return
        contents.oldest_ns = min(contents.oldest_ns, *unique.timestamps)
        contents.newest_ns = max(contents.newest_ns, *unique.timestamps)
        for timestamp in unique.timestamps:
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
