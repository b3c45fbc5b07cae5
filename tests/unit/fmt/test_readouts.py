"""What the readouts of all kinds can do."""

import io
import time
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import fmt
from astropix_stream.errors import FormatError
from astropix_stream.fmt import AstroPix4Readout, Decoding

# A readout of a real run: 19 bytes of header, 16 of data.
GOLDEN = bytes.fromhex("fedcba 00000000 e8f2f1199fd05418 10000000 bcbce0401eac0dccc200bcbcbcbcbcbc")
TWO_HITS = "bcbc e08056e80da85403 bcbcbcbcbcbcbcbc e080d26f04ca3005 bcbcbcbcbcbc"


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


def test_a_readout_strips_padding_and_latches_the_clock():
    before = time.time_ns()
    readout = AstroPix4Readout(bytearray(b"\x01\xff\x02\xff\xff"), 5)
    assert readout.data() == b"\x01\xff\x02"
    assert before <= readout.timestamp <= AstroPix4Readout.latch_ns()


@pytest.mark.parametrize(("readout_id", "timestamp"), [(-1, 0), (2**32, 0), (0, -1), (0, 2**64)])
def test_a_readout_refuses_what_its_header_cannot_hold(readout_id, timestamp):
    with pytest.raises(ValueError, match="u32"):
        AstroPix4Readout(b"", readout_id, timestamp)


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


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=30).map(lambda rest: GOLDEN[:16] + rest)))
def test_any_bytes_are_a_readout_or_a_format_error(raw):
    try:
        readout = AstroPix4Readout.from_bytes(raw)
    except FormatError:
        return
    assert readout.to_bytes()[:15] == raw[:15]
    assert readout.data() == raw[19:].rstrip(b"\xff")


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
        "  hit 0 of readout 7: chip 0, column 5, row 0, TOT 162.75 us",
        "  hit 1 of readout 7: chip 0, column 5, row 0, TOT 332.65 us",
        "  decoding: clean",
    ]
    assert repr(readout.hits()[0]).startswith("AstroPix4Hit(chip_id=0, payload=7, readout_id=7, ")


def test_a_file_gives_one_readout_after_the_other_and_then_none():
    written = io.BytesIO()
    sent = [AstroPix4Readout(bytes([i]), i, i) for i in range(3)]
    for readout in sent:
        readout.write(written)
    written.seek(0)
    assert [AstroPix4Readout.from_file(written) for _ in range(4)] == [*sent, None]


def test_bytes_between_readouts_are_told_with_their_place():
    raw = AstroPix4Readout(b"ab", 0, 0).to_bytes()
    file = io.BytesIO(raw + b"noise" + raw)
    AstroPix4Readout.from_file(file)
    with pytest.raises(FormatError) as caught:
        AstroPix4Readout.from_file(file)
    assert caught.value.offset == len(raw)


def test_a_pipe_tells_no_place():
    class Pipe(io.BytesIO):
        def tell(self):
            raise OSError("a pipe has no place")

    with pytest.raises(FormatError) as caught:
        AstroPix4Readout.from_file(Pipe(b"no readout, but more bytes than a header has"))
    assert caught.value.offset is None


def test_equal_readouts_are_one_in_a_set_and_another_class_is_another():
    one, same, other = (AstroPix4Readout(data, 1, 2) for data in (b"a", b"a\xff", b"b"))
    assert {one, same, other} == {one, other}
    assert one != b"a"
    assert one != fmt.AStepReadout(b"a", 1, 2)
    assert repr(one) == "AstroPix4Readout(bytes.fromhex('61'), 1, 2)"


def test_a_kind_that_nobody_decodes_has_its_bytes_and_no_hits():
    class Unknown(fmt.Readout):
        UID = 77

    readout = Unknown.from_bytes(fmt.HEADER.pack(fmt.MAGIC, 5, 6, 2) + b"ab")
    assert (readout.uid(), readout.hex(), readout.hits(), readout.extra_bytes()) == (77, "6162", [], None)
    assert readout.explained() == (0, 0)
    assert not readout.decoding_status()


def test_how_much_of_the_data_is_understood():
    assert AstroPix4Readout(bytes.fromhex(TWO_HITS), 0, 0).explained() == (16, 16)
    found, whole = AstroPix4Readout(bytes.fromhex("010203 bcbc"), 0, 0).explained()
    assert (found, whole) == (0, 3)


def test_a_notebook_shows_a_table_and_decodes_nothing():
    readout = AstroPix4Readout(bytes.fromhex(TWO_HITS), 7, 11)
    text = readout._repr_html_()
    assert text.count("<tr>") == 3
    assert "162.75" in text
    assert not readout.decoded()
    many = AstroPix4Readout(bytes.fromhex("e08056e80da85403") * 101, 7, 11)
    assert "101 hits, the first 100 are shown" in many._repr_html_()


class _Plain(fmt.Readout):
    """Of a kind of one's own, that says no more than where its hits are."""

    __slots__ = ()

    UID = 77

    def _parse(self, extra_bytes):
        return [self.data()[1:4], b"not there", b"", self.data()[4:6]], None, 0


def test_what_the_bytes_are_of_a_kind_of_ones_own():
    spans = [(0, 1, "undecoded", None), (1, 2, "start", 0), (2, 4, "hit", 0), (4, 5, "start", 3),
             (5, 6, "hit", 3), (6, 8, "undecoded", None), (8, 10, "idle", None)]  # fmt: skip
    assert [tuple(span) for span in _Plain.spans(bytes(range(8)) + b"\xff\xff")] == spans
