"""The lines of conformance/sessions.jsonl: what a relay sends and when, and what a subscriber makes of it.

The numbers expected are written by hand. Readouts are told by their `readout_id`, which is not the sequence:
that of sequence 3 is 103, where nothing else is said.
"""

from conformance.layout import HISTORY_PORT, OTHER_RELAY, RELAY, answer, beat, counts, data, hello, record

GAP, TAIL = "numbers", "heartbeats"
RESTART, SILENCE, HISTORY = "a-restarted-relay", "silence", "recovering"
LOST = ("before_socket", "relay_kernel", "relay_rejected", "relay_to_client")


def sessions():
    """Return all lines, in order."""
    return [
        *_without_history(),
        *_restarts(),
        *_accounts(),
        *_recoveries(),
        *_patience(),
        *_silence(),
        *_cascades(),
    ]


def send(at, parts, says=""):
    return {"at": at, "send": [part.hex() for part in parts], "says": says}


def lose(at, parts, says="lost on the way to you"):
    return {"at": at, "lose": [part.hex() for part in parts], "says": says}


def sleep(at, until):
    return {"at": at, "sleep_until": until, "says": "your program is stopped"}


def ids(*sequences):
    return [100 + sequence for sequence in sequences]


def run_of(begin, end, **fields):
    """Return a data message with these sequences."""
    return data(begin, *ids(*range(begin, end)), **fields)


def scene(
    name,
    shows,
    steps,
    *,
    end,
    delivered,
    lost=(),
    restarts=0,
    connections=1,
    rules,
    history=None,
    requests=(),
    client=None,
    live=True,
):
    """Return a line; `rules` names the section for each thing expected that may be wrong."""
    steps = sorted(steps, key=lambda step: step["at"])
    return {
        "scene": name,
        "shows": shows,
        "client": {"stream": "astropix", **(client or {})},
        "live": live,
        "history": history,
        "steps": steps,
        "end": end,
        "expect": {
            "delivered": delivered,
            "lost": {place: dict(lost).get(place, 0) for place in LOST},
            "restarts": restarts,
            "connections": connections,
            "requests": list(requests),
        },
        "rules": rules,
    }


def asks(at, a, b, *, relay_id=RELAY, answered=None, frames=None):
    """Return a request that is expected, and the answer to it, where there is one."""
    value = {"at": at, "kind": 1, "relay_id": relay_id, "a": a, "b": b}
    if frames:
        value["answer"] = {"at": answered, "frames": [frame.hex() for frame in frames]}
    return value


def page(*messages):
    return b"".join(record(message[1], message[2]) for message in messages)


def _start(history_port=None, sequence=0, relay_id=RELAY, about=None):
    return [
        send(0.0, hello(history_port=history_port, relay_id=relay_id, about=about), "hello"),
        send(
            0.1, beat(sequence, history_port=history_port, relay_id=relay_id), f"heartbeat, {sequence} next"
        ),
    ]


def _without_history():
    every = {"delivered": "data-messages", "lost": GAP}
    yield scene(
        "in-order",
        "All messages arrive, with one readout or with several. What was published before you joined is "
        "no loss.",
        [
            *_start(sequence=40),
            send(0.3, run_of(40, 42)),
            send(0.5, run_of(42, 43)),
            send(0.7, beat(43)),
        ],
        end=1.0,
        delivered=ids(40, 41, 42),
        rules=every,
    )
    yield scene(
        "joined-by-data",
        "The first message is a data message: it begins with the first number that is yours.",
        [send(0.0, hello()), send(0.2, run_of(40, 42)), send(0.5, beat(42))],
        end=0.8,
        delivered=ids(40, 41),
        rules=every,
    )
    yield scene(
        "gap",
        "Messages are missing in the middle.",
        [
            *_start(),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            send(0.4, run_of(6, 7)),
            send(0.5, beat(7)),
        ],
        end=0.8,
        delivered=ids(0, 1, 2, 6),
        lost={"relay_to_client": 3},
        rules={"delivered": GAP, "lost": GAP},
    )
    yield scene(
        "tail-gap",
        "The last messages are missing: a heartbeat shows it.",
        [*_start(), send(0.2, run_of(0, 2)), lose(0.3, run_of(2, 5)), send(0.5, beat(5))],
        end=0.8,
        delivered=ids(0, 1),
        lost={"relay_to_client": 3},
        rules={"delivered": TAIL, "lost": TAIL},
    )
    yield scene(
        "tail-gap-once",
        "The last messages are missing: a heartbeat shows it, and the next data message does not show it "
        "again.",
        [
            *_start(),
            send(0.2, run_of(0, 2)),
            lose(0.3, run_of(2, 5)),
            send(0.5, beat(5)),
            send(0.8, run_of(5, 6)),
        ],
        end=1.1,
        delivered=ids(0, 1, 5),
        lost={"relay_to_client": 3},
        rules={"delivered": TAIL, "lost": TAIL},
    )
    yield scene(
        "overlap",
        "Messages are repeated, in whole or in part.",
        [
            *_start(),
            send(0.2, run_of(0, 4)),
            send(0.3, run_of(1, 3), "known already"),
            send(0.4, run_of(2, 6), "4 and 5 are new"),
            send(0.5, run_of(6, 7)),
            send(0.7, beat(7)),
        ],
        end=1.0,
        delivered=ids(0, 1, 2, 3, 4, 5, 6),
        rules={"delivered": GAP, "lost": GAP},
    )
    strange = run_of(1, 2, flags=0xFE)
    strange[1] += b"\x01\x02\x03"
    yield scene(
        "unknown-things",
        "Flags, header bytes, JSON keys, versions and streams that you do not know, and damaged messages.",
        [
            *_start(about={"colour": "red"}),
            send(0.2, run_of(0, 1)),
            send(0.3, strange, "a longer header, and flags"),
            send(0.4, run_of(90, 91, version=2), "another version: not to be read"),
            send(0.5, run_of(80, 81, stream="astropix2"), "another stream"),
            send(0.6, [*run_of(2, 4)[:2], b"\xfe\xdc\xba"], "damaged: 2 and 3 are a loss, once 4 has come"),
            send(0.65, [*beat(99)[:2], b"{"], "damaged: not to be read, 99 not either"),
            send(0.7, run_of(4, 5)),
            send(0.8, beat(5, more={"later": {"a": 1}})),
        ],
        end=1.1,
        delivered=ids(0, 1, 4),
        lost={"relay_to_client": 2},
        rules={"delivered": "what-to-ignore", "lost": "what-to-ignore"},
    )


def _restarts():
    rules = {"delivered": RESTART, "lost": RESTART, "restarts": RESTART}
    before = [*_start(), send(0.2, run_of(0, 3))]
    again = [send(0.6, hello(relay_id=OTHER_RELAY), "another relay_id")]
    yield scene(
        "restart",
        "The relay was restarted, and nothing is lost: ids go on, numbers begin at 0.",
        [
            *before,
            *again,
            send(0.7, beat(0, relay_id=OTHER_RELAY)),
            send(0.8, data(0, 103, 104, relay_id=OTHER_RELAY)),
        ],
        end=1.1,
        delivered=[100, 101, 102, 103, 104],
        restarts=1,
        rules=rules,
    )
    yield scene(
        "restart-at-12",
        "The first sequence after a restart is 12: twelve were published, and did not come to you.",
        [
            *before,
            *again,
            lose(0.7, data(0, *range(103, 115), relay_id=OTHER_RELAY)),
            send(0.8, data(12, 115, relay_id=OTHER_RELAY)),
            send(0.9, beat(13, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 115],
        lost={"relay_to_client": 12},
        restarts=1,
        rules=rules,
    )
    yield scene(
        "restart-step",
        "While no relay ran the DAQ went on: the step of the source's readout_id is a loss before the relay.",
        [
            *before,
            *again,
            send(0.7, beat(0, relay_id=OTHER_RELAY)),
            send(0.8, data(0, 110, 111, relay_id=OTHER_RELAY)),
            send(0.9, beat(2, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 110, 111],
        lost={"before_socket": 7},
        restarts=1,
        rules=rules,
    )
    yield scene(
        "restart-at-2-with-a-step",
        "A step of 9 readouts over a restart, of which the new relay published 2: counted once.",
        [
            *before,
            *again,
            lose(0.7, data(0, 110, 111, relay_id=OTHER_RELAY)),
            send(0.8, data(2, 112, relay_id=OTHER_RELAY)),
            send(0.9, beat(3, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 112],
        lost={"before_socket": 7, "relay_to_client": 2},
        restarts=1,
        rules=rules,
    )
    for told in ("hello", "heartbeat"):
        about, more = ({"stride": 10}, None) if told == "hello" else (None, {"stride": 10})
        yield scene(
            f"restart-stride-in-{told}",
            f"The DAQ multicasts one readout in ten, as the {told} says: steps are counted in tens.",
            [
                send(0.0, hello(about=about)),
                send(0.1, beat(0, more=more)),
                send(0.2, data(0, 100, 110, 120)),
                send(0.6, hello(relay_id=OTHER_RELAY, about=about), "another relay_id"),
                send(0.7, beat(0, relay_id=OTHER_RELAY, more=more)),
                send(0.8, data(0, 160, 170, relay_id=OTHER_RELAY)),
                send(0.9, beat(2, relay_id=OTHER_RELAY, more=more)),
            ],
            end=1.2,
            delivered=[100, 110, 120, 160, 170],
            lost={"before_socket": 3},
            restarts=1,
            rules=rules,
        )
    yield scene(
        "restart-two-sources",
        "The step is counted for each source separately.",
        [
            *before,
            send(0.3, data(3, 7000, source=("192.168.7.3", 41000))),
            *again,
            send(0.7, data(0, 110, relay_id=OTHER_RELAY)),
            send(0.8, data(1, 7005, source=("192.168.7.3", 41000), relay_id=OTHER_RELAY)),
            send(0.9, beat(2, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 7000, 110, 7005],
        lost={"before_socket": 11},
        restarts=1,
        rules=rules,
    )
    yield scene(
        "restart-new-source",
        "A source that was not known before the restart has no step.",
        [
            *before,
            *again,
            send(0.7, data(0, 5000, source=("192.168.7.3", 41000), relay_id=OTHER_RELAY)),
            send(0.9, beat(1, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 5000],
        restarts=1,
        rules=rules,
    )
    yield scene(
        "restart-new-run",
        "The DAQ began a new run meanwhile: a step backwards is not a loss.",
        [
            *before,
            *again,
            send(0.7, data(0, 0, 1, relay_id=OTHER_RELAY)),
            send(0.9, beat(2, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 0, 1],
        restarts=1,
        rules=rules,
    )  # fmt: skip
    yield scene(
        "restart-tail",
        "The last readouts of the old relay, which its last heartbeat showed, and then another relay.",
        [
            *before,
            lose(0.3, run_of(3, 5)),
            send(0.4, beat(5)),
            *again,
            send(0.7, beat(0, relay_id=OTHER_RELAY)),
            send(0.8, data(0, 105, relay_id=OTHER_RELAY)),
        ],
        end=1.1,
        delivered=[100, 101, 102, 105],
        lost={"relay_to_client": 2},
        restarts=1,
        rules=rules,
    )


def _cascades():
    """Relays behind relays: the hello has another relay_id than the stream, which its origin numbers."""
    section = "relays-behind-relays"
    rules = {"delivered": section, "lost": section, "restarts": section, "requests": section}
    between = 0x0000FEED0001

    def greet(at, relay_id=between, origin=RELAY, port=None, says="hello of a relay fed by the origin"):
        return send(at, hello(relay_id=relay_id, about={"relay_id": origin}, history_port=port), says)

    hop = {"id": RELAY, "name": "relay-a", "address": "tcp://relay-a:5556", "fed_by": [], "lost": {}}
    hop |= {"lost_first_ns": 0, "lost_last_ns": 0, "age_s": 0.1, "lag_s": 0.0}
    second = {**hop, "id": between, "name": "relay-roma", "fed_by": [RELAY], "lost": {"between_relays": 4}}
    yield scene(
        "cascade",
        "The stream has the relay_id of its origin, not that of the relay which greets: no restart.",
        [
            greet(0.0),
            send(0.1, beat(0, more={"hops": [hop, second]})),
            send(0.2, run_of(0, 3)),
            send(0.4, run_of(3, 5, flags=1), "recovered by the relay, from the one above it"),
            send(0.5, beat(5, more={"hops": [hop, {**second, "later": 1}, {}, None]})),
        ],
        end=0.8,
        delivered=ids(0, 1, 2, 3, 4),
        rules=rules,
    )
    yield scene(
        "cascade-restarted-between",
        "The relay was restarted, its origin was not: numbers go on, and what is missing between is a gap.",
        [
            greet(0.0),
            send(0.1, beat(0)),
            send(0.2, run_of(0, 3)),
            greet(0.6, relay_id=between + 1, says="another start of the relay"),
            lose(0.65, run_of(3, 5)),
            send(0.7, beat(5)),
            send(0.8, run_of(5, 7)),
        ],
        end=1.1,
        delivered=ids(0, 1, 2, 5, 6),
        lost={"relay_to_client": 2},
        rules=rules,
    )
    yield scene(
        "cascade-origin-restarted",
        "The origin was restarted, the relay between was not.",
        [
            greet(0.0),
            send(0.1, beat(0)),
            send(0.2, run_of(0, 3)),
            greet(0.6, origin=OTHER_RELAY, says="the same relay, another origin"),
            send(0.7, beat(0, relay_id=OTHER_RELAY)),
            send(0.8, data(0, 105, relay_id=OTHER_RELAY)),
            send(0.9, beat(1, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[100, 101, 102, 105],
        lost={"before_socket": 2},
        restarts=1,
        rules=rules,
    )
    yield scene(
        "cascade-history",
        "The relay's history has the origin's relay_id, and so have requests and answers.",
        [
            greet(0.0, port=HISTORY_PORT),
            send(0.1, beat(0, history_port=HISTORY_PORT)),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            send(0.4, run_of(6, 7)),
            send(1.0, beat(7, history_port=HISTORY_PORT)),
        ],
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1}]},
        requests=[
            asks(0.4, 3, 6, answered=0.5, frames=[answer(0, 0, 7, 3, 6, request_id=0), page(run_of(3, 6))])
        ],
        delivered=ids(0, 1, 2, 3, 4, 5, 6),
        rules=rules,
    )


def _accounts():
    rules = {"delivered": "accounts", "lost": "accounts", "restarts": RESTART}
    before = counts(500, before_socket=100, in_kernel=5, rejected={"magic": 2})
    after = counts(502, before_socket=103, in_kernel=6, rejected={"magic": 2, "length": 4})
    yield scene(
        "account",
        "What the relay lost while you were there: the first heartbeat's account is subtracted.",
        [
            send(0.0, hello()),
            send(0.1, beat(500, totals=before)),
            send(0.3, data(500, 200, 208)),
            send(0.5, beat(502, totals=after)),
        ],
        end=0.8,
        delivered=[200, 208],
        lost={"before_socket": 3, "relay_kernel": 1, "relay_rejected": 4},
        rules=rules,
    )
    new = counts(1, before_socket=2, in_kernel=1, rejected={"short": 1})
    yield scene(
        "account-of-a-new-relay",
        "After a restart the new relay's account is all yours, in addition to what the old one had counted.",
        [
            send(0.0, hello()),
            send(0.1, beat(500, totals=before)),
            send(0.3, data(500, 200, 208)),
            send(0.5, beat(502, totals=after)),
            send(0.7, hello(relay_id=OTHER_RELAY)),
            send(0.8, data(0, 213, relay_id=OTHER_RELAY)),
            send(0.9, beat(1, totals=new, relay_id=OTHER_RELAY)),
        ],
        end=1.2,
        delivered=[200, 208, 213],
        lost={"before_socket": 3 + 4 + 2, "relay_kernel": 1 + 1, "relay_rejected": 4 + 1},
        restarts=1,
        rules=rules,
    )


def _recoveries():
    port = HISTORY_PORT
    rules = {"delivered": HISTORY, "lost": HISTORY, "requests": HISTORY}
    gap = [
        *_start(port),
        send(0.2, run_of(0, 3)),
        lose(0.3, run_of(3, 6)),
        send(0.4, run_of(6, 7)),
        send(1.0, beat(7, history_port=port)),
    ]
    fill = [answer(0, 0, 7, 3, 6, request_id=0), page(run_of(3, 6))]
    yield scene(
        "history",
        "A gap is filled from history, and everything is handed out in order.",
        gap,
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1}]},
        requests=[asks(0.4, 3, 6, answered=0.5, frames=fill)],
        delivered=ids(0, 1, 2, 3, 4, 5, 6),
        rules=rules,
    )
    yield scene(
        "history-tail",
        "A gap that a heartbeat shows is filled from history.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            send(0.5, beat(6, history_port=port)),
            send(1.0, run_of(6, 7)),
        ],
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1}]},
        requests=[
            asks(
                0.5, 3, 6, answered=0.6, frames=[answer(0, 0, 6, 3, 6, request_id=0), page(run_of(3, 6))]
            )
        ],
        delivered=ids(0, 1, 2, 3, 4, 5, 6),
        rules=rules,
    )  # fmt: skip
    yield scene(
        "history-partly-gone",
        "History begins in the middle of the gap: what is before `begin` is lost.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            lose(0.35, run_of(6, 9)),
            send(0.4, run_of(9, 10)),
            send(1.0, beat(10, history_port=port)),
        ],
        end=1.4,
        history={"oldest": 6, "answers": [{"after": 0.1}]},
        requests=[
            asks(
                0.4, 3, 9, answered=0.5, frames=[answer(0, 6, 10, 6, 9, request_id=0), page(run_of(6, 9))]
            )
        ],
        delivered=ids(0, 1, 2, 6, 7, 8, 9),
        lost={"relay_to_client": 3},
        rules=rules,
    )  # fmt: skip
    yield scene(
        "history-gone",
        "Nothing of the gap is held: `begin` equals `end`, and is below `next`.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            send(0.4, run_of(6, 7)),
            send(1.0, beat(7, history_port=port)),
        ],
        end=1.4,
        history={"oldest": 6, "answers": [{"after": 0.1}]},
        requests=[asks(0.4, 3, 6, answered=0.5, frames=[answer(0, 6, 7, 6, 6, request_id=0), b""])],
        delivered=ids(0, 1, 2, 6),
        lost={"relay_to_client": 3},
        rules=rules,
    )
    yield scene(
        "history-trim",
        "A page's messages begin before the gap and end after it: `end` exceeds `b`.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(2, 5), "its 2 has come another way: you have it"),
            lose(0.35, run_of(5, 9), "its 7 and 8 come another way, too"),
            send(0.4, run_of(7, 9)),
            send(1.0, beat(9, history_port=port)),
        ],
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1}]},
        requests=[
            asks(
                0.4,
                3,
                7,
                answered=0.5,
                frames=[answer(0, 0, 9, 3, 9, request_id=0), page(run_of(2, 5), run_of(5, 9))],
            )
        ],
        delivered=ids(0, 1, 2, 3, 4, 5, 6, 7, 8),
        rules=rules,
    )
    yield scene(
        "history-pages",
        "A page that is shorter than the gap: ask for the rest, from its `end`.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 5)),
            lose(0.35, run_of(5, 8)),
            send(0.4, run_of(8, 9)),
            send(1.0, beat(9, history_port=port)),
        ],
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1, "messages": 1}, {"after": 0.1, "messages": 1}]},
        requests=[
            asks(
                0.4, 3, 8, answered=0.5, frames=[answer(0, 0, 9, 3, 5, request_id=0), page(run_of(3, 5))]
            ),
            asks(
                0.5, 5, 8, answered=0.6, frames=[answer(0, 0, 9, 5, 8, request_id=0), page(run_of(5, 8))]
            ),
        ],
        delivered=ids(0, 1, 2, 3, 4, 5, 6, 7, 8),
        rules=rules,
    )  # fmt: skip
    yield scene(
        "history-other-relay",
        "The relay was restarted before you asked: status 2, and its zeros say nothing.",
        gap,
        end=1.4,
        history={"oldest": 0, "answers": [{"after": 0.1, "status": 2, "relay_id": OTHER_RELAY}]},
        requests=[
            asks(
                0.4,
                3,
                6,
                answered=0.5,
                frames=[
                    answer(2, 0, 0, 0, 0, request_id=0, relay_id=OTHER_RELAY),
                    b"the relay was restarted",
                ],
            )
        ],
        delivered=ids(0, 1, 2, 6),
        lost={"relay_to_client": 3},
        rules=rules,
    )
    yield scene(
        "restart-while-recovering",
        "Another relay is heard while you wait for a page: what is held is handed out, and the page is lost.",
        [
            *_start(port),
            send(0.2, run_of(0, 3)),
            lose(0.3, run_of(3, 6)),
            send(0.4, run_of(6, 7)),
            send(0.7, hello(relay_id=OTHER_RELAY)),
            send(0.8, data(0, 107, relay_id=OTHER_RELAY)),
            send(1.0, beat(1, relay_id=OTHER_RELAY)),
        ],
        end=1.4,
        history={"oldest": 0, "answers": [{"lost": True}]},
        requests=[asks(0.4, 3, 6)],
        delivered=[100, 101, 102, 106, 107],
        lost={"relay_to_client": 3},
        restarts=1,
        rules={**rules, "restarts": RESTART},
    )
    yield scene(
        "oldest-on-a-late-join",
        "You ask for all that is held, and join late: what is before `begin` was never yours.",
        [
            *[lose(0.0, run_of(n, n + 1), "before you joined") for n in range(4, 8)],
            *_start(port, sequence=8),
            send(0.7, run_of(8, 9)),
        ],
        end=1.2,
        client={"start": "oldest"},
        live=False,
        history={"oldest": 6, "answers": [{"after": 0.1}]},
        requests=[
            asks(
                0.1, 0, 8, answered=0.2,
                frames=[answer(0, 6, 8, 6, 8, request_id=0), page(run_of(6, 7), run_of(7, 8))],
            )
        ],
        delivered=ids(6, 7, 8),
        rules=rules,
    )  # fmt: skip


def _patience():
    port = HISTORY_PORT
    rules = {"delivered": HISTORY, "lost": HISTORY, "requests": HISTORY}
    gap = [*_start(port), send(0.2, run_of(0, 3)), lose(0.3, run_of(3, 6)), send(0.4, run_of(6, 7))]
    live = [
        send(1.0, beat(7, history_port=port)),
        send(1.2, run_of(7, 9), "hold it"),
        send(2.0, beat(9, history_port=port)),
    ]
    fill = [answer(0, 0, 9, 3, 6, request_id=0), page(run_of(3, 6))]
    yield scene(
        "answer-lost",
        "The answer does not come: ask again after 2 s. What is live is read meanwhile, and held.",
        [*gap, *live, send(3.0, beat(9, history_port=port))],
        end=3.4,
        history={"oldest": 0, "answers": [{"lost": True}, {"after": 0.1}]},
        requests=[asks(0.4, 3, 6), asks(2.4, 3, 6, answered=2.5, frames=fill)],
        delivered=ids(0, 1, 2, 3, 4, 5, 6, 7, 8),
        rules=rules,
    )
    yield scene(
        "answer-late",
        "The first answer comes when you have asked again: each readout is handed out once.",
        [*gap, *live, send(3.0, beat(9, history_port=port))],
        end=3.8,
        history={"oldest": 0, "answers": [{"after": 2.3}, {"after": 0.6}]},
        requests=[
            asks(0.4, 3, 6, answered=2.7, frames=fill),
            asks(2.4, 3, 6, answered=3.0, frames=fill),
        ],
        delivered=ids(0, 1, 2, 3, 4, 5, 6, 7, 8),
        rules=rules,
    )
    yield scene(
        "no-answer",
        "No answer comes at all: after 5 s what is missing is lost, and what is held is handed out.",
        [
            *gap,
            *live,
            *[send(float(s), beat(9, history_port=port)) for s in (3, 4, 5, 6)],
        ],
        end=6.6,
        history={"oldest": 0, "answers": [{"lost": True}, {"lost": True}, {"lost": True}]},
        requests=[asks(0.4, 3, 6), asks(2.4, 3, 6), asks(4.4, 3, 6)],
        delivered=ids(0, 1, 2, 6, 7, 8),
        lost={"relay_to_client": 3},
        rules=rules,
    )


def _silence():
    rules = {"delivered": SILENCE, "lost": SILENCE, "connections": SILENCE}
    yield scene(
        "silence",
        "Nothing comes for 5 s: connect again. What was published meanwhile did not come to you.",
        [
            *_start(),
            send(0.2, run_of(0, 2)),
            send(1.0, beat(2)),
            lose(2.0, run_of(2, 6), "nor do heartbeats come, until 7.5"),
            send(7.5, beat(6)),
            send(7.7, run_of(6, 7)),
        ],
        end=8.1,
        delivered=ids(0, 1, 6),
        lost={"relay_to_client": 4},
        connections=2,
        rules=rules,
    )
    yield scene(
        "pause",
        "Nothing comes for 3 s: this is not a reason to connect again.",
        [*_start(), send(0.2, run_of(0, 2)), send(3.2, beat(2)), send(3.4, run_of(2, 3))],
        end=3.8,
        delivered=ids(0, 1, 2),
        rules=rules,
    )
    yield scene(
        "sleep",
        "Your program is stopped for 6.5 s, and the messages wait in its socket: all are yours, and the "
        "connection stays.",
        [
            *_start(),
            send(0.2, run_of(0, 2)),
            sleep(0.5, 7.0),
            *[send(float(s), beat(s + 1)) for s in range(1, 7)],
            *[send(s + 0.5, run_of(s + 1, s + 2)) for s in range(1, 7)],
            send(7.0, beat(8)),
            send(7.3, run_of(8, 9)),
        ],
        end=7.8,
        delivered=ids(0, 1, *range(2, 9)),
        rules=rules,
    )
