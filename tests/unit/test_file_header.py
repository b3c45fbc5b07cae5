"""The header of an .apx file: bytes to values and back, and what is said of wrong bytes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.errors import FormatError
from astropix_stream.file_header import JSON_AT, MAX_HEADER, FileHeader
from astropix_stream.fmt import AstroPix3Readout

APX = FileHeader(4000, {}).serialize()


@given(st.integers(0, 2**32 - 1), st.dictionaries(st.text(), st.integers() | st.text()), st.integers(0, 200))
def test_what_is_written_is_read(uid, content, room):
    raw = FileHeader(uid, content).serialize(room)
    file = io.BytesIO(raw + b"readouts")
    header = FileHeader.from_file(file)
    assert dict(header) == {**content, "readout_uid": uid}
    assert (header.readout_uid, header.size, header.damage, header.is_assumed) == (uid, len(raw), "", False)
    assert len(raw) >= room
    assert (len(header), file.read()) == (len({*content, "readout_uid"}), b"readouts")


def test_the_class_is_that_of_the_uid():
    header = FileHeader(AstroPix3Readout, {"run": 1})
    assert header.readout_class() is AstroPix3Readout
    assert repr(header) == "FileHeader(3000, {'readout_uid': 3000, 'run': 1})"
    with pytest.raises(FormatError, match="no class of readouts has the uid 5"):
        FileHeader(5, {}).readout_class()


@pytest.mark.parametrize(
    ("raw", "told", "offset"),
    [
        (b"", "the file is empty", 0),
        (b"RIFF", "not an .apx file: it does not begin with %APXDF", 0),
        (APX[:7], "the file ends before its header", 7),
        (APX[:-1], f"the file ends in its header: {len(APX) - 11} of {len(APX) - 10} bytes", len(APX) - 1),
        (b"%APXDF\xff\xff\xff\xff", f"4294967295 bytes, more than the {MAX_HEADER} allowed", 6),
        (b"%APXDF\x02\x00\x00\x00[]", "the header is not a JSON object", JSON_AT),
        (b"%APXDF\x02\x00\x00\x00\xff\xff", "the header is not JSON", JSON_AT),
        (APX.replace(b"4000", b'"40"'), 'readout_uid is "40", not a number', JSON_AT),
    ],
)
def test_wrong_bytes_are_told_with_their_place(raw, told, offset):
    with pytest.raises(FormatError) as error:
        FileHeader.from_file(io.BytesIO(raw))
    assert told in str(error.value)
    assert error.value.offset == offset


def test_a_person_may_say_the_kind_of_a_header_that_is_damaged():
    header = FileHeader.from_file(io.BytesIO(b"%APXDF\x02\x00\x00\x00{,"), 3000)
    assert (header.readout_uid, dict(header), header.size) == (3000, {"readout_uid": 3000}, 12)
    assert header.damage.startswith("the header is not JSON")


def test_a_file_that_does_not_say_its_kind_is_taken_for_astropix_4():
    header = FileHeader.from_file(io.BytesIO(b"%APXDF\x02\x00\x00\x00{}"))
    assert (header.readout_uid, header.is_assumed, dict(header)) == (4000, True, {"readout_uid": 4000})
