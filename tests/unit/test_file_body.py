"""What is read of the body of a file: all of an intact one, of a damaged one only what was written."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.file_body import Complaints, FileBody, is_certain
from astropix_stream.file_header import FileHeader
from astropix_stream.fmt import HEADER, MAGIC

START = 70  # where the bytes begin in the file


def readout(i: int, data: bytes = b"\xbc\xe0 some data", length: int | None = None) -> bytes:
    return HEADER.pack(MAGIC, i, 1000 + i, len(data) if length is None else length) + data


def read(data: bytes, size: int = 0, uid: int | None = 4000) -> tuple[list[bytes], FileBody]:
    """Read a body in pieces of so many bytes, or in one."""
    body = FileBody(START, uid)
    found = []
    for at in range(0, len(data), size or len(data) or 1):
        found += list(body.feed(data[at : at + (size or len(data))]))
    found += list(body.finish())
    assert [(each[1], each[2]) for each in found] == [HEADER.unpack_from(each[0])[1:3] for each in found]
    return [raw for raw, _, _ in found], body


RAW = [readout(i, bytes([0xBC, i]) * (i + 1)) for i in range(8)]
HEADER_4 = FileHeader(4000, {"run": 2}).serialize()
HEADER_3 = FileHeader(3000, {"run": 3}).serialize()
NOISE = b"no readout is here"


@pytest.mark.parametrize("size", [1, 2, 5, 19, 50, 0])
def test_an_intact_body_is_its_readouts(size):
    found, body = read(b"".join(RAW), size)
    assert found == RAW
    assert (body.rest, body.offset, body.end) == (b"", START + len(b"".join(RAW)), body.offset)
    assert (body.damage, body.skipping, str(body.complaints)) == (None, "", "")


@pytest.mark.parametrize("size", [1, 3, 40, 0])
def test_what_is_no_readout_is_skipped_and_told(size):
    found, body = read(RAW[0] + NOISE + RAW[1] + RAW[2] + NOISE, size)
    assert found == RAW[:3]
    at = START + len(RAW[0])
    end = START + len(b"".join(RAW[:3]) + NOISE)
    told = "begins with 6e 6f 20, not with the magic fe dc ba (18 bytes skipped)"
    assert str(body.complaints) == f"not a readout at byte {at}: {told}; not a readout at byte {end}: {told}"
    assert (str(body.damage), body.damage.offset, body.damage.reason) == (
        f"not a readout at byte {at}: {told}",
        at,
        told,
    )
    assert (body.rest, body.offset) == (b"", end + 18)


@pytest.mark.parametrize("size", [1, 3, 40, 0])
@pytest.mark.parametrize("cut", [0, 1, 12, 19, 22])
def test_another_file_behind_this_one_is_read_too(size, cut):
    data = b"".join(RAW)[: -cut or None]
    found, body = read(data + HEADER_4 + RAW[0] + RAW[1], size)
    assert found == (RAW[:-1] if cut else RAW) + RAW[:2]
    assert [(at, dict(header)) for at, header in body.headers] == [
        (START + len(data), {"readout_uid": 4000, "run": 2})
    ]
    assert body.complaints.count == bool(cut)


@pytest.mark.parametrize("size", [1, 3, 40, 0])
def test_readouts_of_another_kind_are_left_out(size):
    found, body = read(RAW[0] + HEADER_3 + RAW[1] + RAW[2] + HEADER_4 + RAW[3] + HEADER_3 + RAW[4], size)
    assert found == [RAW[0], RAW[3]]
    at, skipped = START + len(RAW[0]), len(HEADER_3 + RAW[1] + RAW[2])
    kind = "AstroPix 3 (3000)"
    told = f"not read from byte {at} on: another file begins there, of {kind} ({skipped} bytes skipped)"
    assert str(body.damage) == told
    assert body.complaints.count == 2
    assert len(read(RAW[0] + HEADER_3 + RAW[1], size, uid=None)[0]) == 2


def test_a_length_that_is_wrong_hides_no_readouts():
    for length in (60, 100, 65000, 1 << 30):
        bad = readout(5, b"\xbc" * 4, length)
        found, body = read(RAW[0] + bad + b"".join(RAW[1:]))
        assert found == [RAW[0], *RAW[1:]]
        assert body.damage.offset == START + len(RAW[0])
        assert body.complaints.count == 1


def test_the_magic_in_the_data_of_a_readout_is_data_if_another_follows():
    inner = readout(1, readout(99, b"abc") + b"more")
    for last in (b"", RAW[1], HEADER_4, RAW[1][:2], HEADER_4[:5]):
        for size in (1, 7, 0):
            assert read(inner + last, size)[0][0] == inner
    split = readout(1, b"ab\xfe\xdc")  # the magic's end might follow
    assert read(split + split + RAW[0])[0] == [split, split, RAW[0]]
    assert not is_certain(split, 19, len(split))
    assert is_certain(split + b"\xfe\xdc", 19, len(split))
    assert is_certain(split, 19, len(split), grows=True)
    assert not is_certain(split + b"\xba", 19, len(split), grows=True)
    assert not is_certain(inner + RAW[0], 19, len(inner))


def test_a_header_that_is_damaged_is_skipped():
    for header in (
        b"%APXDF\x05\x00\x00\x00nope!",
        b"%APXDF\xff\xff\xff\xff",
        b"%APXDF\x50\x00\x00\x00" + b"{" * 10,
    ):
        for size in (1, 0):
            found, body = read(RAW[0] + header + RAW[1] + RAW[2], size)
            assert found == RAW[:3]
            assert "the header of another file, which is damaged" in str(body.damage)
    assert read(RAW[0] + HEADER_4[:8])[1].rest == HEADER_4[:8]  # the file ends there


def test_a_file_that_ends_in_a_readout_has_a_rest():
    whole = RAW[0] + RAW[1]
    for cut in range(1, len(RAW[1])):
        found, body = read(whole[:-cut])
        assert (found, body.rest, body.damage) == ([RAW[0]], RAW[1][:-cut], None)
    assert str(read(RAW[0] + b"x")[1].damage).endswith(
        "begins with 78, not with the magic fe dc ba (1 byte skipped)"
    )


def test_while_bytes_are_skipped_it_says_why():
    body = FileBody(0)
    assert list(body.feed(NOISE * 3)) == []
    assert body.skipping == "not a readout at byte 0: begins with 6e 6f 20, not with the magic fe dc ba"
    assert list(body.feed(RAW[0])) == []  # what follows it decides
    assert [raw for raw, _, _ in body.feed(RAW[1])] == RAW[:2]
    assert body.skipping == ""


def test_bytes_that_somebody_else_has_read_are_passed_over():
    body = FileBody(10)
    body.pass_over(30, RAW[0][:5])
    assert [each[0] for each in body.feed(RAW[0][5:])] == [RAW[0]]
    assert body.end == 40 + len(RAW[0])


garbage = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.binary(max_size=40).map(lambda data: MAGIC + data),
    st.binary(max_size=20).map(lambda data: b"%APXDF" + data),
    st.integers(1, 25).map(lambda size: readout(77, b"\xfe\xdc\xba\xbc" * 4)[:size]),
)
MANY = [readout(i, bytes([0xBC, i]) * (i % 7)) for i in range(16)]
damages = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), garbage | st.just(b"")), max_size=3)


@given(damages, st.integers(1, 100))
def test_of_a_damaged_file_only_what_was_written_is_read(damages, size):
    """A readout that the damage begins in may have wrong data; all others are as written, and in order."""
    data = b"".join(MANY)
    for at, count, foreign in sorted(damages, reverse=True):
        data = data[:at] + foreign + data[at + count :]
    found, body = read(data)
    again, in_pieces = read(data, size)
    assert (found, str(body.complaints)) == (again, str(in_pieces.complaints))
    at, others = 0, 0
    for raw in found:
        if raw in MANY[at:]:
            at = MANY.index(raw, at) + 1
        else:
            others += 1
    assert others <= len(damages)
    skipped = sum(int(size) for size in re.findall(r"\((\d+) bytes? skipped\)", str(body.complaints)))
    assert body.complaints.count > 3 or len(b"".join(found)) + skipped + len(body.rest) == len(data)


@given(st.binary(max_size=400), st.integers(1, 100))
def test_noise_behind_a_readout_holds_none(noise, size):
    found, _ = read(RAW[0] + b"x" + noise, size)
    assert found == [RAW[0]]


def test_many_beginnings_take_linear_time():
    took = []
    for count in (20_000, 80_000):
        data = RAW[0] + b"x" + (MAGIC + b"%APXDF") * count
        began = time.process_time()
        assert read(data, 1 << 16)[0] == [RAW[0]]
        took.append(time.process_time() - began)
    assert took[1] < 12 * took[0]


def test_the_first_complaints_are_named_and_all_counted():
    complaints = Complaints()
    assert not complaints
    for i in range(5):
        complaints.add(f"no {i}")
    assert (complaints.count, str(complaints)) == (5, "no 0; no 1; no 2; and 2 more like these")
