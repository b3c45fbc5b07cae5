"""The values on the way of the data."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import (
    NOTHING,
    Batch,
    Drained,
    Run,
    RunStart,
    Source,
    concatenated,
    drained_one,
)

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


RUN = Run(1, 0, 0, 0, 0)


def made(*pieces, duplicates=b"", runs=(), first=0):
    ends = [sum(map(len, pieces[: i + 1])) for i in range(len(pieces))]
    ids = range(first, first + len(pieces))
    starts = [RunStart(position, DAQ, RUN) for position in runs]
    return Batch(DAQ, 7, b"".join(pieces), ids, [10 * i for i in ids], ends, False, starts, duplicates)


def listed(batch):
    return list(zip(batch.datagrams(), batch.readout_ids, batch.timestamps, strict=True))


pieces = st.lists(st.tuples(st.binary(max_size=4), st.booleans(), st.booleans()), max_size=8)


@given(pieces)
def test_duplicates_are_taken_out_and_runs_begin_where_they_did(pieces):
    whole = made(
        *(piece for piece, _, _ in pieces),
        duplicates=bytes(duplicate for _, duplicate, _ in pieces),
        runs=[i for i, (_, duplicate, begins) in enumerate(pieces) if begins and not duplicate],
    )
    unique = whole.without_duplicates()
    kept = [i for i, (_, duplicate, _) in enumerate(pieces) if not duplicate]
    assert listed(unique) == [listed(whole)[i] for i in kept]
    assert [kept[start.position] for start in unique.runs] == [start.position for start in whole.runs]
    assert not any(unique.duplicates)


def test_without_duplicates_a_batch_stays_the_same():
    for mask in (b"", bytes(2)):
        whole = made(b"ab", b"c", duplicates=mask)
        assert whole.without_duplicates() is whole


@given(st.lists(pieces, min_size=1, max_size=4))
def test_several_batches_are_one_after_another(several):
    batches = [
        made(
            *(piece for piece, _, _ in pieces),
            duplicates=bytes(d for _, d, _ in pieces) if any(d for _, d, _ in pieces) else b"",
            runs=[i for i, (_, _, begins) in enumerate(pieces) if begins],
            first=100 * n,
        )
        for n, pieces in enumerate(several)
    ]
    one = concatenated(batches)
    assert listed(one) == [item for batch in batches for item in listed(batch)]
    assert list(one.duplicates or bytes(len(one))) == [d for pieces in several for _, d, _ in pieces]
    flat = [begins for pieces in several for _, _, begins in pieces]
    assert [start.position for start in one.runs] == [i for i, begins in enumerate(flat) if begins]
    assert (one.source, one.received_ns) == (DAQ, 7)


@pytest.mark.parametrize("name", ["recovered", "source"])
def test_the_first_says_what_all_are(name):
    first = replace(made(b"a"), recovered=True)
    assert getattr(concatenated([first, made(b"b")]), name) == getattr(first, name)


def test_one_that_was_read_alone_is_a_drain_after_which_more_may_wait():
    drained = drained_one(b"abc", Source("10.0.1.1", 5), (7,))
    assert [*drained.datagrams()] == [b"abc"]
    assert (drained.sizes, drained.sources, drained.drops) == ((3,), (Source("10.0.1.1", 5),), (7,))
    assert (drained.exhausted, drained.even) == (False, True)


def test_the_first_readouts_of_a_batch_keep_the_runs_that_begin_among_them():
    batch = batch_of([b"a", b"bc", b"d"])
    assert batch.first(3) is batch
    first = batch.first(2)
    assert (first.payload, [*first.readout_ids], first.run_starts) == (b"abc", [7, 8], {0})
    assert repr(first) == "<Batch from 10.0.1.1:40000: 2 readouts, ids 7 to 8, 3 bytes>"
