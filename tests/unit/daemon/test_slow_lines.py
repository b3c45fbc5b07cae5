"""Lines for slow subscribers: what a subscription makes of them, and how they are filled."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_relay import slow_lines
from astropix_relay.core import StreamCore
from astropix_relay.slow_lines import GATHER_S, MAX_BANDWIDTHS, SlowLines
from astropix_stream import links, wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.links import Link
from astropix_stream.relay.subscription import Subscription
from drains import drain

DAQ, OTHER = Source("10.0.1.1", 40000), Source("10.0.1.2", 40000)
COMPRESSED, NARROW, BOTH = Link(True), Link(False, 8000), Link(True, 8000)


def at(seconds):
    return Moment(seconds, 1_700_000_000_000_000_000 + int(seconds * 1e9))


class Relay:
    """A stream's core and its slow lines, as the service drives them; a subscriber on one of them."""

    def __init__(self, link, relay_id=1):
        self.core = StreamCore("astropix", relay_id)
        self.core.membership(True, "")
        self.lines = SlowLines(zstd=True)
        self.link = link
        self.now_s = 0.0
        self.id = 0
        self.messages = []
        self.subscribe()

    def numbers(self):
        return {"astropix": (self.core.relay_id, self.core.sequence)}

    def subscribe(self):
        self.messages += self.lines.subscribed(self.link.topic("astropix"), self.numbers(), self.now_s)

    def send(self, count, source=DAQ, size=10):
        datagrams = []
        for _ in range(count):
            datagrams.append(AstroPix4Readout(b"\xbc" * size, self.id, 1000 + self.id).to_bytes())
            self.id += 1
        messages = self.core.take(drain(*datagrams, sources=[source] * count), at(self.now_s))
        self.messages += self.lines.take("astropix", messages, self.now_s)

    def wait(self, seconds):
        self.now_s += seconds
        self.messages += self.lines.due(self.now_s)

    def beat(self):
        beat = self.core.beat(at(self.now_s))
        self.messages += [*self.lines.before_heartbeat("astropix", beat, self.now_s), beat]

    def run(self, seconds, rate, size=10):
        """Send evenly, with a heartbeat each second."""
        for step in range(round(seconds * 50)):
            self.send(rate // 50, size=size)
            self.wait(0.02)
            if step % 50 == 49:
                self.beat()
        return self


def subscriber(link, messages):
    subscription = Subscription("astropix", link=link)
    ids = [
        readout_id
        for message in messages
        for batch in subscription.take(message, at(0))
        for readout_id in batch.readout_ids
    ]
    return subscription, ids


def on_the_line(messages):
    return sum(slow_lines.on_the_line(sum(map(len, message))) for message in messages)


def test_nobody_asks_and_nothing_is_done():
    lines = SlowLines(zstd=True)
    assert not lines
    assert [*lines.take("astropix", [(b"", b"", b"")], 0.0)] == []
    assert lines.due_s() == float("inf")


def test_a_compressed_line_brings_every_readout_in_fewer_bytes():
    relay = Relay(COMPRESSED).run(3, 500, size=100)
    subscription, ids = subscriber(COMPRESSED, relay.messages)
    assert ids == list(range(1500))
    ledger = subscription.ledger()
    assert (ledger.delivered, ledger.lost, ledger.thinned, subscription.malformed) == (1500, 0, 0, 0)
    assert on_the_line(relay.messages) < 1500 * 119 / 3


def test_what_cannot_be_compressed_goes_as_it_is():
    relay = Relay(COMPRESSED)
    relay.send(1, size=0)
    relay.wait(GATHER_S)
    _, header, payload = relay.messages[-1]
    assert payload == AstroPix4Readout(b"", 0, 1000).to_bytes()
    assert not wire.parse_message_header(header).flags & links.COMPRESSED


def test_readouts_wait_for_others_but_not_long():
    relay = Relay(COMPRESSED)
    relay.send(2)
    assert len(relay.messages) == 1  # the beginning
    assert relay.lines.due_s() == pytest.approx(GATHER_S)
    relay.wait(GATHER_S / 2)
    relay.send(2)
    assert len(relay.messages) == 1
    relay.wait(GATHER_S / 2)
    assert len(relay.messages) == 2
    assert relay.lines.due_s() == float("inf")


def test_a_heartbeat_never_passes_what_it_counts():
    relay = Relay(NARROW)
    relay.send(3)
    relay.beat()
    subscription, ids = subscriber(NARROW, relay.messages)
    assert ids == [0, 1, 2]
    assert subscription.ledger().lost == 0


@pytest.mark.parametrize("link", [NARROW, BOTH])
def test_a_bandwidth_is_kept_and_what_is_left_out_is_thinned_not_lost(link):
    relay = Relay(link).run(10, 2000, size=50)
    subscription, ids = subscriber(link, relay.messages)
    ledger = subscription.ledger()
    assert on_the_line(relay.messages) < 12 * 8000
    assert len(ids) > 200
    assert (ledger.delivered, ledger.lost) == (len(ids), 0)
    assert ledger.delivered + ledger.thinned == 20_000
    steps = {b - a for a, b in zip(ids[len(ids) // 2 :], ids[len(ids) // 2 + 1 :], strict=False)}
    assert len(steps) == 1  # evenly spaced once the stride has been found


def test_what_the_line_loses_is_lost_and_the_rest_is_thinned():
    relay = Relay(NARROW).run(10, 2000, size=50)
    topics = [topic for topic, _, _ in relay.messages]
    begin = next(i for i in range(40, 99) if b"apx/astropix/beat" not in topics[i : i + 5])
    gone = relay.messages[begin : begin + 5]
    subscription, _ = subscriber(NARROW, relay.messages[:begin] + relay.messages[begin + 5 :])
    lost = sum(links.parse_part(header).covered for _, header, _ in gone)
    ledger = subscription.ledger()
    assert ledger.lost_at == {Place.RELAY_TO_CLIENT: lost}
    assert ledger.delivered + ledger.thinned + ledger.lost == 20_000


@pytest.mark.parametrize("link", [COMPRESSED, NARROW])
def test_a_heartbeat_before_the_line_begins_makes_no_loss(link):
    relay = Relay(Link(False, 9000))
    relay.link, relay.messages = link, []
    relay.send(5)
    relay.beat()  # heard by the subscriber: its line begins a moment later
    relay.send(5)
    relay.subscribe()
    relay.send(5)
    relay.beat()
    subscription, ids = subscriber(link, relay.messages)
    assert ids == [10, 11, 12, 13, 14]
    assert subscription.ready
    assert (subscription.ledger().lost, subscription.ledger().before_joining) == (0, 10)


def test_a_second_subscriber_disturbs_none():
    relay = Relay(COMPRESSED)
    relay.send(2)
    begun = len(relay.messages)
    relay.subscribe()
    relay.send(2)
    relay.beat()
    assert subscriber(COMPRESSED, relay.messages)[1] == [0, 1, 2, 3]
    assert subscriber(COMPRESSED, relay.messages[begun + 1 :])[1] == [2, 3]
    topic = COMPRESSED.topic("astropix")
    relay.lines.unsubscribed(topic)
    assert relay.lines
    relay.lines.unsubscribed(topic)
    assert not relay.lines
    relay.lines.unsubscribed(topic)
    relay.lines.unsubscribed(b"apx/astropix/")


@pytest.mark.parametrize("link", [COMPRESSED, BOTH])
def test_two_sources_take_turns(link):
    relay = Relay(link)
    for _ in range(50):
        relay.send(2, DAQ)
        relay.send(1, OTHER)
    relay.beat()
    subscription, ids = subscriber(link, relay.messages)
    ledger = subscription.ledger()
    assert ids == sorted(ids)
    assert (ledger.delivered + ledger.thinned, ledger.lost) == (150, 0)


def test_messages_stay_within_their_size():
    relay = Relay(COMPRESSED)
    for _ in range(40):
        relay.send(4, size=5000)
    relay.beat()
    payloads = [links.parse_message(*m).message.payload for m in relay.messages[:-1]]
    assert max(map(len, payloads)) <= wire.MAX_PAYLOAD
    assert sum(map(len, payloads)) == 160 * 5019


@pytest.mark.parametrize("link", [COMPRESSED, NARROW])
def test_a_restart_of_the_relay_is_followed(link):
    first = Relay(link, relay_id=1)
    first.send(5)
    first.beat()
    second = Relay(link, relay_id=2)
    second.id = 7
    second.send(3)
    second.beat()
    subscription, ids = subscriber(link, first.messages + second.messages)
    assert ids == [0, 1, 2, 3, 4, 7, 8, 9]
    assert subscription.ledger().lost_at == {Place.BEFORE_SOCKET: 2}
    assert subscription.restarts == 1


def test_other_numbers_from_the_relay_above_begin_another_message():
    lines = SlowLines(zstd=True)
    topic = NARROW.topic("astropix")
    messages = [*lines.subscribed(topic, {"astropix": (1, 0)}, 0.0)]
    payload = AstroPix4Readout(b"\x01", 1, 1).to_bytes()
    for relay_id, sequence in ((1, 0), (1, 5), (2, 3)):
        header = wire.pack_header((0, 1, relay_id, sequence, 1, DAQ))
        messages += lines.take("astropix", [(b"apx/astropix/data", header, payload)], 0.0)
    messages += lines.due(1.0)
    heads = [wire.parse_message_header(header) for _, header, _ in messages[1:]]
    assert [(h.relay_id, h.sequence, h.count) for h in heads] == [(1, 0, 1), (1, 5, 1), (2, 3, 1)]


def test_what_nobody_can_have(caplog):
    lines = SlowLines(zstd=False)
    assert lines.offers == {"thinned"}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert not lines.subscribed(COMPRESSED.topic("astropix"), {"astropix": (1, 0)}, 0.0)
    assert caplog.text.count("pip install 'astropix-stream[zstd]'") == 1
    for topic in (b"", b"apx/astropix/", b"apxz/", NARROW.topic("other")):
        assert not lines.subscribed(topic, {"astropix": (1, 0)}, 0.0)
    assert not lines


def test_so_many_bandwidths_and_no_more(caplog):
    lines = SlowLines(zstd=True)
    for extra in range(MAX_BANDWIDTHS + 1):
        topic = Link(False, 8000 + extra).topic("astropix")
        begun = lines.subscribed(topic, {"astropix": (1, 0)}, 0.0)
        assert bool(begun) == (extra < MAX_BANDWIDTHS)
    assert lines.subscribed(BOTH.topic("astropix"), {"astropix": (1, 0)}, 0.0)  # one that is in use
    assert "another max_bandwidth" in caplog.text


def test_a_subscriber_says_what_the_relay_does_not_offer():
    def hello(*offers):
        return [wire.pack_hello(wire.Hello(1, "0.2", {"astropix": 4000}, None, offers=frozenset(offers)))]

    Subscription("astropix", link=BOTH).take(hello("zstd", "thinned", "more"), at(0))
    with pytest.raises(ConfigError, match="too old for max_bandwidth"):
        Subscription("astropix", link=NARROW).take(hello("zstd"), at(0))
    with pytest.raises(ConfigError, match="cannot compress"):
        Subscription("astropix", link=COMPRESSED).take(hello("thinned"), at(0))
    with pytest.raises(ConfigError, match="start is 'live' with max_bandwidth"):
        Subscription("astropix", link=NARROW, start="oldest")


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=3), st.sampled_from([COMPRESSED, NARROW, BOTH]))
def test_any_frames_on_a_line_are_ignored_or_readouts(frames, link):
    subscription = Subscription("astropix", link=link)
    assert subscription.take([link.topic("astropix"), *frames], at(0)) == []
    assert subscription.malformed == 1


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([COMPRESSED, NARROW, BOTH]),
    st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.sampled_from([0.0, 0.05, 0.3])), max_size=30),
    st.sets(st.integers(1, 40)),
)
def test_whatever_is_lost_every_number_is_accounted_for(link, steps, gone):
    relay = Relay(link)
    for count, other, wait_s in steps:
        if count:
            relay.send(count, OTHER if other else DAQ)
        relay.wait(wait_s)
    relay.beat()
    last = len(relay.messages) - 1
    kept = [message for i, message in enumerate(relay.messages) if i not in gone or i in (0, last)]
    subscription, ids = subscriber(link, kept)
    ledger = subscription.ledger()
    assert ids == sorted(set(ids))
    assert ledger.delivered == len(ids)
    assert ledger.delivered + ledger.thinned + ledger.lost == relay.id
    if not gone:
        assert ledger.lost == 0
