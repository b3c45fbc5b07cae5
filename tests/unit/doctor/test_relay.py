"""What the doctor says of a relay's answers."""

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.doctor import relay
from astropix_stream.doctor.relay import Answers, HandshakeResult
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4
from astropix_stream.url import parse_url
from astropix_stream.wire import Hello, Waiting

URL = parse_url("tcp://relay:5556")
CONNECTED: dict[str, Any] = {"addresses": ("10.0.2.1",)}
GREETED = CONNECTED | {"mechanism": "NULL", "handshake": HandshakeResult.SUCCEEDED}
WITH_KEY = CONNECTED | {"mechanism": "CURVE", "has_key": True}
HELLO = Hello(relay_id=1, version="1.0", streams={"astropix": 4000}, history_port=None)
SUBSCRIBED = GREETED | {"hello": HELLO, "stream": "astropix"}
REPORT = {"joined": True, "membership": "joined on eth0", "last_readout_age_s": 0.1}


def faults(url=URL, **answers):
    return [verdict.fault for verdict in relay.judge(Answers(url, **answers)) if verdict.fault]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, "unknown-name"),
        (
            CONNECTED | {"connect_error": ConnectionRefusedError(errno.ECONNREFUSED, "refused")},
            "nothing-listens",
        ),
        (CONNECTED | {"connect_error": TimeoutError("timed out")}, "no-answer"),
        (CONNECTED | {"connect_error": OSError(errno.ENETUNREACH, "unreachable")}, "no-answer"),
        (CONNECTED | {"mechanism": ""}, "not-zeromq"),
        (CONNECTED | {"mechanism": "CURVE"}, "key-needed"),
        (CONNECTED | {"mechanism": "NULL", "has_key": True}, "key-unneeded"),
        (GREETED | {"handshake": HandshakeResult.BROKEN_OFF}, "not-a-relay"),
        (GREETED | {"handshake": HandshakeResult.REFUSED}, "refused"),
        (WITH_KEY | {"handshake": HandshakeResult.REFUSED}, "key-refused"),
        (WITH_KEY | {"handshake": HandshakeResult.BROKEN_OFF}, "wrong-server-key"),
        (GREETED, "no-hello"),
        (GREETED | {"hello": HELLO._replace(streams={})}, "no-streams"),
        (GREETED | {"hello": HELLO._replace(streams={"a": 1, "b": 1})}, "several-streams"),
        (SUBSCRIBED, "no-heartbeat"),
        (SUBSCRIBED | {"report": REPORT | {"joined": False}}, "relay-not-joined"),
        (SUBSCRIBED | {"report": REPORT | {"last_readout_age_s": 99.0}}, "relay-hears-nothing"),
        (SUBSCRIBED | {"report": REPORT | {"last_readout_age_s": None}}, "relay-hears-nothing"),
        (SUBSCRIBED | {"report": {}}, "relay-hears-nothing"),
        (SUBSCRIBED | {"report": REPORT | {"joined": False, "state": "upstream lost"}}, "upstream-lost"),
    ],
)
def test_each_step_has_its_fault_and_no_other(answers, expected):
    assert faults(**answers) == [expected]


@pytest.mark.parametrize("answers", [{"report": REPORT}, {"has_data": True}])
def test_a_relay_that_is_well(answers):
    assert not faults(**SUBSCRIBED, **answers)


def test_a_relay_with_keys_that_is_well():
    answers = WITH_KEY | {
        "handshake": HandshakeResult.SUCCEEDED,
        "hello": HELLO,
        "stream": "astropix",
        "report": REPORT,
    }
    assert not faults(**answers)


def test_a_stream_that_does_not_exist_is_told_with_those_that_do():
    url = parse_url("tcp://relay:5556?stream=astropixx")
    hello = HELLO._replace(streams={"b": 1, "a": 1, "$(reboot)": 1, "\x1b[2J": 1})
    (verdict,) = [one for one in relay.judge(Answers(url, **GREETED, hello=hello)) if one.fault]
    assert verdict.text == "the relay has no stream 'astropixx'; it has: a, b"
    assert verdict.command == "apx receive 'tcp://relay:5556?stream=a'"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.none())))
def test_any_beat_is_judged(report):
    relay.judge(Answers(URL, **SUBSCRIBED, report=report))
    relay.judge(Answers(URL, **SUBSCRIBED, report=dict.fromkeys(REPORT, report.get("joined"))))


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)


def test_a_greeting():
    assert relay.parse_greeting(GREETING) == "CURVE"
    assert relay.parse_greeting(GREETING[:-1]) == relay.parse_greeting(b"HTTP/1.1 400 " + bytes(60)) == ""


@given(st.binary(max_size=80))
def test_any_greeting_is_read(greeting):
    relay.parse_greeting(greeting)
    relay.parse_greeting(GREETING[:12] + greeting)


def test_an_address_needs_no_name():
    checks = [one.check for one in relay.judge(Answers(parse_url("tcp://10.0.2.1:5556"), **SUBSCRIBED))]
    assert checks[0] == "connection"


def test_a_relay_that_hears_none_above_says_which_to_examine():
    membership = "from tcp://a:5556 (not heard), tcp://b:5556 (not heard)"
    report = REPORT | {"joined": False, "state": "upstream lost", "membership": membership}
    (verdict,) = [one for one in relay.judge(Answers(URL, **SUBSCRIBED, report=report)) if one.fault]
    assert verdict.command == "apx doctor tcp://a:5556"
    for membership, named in (("no words", "tcp://HOST:PORT"), ("from tcp://a:1;reboot", "tcp://a:1")):
        report["membership"] = membership
        (verdict,) = [one for one in relay.judge(Answers(URL, **SUBSCRIBED, report=report)) if one.fault]
        assert verdict.command == f"apx doctor {named}"


def test_a_relay_that_waits_for_the_stream_itself_says_for_what():
    waits = "from tcp://[fd00::7]:5556 (the relay itself waits for the stream: from tcp://b:5556 (not heard))"
    for url, streams in ((URL, {}), (parse_url("tcp://relay:5556?stream=b"), {"a": 4000})):
        hello = HELLO._replace(streams=streams, waiting={url.options.get("stream", "b"): Waiting(waits)})
        (verdict,) = [one for one in relay.judge(Answers(url, **GREETED | {"hello": hello})) if one.fault]
        assert (verdict.fault, verdict.command) == ("stream-waits", "apx doctor tcp://[fd00::7]:5556")
        assert verdict.text == f"the relay itself waits for the stream 'b': {waits}"
    assert faults(URL, **GREETED | {"hello": hello._replace(streams={"astropix": 4000})}) == []


def test_what_a_slow_line_needs_of_the_relay():
    slow = parse_url("tcp://relay:5556?compress=zstd&max_bandwidth=2Mbit/s")
    answers = SUBSCRIBED | {"report": REPORT}
    assert faults(slow, **answers) == ["not-offered"]
    partly = answers | {"hello": HELLO._replace(offers=frozenset({"thinned"}))}
    (verdict,) = [one for one in relay.judge(Answers(slow, **partly)) if one.fault]
    assert verdict.text.endswith("does not offer compress=zstd")
    assert faults(slow, **answers | {"hello": HELLO._replace(offers=frozenset({"thinned", "zstd"}))}) == []


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP])
def test_a_stream_of_another_kind_than_the_one_that_is_expected_is_told(kind):
    verdicts = relay.judge(Answers(URL, **SUBSCRIBED, report=REPORT), kind)
    (told,) = [verdict for verdict in verdicts if verdict.fault]
    assert (told.check, told.fault) == ("kind", "other-kind-said")
    assert told.text == f"the relay says that the readouts of 'astropix' are AstroPix 4 (4000), not {kind}"
    assert told.command == "apx receive 'tcp://relay:5556?stream=astropix' --hits"


def test_a_stream_of_the_kind_that_is_expected_is_fine():
    texts = [v.text for v in relay.judge(Answers(URL, **SUBSCRIBED, report=REPORT), ASTROPIX4)]
    assert "the relay says that the readouts are AstroPix 4 (4000)" in texts
    assert all(verdict.check != "kind" for verdict in relay.judge(Answers(URL, **SUBSCRIBED, report=REPORT)))
