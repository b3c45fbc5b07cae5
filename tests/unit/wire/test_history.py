"""Requests for history, answers and pages: golden bytes, any bytes, and there and back."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.errors import WireError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.wire import Answer, AnswerStatus, Ask, Request
from unit.wire.strategies import streams, u64

DOCUMENT = Path(__file__).parents[3] / "docs/protocol.md"
GOLDEN = {
    name: bytes.fromhex(text)
    for name, text in re.findall(r"```hex (\S+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
}
REQUEST, ANSWER, PAGE = GOLDEN["request"], GOLDEN["answer"], GOLDEN["page"]
RELAY_ID = 0x123456789ABC

requests = st.builds(Request, st.sampled_from(Ask), u64, u64, u64, u64, streams, st.integers(0, 255))
answers = st.builds(Answer, st.sampled_from(AnswerStatus), *[u64] * 6, st.integers(0, 255))


def test_golden_request():
    request = Request(Ask.RANGE, 7, RELAY_ID, 1000, 2000, "astropix")
    assert wire.pack_request(request) == REQUEST
    assert wire.parse_request(REQUEST) == request


def test_golden_answer():
    answer = Answer(AnswerStatus.OK, 7, RELAY_ID, oldest=800, next=3000, begin=1000, end=1002)
    assert wire.pack_answer(answer) == ANSWER
    assert wire.parse_answer(ANSWER) == answer
    assert wire.parse_answer(ANSWER + b"of a later version") == answer


def test_golden_page():
    header = wire.Header(wire.REPLAYED, 2, RELAY_ID, 1000, 1753255536707800000, Source("192.168.7.2", 40000))
    payload = b"".join(
        AstroPix4Readout(data, 5 + i, i).to_bytes() for i, data in enumerate([b"\xbc\xbc", b"\xe0"])
    )
    assert list(wire.walk_page(PAGE)) == [(header, payload)]
    assert list(wire.walk_page(PAGE + PAGE)) == 2 * [(header, payload)]
    assert list(wire.walk_page(b"")) == []


@given(requests)
def test_a_request_comes_back(request):
    assert wire.parse_request(wire.pack_request(request)) == request


@given(answers)
def test_an_answer_comes_back(answer):
    assert wire.parse_answer(wire.pack_answer(answer)) == answer


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda data: REQUEST[:6] + data))
def test_any_bytes_are_a_request_or_an_error(data):
    with suppress(WireError):
        assert wire.pack_request(wire.parse_request(data))[8:] == data[8:]


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda data: ANSWER[:5] + data))
def test_any_bytes_are_an_answer_or_an_error(data):
    with suppress(WireError):
        wire.parse_answer(data)


@given(st.binary(max_size=300), st.integers(0, 2 * len(PAGE)))
def test_any_bytes_are_a_page_or_an_error(data, cut):
    with suppress(WireError):
        list(wire.walk_page((PAGE + PAGE)[:cut] + data))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (REQUEST[:39], "a request of 39 bytes"),
        (b"APXZ" + REQUEST[4:], "begins with 41 50 58 5a, not with APXQ"),
        (REQUEST[:4] + b"\x02" + REQUEST[5:], "version 2"),
        (REQUEST[:5] + b"\x05" + REQUEST[6:], "a request of kind 5; the protocol's are 1 to 4"),
        (REQUEST[:40], "cannot be a stream's name"),
        (
            REQUEST[:40] + b"\xff",
            "a stream's name that is not ASCII: 61 73 74 72 6f 70 69 78 ff|not ASCII: ff",
        ),
    ],
)
def test_what_is_wrong_with_a_request_is_said(frame, words):
    with pytest.raises(WireError, match=words):
        wire.parse_request(frame)


def test_a_page_that_was_cut_gives_what_was_whole():
    messages = wire.walk_page(PAGE + PAGE[:-1])
    assert next(messages) == next(wire.walk_page(PAGE))
    with pytest.raises(WireError, match="ends within a payload"):
        next(messages)


def test_a_page_whose_header_is_wrong_says_where():
    record = wire.RECORD_SIZE.pack(0) + bytes(wire.MESSAGE_HEADER.size)
    with pytest.raises(WireError) as caught:
        list(wire.walk_page(record))
    assert caught.value.offset == wire.RECORD_SIZE.size
