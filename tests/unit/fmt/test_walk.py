"""The walk over start bytes, for each kind that uses it: the rules, any bytes, linear time."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astropix_stream.fmt import AstroPix3Readout, AstroPix4Readout, Decoding, Walk, reverse_bit_order

IDLE = b"\xbc\xff"
WALKED = (AstroPix4Readout, AstroPix3Readout)
TWO_HITS = "bcbc e08056e80da85403 bcbcbcbcbcbcbcbc e080d26f04ca3005 bcbcbcbcbcbc"

idle = st.lists(st.sampled_from(IDLE), max_size=9).map(bytes)


def hit_like(kind):
    """Bytes that look like hits: whole, cut and joined, with idle and padding between."""
    rest, starts = kind.WALK.hit_size - 1, kind.WALK.starts
    return st.lists(
        st.one_of(
            st.binary(min_size=rest, max_size=rest).map(lambda tail: starts[:1] + tail),
            st.tuples(st.sampled_from(starts), st.binary(max_size=rest + 2)).map(
                lambda hit: bytes(hit[:1]) + hit[1]
            ),
            st.lists(st.sampled_from([*starts[:2], 0xBC, 0xFF, 0x00, 0x42]), max_size=20).map(bytes),
            st.sampled_from([b"\xbc\xbc", b"\xbc" * 8, b"\xff" * 4 + b"\xbc"]),
        ),
        max_size=12,
    ).map(b"".join)


def any_case():
    """A kind, and any data and extra bytes."""
    extra = st.one_of(st.none(), st.binary(max_size=10))
    return st.sampled_from(WALKED).flatmap(
        lambda kind: st.tuples(st.just(kind), st.one_of(st.binary(max_size=200), hit_like(kind)), extra)
    )


def walk(kind, data, extra_bytes):
    """Decode as the rules of the format read, a byte at a time: hits, extra bytes, status bits."""
    size, starts = kind.WALK.hit_size, kind.WALK.starts

    def skip(at, unwanted):
        while at < len(data) and unwanted(data[at]):
            at += 1
        return at

    data = data.rstrip(b"\xff")
    hits, status = [], set()
    begin = skip(0, lambda byte: byte in IDLE)
    at = skip(begin, lambda byte: byte not in starts)
    orphans = data[begin:at].rstrip(IDLE)
    if orphans and not extra_bytes:
        status.add("ORPHAN_BYTES_NOT_USED")
    elif orphans and len(extra_bytes + orphans) == size:
        status.add("ORPHAN_BYTES_MATCHED")
        hits.append(extra_bytes + orphans)
    elif orphans:
        status.add("ORPHAN_BYTES_DROPPED")
    while at < len(data):
        if len(data) - at < size:
            return hits, data[at:], status | {"VALID_EXTRA_BYTES"}
        inner = skip(at + 1, lambda byte: byte not in starts)
        after = skip(at + size, lambda byte: byte in IDLE)
        if inner >= at + size or after == len(data) or data[after] in starts:
            hits.append(data[at : at + size])
            at = skip(at + size, lambda byte: byte not in starts)
        else:
            status.add("INCOMPLETE_HIT_DROPPED")
            at = inner
    return hits, None, status


def decode(kind, data, extra_bytes=None):
    readout = kind(data, 7, 11)
    hits = readout.decode(extra_bytes)
    assert [hit.decoding_order for hit in hits] == list(range(len(hits)))
    assert {hit.readout_id for hit in hits} <= {7}
    status = {bit.name for bit in Decoding if readout.decoding_status()[bit]}
    assert bool(readout.decoding_status()) is bool(status)
    found = [reverse_bit_order(hit.bits.to_bytes(hit.SIZE, "big")) for hit in hits]
    assert found == readout.find()
    return found, readout.extra_bytes(), status


def test_reverse_bit_order():
    assert reverse_bit_order(bytes.fromhex("01 80 e0 00 ff 35")) == bytes.fromhex("80 01 07 00 ff ac")


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
    found = decode(AstroPix4Readout, bytes.fromhex(data), bytes.fromhex(extra) if extra else None)
    expected = [bytes.fromhex(hit) for hit in hits.split()], bytes.fromhex(left) if left else None
    assert found == (*expected, set(status.split()))


@given(any_case())
@example((AstroPix4Readout, b"\xe0" * 8 + b"\xbc" * 3 + b"\x00", None))
@example((AstroPix3Readout, b"\x20" * 5 + b"\xbc" * 3 + b"\x00", None))
def test_any_bytes_decode_as_the_rules_say(case):
    assert decode(*case) == walk(*case)


@given(
    st.sampled_from(WALKED),
    st.lists(st.tuples(idle, st.integers(0, 30), st.binary(min_size=7, max_size=7)), max_size=10),
)
def test_packed_hits_are_found_again(kind, pieces):
    size, starts = kind.WALK.hit_size, kind.WALK.starts
    hits = [bytes([starts[start]]) + tail[: size - 1] for _, start, tail in pieces]
    packed = b"".join(gap + hit for (gap, _, _), hit in zip(pieces, hits, strict=True)) + b"\xbc"
    assert decode(kind, packed) == (hits, None, set())


SIZE = 1 << 18
ADVERSARIES = {
    "starts": b"S" * SIZE,
    "start, idle": b"S" + b"\xbc" * SIZE,
    "starts, idle, other": b"S" * 8 + b"\xbc" * SIZE + b"\x00",
    "many of those": (b"S" * 8 + b"\xbc" * 1000 + b"\x00") * (SIZE // 1009),
    "alternating": b"S\xbc" * (SIZE // 2),
    "padding, other": b"\xff" * SIZE + b"\x00",
    "others": b"\x00" * SIZE,
    "orphan, idle, other": b"\x00" + b"\xbc" * SIZE + b"\x00",
    "cut hits": b"S\x00\x00" * (SIZE // 3) + b"\x00" * 8,
}


@pytest.mark.parametrize("kind", WALKED)
@pytest.mark.parametrize("name", ADVERSARIES)
def test_decoding_takes_linear_time(name, kind):
    # 256 KiB take up to 0.1 s. In quadratic time, at 1 ns a step, they would take a minute.
    readout = kind(ADVERSARIES[name].replace(b"S", kind.WALK.starts[:1]), 0, 0)
    begin = time.process_time()
    readout.find(kind.WALK.starts[:1])
    assert time.process_time() - begin < 3


@pytest.mark.parametrize("starts", [[], [0xBC], [0xFF, 0xE0], [256]])
def test_a_walk_refuses_start_bytes_that_cannot_be(starts):
    with pytest.raises(ValueError, match="begins with a byte other than bc and ff"):
        Walk(8, starts)


def test_a_walk_takes_any_start_bytes():
    """Also those with a meaning in a regular expression."""
    walk = Walk(3, b"]^-\\")
    assert walk.parse(b"]12^34-56\\78") == ([b"]12", b"^34", b"-56", b"\\78"], None, 0)


@given(any_case())
def test_what_each_byte_is_agrees_with_the_rules(case):
    kind, data, extra = case
    data = data.rstrip(b"\xff")
    hits, left, status = walk(kind, data, extra)
    division = kind.WALK.divide(data, extra)
    assert division.at == len(data)
    own = [data[span.begin : span.end] for span in division.spans if span.meaning in ("start", "hit")]
    assert b"".join(own) == b"".join(hits["ORPHAN_BYTES_MATCHED" in status :])
    meanings = {str(span.meaning) for span in division.spans}
    assert ("orphan" in meanings) == any(bit.startswith("ORPHAN") for bit in status)
    assert ("extra" in meanings) == (left is not None)
    assert "dropped" in meanings or "INCOMPLETE_HIT_DROPPED" not in status
    idle_runs = [data[span.begin : span.end] for span in division.spans if span.meaning == "idle"]
    assert set(b"".join(idle_runs)) <= set(IDLE)
