"""A hit that was split between two readouts is put together from those two, and from no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.columns import decode_batch
from astropix_stream.fmt import AstroPix4Readout, Decoding
from astropix_stream.joining import UNJOINABLE, Following, Joiner, decoded

A, B = bytes.fromhex("e05042030620d701"), bytes.fromhex("e0504113063f0a22")
MATCHED, DROPPED = Decoding.ORPHAN_BYTES_MATCHED, Decoding.ORPHAN_BYTES_DROPPED
LAST = 2**32 - 1


def begin(readout_id, hit=A, size=3):
    return AstroPix4Readout(b"\xbc" + hit[:size], readout_id, 10**18 + readout_id)


def rest(readout_id, hit=A, size=3):
    return AstroPix4Readout(hit[size:] + b"\xbc" + B, readout_id, 10**18 + readout_id)


def statuses(readouts, **options):
    done = list(decoded(readouts, Joiner(), **options))
    again = decode_batch([AstroPix4Readout(r.data(), r.readout_id, r.timestamp) for r in readouts], **options)
    assert again.statuses.tolist() == [int(readout.decoding_status()) for readout in done]
    assert again.hit_counts.tolist() == [len(readout.hits()) for readout in done]
    return [readout.decoding_status() for readout in done]


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 6), (LAST, 0)])
def test_the_next_readout_completes_the_hit(first, second, size):
    readouts = [begin(first, size=size), rest(second, size=size)]
    assert statuses(readouts)[1] == 1 << MATCHED
    assert [hit.bits for hit in readouts[1].hits()] == [
        hit.bits for data in (A, B) for hit in AstroPix4Readout(data, 0, 0).decode()
    ]


@pytest.mark.parametrize("second", [7, 5, 4, 0, 261, LAST, 6 + (1 << 16)])
def test_no_other_readout_does(second):
    readouts = [begin(5), rest(second)]
    assert statuses(readouts)[1] == 1 << DROPPED
    assert len(readouts[1].hits()) == 1


def test_not_over_the_boundary_of_a_run_though_its_ids_go_on():
    assert statuses([begin(5), rest(6)], run_starts={1})[1] == 1 << DROPPED
    assert statuses([begin(5), rest(6)], run_starts={0})[1] == 1 << MATCHED


def test_a_duplicate_neither_gives_nor_takes():
    twice = [begin(5), begin(5), rest(6), rest(6), begin(7), rest(6), rest(8)]
    found = statuses(twice, duplicates=bytes([0, 1, 0, 1, 0, 1, 0]))
    assert [bool(status[MATCHED]) for status in found] == [False, False, True, False, False, False, True]


def test_readouts_out_of_order_are_not_joined():
    found = statuses([begin(5), rest(7), rest(6), begin(8), begin(7), rest(9)])
    assert not any(status[MATCHED] for status in found)


def test_a_joiner_goes_on_from_call_to_call():
    for pieces in ([[begin(5)], [rest(6)]], [[begin(5)], [], [rest(6)]]):
        joiner = Joiner()
        counts = [decode_batch(piece, joiner=joiner).hit_counts.tolist() for piece in pieces]
        assert counts[-1] == [2]
    joiner = Joiner()
    decode_batch([begin(5), AstroPix4Readout(b"\xbc", 6, 0)], joiner=joiner)
    assert decode_batch([rest(6)], joiner=joiner).statuses.tolist() == [1 << Decoding.ORPHAN_BYTES_NOT_USED]


def test_what_cannot_be_joined_is_longer_than_any_hit():
    readout = AstroPix4Readout(A[1:], 0, 0)
    readout.decode(UNJOINABLE)
    assert readout.decoding_status() == 1 << DROPPED


pieces = st.sampled_from(
    [b"", b"\xbc", A, B, A[:3], A[:1], A[3:], A[1:], B[3:] + B[:3], A[3:] + b"\xbc" + A[:3]]
)
stream = st.lists(st.tuples(pieces, st.integers(0, 4), st.booleans(), st.booleans()), max_size=12)


@given(stream, st.integers(0, 12))
def test_in_any_stream_the_columns_and_the_readouts_agree_with_a_model(stream, cut):
    def fresh():
        return [AstroPix4Readout(data, readout_id, 0) for data, readout_id, _, _ in stream]

    duplicates = bytes(duplicate for _, _, duplicate, _ in stream)
    starts = {i for i, (_, _, duplicate, start) in enumerate(stream) if start and not duplicate}
    expected, before = [], None
    for i, readout in enumerate(fresh()):
        extra = None
        if not duplicates[i] and before is not None and before.extra_bytes():
            is_next = readout.readout_id == before.readout_id + 1 and i not in starts
            extra = before.extra_bytes() if is_next else b"longer than a hit"
        expected.append(([hit.bits for hit in readout.decode(extra)], int(readout.decoding_status())))
        before = before if duplicates[i] else readout

    done = list(decoded(fresh(), Joiner(), starts, duplicates))
    assert [([hit.bits for hit in r.hits()], int(r.decoding_status())) for r in done] == expected

    joiner, found = Joiner(), []
    for begin, end in ((0, cut), (cut, len(stream))):
        moved = {start - begin for start in starts if begin <= start < end}
        part = b"".join(readout.to_bytes() for readout in fresh()[begin:end])
        batch = decode_batch(part, joiner=joiner, run_starts=moved, duplicates=duplicates[begin:end])
        found += zip(batch.hit_counts.tolist(), batch.statuses.tolist(), strict=True)
    assert found == [(len(hits), status) for hits, status in expected]


def test_what_follows_passes_by_duplicates():
    follow = Following(Joiner(), (), bytes([0, 1, 1, 0, 1]))
    assert [follow.after(i, 5) for i in range(-1, 5)] == [0, 3, 3, 3, 5, 5]


def test_what_a_batch_gives_and_takes_is_that_of_its_readouts():
    joiner = Joiner()
    joiner.note(4, b"before")
    follow = Following(joiner, {3}, bytes([0, 1, 0, 0]))
    ids = [5, 5, 6, 0]
    assert follow.pending
    assert follow.take(0, ids) == b"before"
    follow.give(0, ids, b"left")
    assert follow.take(1, ids) is None
    follow.give(1, ids, b"of a duplicate")
    assert follow.take(2, ids) == b"left"
    follow.give(2, ids, b"more")
    assert follow.take(3, ids) == UNJOINABLE
    follow.give(3, ids, None)
    follow.end(ids)
    assert not joiner.pending


def test_readouts_that_nobody_asks_about_leave_nothing():
    joiner = Joiner()
    joiner.note(4, b"before")
    follow = Following(joiner, (), b"")
    assert follow.take(2, [5, 6, 7]) is None
    follow.end([5, 6, 7])
    assert joiner.extra_for(8) is None
