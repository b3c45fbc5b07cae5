"""The values on the way of the data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import NOTHING, Batch, Drained, Run, RunStart, Source

DAQ = Source("10.0.1.1", 40000)


def batch_of(readouts, *, with_duplicates=False):
    ends = [sum(map(len, readouts[: i + 1])) for i in range(len(readouts))]
    duplicates = bytes(i % 2 for i in range(len(readouts))) if with_duplicates else b""
    ids, timestamps = range(7, 7 + len(readouts)), [100 + i for i in range(len(readouts))]
    runs = [RunStart(0, DAQ, Run(1, 7, 100, 7, 100))]
    return Batch(DAQ, 5, b"".join(readouts), ids, timestamps, ends, True, runs, duplicates)


@pytest.mark.parametrize(
    ("source", "text"),
    [(DAQ, "10.0.1.1:40000"), (Source("fe80::1", 5007), "[fe80::1]:5007")],
)
def test_a_source_as_people_write_it(source, text):
    assert str(source) == f"{source}" == text


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_a_drain_gives_its_datagrams(datagrams):
    drained = Drained(
        b"".join(datagrams), list(map(len, datagrams)), [DAQ] * len(datagrams), (), exhausted=True
    )
    assert list(drained.datagrams()) == datagrams
    assert list(NOTHING.datagrams()) == []


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=20), st.booleans(), st.data())
def test_a_part_of_a_batch_has_its_own_readouts(readouts, with_duplicates, data):
    batch = batch_of(readouts, with_duplicates=with_duplicates)
    assert list(batch.datagrams()) == readouts
    assert len(batch) == len(readouts)
    begin = data.draw(st.integers(0, len(readouts) - 1))
    end = data.draw(st.integers(begin + 1, len(readouts)))
    part = batch.part(begin, end)
    assert list(part.datagrams()) == readouts[begin:end]
    assert list(part.readout_ids) == list(range(7 + begin, 7 + end))
    assert list(part.timestamps) == list(range(100 + begin, 100 + end))
    assert part.duplicates == batch.duplicates[begin:end]
    assert (part.source, part.received_ns, part.recovered, part.runs) == (DAQ, 5, True, ())
    assert len(part) == end - begin
