"""conformance/ against our own code: its frames against `wire`, its sessions against `Subscription`."""

import json
import re

import pytest

from astropix_stream import links, wire
from astropix_stream.cli.conforming import scenes
from astropix_stream.clock import Moment
from astropix_stream.errors import WireError
from astropix_stream.relay.subscription import Subscription
from conformance import offline
from conformance.__main__ import FOLDER, texts
from conformance.layout import beat, data
from unit.test_documents import anchors

PAGE = (FOLDER.parent / "docs/protocol.md").read_text(encoding="utf-8")
FRAMES = [json.loads(line) for line in (FOLDER / "frames.jsonl").read_text("utf-8").splitlines()]
SESSIONS = [json.loads(line) for line in (FOLDER / "sessions.jsonl").read_text("utf-8").splitlines()]
by_name = pytest.mark.parametrize("line", FRAMES, ids=lambda line: line["name"])
by_session = pytest.mark.parametrize("session", SESSIONS, ids=lambda line: line["scene"])


@pytest.mark.parametrize(("name", "text"), texts().items(), ids=texts())
def test_the_files_are_those_that_are_written(name, text):
    assert (FOLDER / name).read_text("utf-8") == text, "run: make conformance"


def test_names_are_unique():
    for names in ([line["name"] for line in FRAMES], [line["scene"] for line in SESSIONS]):
        assert len(set(names)) == len(names)


def test_the_sections_are_those_of_the_page():
    named = {line["section"] for line in FRAMES}
    named |= {section for session in SESSIONS for section in session["rules"].values()}
    assert named | set(scenes.SECTIONS) <= anchors(PAGE)


def test_the_blocks_of_the_page_are_among_the_frames():
    blocks = re.findall(r"```hex (\S+)\n(.*?)```", PAGE, re.DOTALL)
    printed = {name: bytes.fromhex(text).hex() for name, text in blocks}
    frames = {line["name"]: line["frames"] for line in FRAMES}
    message = frames["the two readouts of the page"]
    assert message[1:] == [printed["header-data"], printed["readout-5"] + printed["readout-6"]]
    assert frames["the heartbeat of the page"][1] == printed["header-beat"]
    assert frames["the request of the page"] == [printed["request"]]
    assert frames["the answer of the page"] == [printed["answer"]]


# frames.jsonl


@by_name
def test_frames(line):
    parts = [bytes.fromhex(part) for part in line["frames"]]
    read = {
        **{"message": read_message, "slow line": read_slow_line},
        **{"request": read_request, "answer": read_answer, "page": read_page},
    }
    if line["what"] == "follow":
        assert follow(parts, int(line["expected"])) == line["value"]
    elif "refused" in line:
        with pytest.raises(WireError):
            read[line["what"]](parts)
    else:
        assert read[line["what"]](parts) == line["value"]


def read_message(parts):
    message = wire.parse_message(parts)
    match message:
        case wire.Hello():
            return {
                "kind": "hello",
                "relay_id": str(message.relay_id),
                "version": message.version,
                "streams": message.streams,
                "history_port": message.history_port,
            }
        case wire.BeatMessage():
            value = {"kind": "beat", "stream": message.stream, **header_value(message.header)}
            return value | {"json": message.report}
    value = {"kind": "data", "stream": message.stream, **header_value(message.header)}
    return value | {"readouts": readouts(message.payload, message.header.count)}


def read_slow_line(parts):
    (stream, header, payload), part = links.parse_message(*parts)
    value = {"kind": "data", "stream": stream, **header_value(header)}
    value["readouts"] = readouts(payload, header.count)
    return value | (part._asdict() if part else {"stride": None, "covered": None})


def header_value(header):
    value = header._asdict()
    source = value.pop("source")
    value |= {"address": source.address, "port": source.port}
    return value | {key: str(value[key]) for key in ("relay_id", "sequence", "received_ns")}


def readouts(payload, count):
    readout_ids, timestamps, ends = wire.walk_payload(payload, count)
    begins = [0, *ends][:count]
    return [
        {"readout_id": i, "timestamp": str(t), "data": payload[begin + 19 : end].hex()}
        for i, t, begin, end in zip(readout_ids, timestamps, begins, ends, strict=True)
    ]


def read_request(parts):
    value = wire.parse_request(parts[0])._asdict()
    value["request_kind"] = int(value.pop("kind"))
    assert value.pop("flags") == 0
    return value | {key: str(value[key]) for key in ("request_id", "relay_id", "a", "b")}


def read_answer(parts):
    status, *numbers = wire.parse_answer(parts[0])
    assert numbers.pop() == 0  # flags
    names = wire.Answer._fields[1:-1]
    return {"status": int(status), **dict(zip(names, map(str, numbers), strict=True))}


def read_page(parts):
    return [
        {**header_value(header), "readouts": readouts(payload, header.count)}
        for header, payload in wire.walk_page(parts[0])
    ]


def follow(parts, expected):
    subscription, now = Subscription("astropix", recover=False), Moment(0.0, 0)
    subscription.take(beat(expected), now)
    delivered = [i for batch in subscription.take(parts, now) for i in batch.readout_ids]
    # What is expected now is what is taken without a loss.
    lost = subscription.ledger().lost
    then = expected + lost + len(delivered)
    subscription.take(data(then, 1), now)
    assert subscription.ledger().lost == lost
    return {"deliver": delivered, "lost": lost, "expected": str(then)}


# sessions.jsonl


@by_session
def test_sessions(session):
    expect, got = session["expect"], offline.play(session)
    assert got["delivered"] == expect["delivered"]
    assert got["lost"] == {place: count for place, count in expect["lost"].items() if count}
    assert got["restarts"] == expect["restarts"]
    asked = [{key: r[key] for key in ("at", "kind", "relay_id", "a", "b")} for r in expect["requests"]]
    assert got["requests"] == asked
