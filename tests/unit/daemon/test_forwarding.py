"""A stream that other relays have numbered: published unchanged, with the hops, or numbered afresh."""

import json
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.confluence import TWO_ORIGINS_AFTER_S, Standing
from astropix_relay.core import StreamCore
from astropix_relay.forwarding import ForwardingCore
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.hops import Hop
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.fmt import AstroPix4Readout
from drains import DAQ, drain

ABOVE, OTHER, OURS = 7, 8, 77  # relay_ids
EPOCH_NS = 1_700_000_000 * 10**9


def at(seconds):
    return Moment(seconds, EPOCH_NS + round(seconds * 1e9))


def batch(begin, end, relay_id=ABOVE, *, recovered=False, first_id=None):
    ids = range(begin, end) if first_id is None else range(first_id, first_id + end - begin)
    raws = [AstroPix4Readout(b"\xbc", i, EPOCH_NS + i).to_bytes() for i in ids]
    return Batch(
        DAQ, at(1).ns, b"".join(raws), list(ids), [EPOCH_NS + i for i in ids], [*accumulate(map(len, raws))],
        recovered, position=Position(relay_id, begin),
    )  # fmt: skip


def origin(host="relay-a", received=3):
    """Return what the relay that joins the group says in a beat."""
    core = StreamCore("astropix", ABOVE, host=host, address="10.0.0.1:5556")
    core.membership(True, "joined")
    for i in range(received):
        core.take(drain(AstroPix4Readout(b"", i, EPOCH_NS + i).to_bytes()), at(1))
    return json.loads(core.beat(at(1))[2])


def standing(number, *, relay_id=ABOVE, connected=True, live_from=0, report=None):
    return Standing(connected, Position(relay_id, number), live_from, report)


@pytest.fixture
def core():
    history = History(1 << 20)
    return ForwardingCore(
        "astropix", OURS, ["a", "b"], history=history, host="relay-roma", address="10.0.1.1:5556"
    )


def parse(messages):
    return [wire.parse_message(message) for message in messages]


def report_of(core, now):
    return json.loads(core.beat(now)[2])


def test_readouts_keep_their_numbers_and_bytes(core):
    sent = batch(5, 8)
    (message,) = parse(core.forward([("a", 5, sent)], {"a": standing(8, live_from=5)}, at(1)))
    assert message.payload == sent.payload
    assert message.header == wire.Header(0, 3, ABOVE, 5, sent.received_ns, DAQ)
    assert (core.relay_id, core.own_id, core.sequence) == (ABOVE, OURS, 8)
    assert parse(core.forward([("b", 5, sent)], {"a": standing(8), "b": standing(8)}, at(1))) == []


def test_what_was_recovered_above_is_marked(core):
    (message,) = parse(core.forward([("a", 0, batch(0, 2, recovered=True))], {"a": standing(2)}, at(1)))
    assert message.header.flags == wire.REPLAYED


def test_what_was_published_before_we_came_is_only_remembered(core):
    assert core.forward([("a", 10, batch(5, 10))], {"a": standing(10, live_from=10)}, at(1)) == []
    core.settle()
    assert core.history.oldest == 5
    (message,) = parse(core.forward([("a", 10, batch(10, 12))], {"a": standing(12, live_from=10)}, at(1)))
    assert message.header.sequence == 10


def test_nothing_is_told_before_a_relay_above_is_heard(core):
    assert not core.known
    assert core.beat_due_s() == float("inf")
    assert core.tick(at(100)) is None
    assert core.state(at(1)) == State.UPSTREAM_LOST
    core.forward([], {"a": standing(0)}, at(1))
    assert core.known
    assert core.tick(at(100)) is not None


def test_the_stream_is_told_of_where_history_above_does_not_answer_and_the_daq_is_quiet(core):
    core.forward([], {"a": standing(0, live_from=40)}, at(1))
    assert (core.known, core.state(at(1)), core.history.filling) == (False, State.UPSTREAM_LOST, True)
    assert "before number 40 is being fetched" in core.waits_for
    core.forward([], {"a": standing(40, live_from=40)}, at(6))
    assert (core.known, core.sequence, core.history.filling, core.waits_for) == (True, 40, False, "")
    assert (core.state(at(6)), core.history.oldest) == (State.QUIET, 40)


def ring(*hops):
    return {"hops": [hop.to_json() for hop in hops]}


def test_of_two_ways_the_one_that_comes_from_us_is_a_loop(core):
    above, ours = Hop(1, "relay-a", "tcp://a:1"), Hop(OURS, "relay-roma", "tcp://roma:1", (1, 2))
    below = Hop(2, "relay-b", "tcp://b:1", (OURS,))
    ways = {"a": standing(0, report=ring(above)), "b": standing(0, report=ring(above, ours, below))}
    core.forward([], ways, at(1))
    assert core.loops() == {"b": "tcp://a:1 -> tcp://roma:1 -> tcp://b:1"}
    assert [hop["id"] for hop in report_of(core, at(1))["hops"]] == [1, 2, OURS]
    # The only way in, which is also fed by another one: it is not for us to leave it out.
    core.use_paths(["b"])
    fed = Hop(2, "relay-b", "tcp://b:1", (1, OURS))
    core.forward([], {"b": standing(0, report=ring(above, ours, fed))}, at(2))
    assert core.loops() == {}
    core.forward([], {"b": standing(0, report=ring(ours, below))}, at(3))
    assert list(core.loops()) == ["b"]


def test_before_the_stream_is_known_the_relays_on_the_way_are_told(core):
    waits = Standing(True, waits_behind=(Hop(1, "relay-a", "tcp://a:1", (0,)),))
    core.forward([], {"a": waits, "b": Standing(False)}, at(1))
    assert [(hop.id, hop.fed_by) for hop in core.hops_so_far()] == [(1, (0,)), (OURS, (1, 0))]
    assert core.loops() == {}


def test_a_relay_above_that_restarts_is_followed(core):
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3)}, at(1))
    (message,) = parse(
        core.forward([("a", 0, batch(0, 2, OTHER))], {"a": standing(2, relay_id=OTHER)}, at(2))
    )
    assert (message.header.relay_id, message.header.sequence) == (OTHER, 0)
    assert (core.relay_id, core.sequence) == (OTHER, 2)


def test_of_the_daqs_readouts_a_beat_says_what_the_origin_says(core):
    told = origin()
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=told)}, at(1))
    report = report_of(core, at(1))
    for key in ("received", "totals", "rejected", "stride", "at_most", "remarks"):
        assert report[key] == told[key], key
    assert report["sources"] == told["sources"]
    assert [hop["name"] for hop in report["hops"]] == ["relay-a", "relay-roma"]
    assert report["hops"][1]["fed_by"] == [report["hops"][0]["id"]]
    assert "numbering" not in report
    assert list(core.sources_above()) == [Source(DAQ.address, DAQ.port)]


@pytest.mark.parametrize("wrong", [None, 7, "x", [1], {"port": "1"}])
def test_what_no_relay_says_is_not_passed_on(core, wrong):
    told = origin() | dict.fromkeys(("totals", "sources", "rejected", "stride", "remarks", "hops"), wrong)
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=told)}, at(1))
    ours = json.loads(StreamCore("astropix", OURS).beat(at(1))[2])
    report = report_of(core, at(1))
    for key, value in ours.items():
        assert type(report[key]) is type(value) or key == "last_readout_age_s", key
    assert report["totals"].keys() == ours["totals"].keys()
    assert all(isinstance(remark, str) for remark in report["remarks"])
    assert list(core.sources_above()) == []


def test_a_relay_above_that_tells_no_state_is_forwarded(core):
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report={})}, at(1))
    assert report_of(core, at(1))["state"] == "live"


def test_a_source_that_is_told_in_part_has_all_that_metrics_ask_for(core):
    whole = origin()["sources"][0]
    told = origin() | {"sources": [{"port": 5, "shared": "yes"}]}
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=told)}, at(1))
    (source,) = report_of(core, at(1))["sources"]
    assert source.keys() == whole.keys()
    assert (source["port"], source["shared"], source["received"]) == (5, False, 0)


@pytest.mark.parametrize(
    ("states", "connected", "state"),
    [
        (["live"], True, State.LIVE),
        (["live"], False, State.UPSTREAM_LOST),
        (["no network"], True, State.NO_NETWORK),
        (["upstream lost", "upstream lost"], True, State.UPSTREAM_LOST),
        (["no network", "live"], True, State.LIVE),
    ],
)
def test_the_state_of_the_relays_above(core, states, connected, state):
    standings = {
        path: standing(3, report=origin() | {"state": word}, connected=connected)
        for path, word in zip("ab", states, strict=False)
    }
    core.forward([("a", 0, batch(0, 3))], standings, at(1))
    assert core.state(at(1.5)) == state


def test_what_no_path_brought_was_lost_between_the_relays(core):
    told = origin()
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=told)}, at(1))
    core.forward([("a", 0, batch(5, 6))], {"a": standing(6, report=told)}, at(2))
    report = report_of(core, at(3))
    own = report["hops"][-1]
    assert own["lost"] == {Place.BETWEEN_RELAYS.key: 2}
    assert own["lost_first_ns"] == own["lost_last_ns"] == at(2).ns
    assert own["gaps"] == 2
    assert core.state(at(3.1)) == State.LOSING
    assert report_of(core, at(30))["hops"][-1]["lost_last_ns"] == at(2).ns


def test_what_a_relay_above_had_missed_already_is_its_own(core):
    told = origin()
    told["hops"][0]["lost"] = {}
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=told)}, at(1))
    report_of(core, at(1))
    later = json.loads(json.dumps(told))
    later["hops"][0]["gaps"] = 2
    core.forward([("a", 0, batch(5, 6))], {"a": standing(6, report=later)}, at(2))
    assert report_of(core, at(2))["hops"][-1]["lost"] == {Place.BETWEEN_RELAYS.key: 0}


def relayed(gaps, hop_id=70):
    """Return what a relay fed by the origin says in a beat."""
    told = origin()
    return told | {"hops": [*told["hops"], {"id": hop_id, "fed_by": [ABOVE], "gaps": gaps}]}


def lost_here(core, seconds):
    return report_of(core, at(seconds))["hops"][-1]["lost"][Place.BETWEEN_RELAYS.key]


def test_a_gap_is_not_ours_as_long_as_the_relay_above_has_not_told_whose_it_is(core):
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=relayed(0))}, at(1))
    core.forward([("a", 0, batch(5, 6))], {"a": standing(6, report=core._reports["a"])}, at(2))
    assert lost_here(core, 2) == 0  # 3 and 4: lost here, or above
    core.forward([("a", 0, batch(8, 9))], {"a": standing(9, report=relayed(2))}, at(3))
    assert lost_here(core, 3) == 2  # those above, 6 and 7 here
    core.forward([], {"a": standing(9, report=relayed(0, hop_id=71))}, at(4))  # it was restarted
    assert lost_here(core, 4) == 2
    core.forward([("a", 0, batch(12, 13))], {"a": standing(13, report=relayed(3, hop_id=71))}, at(5))
    assert lost_here(core, 5) == 2
    core.forward([("a", 0, batch(14, 15))], {"a": standing(15, report=relayed(3, hop_id=71))}, at(6))
    assert lost_here(core, 6) == 3


def test_gaps_above_from_before_our_time_are_not_ours(core):
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3, report=relayed(9))}, at(1))
    core.forward([("a", 0, batch(5, 6))], {"a": standing(6, report=relayed(9))}, at(2))
    assert lost_here(core, 2) == 2


def thinned_core():
    return ForwardingCore("astropix", OURS, ["a"], history=History(1 << 20), thinned=True)


def test_what_is_left_of_a_thinned_stream_is_numbered_here(core):
    core = thinned_core()
    assert not core.known
    narrow = standing(9, report=relayed(0))._replace(thinned=6, missed=2)
    first = core.forward([("a", 0, batch(0, 2)), ("a", 0, batch(7, 8))], {"a": narrow}, at(1))
    assert core.known
    heads = [wire.parse_message_header(header) for _, header, _ in first]
    assert [(h.relay_id, h.sequence, h.count) for h in heads] == [(OURS, 0, 2), (OURS, 2, 1)]
    report = report_of(core, at(1))
    assert report["numbering"] == "own"
    hop = report["hops"][-1]
    assert (hop["thinned"], hop["lost"], hop["gaps"]) == (6, {Place.BETWEEN_RELAYS.key: 2}, 0)
    core.use_paths(["b"])  # another way, whose counts begin at 0
    core._paths = ("b",)
    core.forward([("b", 0, batch(9, 10))], {"b": narrow._replace(thinned=1, missed=0)}, at(2))
    hop = report_of(core, at(2))["hops"][-1]
    assert (hop["thinned"], hop["lost"][Place.BETWEEN_RELAYS.key], core.sequence) == (7, 2, 4)


def test_two_origins_are_merged_and_numbered_afresh(core):
    standings = {"a": standing(3), "b": standing(900, relay_id=OTHER, live_from=900)}
    core.forward([("a", 0, batch(0, 3))], standings, at(1))
    core.forward([], standings, at(1 + TWO_ORIGINS_AFTER_S))
    assert (core.relay_id, core.sequence) == (OURS, 0)
    one, other = batch(3, 6), batch(900, 903, OTHER, first_id=3)
    messages = parse(core.forward([("a", 0, one), ("b", 900, other)], standings, at(8)))
    assert sum(message.header.count for message in messages) == 3  # the first copy of each
    assert {message.header.relay_id for message in messages} == {OURS}
    report = report_of(core, at(8))
    assert (report["numbering"], report["published"]) == ("own", 3)
    core.use_paths(["a"])
    (message,) = parse(core.forward([("a", 0, batch(6, 7))], {"a": standing(7)}, at(9)))
    assert message.header.sequence == 3


def test_other_paths_go_on_with_the_numbers(core):
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3)}, at(1))
    core.use_paths(["c"])
    (message,) = parse(core.forward([("c", 0, batch(3, 4))], {"c": standing(4)}, at(2)))
    assert message.header.sequence == 3


def test_many_messages_are_counted_before_they_are_too_many(core):
    for i in range(200):
        core.forward([("a", 0, batch(i, i + 1))], {"a": standing(i + 1)}, at(1))
    assert core.messages > 100
    core.settle()
    assert core.messages == 200


def test_nobody_is_told_of_a_stream_before_its_history_is_filled(core):
    assert core.history.filling
    core.forward([("a", 5, batch(0, 3, recovered=True))], {"a": standing(3, live_from=5)}, at(1))
    assert not core.known
    assert core.tick(at(1)) is None
    core.forward([("a", 5, batch(3, 5, recovered=True))], {"a": standing(5, live_from=5)}, at(2))
    assert core.known
    assert not core.history.filling
    assert (core.history.oldest, core.history.next, core.sequence) == (0, 5, 5)


def test_without_a_history_there_is_nothing_to_fill():
    core = ForwardingCore("astropix", OURS, ["a"])
    core.forward([], {"a": standing(5, live_from=5)}, at(1))
    assert core.known


def numbered(begin, end, relay_id=ABOVE, source=DAQ):
    """Return a message of the relay above as `Subscription.take_next` gives it."""
    readouts = batch(begin, end, relay_id)
    header = wire.pack_header((0, len(readouts), relay_id, begin, readouts.received_ns, source))
    return len(readouts), relay_id, begin, header, readouts.payload


def passing():
    """Return a core that has come to number 3."""
    history = History(1 << 20)
    core = ForwardingCore("astropix", OURS, ["a", "b"], history=history)
    assert not core.passes_on
    core.forward([("a", 0, batch(0, 3))], {"a": standing(3)}, at(1))
    assert core.passes_on
    return core


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=20))
def test_what_is_passed_on_is_what_would_be_forwarded(script):
    """Of two paths that bring the same readouts, in messages of other sizes."""
    short, plain, numbers = passing(), passing(), {"a": 3, "b": 3}
    given_by_short, given_by_plain = [], []
    for path, count in script:
        begin = numbers[path]
        numbers[path] = begin + count
        standings = {each: standing(number) for each, number in numbers.items()}
        sent = (path, 0, batch(begin, begin + count))
        given_by_plain += plain.forward([sent], standings, at(2))
        messages, left = short.pass_on([(path, numbered(begin, begin + count))], *at(2))
        given_by_short += messages
        if left:
            given_by_short += short.forward([sent], standings, at(2))
    assert given_by_short == given_by_plain
    assert short.confluence.at == plain.confluence.at
    assert report_of(short, at(2)) == report_of(plain, at(2))
    held = [bytes(core.history.page(0, wire.WITHOUT_END).records) for core in (short, plain)]
    assert held[0] == held[1]


def test_what_is_not_the_next_message_is_left():
    core = passing()
    count, relay_id, begin, header, payload = numbered(3, 5)
    others = [
        numbered(0, 3),
        numbered(4, 6),
        numbered(3, 5, OTHER),
        (count, relay_id, begin, header + b"?", payload),
    ]
    found = [("a", other) for other in others]
    assert core.pass_on(found, *at(2)) == ([], found)
    (message,), left = core.pass_on([("a", numbered(3, 5))], *at(2))
    assert (left, message[1:], core.sequence) == ([], (header, payload), 5)


def test_while_readouts_are_held_nothing_is_passed_on():
    core = passing()
    core.forward([("a", 0, batch(4, 5))], {"a": standing(5), "b": standing(3)}, at(2))
    assert not core.passes_on


def test_what_is_passed_on_is_counted_and_as_new_as_it_came():
    core = passing()
    for i in range(3, 100):
        core.pass_on([("a", numbered(i, i + 1, source=DAQ if i % 2 else Source("10.0.9.9", 9)))], *at(i))
    core.settle()
    assert (core.messages, core.history.next) == (98, 100)
    assert core.tracker.age_s(at(101)) == 2
