"""Readouts that wait to be decoded together: a call costs 0.12 ms however few it gets. Pure."""

import logging
from collections import Counter
from itertools import islice

import numpy as np

from astropix_stream.batch import Source
from astropix_stream.columns import decode_batch
from astropix_stream.fitting import SAMPLE, Doubt
from astropix_stream.fmt import Kind, split
from astropix_stream.joining import Joiner
from astropix_stream.monitor.arrivals import Segment, ends_of
from astropix_stream.monitor.recent import Chunk, Recent

_log = logging.getLogger(__name__)

MAX_TOGETHER = 2 << 20  # bytes decoded at once: for a moment it takes several times as much memory
_MAX_JOINERS = 64  # sources: forged ones must not fill the memory


class Waiting:
    """Decodes what belongs to one run of one source together, and counts the hits to the run.

    Parameters
    ----------
    recent
        Is told of all that was decoded.
    name
        What a line of the log calls the stream.
    """

    def __init__(self, recent: Recent, name: str) -> None:
        self.hits_at: Counter[int] = Counter()
        """Hits by the second in which they were received; to be cleared by who has read it."""
        self.doubt = Doubt()
        """Whether the readouts are of another kind than they are decoded as."""
        self._recent = recent
        self._name = name
        self._segments: dict[tuple[int, Source], list[Segment]] = {}
        self._bytes = 0
        self._joiners: dict[Source, Joiner] = {}

    def put(self, segment: Segment) -> None:
        """Let a segment wait for its decoding; where a slice of its run ends, decode what waits."""
        run, batch = segment.run, segment.arrival.batch
        key = run.number, batch.source
        marks = run.slices.keys(batch.timestamps, batch.readout_ids)
        begin = segment.begin
        while (cut := run.slices.end_among(marks, begin, segment.end)) < segment.end:
            if cut > begin:
                self._segments.setdefault(key, []).append(segment.part(begin, cut))
            self._decode(self._segments.pop(key, []))
            run.slices.close(run.counts, marks[cut])
            begin = cut
        rest = segment.part(begin, segment.end)
        self._segments.setdefault(key, []).append(rest)
        self._bytes += len(rest.payload)
        if self._bytes > MAX_TOGETHER:
            self.decode_all()

    def decode_all(self) -> None:
        """Decode all that waits."""
        waiting, self._segments, self._bytes = self._segments, {}, 0
        for segments in waiting.values():
            self._decode(segments)

    def _decode(self, segments: list[Segment]) -> None:
        """Decode segments of one run of one source."""
        if not segments:
            return
        source, run = segments[0].arrival.batch.source, segments[0].run
        begins = np.cumsum([0, *map(len, segments[:-1])])
        payload = b"".join([segment.payload for segment in segments])
        if self.doubt.open:
            self._note_kind(payload, run.counts.geometry.kind)
        decoded = decode_batch(
            payload,
            run.counts.geometry.kind,
            joiner=self._joiner(source),
            run_starts={
                begin for begin, one in zip(begins.tolist(), segments, strict=True) if one.begins_run
            },
        )
        located = run.counts.add(decoded)
        self._recent.note(Chunk(run.number, source, decoded, located), payload, ends_of(segments))
        hits = np.add.reduceat(decoded.hit_counts, begins)
        for segment, count in zip(segments, hits.tolist(), strict=True):
            self.hits_at[segment.arrival.second] += count

    def _joiner(self, source: Source) -> Joiner:
        """Return what puts the hits of a source together that were split between two readouts."""
        joiner = self._joiners.get(source)
        if joiner is None:
            if len(self._joiners) >= _MAX_JOINERS:
                self._joiners.clear()
            joiner = self._joiners[source] = Joiner()
        return joiner

    def _note_kind(self, payload: bytes, kind: Kind) -> None:
        """Look at the first readouts, whether they are of the kind that they are decoded as."""
        for raw, _, _ in islice(split(payload), SAMPLE):
            if self.doubt.note(kind.readout_class.from_bytes(raw)):
                _log.warning("%s: %s", self._name, self.doubt.text)
