"""What each byte of a readout is, of each kind: the spans cover every byte once, and agree with `decode`."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4, Meaning, kind_of, kinds, spans
from unit.fmt.test_astep import frame_like
from unit.fmt.test_walk import hit_like

UNKNOWN = kind_of(99)
KINDS = [*kinds(), UNKNOWN, ASTEP.configured(hit_size=8), ASTEP.configured(timestamp_bytes=8)]


def covers(found, data):
    """Tell whether spans follow one another from the first byte to the last, and none could be joined."""
    ends = [0, *(span.end for span in found)]
    assert [span.begin for span in found] == ends[:-1]
    assert ends[-1] == len(data)
    assert all(span.begin < span.end for span in found)
    assert all(a[2:] != b[2:] for a, b in pairwise(found))


def bytes_of(found, data, *meanings):
    return b"".join(data[span.begin : span.end] for span in found if span.meaning in meanings)


def some_data(kind):
    if hasattr(kind.readout_class, "WALK"):
        return st.one_of(st.binary(max_size=200), hit_like(kind.readout_class))
    return st.one_of(st.binary(max_size=200), frame_like)


def any_case():
    extra = st.one_of(st.none(), st.binary(max_size=14))
    return st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), some_data(kind), extra))


@given(any_case())
def test_the_spans_of_any_bytes_cover_each_once_and_agree_with_decode(case):
    kind, data, extra = case
    found = spans(data, kind, extra)
    covers(found, data)
    readout = kind.readout_class(data, 0, 0)
    hits = readout.find(extra)
    assert sorted({span.hit for span in found} - {None}) == list(range(len(hits)))
    whole = {span.hit for span in found if span.meaning is Meaning.START}
    pieces = [bytes_of([s for s in found if s.hit == order], data, *Meaning) for order in range(len(hits))]
    for order, (piece, hit) in enumerate(zip(pieces, hits, strict=True)):
        framed = bytes([kind.readout_class.frame_length()]) + hit if kind.layers else hit
        if order in whole:
            assert piece == framed
        else:
            assert order == 0
            assert framed.endswith(piece)
    if not extra:
        assert bytes_of(found, data, Meaning.EXTRA) == (readout.extra_bytes() or b"")
    if Meaning.DROPPED in {span.meaning for span in found} and kind.layers:
        assert readout.decoding_status()
    if kind is UNKNOWN:
        assert [tuple(span) for span in found] == ([(0, len(data), "undecoded", None)] if data else [])


def test_by_default_it_is_astropix_4():
    data = bytes.fromhex("bcbc e08056e80da85403 bc ffff")
    found = [(0, 2, "idle", None), (2, 3, "start", 0), (3, 10, "hit", 0), (10, 13, "idle", None)]
    assert [tuple(span) for span in spans(data)] == found
    assert spans(memoryview(data), ASTROPIX4.readout_class) == spans(bytearray(data), ASTROPIX4)


@pytest.mark.parametrize(
    ("kind", "data", "extra", "expected"),
    [
        (ASTROPIX4, "", None, ""),
        (ASTROPIX4, "bc 05340800 bcbc e040923d000a0c05", None,
         "1 idle, 4 orphan, 2 idle, 1 start 0, 7 hit 0"),
        (ASTROPIX4, "05340800 bc e040923d000a0c05", "e040eec9",
         "4 orphan 0, 1 idle, 1 start 1, 7 hit 1"),
        (ASTROPIX4, "0534 bc e040923d000a0c05 e040", "e040eec9",
         "2 orphan, 1 idle, 1 start 0, 7 hit 0, 2 extra"),
        (ASTROPIX4, "e040b6 bc e040923d000a0c05 1234 bc 56",
         None, "3 dropped, 1 idle, 1 start 0, 7 hit 0, 2 dropped, 1 idle, 1 dropped"),
        (ASTROPIX3, "bc 2044400a3c bcbc 20", None, "1 idle, 1 start 0, 4 hit 0, 2 idle, 1 extra"),
        (ASTEP, "0a011c910b00ca4d917151 07011162b2197051 0a02", None,
         "1 start 0, 10 hit 0, 8 dropped, 2 extra"),
        (ASTEP, "0a011c910b00ca4d917151 0000 0a021c910b00e84d917151", None,
         "1 start 0, 10 hit 0, 2 dropped, 1 start 1, 10 hit 1"),
        (ASTEP, "00ca4d917151 0a021c910b00e84d917151", "0a011c910b", "6 orphan 0, 1 start 1, 10 hit 1"),
        (ASTEP, "00ca4d917151 0a021c910b00e84d917151", None, "6 orphan, 1 start 0, 10 hit 0"),
        (ASTEP, "b2197051 0a021c910b00e84d917151", "07011162", "4 orphan, 1 start 0, 10 hit 0"),
        (ASTEP, "0a02", "00" * 15, "2 extra"),
        (UNKNOWN, "bcff00", None, "3 undecoded"),
    ],
)  # fmt: skip
def test_what_the_bytes_are(kind, data, extra, expected):
    found = spans(bytes.fromhex(data), kind, bytes.fromhex(extra) if extra else None)
    texts = [f"{s.end - s.begin} {s.meaning}{'' if s.hit is None else f' {s.hit}'}" for s in found]
    assert ", ".join(texts) == expected
