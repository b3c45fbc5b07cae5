"""The relay protocol: bytes spelled out from formats.md, section 4, and any frames at all."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import fmt, wire
from astropix_stream.batch import Source
from astropix_stream.errors import AstropixError, WireError
from astropix_stream.wire import BeatMessage, DataMessage, Header, Hello
from unit.wire.strategies import json_objects, streams, u8, u16, u64

RELAY_ID = 0x1122334455667788
RECEIVED_NS = 0x1854D09F11F2E8FF

HEADER_IPV4 = bytes.fromhex(
    "41505852"  # magic: APXR
    "01"  # version
    "00"  # flags
    "0200"  # count
    "8877665544332211"  # relay_id
    "2a00000000000000"  # sequence: 42
    "ffe8f2119fd05418"  # received_ns
    "00000000000000000000ffffc0a80702"  # source address: 192.168.7.2, mapped into IPv6
    "409c"  # source port: 40000
    "000000000000"  # zero
)
HEADER_IPV6 = bytes.fromhex(
    "41505852 01 01 0100 8877665544332211 0000000000000000 0000000000000000"
    "fd000001000000000000000000000001 ffff 000000000000"
)
HEADER_BEAT = bytes.fromhex(
    "41505852 01 00 0000 8877665544332211 2c00000000000000 ffe8f2119fd05418"
    "00000000000000000000000000000000 0000 000000000000"
)
READOUTS = bytes.fromhex(
    "fedcba 05000000 e8f2f1199fd05418 0b000000 bcbce08056e80da85403bc"
    "fedcba 06000000 0100000000000000 00000000"
)

GOLDEN_HEADERS = [
    (HEADER_IPV4, Header(0, 2, RELAY_ID, 42, RECEIVED_NS, Source("192.168.7.2", 40000))),
    (HEADER_IPV6, Header(wire.REPLAYED, 1, RELAY_ID, 0, 0, Source("fd00:1::1", 65535))),
    (HEADER_BEAT, Header(0, 0, RELAY_ID, 44, RECEIVED_NS, wire.NO_SOURCE)),
]

addresses = st.ip_addresses().filter(lambda address: not getattr(address, "ipv4_mapped", None)).map(str)
headers = st.builds(Header, u8, u16, u64, u64, u64, st.builds(Source, addresses, u16))
readouts = st.lists(st.builds(fmt.AstroPix4Readout, st.binary(max_size=40), st.integers(0, 99), u64))


@pytest.mark.parametrize(("packed", "header"), GOLDEN_HEADERS)
def test_headers_are_56_bytes_as_the_table_says(packed, header):
    assert len(packed) == wire.MESSAGE_HEADER.size == 56
    assert wire.pack_header(header) == packed
    assert wire.parse_message_header(packed) == header


def test_a_data_message():
    message = wire.parse_message([b"apx/astropix/data", HEADER_IPV4, READOUTS])
    assert message == DataMessage("astropix", GOLDEN_HEADERS[0][1], READOUTS)
    assert wire.data_topic("astropix") == b"apx/astropix/data"
    readout_ids, timestamps, ends = wire.walk_payload(message.payload, message.header.count)
    assert (readout_ids, timestamps, ends) == ([5, 6], [0x1854D09F19F1F2E8, 1], [30, 49])


def test_a_beat():
    message = wire.parse_message([b"apx/run-2_b/beat", HEADER_BEAT, b'{"received": 44, "new": [1]}'])
    assert message == BeatMessage("run-2_b", GOLDEN_HEADERS[2][1], {"received": 44, "new": [1]})
    assert wire.beat_topic("run-2_b") == b"apx/run-2_b/beat"


def test_what_is_not_known_is_ignored():
    header = bytearray(HEADER_IPV4 + b"more to come")
    header[5] = 0xFE  # flags of a later version
    header[50:56] = b"\xff" * 6
    assert wire.parse_message_header(bytes(header)) == GOLDEN_HEADERS[0][1]._replace(flags=0xFE)
    frame = b'apx/hello\0{"protocol": 1, "relay_id": 7, "streams": {"a": {"readout_uid": 1, "x": 2}}, "y": 3}'
    assert wire.parse_hello(frame) == Hello(7, "", {"a": 1}, None)


@given(headers)
def test_headers_survive_the_round_trip(header):
    assert wire.parse_message_header(wire.pack_header(header)) == header


def test_an_ipv4_address_is_mapped_and_a_scope_is_dropped():
    assert wire.pack_address("10.0.0.1") == wire.pack_address("::ffff:10.0.0.1")
    assert wire.unpack_address(wire.pack_address("::ffff:10.0.0.1")) == "10.0.0.1"
    assert wire.unpack_address(wire.pack_address("fe80::1%eth0")) == "fe80::1"
    assert wire.unpack_address(bytes(16)) == "::"


@given(streams, headers, st.binary(max_size=100))
def test_data_messages_survive_the_round_trip(stream, header, payload):
    frames = [wire.data_topic(stream), wire.pack_header(header), payload]
    if header.count:
        assert wire.parse_message(frames) == DataMessage(stream, header, payload)
    else:
        with pytest.raises(WireError, match="without readouts"):
            wire.parse_message(frames)


@given(streams, headers, json_objects)
def test_beats_survive_the_round_trip(stream, header, report):
    frames = [wire.beat_topic(stream), wire.pack_header(header), wire.pack_json(report)]
    assert wire.parse_message(frames) == BeatMessage(stream, header, report)


@given(readouts)
def test_payloads_are_walked_to_their_readouts(sent):
    datagrams = [readout.to_bytes() for readout in sent]
    payload = b"".join(datagrams)
    readout_ids, timestamps, ends = wire.walk_payload(payload, len(sent))
    assert [*readout_ids] == [readout.readout_id for readout in sent]
    assert [*timestamps] == [readout.timestamp for readout in sent]
    assert [payload[begin:end] for begin, end in zip([0, *ends], ends, strict=False)] == datagrams


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        (READOUTS, 1),
        (READOUTS, 3),
        (READOUTS[:-1], 2),
        (READOUTS[1:], 2),
        (READOUTS + b"\0", 2),
        (READOUTS[:30] + b"\0" + READOUTS[31:], 2),  # the magic of the second
        (READOUTS[:15] + b"\xff\xff\xff\xff" + READOUTS[19:], 2),  # a length of 4 GiB
        (b"", 1),
        (b"\0", 0),
    ],
)
def test_a_payload_that_is_not_so_many_readouts_is_refused(payload, count):
    with pytest.raises(WireError):
        wire.walk_payload(payload, count)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"apx/hello"],
        [b"apx/hello\0{}"],
        [b"apx/a/data", HEADER_IPV4],
        [b"apx/a/data", HEADER_IPV4, READOUTS, b""],
        [b"apx/a/data", b"", READOUTS],
        [b"apx/a/data", HEADER_IPV4[:-1], READOUTS],
        [b"apx/a/data", b"APXS" + HEADER_IPV4[4:], READOUTS],
        [b"apx/a/data", b"APXR\x02" + HEADER_IPV4[5:], READOUTS],
        [b"apx/a/data", HEADER_BEAT, b""],
        [b"apx/a/beat", HEADER_BEAT, b""],
        [b"apx/a/beat", HEADER_BEAT, b"\xff"],
        [b"apx/a/beat", HEADER_BEAT, b"[1]"],
        [b"apx/a/beat", HEADER_BEAT, b'{"a":' * 100_000],
        [b"apx/a/news", HEADER_IPV4, READOUTS],
        [b"apx/a", HEADER_IPV4, READOUTS],
        [b"apx/a/b/data", HEADER_IPV4, READOUTS],
        [b"apx//data", HEADER_IPV4, READOUTS],
        [b"APX/a/data", HEADER_IPV4, READOUTS],
        [b"apx/A/data", HEADER_IPV4, READOUTS],
        [b"apx/\xc3\xa4/data", HEADER_IPV4, READOUTS],
        [b"apx/hello/data", HEADER_IPV4, READOUTS],
        [b"apx/a\n/data", HEADER_IPV4, READOUTS],
        [b"apx/" + b"a" * 65 + b"/data", HEADER_IPV4, READOUTS],
    ],
)
def test_what_is_not_a_message_is_refused(frames):
    with pytest.raises(WireError) as raised:
        wire.parse_message(frames)
    assert isinstance(raised.value, AstropixError | ValueError)
    assert len(str(raised.value)) < 400


topics = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"apx/a/data", b"apx/a/beat", b"apx/hello"]),
    streams.map(str.encode),
)
header_like = st.one_of(
    st.binary(max_size=70),
    st.binary(min_size=51, max_size=60).map(lambda rest: b"APXR\x01" + rest),
    headers.map(wire.pack_header),
)
payloads = st.one_of(
    st.binary(max_size=100),
    readouts.map(lambda some: b"".join(readout.to_bytes() for readout in some)),
    json_objects.map(lambda value: json.dumps(value).encode()),
)
any_frames = st.one_of(
    st.lists(st.binary(max_size=80), max_size=4),
    st.tuples(topics, header_like, payloads),
    st.tuples(st.binary(max_size=40).map(b"apx/hello\0".__add__)),
)


@given(any_frames)
def test_any_frames_are_a_value_or_a_wire_error(frames):
    try:
        message = wire.parse_message(list(frames))
    except WireError:
        return
    assert isinstance(message, DataMessage | BeatMessage | Hello)


@given(payloads, st.integers(0, 70000))
def test_any_payload_is_walked_or_a_wire_error(payload, count):
    try:
        _, _, ends = wire.walk_payload(payload, count)
    except WireError:
        return
    assert len(ends) == count
    assert (ends or [0])[-1] == len(payload)


def test_a_number_too_large_for_its_field_is_a_mistake_of_the_relay():
    header = GOLDEN_HEADERS[0][1]
    with pytest.raises(struct.error):
        wire.pack_header(header._replace(count=65536))


@pytest.mark.parametrize("packed", [HEADER_IPV4, HEADER_IPV6, HEADER_BEAT])
def test_the_numbers_of_a_header_are_those_of_the_whole(packed):
    header = wire.parse_message_header(packed)
    assert wire.parse_numbers(packed) == header[:4]
    for wrong in (packed[:-1], b"APXS" + packed[4:], packed[:4] + b"\x02" + packed[5:]):
        with pytest.raises(WireError):
            wire.parse_numbers(wrong)
