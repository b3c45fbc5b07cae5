"""The latest readouts."""

import numpy as np
import pytest

from astropix_stream.columns import decode_batch
from astropix_stream.fmt import Decoding
from astropix_stream.monitor import recent as module
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.recent import Chunk, Recent
from unit.monitor.stream import DAQ, OTHER_DAQ, readout


def chunk_of(readouts, run=1, source=DAQ):
    decoded = decode_batch(readouts)
    return Chunk(run, source, decoded, Histograms().add(decoded))


def note(recent, readouts, run=1, source=DAQ):
    raw = [one.to_bytes() for one in readouts]
    recent.note(chunk_of(readouts, run, source), b"".join(raw), np.cumsum([len(one) for one in raw]))


def some(first, count, **more):
    return [readout(i, 1000 + i, **more) for i in range(first, first + count)]


BROKEN = {"tail": bytes.fromhex("e08056")}  # a hit begins at the end


class TestBytes:
    def test_they_are_those_that_came_the_newest_first(self):
        recent = Recent()
        note(recent, some(0, 3))
        note(recent, some(3, 2))
        kept = recent.readouts(1)
        assert [one.readout_id for one in kept] == [4, 3, 2, 1, 0]
        assert kept[0].raw == some(4, 1)[0].to_bytes()
        assert (kept[0].timestamp, kept[0].source, kept[0].status) == (1004, DAQ, 0)
        assert recent.readouts(2) == []

    def test_troubled_ones_are_kept_longer(self):
        recent = Recent()
        note(recent, some(0, 1, **BROKEN))
        for i in range(20):
            note(recent, some(1 + 100 * i, 100))
        assert len(recent.readouts(1)) == module.MAX_READOUTS
        (troubled,) = recent.readouts(1, troubled=True)
        assert troubled.readout_id == 0
        assert troubled.status == 1 << Decoding.VALID_EXTRA_BYTES
        assert recent.find(1, 0) == (troubled, None)

    def test_their_bytes_are_bounded(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_BYTES", 1000)
        recent = Recent()
        note(recent, some(0, 300))
        assert 1 < sum(len(one.raw) for one in recent.readouts(1)) <= 1000

    def test_one_is_found_with_the_one_before_it(self):
        recent = Recent()
        note(recent, some(0, 3))
        note(recent, some(7, 1), run=2)
        note(recent, some(5, 1))
        found, before = recent.find(1, 2)
        assert (found.readout_id, before.readout_id) == (2, 1)
        assert recent.find(1, 5)[1] is None  # 4 is missing
        assert recent.find(1, 0)[1] is None
        assert recent.find(1, 77) == (None, None)


class TestChunks:
    def test_only_the_latest_hits_are_kept(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_HITS", 10)
        recent = Recent()
        for i in range(10):
            note(recent, some(4 * i, 4))
        assert sum(len(one) for one in recent.chunks) == 8
        assert recent.last_of(1) == (39, 1039)

    def test_their_number_is_bounded(self, monkeypatch):
        monkeypatch.setattr(module, "MAX_CHUNKS", 3)
        recent = Recent()
        for i in range(10):
            note(recent, some(i, 1, hits=()))
        assert len(recent.chunks) == 3

    def test_a_part_has_its_hits(self):
        chunk = chunk_of([readout(i, i, [(i, i, 10)] * i) for i in range(5)])
        part = chunk.part(2, 4)
        assert part.decoded.readout_ids.tolist() == [2, 3]
        assert part.decoded.hits["row"].tolist() == [2, 2, 3, 3, 3]
        assert part.located.owners.tolist() == [0, 0, 1, 1, 1]
        assert len(part) == 2


class TestMove:
    def test_the_last_ones_of_a_source_belong_to_another_run(self):
        recent = Recent()
        note(recent, some(0, 5))
        note(recent, some(0, 2), run=7, source=OTHER_DAQ)
        moved = recent.move(DAQ, 2, 2)
        assert [one.decoded.readout_ids.tolist() for one in moved] == [[3, 4]]
        assert moved[0].run == 1
        assert recent.last_of(1) == (2, 1002)
        assert recent.last_of(2) == (4, 1004)
        assert [one.run for one in recent.chunks] == [1, 2, 7]

    @pytest.mark.parametrize("count", [3, 5, 99])
    def test_over_several_chunks_and_no_more_than_there_are(self, count):
        recent = Recent()
        note(recent, some(0, 2))
        note(recent, some(2, 3))
        moved = recent.move(DAQ, count, 2)
        assert sum(len(one) for one in moved) == min(count, 5)
        assert sum(len(one) for one in recent.chunks) == 5

    def test_what_is_in_the_run_already_stays_counted(self):
        recent = Recent()
        note(recent, some(0, 2), run=2)
        assert recent.move(DAQ, 2, 2) == []
        assert recent.last_of(5) is None
