"""A-STEP: frames whole, bad, cut and with noise between, and as a real file has them."""

import csv
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astropix_stream.errors import ConfigError, FormatError
from astropix_stream.fmt import ASTEP, AStepHit, AStepReadout, Decoding, pair_half_hits
from astropix_stream.fmt.astep import find_frames

SHARED = Path(__file__).parents[4] / "shared" / "data"

# From a real file: a bad frame, then a column of layer 1 and one of layer 2.
BAD = bytes.fromhex("07011162b2197051")
ONE, TWO = bytes.fromhex("0a011c910b00ca4d917151"), bytes.fromhex("0a021c910b00e84d917151")

whole = st.tuples(st.integers(1, 3), st.binary(min_size=9, max_size=9)).map(
    lambda frame: bytes([10, frame[0]]) + frame[1]
)
bad = st.tuples(
    st.sampled_from([5, 9, 11, 13, 14]), st.integers(1, 3), st.binary(min_size=13, max_size=13)
).map(lambda frame: bytes(frame[:2]) + frame[2][: frame[0] - 1])
frame_like = st.lists(
    st.one_of(
        whole, whole, bad, st.binary(max_size=4), whole.map(lambda frame: frame[:-3]),
        st.lists(st.sampled_from([10, 1, 0, 13, 5]), max_size=30).map(bytes),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def walk(data):
    """Divide data into frames as the format reads: whole ones, bad ones, bytes of noise, and what is left."""

    def can_begin(at):
        return 5 <= data[at] <= 14 and (at + 1 == len(data) or 1 <= data[at + 1] <= 3)

    frames, bad_frames, noise, at = [], [], 0, 0
    while at < len(data):
        end = at + 1 + data[at]
        if can_begin(at):
            if end > len(data):
                return frames, bad_frames, noise, data[at:]
            (frames if data[at] == 10 else bad_frames).append(data[at:end])
            at = end
        elif 5 <= data[at] <= 14 and (end == len(data) or (end < len(data) and can_begin(end))):
            bad_frames.append(data[at:end])  # of a layer that there is not
            at = end
        else:
            at, noise = at + 1, noise + 1
            while at < len(data):
                end = at + 11
                followed = end == len(data) or (end < len(data) and can_begin(end))
                if data[at] == 10 and can_begin(at) and followed:
                    break
                at, noise = at + 1, noise + 1
    return frames, bad_frames, noise, b""


def test_frames_of_a_real_file():
    readout = AStepReadout(BAD + ONE + TWO, 5, 7)
    one, two = readout.decode()
    assert one.attribute_values() == [1, 3, 4, 5, 7, 0, 1, 17, 11, 0, 202, 202, 2.02, 0x5171914D]
    assert two.attribute_values(["layer", "chip_id", "tot_us"]) == [2, 3, 2.32]
    assert readout.bad_frames() == [BAD]
    assert readout.noise_bytes() == 0
    assert str(readout.decoding_status()) == "INCOMPLETE_HIT_DROPPED"
    assert str(one) == "hit 0 of readout 5: layer 1, chip 3, column 17, TOT 2.02 us, FPGA time 1366397261"
    assert readout.pretty_print().splitlines()[-1] == "  bad frame: 07 01 11 62 b2 19 70 51"


def test_the_kind():
    assert (ASTEP.uid, ASTEP.name, ASTEP.clock_mhz, ASTEP.layers) == (3100, "A-STEP", 100, 3)
    assert (ASTEP.rows, ASTEP.columns, ASTEP.half_hits) == (35, 35, True)
    assert " ".join(ASTEP.types) == (
        "layer chip_id payload readout_id timestamp decoding_order is_column location ts tot_msb tot_lsb tot "
        "tot_us fpga_timestamp"
    )
    assert (ASTEP.types["layer"], ASTEP.types["fpga_timestamp"]) == ("u1", "u8")


def test_nothing_is_stripped_from_the_end():
    frame = ONE[:-2] + b"\xff\xff"
    for readout in (
        AStepReadout(frame, 0, 0),
        AStepReadout.from_bytes(AStepReadout(frame, 0, 0).to_bytes()),
        *AStepReadout.from_payload(
            AStepReadout(frame, 0, 0).to_bytes() * 2, range(30, 61, 30), [0, 0], [0, 0]
        ),
        *AStepReadout.from_payload(AStepReadout(frame, 0, 0).to_bytes(), [30], [0], [0]),
    ):
        assert readout.data() == frame
        assert readout.decode()[0].fpga_timestamp == 0xFFFF914D


@pytest.mark.parametrize(
    ("data", "extra", "hits", "bad_frames", "noise", "left", "status"),
    [
        (b"", None, 0, 0, 0, None, ""),
        (ONE + TWO, None, 2, 0, 0, None, ""),
        (ONE + TWO[:6], None, 1, 0, 0, TWO[:6], "VALID_EXTRA_BYTES"),
        (ONE + b"\x0a", None, 1, 0, 0, b"\x0a", "VALID_EXTRA_BYTES"),
        (TWO[6:] + ONE, TWO[:6], 2, 0, 0, None, "ORPHAN_BYTES_MATCHED"),
        (TWO[6:] + ONE, None, 1, 0, 5, None, "ORPHAN_BYTES_NOT_USED"),
        (TWO[6:] + ONE, b"\x00\x00", 1, 0, 7, None, "ORPHAN_BYTES_DROPPED"),
        (ONE + b"\x00\xfe\x0a" + TWO, None, 2, 0, 3, None, "INVALID_EXTRA_BYTES"),
        (ONE + b"\x0a\x00" + bytes(9) + TWO, None, 2, 1, 0, None, "INCOMPLETE_HIT_DROPPED"),
        (ONE + b"\x0d\x02" + bytes(12) + TWO, None, 2, 1, 0, None, "INCOMPLETE_HIT_DROPPED"),
        (ONE + b"\x10\x01" + bytes(3), None, 1, 0, 5, None, "INVALID_EXTRA_BYTES"),
    ],
)
def test_the_rules_of_frames(data, extra, hits, bad_frames, noise, left, status):
    readout = AStepReadout(data, 0, 0)
    assert len(readout.decode(extra)) == hits
    assert len(readout.bad_frames()) == bad_frames
    assert readout.noise_bytes() == noise
    assert readout.extra_bytes() == left
    assert {bit.name for bit in Decoding if readout.decoding_status()[bit]} == set(status.split())


@given(st.one_of(frame_like, st.binary(max_size=100)), st.one_of(st.none(), st.binary(max_size=12)))
@example(b"\x0a\x00" * 30, None)
def test_any_bytes_decode_as_the_rules_say(data, extra):
    readout = AStepReadout(data, 3, 4)
    frames, bad_frames, noise, left = walk((extra or b"") + data)
    assert readout.decode(extra) == [AStepHit(frame[1:], 3, 4, 0) for frame in frames]
    assert readout.find() == [frame[1:] for frame in frames]
    assert readout.bad_frames() == bad_frames
    assert readout.noise_bytes() == noise
    assert (readout.extra_bytes() or b"") == left
    assert sum(map(len, frames + bad_frames)) + noise + len(left) == len((extra or b"") + data)
    assert bool(readout.decoding_status()) or not (bad_frames or noise or left)


@given(frame_like, st.lists(st.integers(0, 200), max_size=4))
def test_a_stream_in_pieces_has_the_frames_of_the_whole(data, cuts):
    """What more bytes may decide is left over, and comes again with them."""
    expected = find_frames(data, 10)
    whole_frames, bad_frames, noise, left, base = [], [], 0, b"", 0
    places, lost = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)}), False
    for begin, end in pairwise(places):
        left += data[begin:end]
        found = find_frames(left, 10, ended=end == len(data), lost=lost)
        lost = found.lost
        assert len(left) - found.end <= 16
        whole_frames += [base + at for at in found.whole]
        bad_frames += [(base + first, base + last) for first, last in found.bad]
        noise += sum(last - first for first, last in found.noise)
        left, base = left[found.end :], base + found.end
    if data:
        assert whole_frames == expected.whole
        assert bad_frames == expected.bad
        assert noise == sum(last - first for first, last in expected.noise)
        assert base == expected.end


SIZE = 1 << 18


@pytest.mark.parametrize(
    "piece",
    [b"\x0a", b"\x0a\x01", b"\x00", b"\x0a\x01\x00", b"\x05\x00\x00", ONE[:-1], b"\x0a\x00" + bytes(9)],
)
def test_decoding_takes_linear_time(piece):
    readout = AStepReadout(piece * (SIZE // len(piece)), 0, 0)
    begin = time.process_time()
    readout.find()
    assert time.process_time() - begin < 3


def test_other_settings():
    kind = ASTEP.configured(timestamp_bytes="8", tick_ns="50")
    assert kind.uid == 3100
    assert vars(kind.readout_class)["TICK_NS"] == 50.0
    assert kind == kind.readout_class.KIND
    frame = bytes([14]) + ONE[1:] + b"\x01\x00\x00\x80"
    (hit,) = kind.readout_class(frame, 0, 0).decode()
    assert hit.fpga_timestamp == 0x800000015171914D
    assert AStepReadout(frame, 0, 0).decode() == []
    assert ASTEP.configured(timestamp_bytes=4).readout_class is AStepReadout


def test_hits_of_astropix4_in_frames():
    kind = ASTEP.configured(hit_size=8)
    assert (kind.half_hits, kind.rows, kind.columns, kind.clock_mhz) == (False, 13, 16, 20)
    assert kind.pixel_types == kind.types
    assert "ts_dec1" in kind.types
    data = bytes(range(0xE0, 0xE8))
    frame = bytes([13, 2]) + data + b"\x01\x00\x00\x00"
    (hit,) = kind.readout_class(frame, 0, 0).decode()
    assert hit.bits == int.from_bytes(data, "big")
    assert (hit.layer, hit.fpga_timestamp, len(hit.attribute_values())) == (2, 1, len(kind.types))
    assert str(hit).startswith("hit 0 of readout 0: layer 2, chip 28, column ")
    assert hit != kind.hit_class(frame[1:-1] + b"\x01", 0, 0, 0)
    assert AStepReadout(frame, 0, 0).bad_frames() == [frame]


@pytest.mark.parametrize(
    "setting",
    [
        {"hit_size": 6}, {"hit_size": "x"}, {"timestamp_bytes": 1}, {"timestamp_bytes": 9}, {"tick_ns": 0},
        {"tick_ns": "inf"}, {"tick_ns": "nan"}, {"tot_window": "5"}, {"tot_window": "9-5"},
        {"ts_window": "0-256"}, {"colour": 1},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        ASTEP.configured(**setting)


def test_a_frame_too_short_or_long_for_a_hit():
    for data in (bytes(7), bytes(15)):
        with pytest.raises(FormatError, match=f"8 to 14 bytes after its length, not {len(data)}"):
            AStepHit(data, 0, 0, 0)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_real_file():
    """Every half hit, every bad frame, and as many pixels as the description of the format promises."""
    readout = AStepReadout((SHARED / "astep_20250820.bin").read_bytes(), 0, 0)
    rows = [*csv.DictReader((SHARED / "astep_20250820_hits.csv").read_text().splitlines())]
    assert [[float(value) for value in row.values()] for row in rows] == [
        hit.attribute_values(list(rows[0])) for hit in readout.decode()
    ]
    assert (len(rows), len(readout.bad_frames()), readout.noise_bytes()) == (480, 20, 0)
    pixels, unpaired = pair_half_hits(readout.hits(), ASTEP.pixel_rule)
    assert (len(pixels), unpaired) == (221, 480 - 2 * 221)


@given(st.one_of(frame_like, st.binary(max_size=100)), st.one_of(st.none(), st.binary(max_size=16)))
@example(TWO[6:] + ONE, TWO[:6])
@example(BAD[4:] + ONE, BAD[:4])
@example(b"\x00" + ONE + b"\x00", None)
def test_what_each_byte_is_agrees_with_the_frames(data, extra):
    found = AStepReadout.spans(data, extra)
    readout = AStepReadout(data, 0, 0)
    frames = readout.find(extra)
    sizes = dict.fromkeys(("start", "hit", "idle", "orphan", "extra", "dropped", "undecoded"), 0)
    for span in found:
        sizes[span.meaning] += span.end - span.begin
    assert sum(sizes.values()) == len(data)
    assert sizes["idle"] == sizes["undecoded"] == 0
    assert sizes["start"] >= len(frames) - 1 or extra
    if not extra:
        assert sizes["start"] + sizes["hit"] == 11 * len(frames)
        assert sizes["extra"] == len(readout.extra_bytes() or b"")
        bad_bytes = sum(map(len, readout.bad_frames()))
        assert sizes["dropped"] + sizes["orphan"] == bad_bytes + readout.noise_bytes()
