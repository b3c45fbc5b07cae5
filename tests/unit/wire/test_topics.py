"""Names of streams and topics: there and back, and any bytes at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import wire
from astropix_stream.errors import WireError
from unit.wire.strategies import streams


def test_names_of_streams():
    for name in ("a", "a" * 64, "run-2_b", "0"):
        assert wire.check_stream_name(name) == name
    for name in ("", "a" * 65, "A", "a/b", "a b", "ä", "hello", "hello-2", "a\n"):
        with pytest.raises(WireError, match="cannot be a stream's name"):
            wire.check_stream_name(name)
    for name, shown in (("ä", "'ä'"), ("\udcc2", "'c2'"), ("a\n", "'61 0a'"), ("A" * 99, f"'{'A' * 80}…'")):
        with pytest.raises(WireError, match=re.escape(f"{shown} cannot be")):
            wire.check_stream_name(name)


@given(streams)
def test_topics_survive_the_round_trip(stream):
    assert wire.parse_topic(wire.data_topic(stream)) == (stream, "data")
    assert wire.parse_topic(wire.beat_topic(stream)) == (stream, "beat")
    assert wire.beat_topic(stream).startswith(wire.stream_prefix(stream))
    assert wire.data_topic(stream).startswith(wire.stream_prefix(stream))


@given(st.binary(max_size=90) | st.binary(max_size=70).map(lambda name: b"apx/" + name + b"/data"))
def test_any_bytes_are_a_topic_or_a_wire_error(topic):
    try:
        stream, kind = wire.parse_topic(topic)
    except WireError:
        return
    assert topic == b"apx/%s/%s" % (stream.encode(), kind.encode())


@pytest.mark.parametrize("topic", [b"apx/" + b"a" * 500 + b"/data", b"\xff" * 500, b"apx/\xc3/data"])
def test_what_is_wrong_with_a_topic_is_told_in_a_line(topic):
    with pytest.raises(WireError) as raised:
        wire.parse_topic(topic)
    assert len(str(raised.value)) < 400
