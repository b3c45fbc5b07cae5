"""Columns hold what decode() gives, on any readouts."""

import importlib
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astropix_stream import columns
from astropix_stream.columns import HIT_DTYPE, decode_batch, decode_columns, hit_dtype
from astropix_stream.errors import FormatError
from astropix_stream.fileio import apx_open
from astropix_stream.fmt import ASTROPIX4, MAX_DATA, AstroPix4Hit, AstroPix4Readout, Decoding

SHARED = Path(__file__).parents[4] / "shared" / "data"

hit = st.tuples(st.integers(0xE0, 0xFE), st.binary(min_size=7, max_size=7)).map(
    lambda hit: bytes(hit[:1]) + hit[1]
)
idle = st.sampled_from([b"", b"\xbc", b"\xbc\xbc", b"\xff\xbc", b"\xbc" * 9])
clean = st.lists(st.tuples(idle, hit), max_size=6).map(lambda hits: b"".join(map(b"".join, hits)) + b"\xbc")
broken = st.lists(
    st.one_of(
        hit,
        st.binary(max_size=9),
        st.lists(st.sampled_from([0xE0, 0xBC, 0xFF, 0x00]), max_size=12).map(bytes),
        st.just(b"\xfe\xdc\xba"),
    ),
    max_size=6,
).map(b"".join)
data = st.one_of(clean, clean, broken)
number = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 0xBADCFE, 0xE0E0E0E0]))
readouts = st.lists(st.builds(AstroPix4Readout, data, number, st.integers(0, 2**64 - 1)), max_size=8)


def rows(readouts):
    """Decode in a plain loop: the rows that a table must have (test_joining has what was split)."""
    before = None
    for readout in readouts:
        if before is not None and before.extra_bytes():
            follows = readout.readout_id == (before.readout_id + 1) % 2**32
            readout.decode(before.extra_bytes() if follows else b"longer than a hit")
        before = readout
    return [tuple(hit.attribute_values()) for readout in readouts for hit in readout.decode()]


def check(batch, readouts, kind=ASTROPIX4):
    assert batch.hits.dtype == hit_dtype(kind)
    assert [tuple(row) for row in batch.hits.tolist()] == rows(readouts)
    assert batch.readout_ids.tolist() == [readout.readout_id for readout in readouts]
    assert batch.timestamps.tolist() == [readout.timestamp for readout in readouts]
    assert batch.hit_counts.tolist() == [len(readout.decode()) for readout in readouts]
    assert batch.statuses.tolist() == [readout.decoding_status() for readout in readouts]


def test_the_fields_are_those_of_a_hit():
    assert HIT_DTYPE.names == AstroPix4Hit.ATTRIBUTE_NAMES


@given(readouts)
@example(
    [AstroPix4Readout(b"\xe0" * 8 + b"\xbc\x00\xbc" + b"\xe0" * 3, 1, 1), AstroPix4Readout(b"\xe0" * 8, 2, 2)]
)
def test_columns_agree_with_decode(readouts):
    fresh = [AstroPix4Readout(readout.data(), readout.readout_id, readout.timestamp) for readout in readouts]
    check(decode_batch(b"".join(readout.to_bytes() for readout in fresh)), readouts)
    check(decode_batch(iter(fresh)), readouts)


@given(st.lists(st.tuples(data, st.integers(0, 3)), max_size=5))
def test_padding_at_the_end_of_a_datagram_is_stripped(pieces):
    raws = [
        AstroPix4Readout(b"", 1, 2).to_bytes()[:15]
        + (len(data) + padding).to_bytes(4, "little") + data + b"\xff" * padding
        for data, padding in pieces
    ]  # fmt: skip
    check(decode_batch(b"".join(raws)), [AstroPix4Readout.from_bytes(raw) for raw in raws])


def test_bytes_of_any_kind():
    raw = AstroPix4Readout(bytes.fromhex("bce0401eac0dccc200bc"), 1, 2).to_bytes()
    for kind in (bytes, bytearray, memoryview):
        assert decode_columns(kind(raw))["column"].tolist() == [9]


def test_nothing_gives_empty_tables():
    for nothing in (b"", [], iter(())):
        batch = decode_batch(nothing)
        assert [len(column) for column in batch] == [0] * 5
        assert batch.hits.dtype == HIT_DTYPE


def test_hits_joined_by_extra_bytes_are_kept():
    whole = bytes.fromhex("bce0401eac0dccc200bcbce0400ace05805606bc")
    first, second = AstroPix4Readout(whole[:14], 0, 0), AstroPix4Readout(whole[14:], 1, 0)
    second.decode(first.extra_bytes())
    batch = decode_batch([first, second])
    check(batch, [first, second])
    assert batch.hit_counts.tolist() == [1, 1]
    assert batch.statuses.tolist() == [1 << Decoding.VALID_EXTRA_BYTES, 1 << Decoding.ORPHAN_BYTES_MATCHED]


def test_differences_do_not_wrap():
    table = decode_columns([AstroPix4Readout(b"\xe0\xff\xff\xff\xff\xff\xff\x01", n, 0) for n in (5, 3)])
    assert np.diff(table["readout_id"]).tolist() == [-2]
    assert (table["row"] * 32 + table["column"]).tolist() == [31 * 32 + 31] * 2


@pytest.mark.parametrize(
    "raw", [b"x", b"\xfe\xdc\xba", b"\xfe\xdc\xba" + bytes(12) + b"\x01\0\0\0", bytes(40)]
)
def test_bytes_that_are_not_whole_readouts(raw):
    whole = AstroPix4Readout(b"\xbc", 0, 0).to_bytes()
    for bad in (raw, whole + raw, raw + whole):
        with pytest.raises(FormatError, match=r"left over after the last whole|not a readout at byte"):
            decode_columns(bad)


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            readouts.map(lambda some: b"".join(one.to_bytes() for one in some)), st.binary(max_size=30)
        ),
        max_size=3,
    )
)
def test_any_bytes_are_hits_or_a_format_error(pieces):
    with suppress(FormatError):
        decode_batch(b"".join(pieces))


def test_more_data_than_a_datagram_holds():
    readout = AstroPix4Readout(b"\xe0" + bytes(7) * (MAX_DATA // 7 + 1), 0, 0)
    check(decode_batch([readout]), [readout])
    with pytest.raises(FormatError, match="not a readout at byte 0: header announces"):
        decode_batch(readout.to_bytes())


@pytest.mark.parametrize(
    "piece", [b"\xe0", b"\xe0\xbc", b"\xe0" + bytes(7), b"\xe0" * 8 + b"\xbc" * 999 + b"\x00"]
)
def test_columns_take_linear_time(piece):
    readouts = [AstroPix4Readout(piece * (60000 // len(piece)), 0, 0) for _ in range(3)]
    begin = time.process_time()
    decode_columns(readouts)
    assert time.process_time() - begin < 3


def test_without_numpy_the_message_says_what_to_install():
    code = "import sys; sys.modules['numpy'] = None; import astropix_stream.columns"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = "ImportError: astropix_stream.columns needs NumPy: pip install 'astropix-stream[columns]'"
    assert done.stderr.splitlines()[-1] == told


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_real_run():
    with apx_open(SHARED / "run_20250723.apx") as run:
        (body,) = run.batches()
    with apx_open(SHARED / "run_20250723.apx") as run:
        check(decode_batch(body), list(run))


def test_without_numpy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'astropix-stream[columns]'")):
        importlib.reload(columns)
