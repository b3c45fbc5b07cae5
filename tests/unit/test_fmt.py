"""The format of readouts and hits: golden bytes, and any bytes."""

import io
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astropix_stream import fmt
from astropix_stream.errors import FormatError
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout, Decoding, reverse_bit_order

SHARED = Path(__file__).parents[3] / "shared" / "data"

# A readout of a real run: 19 bytes of header, 16 of data.
GOLDEN = bytes.fromhex("fedcba 00000000 e8f2f1199fd05418 10000000 bcbce0401eac0dccc200bcbcbcbcbcbc")
IDLE = b"\xbc\xff"
STARTS = range(0xE0, 0xFF)

thorough = settings(deadline=None, max_examples=300)

idle = st.lists(st.sampled_from(IDLE), max_size=9).map(bytes)
# Bytes that look like hits: whole, cut and joined, with idle and padding between.
hit_like = st.lists(
    st.one_of(
        st.binary(min_size=7, max_size=7).map(lambda tail: b"\xe0" + tail),
        st.tuples(st.sampled_from(STARTS), st.binary(max_size=9)).map(lambda hit: bytes(hit[:1]) + hit[1]),
        st.lists(st.sampled_from([0xE0, 0xE1, 0xBC, 0xFF, 0x00, 0x42]), max_size=20).map(bytes),
        st.sampled_from([b"\xbc\xbc", b"\xbc" * 8, b"\xff" * 4 + b"\xbc"]),
    ),
    max_size=12,
).map(b"".join)
any_data = st.one_of(st.binary(max_size=200), hit_like)


def walk(data, extra_bytes):
    """Decode as the rules of the format read, a byte at a time: hits, extra bytes, status bits."""

    def skip(at, unwanted):
        while at < len(data) and unwanted(data[at]):
            at += 1
        return at

    data = data.rstrip(b"\xff")
    hits, status = [], set()
    begin = skip(0, lambda byte: byte in IDLE)
    at = skip(begin, lambda byte: byte not in STARTS)
    orphans = data[begin:at].rstrip(IDLE)
    if orphans and not extra_bytes:
        status.add("ORPHAN_BYTES_NOT_USED")
    elif orphans and len(extra_bytes + orphans) == 8:
        status.add("ORPHAN_BYTES_MATCHED")
        hits.append(extra_bytes + orphans)
    elif orphans:
        status.add("ORPHAN_BYTES_DROPPED")
    while at < len(data):
        if len(data) - at < 8:
            return hits, data[at:], status | {"VALID_EXTRA_BYTES"}
        inner = skip(at + 1, lambda byte: byte not in STARTS)
        after = skip(at + 8, lambda byte: byte in IDLE)
        if inner >= at + 8 or after == len(data) or data[after] in STARTS:
            hits.append(data[at : at + 8])
            at = skip(at + 8, lambda byte: byte not in STARTS)
        else:
            status.add("INCOMPLETE_HIT_DROPPED")
            at = inner
    return hits, None, status


def decode(data, extra_bytes=None):
    readout = AstroPix4Readout(data, 7, 11)
    hits = readout.decode(extra_bytes)
    assert [hit.decoding_order for hit in hits] == list(range(len(hits)))
    status = {bit.name for bit in Decoding if readout.decoding_status()[bit]}
    assert bool(readout.decoding_status()) is bool(status)
    return [reverse_bit_order(hit.bits.to_bytes(8, "big")) for hit in hits], readout.extra_bytes(), status


def test_a_real_readout():
    readout = AstroPix4Readout.from_bytes(GOLDEN)
    assert (readout.readout_id, readout.timestamp) == (0, 1753255536707629800)
    assert readout.hex() == "bcbce0401eac0dccc200bcbcbcbcbcbc"
    (hit,) = readout.decode()
    assert dict(zip(hit.ATTRIBUTE_NAMES, hit.attribute_values(), strict=True)) == {
        "chip_id": 0, "payload": 7, "readout_id": 0, "timestamp": 1753255536707629800, "decoding_order": 0,
        "row": 0, "column": 9, "ts_neg1": 1, "ts_coarse1": 12395, "ts_fine1": 3, "ts_tdc1": 0, "ts_neg2": 0,
        "ts_coarse2": 13123, "ts_fine2": 0, "ts_tdc2": 0, "ts_dec1": 66157, "ts_dec2": 70639, "tot_us": 224.1,
    }  # fmt: skip
    assert readout.to_bytes() == GOLDEN


def test_the_order_of_the_fields():
    names = (
        "chip_id payload readout_id timestamp decoding_order row column ts_neg1 ts_coarse1 ts_fine1 ts_tdc1 "
        "ts_neg2 ts_coarse2 ts_fine2 ts_tdc2 ts_dec1 ts_dec2 tot_us"
    )
    assert " ".join(AstroPix4Hit.ATTRIBUTE_NAMES) == names


def test_the_counter_rolls_over_between_the_two_timestamps():
    (hit,) = AstroPix4Readout(bytes.fromhex("bcbce0400ace05805606bcbc"), 18, 0).decode()
    assert hit.attribute_values(["ts_dec1", "ts_dec2", "tot_us"]) == [129580, 134557, 248.85]


@thorough
@given(st.binary(min_size=8, max_size=8))
def test_a_hit_reads_its_fields_from_64_bits(data):
    hit = AstroPix4Hit(data, 1, 2, 3)
    bits = "".join(f"{byte:08b}" for byte in data)
    widths = [5, 3, 5, 5, 1, 14, 3, 5, 1, 14, 3, 5]
    fields = []
    for width in widths:
        fields.append(int(bits[:width], 2))
        bits = bits[width:]
    assert [value for name, value in zip(hit.ATTRIBUTE_NAMES, hit.attribute_values(), strict=True)
            if name in fmt.BIT_FIELDS] == fields  # fmt: skip
    assert hit.ts_dec1 ^ hit.ts_dec1 >> 1 == hit.ts_coarse1 * 8 + hit.ts_fine1
    second = hit.ts_dec2 % 2**17
    assert second ^ second >> 1 == hit.ts_coarse2 * 8 + hit.ts_fine2
    assert 0 <= hit.ts_dec2 - hit.ts_dec1 < 2**17
    assert hit.tot_us == (hit.ts_dec2 - hit.ts_dec1) / 20
    assert (hit.readout_id, hit.timestamp, hit.decoding_order) == (1, 2, 3)


def test_hits_are_equal_when_their_bytes_are():
    hit = AstroPix4Hit(b"12345678", 1, 2, 3)
    assert hit == AstroPix4Hit(bytearray(b"12345678"), 4, 5, 6)
    assert hash(hit) == hash(AstroPix4Hit(b"12345678", 4, 5, 6))
    assert hit != AstroPix4Hit(b"12345679", 1, 2, 3)
    assert hit != b"12345678"
    with pytest.raises(FormatError, match="8 bytes, not 3"):
        AstroPix4Hit(b"123", 1, 2, 3)


def test_reverse_bit_order():
    assert reverse_bit_order(bytes.fromhex("01 80 e0 00 ff 35")) == bytes.fromhex("80 01 07 00 ff ac")


TWO_HITS = "bcbc e08056e80da85403 bcbcbcbcbcbcbcbc e080d26f04ca3005 bcbcbcbcbcbc"


@pytest.mark.parametrize(
    ("data", "extra", "hits", "left", "status"),
    [
        ("", None, "", None, ""),
        ("bcbc", None, "", None, ""),
        (TWO_HITS, None, "e08056e80da85403 e080d26f04ca3005", None, ""),
        ("e040b6530bfa1705 e040923d000a0c05", "e0", "e040b6530bfa1705 e040923d000a0c05", None, ""),
        ("ffbcffff e040b6530bfa1705", None, "e040b6530bfa1705", None, ""),
        ("05340800 bcbc e040923d000a0c05", "e040eec9", "e040eec905340800 e040923d000a0c05", None,
         "ORPHAN_BYTES_MATCHED"),
        ("340800 bcbc e040923d000a0c05", "e040eec9", "e040923d000a0c05", None, "ORPHAN_BYTES_DROPPED"),
        ("05340800 bcbc e040923d000a0c05", None, "e040923d000a0c05", None, "ORPHAN_BYTES_NOT_USED"),
        ("05340800 bcffbc", "e040eec9", "e040eec905340800", None, "ORPHAN_BYTES_MATCHED"),
        ("bcbc e040eec905340800 bcbc e040fe", None, "e040eec905340800", "e040fe", "VALID_EXTRA_BYTES"),
        # the last byte of a hit is ff, and was stripped with the padding
        ("e040eec9053408ff", None, "", "e040eec9053408", "VALID_EXTRA_BYTES"),
        ("bcbc e040b6 e040923d000a0c05 bcbc", None, "e040923d000a0c05", None, "INCOMPLETE_HIT_DROPPED"),
        # a start byte inside a hit is data if a hit, or the end, comes next
        ("e040b6e0923d000a bcff e040923d000a0c05", None, "e040b6e0923d000a e040923d000a0c05", None, ""),
        ("e040b6e0923d000a", None, "e040b6e0923d000a", None, ""),
        # bytes between hits are dropped without a word
        ("e040923d000a0c05 123456 e0401eac0dccc200 12", None, "e040923d000a0c05 e0401eac0dccc200", None, ""),
    ],
)  # fmt: skip
def test_the_rules_of_decoding(data, extra, hits, left, status):
    found = decode(bytes.fromhex(data), bytes.fromhex(extra) if extra else None)
    expected = [bytes.fromhex(hit) for hit in hits.split()], bytes.fromhex(left) if left else None
    assert found == (*expected, set(status.split()))


@thorough
@given(any_data, st.one_of(st.none(), st.binary(max_size=10)))
@example(b"\xe0" * 8 + b"\xbc" * 3 + b"\x00", None)
def test_any_bytes_decode_as_the_rules_say(data, extra_bytes):
    assert decode(data, extra_bytes) == walk(data, extra_bytes)


@thorough
@given(st.lists(st.tuples(idle, st.sampled_from(STARTS), st.binary(min_size=7, max_size=7)), max_size=10))
def test_packed_hits_are_found_again(pieces):
    hits = [bytes([start]) + tail for _, start, tail in pieces]
    packed = b"".join(gap + hit for (gap, _, _), hit in zip(pieces, hits, strict=True)) + b"\xbc"
    assert decode(packed) == (hits, None, set())


SIZE = 1 << 18
ADVERSARIES = {
    "starts": b"\xe0" * SIZE,
    "start, idle": b"\xe0" + b"\xbc" * SIZE,
    "starts, idle, other": b"\xe0" * 8 + b"\xbc" * SIZE + b"\x00",
    "many of those": (b"\xe0" * 8 + b"\xbc" * 1000 + b"\x00") * (SIZE // 1009),
    "alternating": b"\xe0\xbc" * (SIZE // 2),
    "padding, other": b"\xff" * SIZE + b"\x00",
    "others": b"\x00" * SIZE,
    "orphan, idle, other": b"\x00" + b"\xbc" * SIZE + b"\x00",
    "cut hits": b"\xe0\x00\x00" * (SIZE // 3) + b"\x00" * 8,
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_decoding_takes_linear_time(name):
    # 256 KiB take up to 0.1 s. In quadratic time, at 1 ns a step, they would take a minute.
    readout = AstroPix4Readout(ADVERSARIES[name], 0, 0)
    begin = time.process_time()
    readout.decode(b"\xe0")
    assert time.process_time() - begin < 3


def test_a_second_decode_gives_the_same_list():
    readout = AstroPix4Readout(bytes.fromhex(TWO_HITS), 0, 0)
    assert not readout.decoded()
    hits = readout.decode()
    assert readout.decoded()
    assert readout.decode(b"\xe0") is hits
    assert readout.hits() is hits


def test_questions_about_hits_decode():
    for ask in (AstroPix4Readout.hits, AstroPix4Readout.decoding_status, AstroPix4Readout.extra_bytes):
        readout = AstroPix4Readout(bytes.fromhex("e040eec905340800 e040fe"), 0, 0)
        assert ask(readout)
        assert readout.decoded()


def test_extra_bytes_join_two_readouts():
    whole = bytes.fromhex(TWO_HITS)
    first, second = AstroPix4Readout(whole[:22], 0, 0), AstroPix4Readout(whole[22:], 1, 0)
    hits = first.decode() + second.decode(first.extra_bytes())
    assert hits == AstroPix4Readout(whole, 0, 0).decode()
    assert second.decoding_status()[Decoding.ORPHAN_BYTES_MATCHED]
    assert [hit.readout_id for hit in hits] == [0, 1]


def test_the_bits_of_the_status():
    assert [bit.name for bit in Decoding] == [
        "ORPHAN_BYTES_MATCHED", "ORPHAN_BYTES_DROPPED", "ORPHAN_BYTES_NOT_USED", "VALID_EXTRA_BYTES",
        "INVALID_EXTRA_BYTES", "INCOMPLETE_HIT_DROPPED", "NOT_ALL_BYTES_VISITED", "UNKNOWN_FATAL_ERROR",
    ]  # fmt: skip
    assert list(Decoding) == list(range(8))
    assert str(fmt.DecodingStatus(0b101000)) == "VALID_EXTRA_BYTES, INCOMPLETE_HIT_DROPPED"
    assert str(fmt.DecodingStatus(0)) == "clean"


def test_a_readout_strips_padding_and_latches_the_clock():
    before = time.time_ns()
    readout = AstroPix4Readout(bytearray(b"\x01\xff\x02\xff\xff"), 5)
    assert readout.data() == b"\x01\xff\x02"
    assert before <= readout.timestamp <= AstroPix4Readout.latch_ns()


@pytest.mark.parametrize(("readout_id", "timestamp"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**64)])
def test_a_readout_refuses_what_its_header_cannot_hold(readout_id, timestamp):
    with pytest.raises(ValueError, match="u32"):
        AstroPix4Readout(b"", readout_id, timestamp)


@thorough
@given(st.binary(max_size=50), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_a_readout_packs_and_parses(data, readout_id, timestamp):
    readout = AstroPix4Readout(data, readout_id, timestamp)
    raw = readout.to_bytes()
    stripped = data.rstrip(b"\xff")
    assert raw == (
        b"\xfe\xdc\xba" + readout_id.to_bytes(4, "little") + timestamp.to_bytes(8, "little")
        + len(stripped).to_bytes(4, "little") + stripped
    )  # fmt: skip
    for kind in (bytes, bytearray, memoryview):
        again = AstroPix4Readout.from_bytes(kind(raw))
        assert (again.data(), again.readout_id, again.timestamp) == (stripped, readout_id, timestamp)
    assert AstroPix4Readout.from_fields(data, readout_id, timestamp) == readout == again
    assert eval(repr(readout)) == readout


def test_from_bytes_strips_padding():
    raw = GOLDEN[:15] + b"\x04\0\0\0" + b"\x01\x02\xff\xff"
    readout = AstroPix4Readout.from_bytes(raw)
    assert readout.data() == b"\x01\x02"
    assert len(readout.to_bytes()) == len(raw) - 2


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (b"", "0 bytes, where the header of a readout is 19"),
        (GOLDEN[:18], "18 bytes, where the header"),
        (b"\xfe\xdc\xbb" + GOLDEN[3:], "begins with fe dc bb, not with the magic fe dc ba"),
        (GOLDEN[:-1], "announces 16 bytes of data, 15 follow"),
        (GOLDEN + b"\0", "announces 16 bytes of data, 17 follow"),
        (GOLDEN[:15] + b"\xff" * 4, "announces 4294967295 bytes of data, more than the 65488 of a datagram"),
    ],
)
def test_bytes_that_are_no_readout(raw, wrong):
    with pytest.raises(FormatError, match=wrong):
        AstroPix4Readout.from_bytes(raw)


@thorough
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda rest: GOLDEN[:16] + rest)))
def test_any_bytes_are_a_readout_or_a_format_error(raw):
    try:
        readout = AstroPix4Readout.from_bytes(raw)
    except FormatError:
        return
    assert readout.to_bytes()[:15] == raw[:15]
    assert readout.data() == raw[19:].rstrip(b"\xff")


def test_the_largest_datagram():
    assert len(AstroPix4Readout(bytes(fmt.MAX_DATA), 0, 0).to_bytes()) == fmt.MAX_DATAGRAM == 65507
    raw = AstroPix4Readout(bytes(fmt.MAX_DATA), 0, 0).to_bytes()
    assert AstroPix4Readout.from_bytes(raw).to_bytes() == raw


def test_write_and_read_an_open_file():
    readouts = [AstroPix4Readout(bytes([number]) * number, number, number) for number in range(3)]
    file = io.BytesIO()
    for readout in readouts:
        readout.write(file)
    raw = file.getvalue()
    file.seek(0)
    assert [AstroPix4Readout.from_file(file) for _ in range(4)] == [*readouts, None]
    with pytest.raises(FormatError, match="middle of a readout, 20 bytes left over"):
        AstroPix4Readout.from_file(io.BytesIO(raw[-21:-1]))
    with pytest.raises(FormatError, match="5 bytes, where"):
        AstroPix4Readout.from_file(io.BytesIO(raw[:5]))


def test_split_stops_before_what_is_incomplete():
    walk = fmt.split(GOLDEN + GOLDEN + GOLDEN[:-1])
    assert [next(walk), next(walk)] == [(GOLDEN, 0, 1753255536707629800)] * 2
    with pytest.raises(StopIteration) as stop:
        next(walk)
    assert stop.value.value == 2 * len(GOLDEN)


def test_split_tells_where_the_damage_is():
    walk = fmt.split(GOLDEN + b"\0" * 40, base=1000)
    next(walk)
    with pytest.raises(FormatError, match="not a readout at byte 1035: begins with 00 00 00"):
        next(walk)


def test_uid():
    assert AstroPix4Readout.uid() == 4000
    assert fmt.uid_to_readout_class(4000) is AstroPix4Readout
    wrong: list[Any] = [1, "4000", None, [], {}]
    for uid in wrong:
        with pytest.raises(FormatError, match=r"there is 4000 \(AstroPix4Readout\)"):
            fmt.uid_to_readout_class(uid)


@given(st.lists(st.binary(max_size=5), min_size=1), st.lists(st.sampled_from([b"\xbc\x01", b"\xbc\xff"])))
def test_readouts_of_a_payload_are_those_of_its_datagrams(some, alike):
    """Of any sizes, and of one size, for which there is a faster way; with padding and without."""
    for data in (some, alike):
        payloads = [fmt.HEADER.pack(fmt.MAGIC, i, 2 * i, len(each)) + each for i, each in enumerate(data)]
        ends = [*accumulate(map(len, payloads))]
        columns = range(len(data)), [2 * i for i in range(len(data))]
        expected = [AstroPix4Readout.from_bytes(each) for each in payloads]
        assert AstroPix4Readout.from_payload(b"".join(payloads), ends, *columns) == expected
        if data is alike and data:
            alike_ends = range(ends[0], ends[-1] + 1, ends[0])
            assert AstroPix4Readout.from_payload(b"".join(payloads), alike_ends, *columns) == expected


def test_texts_for_people():
    readout = AstroPix4Readout(bytes.fromhex(TWO_HITS), 7, 11)
    assert str(readout) == "readout 7 at 11 ns, 32 bytes"
    assert readout.pretty_print(hits=False) == f"{readout}: {readout.hex()}"
    assert readout.pretty_print().splitlines() == [
        f"{readout}: {readout.hex()}",
        "  hit 0 of readout 7: chip 0, row 0, column 5, TOT 162.75 us",
        "  hit 1 of readout 7: chip 0, row 0, column 5, TOT 332.65 us",
        "  decoding: clean",
    ]
    assert repr(readout.hits()[0]).startswith("AstroPix4Hit(chip_id=0, payload=7, readout_id=7, ")


def test_the_import_needs_little():
    # A DAQ imports this: nothing that is slow to import may come along (typing comes with `sock` anyway).
    code = "import sys, astropix_stream.fmt; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    heavy = {"numpy", "logging", "json", "dataclasses", "zmq", "inspect"}
    assert not heavy & set(loaded.stdout.split())


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
def test_the_vectors_and_the_real_run():
    script = [sys.executable, "-B", str(SHARED / "check_vectors.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "0 vectors wrong; 0 of 776 hits of the real run wrong", done.stderr
