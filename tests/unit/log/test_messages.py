"""Messages of a log: names, headers, bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import Position, Source
from astropix_stream.counting.counts import Counts
from astropix_stream.errors import WireError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.log import messages
from astropix_stream.log.messages import Message

READOUTS = [AstroPix4Readout(bytes([1] * i), i, 10**18 + i) for i in range(5)]
MESSAGE = Message(
    Position(7, 40), 5, Source("10.0.0.1", 99), 123, b"".join(readout.to_bytes() for readout in READOUTS)
)


def test_a_message_there_and_back():
    batch = messages.parse(MESSAGE.pack(), recovered=True)
    assert (batch.position, batch.source, batch.received_ns) == (Position(7, 40), MESSAGE.source, 123)
    assert batch.payload == MESSAGE.payload
    assert batch.recovered
    assert MESSAGE.end == Position(7, 45)
    assert messages.parse(MESSAGE.without(2).pack()).readout_ids[0] == 2
    assert MESSAGE.without(2).position == Position(7, 42)


def test_the_headers():
    lost = Counts(before_socket=3, in_kernel=2, rejected={"short": 1, "magic": 4})
    headers = MESSAGE.headers(4000, lost)
    assert headers == {
        "Nats-Msg-Id": "7:40",
        "Apx-Count": "5",
        "Apx-Source": "10.0.0.1:99",
        "Apx-Readout-Uid": "4000",
        "Apx-Lost": "3,2,5",
    }
    assert messages.parse_lost(headers) == messages.summed(lost)
    assert "Apx-Lost" not in MESSAGE.headers(4000)


def test_a_message_without_readouts_is_none():
    with pytest.raises(WireError, match="without readouts"):
        messages.parse(MESSAGE._replace(count=0, payload=b"").pack())


def test_names():
    assert messages.stream_name("astropix") == "APX_astropix"
    assert messages.data_subject("local", "astropix") == "apx.local.astropix.data"
    assert messages.beat_subject("local", "astropix") == "apx.local.astropix.beat"


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=30)), st.text(max_size=40))
def test_any_headers(headers, lost):
    counts = messages.parse_lost({**headers, messages.LOST: lost})
    assert counts is None or counts.lost >= 0


@pytest.mark.parametrize("name", ["a.b", "", "a b", "*", ">", "x" * 65])
def test_names_that_would_be_several_subjects(name):
    with pytest.raises(WireError):
        messages.data_subject(name, "astropix")
    with pytest.raises(WireError):
        messages.stream_name(name)
