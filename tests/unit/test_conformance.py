"""conformance/ against our own code: its frames against `wire`, its sessions against `Subscription`."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from astropix_relay.clients.archive import answer_request
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.cli.conforming import scenes
from astropix_stream.cli.conforming.scenes import Asked, Observed, Shelf
from astropix_stream.clock import Moment
from astropix_stream.errors import ConfigError, WireError
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
by_scene = pytest.mark.parametrize("scene", scenes.load(), ids=lambda scene: scene.name)


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
    read = {"message": read_message, "request": read_request, "answer": read_answer, "page": read_page}
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
    return value | {key: str(value[key]) for key in ("request_id", "relay_id", "a", "b")}


def read_answer(parts):
    status, *numbers = wire.parse_answer(parts[0])
    names = wire.Answer._fields[1:]
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


@by_session
def test_the_answers_are_those_of_the_scripted_relay(session):
    """`apx conformance` computes, for any request, what the file prints for the one that is expected."""
    shelf = Shelf(scenes._parse(session))
    steps = iter(session["steps"])
    for request in session["expect"]["requests"]:
        answered_at = request.get("answer", request)["at"]
        for step in steps:
            shelf.publish([bytes.fromhex(part) for part in step.get("send") or step.get("lose") or ()])
            if step["at"] >= request["at"]:
                break
        wanted = wire.Request(wire.Ask.RANGE, 7, request["relay_id"], request["a"], request["b"], "astropix")
        answer = shelf.answer(wanted)
        if "answer" not in request:
            assert answer is None or answer[0] > 0
            continue
        after_s, frames = answer
        assert after_s == pytest.approx(answered_at - request["at"])
        printed = [bytes.fromhex(part) for part in request["answer"]["frames"]]
        # What was published meanwhile moves `next`.
        same = [wire.parse_answer(head)._replace(next=0, request_id=0) for head in (frames[0], printed[0])]
        assert same[0] == same[1]
        assert frames[1] == printed[1]


def test_the_scripted_relay_answers_as_the_real_one():
    history, shelf = History(1 << 20), Shelf(scenes._parse(SESSIONS[0]))
    for sequence in (0, 2, 5, 6):
        message = data(sequence, *range(sequence, {0: 2, 2: 5, 5: 6, 6: 10}[sequence]), relay_id=77)
        shelf.publish(message)
        history.append(*message[1:])
    for a in range(12):
        for b in (a, a + 1, a + 4, wire.WITHOUT_END):
            frame = wire.pack_request(wire.Request(wire.Ask.RANGE, 9, 77, a, b, "astropix"))
            answer, page = answer_request([frame], 77, {"astropix": history})
            expected = [wire.pack_answer(answer), bytes(page)]
            assert shelf.answer(wire.parse_request(frame))[1] == expected, (a, b)


# `compare`, which tells what a client did wrong


def perfect(scene):
    """Return what a client does that does all right."""
    requests = [
        wire.pack_request(wire.Request(wire.Ask.RANGE, n, ask.relay_id, ask.a, ask.a + 1, "astropix"))
        for n, ask in enumerate(scene.asks, 1)
    ]
    return Observed(
        {"delivered": list(scene.delivered), "lost": dict(scene.lost), "restarts": scene.restarts},
        [
            Asked(ask.at_s, bytes([n]), (request,))
            for n, (ask, request) in enumerate(zip(scene.asks, requests, strict=True))
        ],
        scene.connections - 1,
    )


@by_scene
def test_what_is_right_is_no_fault(scene):
    assert scenes.compare(scene, perfect(scene)) == []


@by_scene
def test_what_is_wrong_is_a_fault_that_names_a_section(scene):
    right = perfect(scene)
    first = scene.delivered[0]
    for report, what in (
        ({**right.report, "delivered": right.report["delivered"][1:]}, "delivered"),
        ({**right.report, "delivered": [*right.report["delivered"], first]}, "delivered"),
        ({**right.report, "lost": {**scene.lost, "before_socket": 99}}, "lost"),
        ({**right.report, "lost": {**scene.lost, "relay_to_client": 99}}, "lost"),
        ({**right.report, "lost": None}, "lost" if any(scene.lost.values()) else None),
        ({**right.report, "restarts": 9}, "restarts"),
        (None, "report"),
    ):
        faults = scenes.compare(scene, replace(right, report=report))
        assert [fault.what for fault in faults] == ([what] if what else [])
        assert all(fault.section in anchors(PAGE) for fault in faults)
    (fault,) = scenes.compare(scene, replace(right, reconnections=right.reconnections + 1))
    assert (fault.what, fault.section) == ("connections", "silence")


@pytest.mark.parametrize("scene", [s for s in scenes.load() if s.asks], ids=lambda scene: scene.name)
def test_what_is_wrong_with_requests_is_a_fault(scene):
    right = perfect(scene)
    first, *others = right.asked
    head = first.frames[0]
    for frames in (
        (),
        (b"APXX" + head[4:],),
        (head[:39],),
        (head[:8] + bytes(8) + head[16:],),  # request_id 0
        (head[:16] + b"\1" * 8 + head[24:],),  # another relay
        (head[:24] + b"\1" * 8 + head[32:],),  # another range
        (head, head),
    ):
        asked = [first._replace(frames=frames), *others]
        assert [fault.what for fault in scenes.compare(scene, replace(right, asked=asked))] == ["requests"]
    assert scenes.compare(scene, replace(right, asked=[]))
    assert scenes.compare(scene, replace(right, asked=right.asked * 9))
    with_envelope = [each._replace(frames=(b"", *each.frames)) for each in right.asked]
    assert scenes.compare(scene, replace(right, asked=with_envelope)) == []


def test_asking_again_is_held_to_its_time_and_to_a_new_socket():
    (scene,) = scenes.find(["answer-lost"])
    right = perfect(scene)
    first, again = right.asked
    for wrong in (again._replace(at_s=first.at_s + 0.3), again._replace(at_s=first.at_s + 4.5)):
        (fault,) = scenes.compare(scene, replace(right, asked=[first, wrong]))
        assert "it asked again after" in str(fault)
    (fault,) = scenes.compare(
        scene, replace(right, asked=[first, again._replace(connection=first.connection)])
    )
    assert "on the same socket" in str(fault)


def test_lines_that_are_no_reports_are_none():
    for line in ("", "connected", "[1]", "{}", '{"lost": 1}', "{" * 5000, "1" * 5000):
        assert scenes.parse_report(line) is None
    assert scenes.parse_report('{"delivered": []}\n') == {"delivered": []}


def test_a_scene_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match="there is no scene 'gaps' to play; apx conformance --list"):
        scenes.find(["gap", "gaps"])
    with pytest.raises(ConfigError, match="oldest-on-a-late-join"):
        scenes.find(["oldest-on-a-late-join"])  # for programs that read the file
    assert len(scenes.find([])) == len([s for s in scenes.load() if s.live])
    assert Path(FOLDER / "README.md").is_file()
