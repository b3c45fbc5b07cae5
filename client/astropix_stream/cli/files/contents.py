"""What is in an .apx file, found in one walk over it."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from astropix_stream.cli.files.reading import Reading
from astropix_stream.clock import Moment
from astropix_stream.counting.sequencing import KernelDrops, SourceSequence
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import HEADER_SIZE, Decoding, DecodingStatus, parse_hits

_AT_ONCE = 1024  # readouts
_AFTER_ALL = Moment(float("inf"), 0)


@dataclass
class Contents:
    """The contents of a file, as far as it is whole.

    Attributes
    ----------
    oldest_ns, newest_ns
        Timestamps, ns since the Unix epoch.
    longest_pause_ns
        Between two readouts that follow each other.
    first_id
        Of the first run; above 0 where its beginning was not recorded.
    runs, missing, duplicates, reordered
        As `sequencing` tells them from the readout_ids.
    decoding
        Readouts with each bit of `fmt.Decoding`.
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
        return (self.readouts - 1) / self.span_s if self.span_s else 0.0

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
        value["decoding"] = {bit.name.lower(): count for bit, count in self.decoding.items()}
        value["header"] = dict(self.header)
        return value


def examine(path: Path) -> Contents:
    """Read a file once.

    Raises
    ------
    FormatError
        If it is not an .apx file; damage after the header is told in `trouble`.
    OSError
        If it cannot be read.
    """
    with Reading(path) as reading:
        contents = Contents(path, path.stat().st_size, reading.header)
        walk = _Walk(contents)
        whole = reading.datagrams()
        while readouts := list(islice(whole, _AT_ONCE)):
            walk.take(readouts)
        contents.leftover_bytes = reading.leftover_bytes
        contents.trouble = reading.trouble
    walk.finish()
    return contents


class _Walk:
    """Adds readouts to the contents."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._sequence = SourceSequence(1, KernelDrops())
        self._extra: bytes | None = None
        self._previous_ns: int | None = None

    def take(self, readouts: list[tuple[bytes, int, int]]) -> None:
        contents = self._contents
        timestamps = [timestamp for _, _, timestamp in readouts]
        if not contents.readouts:
            contents.first_id = readouts[0][1]
            contents.oldest_ns = timestamps[0]
        contents.oldest_ns = min(contents.oldest_ns, *timestamps)
        contents.newest_ns = max(contents.newest_ns, *timestamps)
        contents.readouts += len(readouts)
        now = Moment(timestamps[-1] / 1e9, timestamps[-1])
        self._sequence.note_received([readout_id for _, readout_id, _ in readouts], timestamps, now)
        for raw, _, timestamp in readouts:
            self._note_pause(timestamp)
            self._decode(raw)

    def _note_pause(self, timestamp: int) -> None:
        if self._previous_ns is not None:
            pause_ns = timestamp - self._previous_ns
            self._contents.longest_pause_ns = max(self._contents.longest_pause_ns, pause_ns)
        self._previous_ns = timestamp

    def _decode(self, raw: bytes) -> None:
        hits, self._extra, status = parse_hits(raw[HEADER_SIZE:].rstrip(b"\xff"), self._extra)
        self._contents.hits += len(hits)
        if status:
            bits = DecodingStatus(status)
            self._contents.decoding.update(bit for bit in Decoding if bits[bit])

    def finish(self) -> None:
        contents, sequence = self._contents, self._sequence
        sequence.tick(_AFTER_ALL)
        contents.runs = sequence.run_count
        contents.missing = sequence.before_socket
        contents.duplicates = sequence.duplicates
        contents.reordered = sequence.reordered
