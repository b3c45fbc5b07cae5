"""Columns of each kind hold what decode() gives, on any bytes; and their pixels what pairing gives."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astropix_stream.columns import PixelMatcher, decode_batch, decode_columns, hit_dtype, match_pixels
from astropix_stream.errors import ConfigError
from astropix_stream.fileio import apx_open
from astropix_stream.fmt import (
    ASTEP,
    ASTROPIX3,
    ASTROPIX4,
    MAX_DATA,
    AStepReadout,
    AstroPix3Readout,
    AstroPix4Readout,
    kind_of,
    pair_half_hits,
)
from astropix_stream.joining import Joiner, decoded
from unit.columns.test_columns import check
from unit.fmt.test_astep import ONE, bad, frame_like, whole
from unit.fmt.test_kinds import MINE
from unit.fmt.test_walk import hit_like

SHARED = Path(__file__).parents[4] / "shared" / "data"

LARGE = ASTEP.configured(timestamp_bytes=8)
FRAMED4 = ASTEP.configured(hit_size=8)
good_frames = st.lists(st.one_of(whole, whole, bad), max_size=6).map(b"".join)
framed = st.lists(
    st.one_of(
        st.sampled_from([10, 13, 14]).flatmap(
            lambda length: st.binary(min_size=length - 1, max_size=length - 1).map(
                lambda rest: bytes([length, 1]) + rest
            )
        ),
        st.binary(max_size=5),
    ),
    max_size=6,
).map(b"".join)
DATA = {
    ASTROPIX3: st.one_of(hit_like(AstroPix3Readout), st.binary(max_size=60)),
    ASTEP: st.one_of(good_frames, good_frames, frame_like),
    LARGE: framed,
    FRAMED4: framed,
    MINE: st.lists(st.sampled_from([b"H\x20", b"\xbc", b"H", b"\x01"]), max_size=9).map(b"".join),
    kind_of(5000): st.binary(max_size=20),
}


def some_readouts(kind):
    made = st.builds(kind.readout_class, DATA[kind], st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
    return st.tuples(st.just(kind), st.lists(made, max_size=6))


cases = st.sampled_from(list(DATA)).flatmap(some_readouts)


def fresh(readouts):
    return [type(one)(one.data(), one.readout_id, one.timestamp) for one in readouts]


@given(cases)
@example((ASTEP, [AStepReadout(ONE, 0, 0), AStepReadout(b"", 1, 0), AStepReadout(ONE[:3], 2, 0)]))
def test_columns_agree_with_decode(case):
    kind, readouts = case
    raw = b"".join(readout.to_bytes() for readout in readouts)
    check(decode_batch(raw, kind), readouts, kind)
    check(decode_batch(raw, kind.readout_class), readouts, kind)
    if readouts:
        check(decode_batch(iter(fresh(readouts))), readouts, kind)
    check(decode_batch(fresh(readouts), kind), readouts, kind)


@given(cases, st.integers(0, 60))
@example(
    (ASTEP, [AStepReadout(b"\n\1" + bytes(6), 0, 0), AStepReadout(b"", 0, 0), AStepReadout(b"", 0, 0)]), 0
)
@example((ASTROPIX3, [AstroPix3Readout(b"\x20\x28\xcc", 0, 0), AstroPix3Readout(b"\x90\x0c", 0, 0)]), 0)
def test_hits_are_put_together_as_a_joiner_does(case, cut):
    """Of readouts that follow one another, in two calls; also where the data of one are cut in two."""
    kind, made = case
    pieces = [one.data() for one in made]
    if pieces:
        pieces[:1] = [pieces[0][:cut], pieces[0][cut:]]
    readouts = [kind.readout_class(piece, i, 0) for i, piece in enumerate(pieces)]
    raws = [readout.to_bytes() for readout in readouts]
    expected = list(decoded([kind.readout_class.from_bytes(raw) for raw in raws], Joiner()))
    joiner = Joiner()
    for begin, end in ((0, 1), (1, len(raws))):
        batch = decode_batch(b"".join(raws[begin:end]), kind, joiner=joiner)
        check(batch, expected[begin:end], kind)
    check(decode_batch(readouts, kind), expected, kind)


@given(cases)
def test_hits_put_together_from_two_readouts_are_kept(case):
    kind, readouts = case
    extra = None
    for readout in readouts:
        readout.decode(extra)
        extra = readout.extra_bytes()
    check(decode_batch(readouts, kind), readouts, kind)


@given(
    st.sampled_from([ASTROPIX3, ASTEP]),
    st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 1), st.sampled_from([1, 2, 35]), st.sampled_from([0, 1, 255]),
                st.integers(100, 125), st.sampled_from([0, 0, 1]), st.sampled_from([1, 1, 2]),
                st.sampled_from([4, 4, 4, 3]),
            ),
            max_size=40,
        ),
        max_size=3,
    ),
)  # fmt: skip
def test_pixels_agree_with_pairing(kind, halves):
    """Crowded readouts, in which half hits contend for partners."""
    readouts = [make_readout(kind, i, some) for i, some in enumerate(halves)]
    batch = decode_batch(readouts, kind)
    owners = np.repeat(np.arange(len(readouts)), batch.hit_counts)
    expected = [pair_half_hits(readout.decode(), kind.pixel_rule) for readout in readouts]
    found = match_pixels(batch.hits, kind, owners)
    compare(found, [pixel for pixels, _ in expected for pixel in pixels], sum(left for _, left in expected))
    assert found.owners.tolist() == [i for i, (pixels, _) in enumerate(expected) for _ in pixels]
    every = [hit for readout in readouts for hit in readout.decode()]
    compare(match_pixels(batch.hits, kind), *pair_half_hits(every, kind.pixel_rule))


HALVES = st.tuples(
    st.integers(0, 1), st.sampled_from([1, 2, 35]), st.sampled_from([0, 1]), st.integers(100, 125),
    st.sampled_from([0, 0, 0, 1]), st.sampled_from([1, 1, 1, 2]), st.sampled_from([4, 4, 4, 3]),
)  # fmt: skip


@given(
    st.lists(st.tuples(st.lists(HALVES, max_size=20), st.sampled_from([1] * 9 + [2])), max_size=12),
    st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
@settings(max_examples=30)
def test_pixels_in_two_readouts_are_found_however_these_come(readouts, sizes):
    """As of all half hits at once, from one missing readout to the next."""
    made, groups, readout_id = [], [], 0
    for halves, step in readouts:
        readout_id += step
        groups.append((groups[-1] if groups else 0) + (step > 1))
        made.append(make_readout(ASTEP, readout_id, halves))
    whole = decode_batch(made, ASTEP)
    expected = match_pixels(whole.hits, ASTEP, np.repeat(np.array(groups, int), whole.hit_counts))
    matcher, settled, still_open, unpaired = PixelMatcher(ASTEP), [], [], 0
    for size in sizes:
        batch, made = made[:size], made[size:]
        found = matcher.take(decode_batch(batch, ASTEP))
        settled += found.settled.tolist()
        still_open = found.open.tolist()
        unpaired += found.fresh.unpaired
        assert sorted(found.both.tolist()) == sorted(found.settled.tolist() + found.open.tolist())
    assert sorted(settled + still_open) == sorted(expected.table.tolist())
    assert unpaired == expected.unpaired
    at_once = PixelMatcher(ASTEP).take(whole)
    if len(set(groups)) < 2:
        assert at_once.both.tolist() == expected.table.tolist()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_half_hits_of_astropix_3_stay_in_their_readouts(size):
    readouts = [
        make_readout(ASTROPIX3, i, [(i % 2, 3, 0, 100 + 15 * (1 - i % 2), 0, 1, 4)]) for i in range(9)
    ]
    matcher = PixelMatcher(ASTROPIX3)
    for begin in range(0, len(readouts), size):
        found = matcher.take(decode_batch(readouts[begin : begin + size], ASTROPIX3))
        assert len(found.settled) + len(found.open) == 0
    with pytest.raises(ConfigError, match="AstroPix 4 has no half hits"):
        PixelMatcher(ASTROPIX4)


def make_readout(kind, readout_id, halves):
    data = b""
    for is_column, location, ts, tot, chip, layer, payload in halves:
        half = bytes([chip << 3 | payload, is_column << 7 | location, ts, tot >> 8, tot & 0xFF])
        if kind is ASTEP:
            data += bytes([10, layer]) + half + bytes([readout_id, 0, 0, 0])
        else:
            data += bytes(int(f"{byte:08b}"[::-1], 2) for byte in half) + b"\xbc"
    return kind.readout_class(data, readout_id, 9)


def compare(found, pixels, unpaired):
    assert found.unpaired == unpaired
    table = found.table
    assert table["column"].tolist() == [pixel.column for pixel in pixels]
    assert table["row"].tolist() == [pixel.row for pixel in pixels]
    assert table["chip_id"].tolist() == [pixel.chip_id for pixel in pixels]
    for name in table.dtype.names:
        if name in ("layer", "readout_id", "timestamp", "fpga_timestamp"):
            assert table[name].tolist() == [getattr(pixel.row_hit, name) for pixel in pixels]
    for axis in ("column", "row"):
        halves = [getattr(pixel, f"{axis}_hit") for pixel in pixels]
        assert table[f"ts_{axis}"].tolist() == [half.ts for half in halves]
        assert table[f"tot_{axis}_us"].tolist() == [half.tot_us for half in halves]


def test_where_a_hit_is_a_pixel_there_is_nothing_to_match():
    with pytest.raises(ConfigError, match="AstroPix 4 has no half hits"):
        match_pixels(decode_columns(b""), ASTROPIX4)


def test_readouts_of_several_kinds_are_refused():
    three, four = AstroPix3Readout(b"", 0, 0), AstroPix4Readout(b"", 0, 0)
    with pytest.raises(
        ConfigError, match="of one kind are decoded together, not of AstroPix3Readout, AstroP"
    ):
        decode_columns([three, four])
    with pytest.raises(ConfigError, match="readouts of AstroPix4Readout are decoded together, not"):
        decode_columns([three], ASTROPIX4)
    assert decode_columns([], ASTROPIX3).dtype == hit_dtype(ASTROPIX3)


def test_an_unknown_kind_has_readouts_and_no_hits():
    kind = kind_of(5000)
    batch = decode_batch(AstroPix4Readout(b"\xe0" * 8, 3, 4).to_bytes(), kind)
    assert batch.readout_ids.tolist() == [3]
    assert batch.hits.dtype.names == ("readout_id", "timestamp", "decoding_order")
    assert len(batch.hits) == 0


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP])
@pytest.mark.parametrize(
    "piece", [b"\x20", b"\x20\xbc", b"\x20" * 5 + b"\xbc" * 999 + b"\0", b"\x0a", b"\x0a\x01", ONE, ONE[:-1]]
)
def test_columns_take_linear_time(kind, piece):
    readouts = [kind.readout_class(piece * (MAX_DATA // len(piece)), 0, 0) for _ in range(3)]
    begin = time.process_time()
    hits = decode_columns(readouts)
    match_pixels(hits, kind)
    assert time.process_time() - begin < 3


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_real_runs():
    with apx_open(SHARED / "run_20250729_astropix3.apx") as run:
        readouts = list(run)
    check(decode_batch(fresh(readouts)), readouts, ASTROPIX3)
    frames = AStepReadout((SHARED / "astep_20250820.bin").read_bytes(), 0, 0)
    batch = decode_batch([frames])
    check(batch, [frames], ASTEP)
    assert len(match_pixels(batch.hits, ASTEP).table) == 221


def test_noise_leaves_only_the_readouts_that_it_reaches_to_their_own_decode(monkeypatch):
    """One stretch of noise must not make all that follows slow."""
    datas = [ONE * 3 for _ in range(500)]
    datas[100] = ONE + b"\xff\xfe" + ONE
    datas[200], datas[201] = ONE + ONE[:4], ONE[4:] + ONE
    ids, parse = [], AStepReadout._parse

    def noted(readout, extra):
        ids.append(readout.readout_id)
        return parse(readout, extra)

    monkeypatch.setattr(AStepReadout, "_parse", noted)
    raw = b"".join(AStepReadout(data, i, i).to_bytes() for i, data in enumerate(datas))
    batch = decode_batch(raw, ASTEP)
    assert ids == [100, 200, 201]
    assert batch.hit_counts.tolist() == [3] * 100 + [2] + [3] * 99 + [1, 2] + [3] * 298
    assert batch.hits["readout_id"].tolist() == sorted(batch.hits["readout_id"].tolist())
