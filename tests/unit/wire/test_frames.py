"""What all frames share: their first bytes, JSON, and how an error shows what came."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.errors import WireError
from astropix_stream.wire import frames
from unit.wire.strategies import json_objects


def test_a_frame_begins_with_its_magic_and_the_version():
    frames.check_start(b"APXR", b"APXR", frames.PROTOCOL)
    with pytest.raises(WireError, match="begins with 41 50 58 51, not with APXR") as raised:
        frames.check_start(b"APXQ", b"APXR", frames.PROTOCOL)
    assert raised.value.offset == 0
    with pytest.raises(WireError, match="protocol version 2; this program speaks version 1") as raised:
        frames.check_start(b"APXR", b"APXR", 2)
    assert raised.value.offset == 4


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"apx/a", "apx/a"),
        (b"", ""),
        (b"a\n", "61 0a"),
        ("ä".encode(), "c3 a4"),
        (b"a" * 81, "a" * 80 + "…"),
        (bytes(81), "00 " * 79 + "00…"),
    ],
)
def test_bytes_are_shown_as_text_or_in_hexadecimal_and_cut(data, shown):
    assert frames.show(data) == shown


@given(json_objects)
def test_json_survives_the_round_trip_and_has_no_spaces(value):
    packed = frames.pack_json(value)
    assert frames.parse_json_object(packed) == value
    assert packed == json.dumps(value, separators=(",", ":")).encode()


any_text = st.binary(max_size=40) | st.sampled_from([b"[1]", b"7", b"null", b'{"a":' * 100_000])


@given(any_text, st.integers(0, 99))
def test_any_bytes_are_an_object_or_a_wire_error_that_says_where(text, at):
    where = at
    try:
        assert isinstance(frames.parse_json_object(text, at), dict)
    except WireError as error:
        where = error.offset
    assert where == at
