"""Batches without their duplicates, and several as one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import Batch, Run, RunStart, Source, concatenated

DAQ = Source("10.0.0.1", 1)
RUN = Run(1, 0, 0, 0, 0)


def batch(*pieces, duplicates=b"", runs=(), first=0):
    ends = [sum(map(len, pieces[: i + 1])) for i in range(len(pieces))]
    ids = range(first, first + len(pieces))
    starts = [RunStart(position, DAQ, RUN) for position in runs]
    return Batch(DAQ, 7, b"".join(pieces), ids, [10 * i for i in ids], ends, False, starts, duplicates)


def listed(batch):
    return list(zip(batch.datagrams(), batch.readout_ids, batch.timestamps, strict=True))


pieces = st.lists(st.tuples(st.binary(max_size=4), st.booleans(), st.booleans()), max_size=8)


@given(pieces)
def test_duplicates_are_taken_out_and_runs_begin_where_they_did(pieces):
    whole = batch(
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
        whole = batch(b"ab", b"c", duplicates=mask)
        assert whole.without_duplicates() is whole


@given(st.lists(pieces, min_size=1, max_size=4))
def test_several_batches_are_one_after_another(several):
    batches = [
        batch(
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
    first = replace(batch(b"a"), recovered=True)
    assert getattr(concatenated([first, batch(b"b")]), name) == getattr(first, name)
