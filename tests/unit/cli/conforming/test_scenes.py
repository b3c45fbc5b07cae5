"""What the scripted relay answers, and how what a client did is compared with what its scene expects."""

import json
from dataclasses import replace

import pytest

from astropix_relay.clients.archive import answer_request
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.cli.conforming import scenes
from astropix_stream.cli.conforming.scenes import Asked, Observed, Shelf
from astropix_stream.errors import ConfigError
from conformance.layout import beat, data, hello
from unit.test_conformance import PAGE, SESSIONS, by_session
from unit.test_documents import anchors

by_scene = pytest.mark.parametrize("scene", scenes.load(), ids=lambda scene: scene.name)


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


def test_only_the_history_port_of_a_frame_is_changed():
    for frames in (data(3, 103), [b"\x00{", b"{", b"{}", b"[1]"], beat(5), hello()):
        assert [scenes.with_history_port(frame, 7) for frame in frames] == frames
    for frame, prefix in (
        (beat(5, history_port=5557)[2], b""),
        (hello(history_port=5557)[0], b"apx/hello\0"),
    ):
        changed = scenes.with_history_port(frame, 7)
        assert changed.startswith(prefix)
        before, after = (json.loads(each.removeprefix(prefix)) for each in (frame, changed))
        assert after == {**before, "history_port": 7}


def test_the_scripted_relay_answers_any_kind_of_request():
    shelf = Shelf(scenes._parse(SESSIONS[0]))
    shelf.publish(data(0, 100, 101))
    shelf.publish(data(2, 102))
    for kind, a, begin in ((wire.Ask.LATEST, 1, 2), (wire.Ask.LATEST, 9, 0), (wire.Ask.OLDEST, 0, 0)):
        _, frames = shelf.answer(wire.Request(kind, 1, 0, a, 0, "astropix"))
        answer = wire.parse_answer(frames[0])
        assert (answer.begin, answer.end, answer.next) == (begin, 3, 3)
    _, frames = shelf.answer(wire.Request(wire.Ask.OLDEST, 1, 12345, 0, 0, "astropix"))
    assert wire.parse_answer(frames[0]).status == wire.AnswerStatus.OTHER_RELAY


def test_a_list_of_many_readouts_is_shortened():
    (scene,) = scenes.find(["gap"])
    report = {**perfect(scene).report, "delivered": list(range(100))}
    (fault,) = scenes.compare(scene, Observed(report))
    assert str(fault).startswith("it delivered readouts 0 1 2 3")
    assert "28 29 …, and should readouts 100 101 102 106" in str(fault)
    for wrong, said in ((7, "7"), ([], "nothing"), ("x" * 500, "'xxxx")):
        (fault,) = scenes.compare(scene, Observed({**report, "delivered": wrong}))
        assert str(fault).startswith(f"it delivered {said}")
        assert len(str(fault)) < 200
