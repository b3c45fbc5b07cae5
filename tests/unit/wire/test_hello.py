"""What a relay says of itself: any JSON at all, and there and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import wire
from astropix_stream.errors import WireError
from astropix_stream.wire import Hello, Waiting
from unit.wire.strategies import json_objects, streams, texts, u16, u64

RELAY_ID = 0x1122334455667788

ports = st.none() | st.integers(1, 65535)


def test_a_hello():
    frame = (
        b'apx/hello\x00{"protocol":1,"version":"1.2","relay_id":1234605616436508552,'
        b'"streams":{"astropix":{"readout_uid":4000}},"history_port":5557}'
    )
    hello = Hello(RELAY_ID, "1.2", {"astropix": 4000}, 5557)
    assert wire.pack_hello(hello) == frame
    assert wire.parse_message([frame]) == hello
    assert wire.parse_hello(wire.pack_hello(hello._replace(history_port=None))).history_port is None
    with_stride = hello._replace(strides={"astropix": 10})
    told = frame.replace(b'{"readout_uid":4000}', b'{"readout_uid":4000,"stride":10}')
    assert wire.pack_hello(with_stride) == told
    assert wire.parse_hello(told) == with_stride


@pytest.mark.parametrize("stride", ["0", "-1", "1.5", '"2"', "true", "1000001", "[]"])
def test_a_stride_that_cannot_be(stride):
    with pytest.raises(WireError, match="a stride of"):
        wire.parse_hello(
            b'apx/hello\0{"protocol":1,"relay_id":1,"streams":{"a":{"readout_uid":1,"stride":%s}}}'
            % stride.encode()
        )


@given(
    st.builds(
        Hello,
        *(u64, texts, st.dictionaries(streams, u64, max_size=3), ports, st.just({}), st.just({})),
        waiting=st.dictionaries(streams, st.builds(Waiting, texts, st.just(({"id": 7},))), max_size=2),
    ),
    st.lists(st.integers(1, wire.MAX_STRIDE), max_size=3),
    st.lists(u64, max_size=3),
)
def test_hellos_survive_the_round_trip(hello, strides, relay_ids):
    hello = hello._replace(
        strides=dict(zip(hello.streams, strides, strict=False)),
        relay_ids=dict(zip(hello.streams, relay_ids, strict=False)),
        notes={},
    )
    assert wire.parse_message([wire.pack_hello(hello)]) == hello


@pytest.mark.parametrize("value", [-1, 1 << 64, True, "7", 7.0, [7]])
def test_a_relay_id_that_no_relay_has(value):
    with pytest.raises(WireError, match="a relay_id of"):
        wire.parse_relay_id({"relay_id": value})


@pytest.mark.parametrize(
    "notes", [{"": "cosmics"}, {"threshold": "200 mV", "beam": "π⁺"}, {"": "cosmics", "threshold": "1"}]
)
def test_a_hello_tells_what_the_setup_is(notes):
    hello = Hello(RELAY_ID, "1.2", {"astropix": 4000, "other": 4000}, None, notes={"astropix": notes})
    assert wire.parse_hello(wire.pack_hello(hello)) == hello
    assert wire.pack_hello(hello._replace(notes={"astropix": {}})) == wire.pack_hello(
        hello._replace(notes={})
    )


def test_a_single_note_is_a_text():
    frame = wire.pack_hello(Hello(RELAY_ID, "1.2", {"a": 1}, None, notes={"a": {"": "cosmics"}}))
    assert b'"notes":"cosmics"' in frame


def test_a_hello_tells_which_streams_are_still_waited_for():
    hello = Hello(RELAY_ID, "1.2", {"a": 1}, None, waiting={"b": Waiting("from tcp://c:5556", ({"id": 7},))})
    assert wire.parse_hello(wire.pack_hello(hello)) == hello


@pytest.mark.parametrize("told", ["7", "[]", '"b"', "null", '{"b": 7}', '{"b": "x"}', '{"b": {"for": 7}}'])
def test_of_what_is_waited_for_only_words_are_taken(told):
    frame = b'apx/hello\0{"protocol": 1, "relay_id": 7, "streams": {"a": {"readout_uid": 1}}, "waiting": %s}'
    assert wire.parse_hello(frame % told.encode()) == Hello(7, "", {"a": 1}, None)


def test_what_is_waited_for_is_told_in_few_words():
    frame = wire.pack_hello(Hello(RELAY_ID, "1.2", {}, None, waiting={"b": Waiting("x" * 100_000)}))
    assert len(wire.parse_hello(frame).waiting["b"].words) == wire.MAX_WAITING_WORDS


@pytest.mark.parametrize(
    "notes",
    [
        *("7", "null", "[]", '{"a":1}', '{"a":null}'),
        json.dumps("x" * 2001),
        json.dumps(dict.fromkeys(map(str, range(51)), "")),
    ],
)
def test_notes_that_cannot_be_shown_are_left_out(notes):
    frame = f'apx/hello\0{{"protocol":1,"relay_id":1,"streams":{{"a":{{"readout_uid":1,"notes":{notes}}}}}}}'
    assert wire.parse_hello(frame.encode()).notes == {}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"apx/hello",
        b"apx/hello\0",
        b"apx/hello\0[]",
        b"apx/hello\0{}",
        b'apx/hello\0{"protocol": 2, "relay_id": 1, "streams": {}}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1e999, "streams": {}}',
        b'apx/hello\0{"protocol": 1, "relay_id": null, "streams": {}}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": []}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": {"a": 4000}}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": {"a": {}}}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": {}, "history_port": 0}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": {}, "history_port": 65536}',
        b'apx/hello\0{"protocol": 1, "relay_id": 1, "streams": {}, "history_port": "5557"}',
        b'apx/hello\0{"protocol": 1, "relay_id": ' + b"9" * 5000 + b', "streams": {}}',
        b"apx/hello\0" + b'{"a":' * 100_000,
    ],
)
def test_what_is_no_hello_is_refused(frame):
    with pytest.raises(WireError) as raised:
        wire.parse_hello(frame)
    assert len(str(raised.value)) < 400


hello_values = st.fixed_dictionaries(
    {},
    optional={
        "protocol": st.just(1) | st.integers(0, 3),
        "relay_id": u64 | st.none() | texts | st.floats(),
        "streams": json_objects | st.dictionaries(texts, st.fixed_dictionaries({"readout_uid": u16 | texts})),
        "history_port": st.none() | st.integers() | st.floats() | texts,
        "version": texts | st.integers(),
    },
)
hello_frames = hello_values.map(lambda value: b"apx/hello\0" + json.dumps(value).encode())


@given(hello_frames | st.binary(max_size=40).map(b"apx/hello\0".__add__))
def test_any_frame_is_a_hello_or_a_wire_error(frame):
    try:
        hello = wire.parse_hello(frame)
    except WireError:
        return
    assert wire.parse_hello(wire.pack_hello(hello)) == hello
