"""Scenes of the relay protocol: what a scripted relay sends and answers, and what a client should make of it.

Pure. conformance/README.md describes the files and the report; docs/protocol.md is what they test.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from astropix_stream import wire
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.wire import Answer, AnswerStatus, Request

PAGE = "docs/protocol.md"
SECTIONS = (
    "in-short",
    "numbers",
    "accounts",
    "a-restarted-relay",
    "silence",
    "recovering",
    "request-one-frame",
    "clients-in-other-languages",
)
"""Those of docs/protocol.md that faults name without a scene's say."""
_AGAIN_S = (1.5, 3.5)  # between two requests where 2 s are asked for; the machine may be busy


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a time: frames published, sent or lost on the way, or the client stopped."""

    at_s: float
    frames: tuple[bytes, ...] = ()
    lost: bool = False
    sleep_until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """How the relay answers a request: after a time, or never; with so many messages; with this status."""

    after_s: float | None
    messages: int | None = None
    status: AnswerStatus = AnswerStatus.OK
    relay_id: int | None = None


class Ask(NamedTuple):
    """A request that a client is expected to send: when, and from which sequence."""

    at_s: float
    a: int
    relay_id: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """One line of sessions.jsonl."""

    name: str
    shows: str
    live: bool
    """Whether it can be played to a client that is only told where the relay is."""
    steps: tuple[Step, ...]
    end_s: float
    oldest: int
    replies: tuple[Reply, ...]
    delivered: tuple[int, ...]
    lost: Mapping[str, int]
    restarts: int
    connections: int
    asks: tuple[Ask, ...]
    sections: Mapping[str, str]
    """The section of docs/protocol.md that speaks of each thing expected."""

    @property
    def sleeps(self) -> bool:
        """Whether the client's process is stopped for a while."""
        return any(step.sleep_until_s is not None for step in self.steps)

    @property
    def hello(self) -> bytes:
        """What each new connection is told at the beginning."""
        return next(step.frames[0] for step in self.steps if len(step.frames) == 1)


@cache
def load() -> tuple[Scene, ...]:
    """Return all scenes, in the order of the file."""
    text = resources.files("astropix_stream").joinpath("conformance", "sessions.jsonl").read_text("utf-8")
    return tuple(_parse(json.loads(line)) for line in text.splitlines())


def find(names: Sequence[str]) -> list[Scene]:
    """Return the scenes with these names, or all that can be played to a client.

    Raises
    ------
    ConfigError
        There is no such scene, or it is for a program that reads the file itself.
    """
    playable = {scene.name: scene for scene in load() if scene.live}
    for name in names:
        if name not in playable:
            raise ConfigError(f"there is no scene {name!r} to play; apx conformance --list shows them")
    return [playable[name] for name in names or playable]


def _parse(line: Mapping[str, Any]) -> Scene:
    expect, history = line["expect"], line["history"] or {"oldest": 0, "answers": []}
    return Scene(
        name=line["scene"],
        shows=line["shows"],
        live=line["live"],
        steps=tuple(map(_parse_step, line["steps"])),
        end_s=line["end"],
        oldest=history["oldest"],
        replies=tuple(map(_parse_reply, history["answers"])),
        delivered=tuple(expect["delivered"]),
        lost=expect["lost"],
        restarts=expect["restarts"],
        connections=expect["connections"],
        asks=tuple(Ask(r["at"], r["a"], r["relay_id"], "answer" in r) for r in expect["requests"]),
        sections=line["rules"],
    )


def _parse_step(step: Mapping[str, Any]) -> Step:
    frames = tuple(bytes.fromhex(part) for part in step.get("send") or step.get("lose") or ())
    return Step(step["at"], frames, "lose" in step, step.get("sleep_until"))


def _parse_reply(reply: Mapping[str, Any]) -> Reply:
    status = AnswerStatus(reply.get("status", 0))
    return Reply(reply.get("after"), reply.get("messages"), status, reply.get("relay_id"))


def with_history_port(frame: bytes, port: int) -> bytes:
    """Put the port that is really open into the JSON of a heartbeat or hello."""
    head, brace, text = frame.partition(b"{")
    try:
        value = json.loads(brace + text)
    except ValueError:  # readouts, or what is to be ignored
        return frame
    if value.get("history_port") is not None:
        value["history_port"] = port
    return head + wire.pack_json(value)


class Shelf:
    """The history of a scripted relay: what it has published so far, and how it answers for it."""

    def __init__(self, scene: Scene) -> None:
        self._oldest = scene.oldest
        self._replies = list(scene.replies)
        self._messages: list[tuple[wire.Header, bytes, bytes]] = []
        self._relay_id = 0

    def publish(self, frames: Sequence[bytes]) -> None:
        """Note a message, whether it comes to the client or not."""
        try:
            message = wire.parse_message(frames)
        except WireError:
            return  # a scene may send what is to be ignored
        if isinstance(message, wire.Hello):
            self._turn_to(message.relay_id)
        elif message.stream == "astropix":
            self._turn_to(message.header.relay_id)
            if isinstance(message, wire.DataMessage):
                self._messages.append((message.header, frames[1][: wire.MESSAGE_HEADER.size], frames[2]))

    def _turn_to(self, relay_id: int) -> None:
        if relay_id != self._relay_id:
            self._relay_id, self._messages = relay_id, []

    def answer(self, request: Request) -> tuple[float, list[bytes]] | None:
        """Return after how many seconds to answer, and with which frames; None for a lost answer."""
        reply = self._replies.pop(0) if self._replies else Reply(0.0)
        if reply.after_s is None:
            return None
        status, relay_id = reply.status, reply.relay_id or self._relay_id
        if status is AnswerStatus.OK and request.relay_id not in (0, relay_id):
            status = AnswerStatus.OTHER_RELAY
        if status is not AnswerStatus.OK:
            words = b"the relay was restarted"
            return reply.after_s, [wire.pack_answer(Answer(status, request.request_id, relay_id)), words]
        answer, page = self._page(request, reply.messages)
        return reply.after_s, [wire.pack_answer(answer), page]

    def _page(self, request: Request, limit: int | None) -> tuple[Answer, bytes]:
        held = [message for message in self._messages if _end(message[0]) > self._oldest]
        next_ = _end(self._messages[-1][0]) if self._messages else 0
        oldest = held[0][0].sequence if held else next_
        start, stop = _range(request, next_)
        stop = max(start, min(stop, next_))
        begin = min(max(start, oldest), stop)
        inside = [m for m in held if _end(m[0]) > begin and m[0].sequence < stop][:limit]
        end = _end(inside[-1][0]) if begin < stop and inside else begin
        page = b"".join(_record(head, payload) for _, head, payload in inside) if begin < stop else b""
        answer = Answer(
            AnswerStatus.OK, request.request_id, self._relay_id, oldest, next_, begin, end
        )  # fmt: skip
        return answer, page


def _end(header: wire.Header) -> int:
    return header.sequence + header.count


def _range(request: Request, next_: int) -> tuple[int, int]:
    if request.kind == wire.Ask.RANGE:
        return request.a, request.b
    return (max(0, next_ - request.a) if request.kind == wire.Ask.LATEST else 0), next_


def _record(head: bytes, payload: bytes) -> bytes:
    marked = bytearray(head)
    marked[wire.FLAGS_OFFSET] |= wire.REPLAYED
    return wire.RECORD_SIZE.pack(len(payload)) + bytes(marked) + payload


class Asked(NamedTuple):
    """A request that came: when, from which connection, its frames."""

    at_s: float
    connection: bytes
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a client did in a scene: its last report, its requests, how often it connected again."""

    report: Mapping[str, Any] | None
    asked: Sequence[Asked] = ()
    reconnections: int = 0


class Fault(NamedTuple):
    """Something that a client did otherwise than docs/protocol.md says."""

    what: str
    text: str
    section: str

    def __str__(self) -> str:
        return f"{self.text} ({PAGE}#{self.section})"


def parse_report(line: str) -> dict[str, Any] | None:
    """Return the report in a line of the client's output; None for any other line."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "delivered" in value else None


def compare(scene: Scene, observed: Observed) -> list[Fault]:
    """Return what the client did otherwise than the scene expects."""
    faults = [*_compare_report(scene, observed.report), *_compare_requests(scene, observed.asked)]
    expected = scene.connections - 1
    if observed.reconnections != expected:
        text = f"it connected again {observed.reconnections} times, and should {expected} times"
        faults.append(_fault(scene, "connections", text, "silence"))
    return faults


def _fault(scene: Scene, what: str, text: str, otherwise: str) -> Fault:
    return Fault(what, text, scene.sections.get(what, otherwise))


def _compare_report(scene: Scene, report: Mapping[str, Any] | None) -> list[Fault]:
    if report is None:
        return [
            Fault("report", "it printed no report: see conformance/README.md", "clients-in-other-languages")
        ]
    faults = []
    if report["delivered"] != list(scene.delivered):
        text = f"it delivered {_numbers(report['delivered'])}, and should {_numbers(scene.delivered)}"
        faults.append(_fault(scene, "delivered", text, "numbers"))
    lost = report.get("lost", {})
    lost = lost if isinstance(lost, Mapping) else {}
    wrong = [
        f"{place} {lost.get(place, 0)} in place of {count}"
        for place, count in scene.lost.items()
        if lost.get(place, 0) != count
    ]
    if wrong:
        faults.append(_fault(scene, "lost", f"lost: {', '.join(wrong)}", "accounts"))
    if report.get("restarts", 0) != scene.restarts:
        text = f"it saw {report.get('restarts', 0)} restarts of the relay, and there were {scene.restarts}"
        faults.append(_fault(scene, "restarts", text, "a-restarted-relay"))
    return faults


def _numbers(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return repr(values)[:80]
    return (
        ("readouts " + " ".join(map(str, values[:30])) + (" …" if len(values) > 30 else ""))
        if values
        else "nothing"
    )


def _compare_requests(scene: Scene, asked: Sequence[Asked]) -> list[Fault]:
    try:
        requests = [_parse_request(each) for each in asked]
    except WireError as error:
        return [Fault("requests", f"its request is malformed: {error}", "request-one-frame")]
    expected, section = scene.asks, "requests"
    fewest = max([i + 1 for i, ask in enumerate(expected) if ask.answered], default=min(2, len(expected)))
    if not fewest <= len(requests) <= len(expected) + bool(expected):
        text = f"it asked history {len(requests)} times, and should {len(expected)} times"
        return [_fault(scene, section, text, "recovering")]
    faults = []
    for ask, request in zip(expected, requests, strict=False):
        if request.a != ask.a or request.relay_id not in (0, ask.relay_id):
            text = f"it asked for sequences from {request.a}, and should from {ask.a}"
            faults.append(_fault(scene, section, text, "recovering"))
    return faults or list(_compare_patience(scene, asked))


def _parse_request(asked: Asked) -> Request:
    frames = asked.frames[1:] if asked.frames[:1] == (b"",) else asked.frames
    if len(frames) != 1:
        raise WireError(f"it has {len(frames)} frames, and should have one")
    request = wire.parse_request(frames[0])
    if not request.request_id:
        raise WireError("its request_id is 0")
    return request


def _compare_patience(scene: Scene, asked: Sequence[Asked]) -> Iterable[Fault]:
    """Check what is said of asking again: after 2 s, and on a new connection."""
    both = zip(itertools.pairwise(scene.asks), itertools.pairwise(asked), strict=False)
    for (before, ask), (first, then) in both:
        if ask.at_s - before.at_s < _AGAIN_S[0]:
            continue
        waited_s = then.at_s - first.at_s
        if not _AGAIN_S[0] <= waited_s <= _AGAIN_S[1]:
            yield _fault(scene, "requests", f"it asked again after {waited_s:.1f} s, not 2 s", "recovering")
        elif then.connection == first.connection:
            yield _fault(
                scene, "requests", "it asked again on the same socket, not on a new one", "recovering"
            )
