"""The readouts of a file, one after the other, forward and back."""

from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any

from astropix_stream.batch import Batch
from astropix_stream.cli.files.card import Card
from astropix_stream.cli.files.reading import Reading, assumed_kind
from astropix_stream.fmt import HEADER_SIZE, Kind, Readout, kind_of
from astropix_stream.joining import Joiner

_KEPT = 64 << 20  # bytes of readouts in memory; the others are in a temporary file, since a pipe is read once
_BACK = 256  # readouts that are decoded before one, for what they may leave to it
_BEGINS_RUN, _DUPLICATE = 1, 2


class Deck(AbstractContextManager["Deck"]):
    """A file of readouts, of which any that was reached can be shown again.

    Parameters
    ----------
    path
        A file of any format; ``-`` is standard input.
    kind
        What a person says that the readouts are; None believes the file. Of a kind that nobody registered,
        readouts are bytes.

    Raises
    ------
    FormatError, OSError
        It is no file of readouts, or not readable.
    """

    def __init__(self, path: Path, kind: Kind | None = None) -> None:
        self.path = path
        self._reading = Reading(path, kind)
        self.header = self._reading.header
        uid = self.header.readout_uid
        known = kind is not None or kind_of(uid).known
        self.kind = assumed_kind(path, self.header, kind) if known else kind_of(uid)
        self._batches: Iterator[Batch] = self._reading.batches()
        self._raw = SpooledTemporaryFile(_KEPT)  # noqa: SIM115  (closed with the deck)
        self._ends = array("Q", [0])
        self._ids = array("L")
        self._marks = bytearray()
        self._joiner, self._decoded = Joiner(), 0  # the latter: readouts that the joiner has seen
        self.complete = False

    def __len__(self) -> int:
        """Return how many were reached so far; `complete` says whether these are all."""
        return len(self._ids)

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as far as it was read; empty if nothing is."""
        return self._reading.trouble

    def reach(self, index: int) -> bool:
        """Read as far as a readout; return whether there is one."""
        while index >= len(self._ids) and not self.complete:
            batch = next(self._batches, None)
            if batch is None:
                self.complete = True
                break
            begin = self._ends[-1]
            self._raw.seek(begin)
            self._raw.write(batch.payload)
            self._ends.extend(begin + end for end in batch.ends)
            self._ids.extend(batch.readout_ids)
            marks = bytearray(_DUPLICATE * bool(each) for each in batch.duplicates or bytes(len(batch)))
            for position in batch.run_starts:
                marks[position] |= _BEGINS_RUN
            self._marks += marks
        return index < len(self._ids)

    def last(self) -> int:
        """Read to the end; return the index of the last readout, -1 if there is none."""
        while self.reach(len(self._ids)):
            pass
        return len(self._ids) - 1

    def find(self, readout_id: int, index: int) -> int | None:
        """Return the next readout that has an id: behind `index`, or else from the beginning; or None."""
        for begin, stop in ((index + 1, None), (0, index + 1)):
            at = begin
            while self.reach(at) if stop is None else at < stop:
                end = len(self._ids) if stop is None else stop
                try:
                    return self._ids.index(readout_id, at, end)
                except ValueError:
                    at = end
        return None

    def next_error(self, index: int) -> int | None:
        """Return the next readout behind one in which something is wrong; None if there is none."""
        while self.reach(index := index + 1):
            if self.card(index).readout.decoding_status():
                return index
        return None

    def ids(self) -> tuple[int, int]:
        """Return the lowest and the highest readout_id of those reached so far."""
        return min(self._ids), max(self._ids)

    def card(self, index: int) -> Card:
        """Return a readout that was reached; the one after it costs least."""
        if self._decoded != index:
            self._joiner = Joiner()
            for before in range(max(0, index - _BACK), index):
                self._decode(before)
        readout, data, extra = self._decode(index)
        previous = self._read(index - 1)[0] if index else None
        after_ns, missing = None, 0
        begins_run = bool(self._marks[index] & _BEGINS_RUN)
        duplicate = bool(self._marks[index] & _DUPLICATE)
        if previous is not None:
            if previous.timestamp and readout.timestamp:
                after_ns = readout.timestamp - previous.timestamp
            if not (begins_run or duplicate):
                missing = max(0, readout.readout_id - previous.readout_id - 1)
        spans = self.kind.readout_class.spans(data, extra)
        return Card(index, readout, data, spans, begins_run, duplicate, after_ns, missing)

    def _decode(self, index: int) -> tuple[Readout[Any], bytes, bytes | None]:
        readout, data = self._read(index)
        begins_run = bool(self._marks[index] & _BEGINS_RUN)
        duplicate = bool(self._marks[index] & _DUPLICATE)
        extra = None if duplicate else self._joiner.extra_for(readout.readout_id, begins_run=begins_run)
        self._joiner.decode(readout, begins_run=begins_run, duplicate=duplicate)
        self._decoded = index + 1
        return readout, data, extra

    def _read(self, index: int) -> tuple[Readout[Any], bytes]:
        self._raw.seek(self._ends[index])
        raw = self._raw.read(self._ends[index + 1] - self._ends[index])
        return self.kind.readout_class.from_bytes(raw), raw[HEADER_SIZE:]

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._reading.__exit__(None, None, None)
        self._raw.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
