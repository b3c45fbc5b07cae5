"""What a subscriber makes of a relay's messages."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.core import StreamCore
from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.batches import batch_of_numbered
from astropix_stream.relay.subscription import Subscription
from drains import drain

DAQ = Source("10.0.1.1", 40000)


def at(seconds):
    return Moment(seconds, 1_700_000_000_000_000_000 + int(seconds * 1e9))


class Relay:
    """A relay's core, fed with readouts by their ids, a message each."""

    def __init__(self, relay_id=1):
        self.core = StreamCore("astropix", relay_id)
        self.core.membership(True, "")

    def send(self, *readout_ids, drops=()):
        datagrams = [AstroPix4Readout(b"\xbc", i, 1000 + i).to_bytes() for i in readout_ids]
        return self.core.take(drain(*datagrams, drops=drops), at(0))

    def beat(self, seconds=0.0):
        return self.core.beat(at(seconds))


def received(subscription, messages, seconds=0.0):
    return [i for m in messages for batch in subscription.take(m, at(seconds)) for i in batch.readout_ids]


def test_everything_is_delivered_in_order():
    relay, subscription = Relay(), Subscription("astropix")
    messages = [relay.beat(), *relay.send(0, 1, 2), *relay.send(3), relay.beat()]
    assert received(subscription, messages) == [0, 1, 2, 3]
    ledger = subscription.ledger()
    assert (ledger.delivered, ledger.lost, ledger.restarts, ledger.runs) == (4, 0, 0, 1)


def test_ready_at_the_first_beat_or_data_message_and_not_at_the_hello():
    relay = Relay()
    for message in (relay.beat(), relay.send(0)[0]):
        subscription = Subscription("astropix")
        subscription.take([wire.pack_hello(wire.Hello(1, "0", {"astropix": 4000}, None))], at(0))
        assert not subscription.ready
        subscription.take(message, at(0))
        assert subscription.ready


def test_a_gap_in_the_numbers_is_a_loss_between_relay_and_here():
    relay, subscription = Relay(), Subscription("astropix")
    subscription.take(relay.beat(), at(0))
    kept, _, then = relay.send(0, 1), relay.send(2, 3, 4), relay.send(5)
    assert received(subscription, [*kept, *then]) == [0, 1, 5]
    assert subscription.ledger().lost_at == {Place.RELAY_TO_CLIENT: 3}


def test_a_beat_shows_the_loss_of_the_last_readouts():
    relay, subscription = Relay(), Subscription("astropix")
    received(subscription, [relay.beat(), *relay.send(0)])
    relay.send(1, 2)
    subscription.take(relay.beat(), at(3))
    ledger = subscription.ledger()
    assert ledger.lost_at == {Place.RELAY_TO_CLIENT: 2}
    assert (ledger.losses[0].began_ns, ledger.losses[0].ended_ns) == (at(0).ns, at(3).ns)


def test_what_was_published_before_joining_is_no_loss():
    relay, subscription = Relay(), Subscription("astropix")
    relay.send(*range(100))
    assert received(subscription, [relay.beat(), *relay.send(100)]) == [100]
    ledger = subscription.ledger()
    assert (ledger.lost, ledger.before_joining) == (0, 100)


def test_the_relays_own_losses_count_from_when_we_joined():
    relay, subscription = Relay(), Subscription("astropix")
    relay.send(0)
    relay.send(5, drops=[4])  # 4 lost before we came
    relay.send(*range(6, 80))
    subscription.take(relay.beat(1), at(1))
    received(subscription, relay.send(90, drops=[14]))  # 10 lost, in the kernel
    received(subscription, relay.send(*range(91, 170)))
    subscription.take(relay.beat(2), at(2))
    ledger = subscription.ledger()
    assert ledger.lost_at == {Place.RELAY_KERNEL: 10}
    assert str(ledger).startswith("10 lost of 90: 10 in the relay's kernel, between ")


def test_a_restart_is_no_loss_of_unknown_size():
    relay, subscription = Relay(1), Subscription("astropix")
    received(subscription, [relay.beat(), *relay.send(0, 1, 2)])
    relay = Relay(2)
    relay.send(10, 11)  # published before our connection was back
    assert received(subscription, relay.send(12)) == [12]
    ledger = subscription.ledger()
    assert ledger.restarts == 1
    # 10 and 11 on the way to us, 3 to 9 while there was no relay
    assert ledger.lost_at == {Place.BEFORE_SOCKET: 7, Place.RELAY_TO_CLIENT: 2}


def test_the_only_stream_of_a_relay_is_taken_without_naming_it():
    subscription = Subscription(None)
    subscription.take([wire.pack_hello(wire.Hello(1, "0", {"one": 4000}, None))], at(0))
    assert subscription.stream == "one"
    with pytest.raises(ConfigError, match="name one: a, b"):
        Subscription(None).take([wire.pack_hello(wire.Hello(1, "0", {"b": 1, "a": 1}, None))], at(0))
    with pytest.raises(ConfigError, match="cannot be a stream's name"):
        Subscription("A B")


@given(st.lists(st.lists(st.binary(max_size=80), max_size=4), max_size=10))
def test_any_frames_are_counted_and_ignored(messages):
    relay, subscription = Relay(), Subscription("astropix")
    for frames in messages:
        assert subscription.take(frames, at(0)) == []
    assert received(subscription, [relay.beat(), *relay.send(0, 1)]) == [0, 1]


@given(st.data())
def test_damaged_messages_never_raise_and_never_count_twice(data):
    relay, subscription = Relay(), Subscription("astropix")
    topic, header, payload = data.draw(st.sampled_from([relay.beat(), relay.send(0, 1)[0]]))
    frames = [bytearray(topic), bytearray(header), bytearray(payload)]
    for _ in range(data.draw(st.integers(1, 4))):
        frame = data.draw(st.sampled_from(frames))
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    subscription.take([bytes(frame) for frame in frames], at(0))
    assert subscription.ledger().delivered <= 2


def test_malformed_messages_are_counted():
    relay, subscription = Relay(), Subscription("astropix")
    topic, header, payload = relay.send(0, 1)[0]
    for frames in (
        [topic],
        [topic, header],
        [topic, header[:55], payload],
        [topic, header, payload[:-1]],
        [b"x"],
    ):
        subscription.take(frames, at(0))
    assert subscription.malformed == 5


def test_what_was_in_time_at_the_relay_is_not_late_because_the_client_was_stopped():
    """A soak found it: two readouts were handed out and counted neither as delivered nor as lost."""
    relay, subscription = Relay(), Subscription("astropix")
    messages = [relay.beat(), *relay.send(0), *relay.send(2), *relay.send(3), *relay.send(1)]
    assert received(subscription, messages[:3]) == [0, 2]
    assert received(subscription, messages[3:], 3.0) == [3, 1]
    ledger = subscription.ledger()
    assert (ledger.delivered, ledger.late, ledger.reordered, ledger.lost) == (4, 0, 1, 0)


@pytest.mark.parametrize(
    ("given_stride", "in_hello", "in_beat", "stride"),
    [
        (None, None, None, 1),
        (None, 10, None, 10),
        (None, 1, 10, 10),  # a reload of the relay
        (10, 1, 1, 10),
        (5, 10, 10, 5),
    ],
)
def test_the_relays_stride_is_taken_unless_told_otherwise(given_stride, in_hello, in_beat, stride):
    subscription, relay = Subscription("astropix", stride=given_stride), Relay(1)
    strides = {} if in_hello is None else {"astropix": in_hello}
    subscription.take([wire.pack_hello(wire.Hello(1, "0", {"astropix": 4000}, None, strides))], at(0))
    topic, header, payload = relay.beat()
    report = json.loads(payload) | {"stride": in_beat}
    subscription.take([topic, header, json.dumps(report).encode()], at(0))
    assert subscription.stride == stride
    received(subscription, relay.send(0))
    received(subscription, Relay(2).send(60))  # what was between was sent while there was no relay
    lost = (60 - 1) // stride
    assert subscription.ledger().lost_at == {Place.BEFORE_SOCKET: lost}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["few", "few", "few", "take", "lost", "beat"]),
            st.sampled_from([DAQ, DAQ, DAQ, Source("10.0.1.9", 7)]),
            st.lists(st.sampled_from([1, 1, 1, 1, 2, 0, -1]), min_size=1, max_size=9),
        ),
        max_size=40,
    )
)
def test_a_few_are_counted_later_as_if_each_message_had_been_taken(script):
    """In any order with other messages, lost ones and beats; of two sources, with gaps and duplicates."""
    core, ids = StreamCore("astropix", 1), {}
    fast, plain = Subscription("astropix", recover=False), Subscription("astropix", recover=False)
    given_by_fast, given_by_plain = [], []
    for n, (how, source, steps) in enumerate(script):
        now, datagrams = at(n / 200), []
        for step in steps:
            ids[source] = max(0, ids.get(source, 0) + step)
            datagrams.append(AstroPix4Readout(b"\xbc", ids[source], 1000 + n).to_bytes())
        (message,) = core.take(drain(*datagrams, sources=[source] * len(datagrams)), now)
        if how == "lost":
            continue
        if how == "beat":
            message = core.beat(now)
        if how == "few" and fast.take_few(message, *now):
            given_by_fast += message[2:]
        else:
            given_by_fast += [batch.payload for batch in fast.take(message, now)]
        given_by_plain += [batch.payload for batch in plain.take(message, now)]
    assert given_by_fast == given_by_plain
    told = fast.settle()
    assert [now.s for _, _, now in told] == sorted(now.s for _, _, now in told)
    assert fast.ledger() == plain.ledger()
    assert fast.position == plain.position


def test_a_message_that_is_just_the_next_one_is_taken_as_it_came():
    relay, subscription, plain = Relay(), Subscription("astropix"), Subscription("astropix")
    for message in (relay.beat(), *relay.send(0)):
        subscription.take(message, at(0))
        plain.take(message, at(0))
    many = range(1, 40)
    (message,) = relay.send(*many)
    assert subscription.take_few(message, *at(0)) == 0, "these are many"
    taken = subscription.take_next(message, *at(0))
    assert taken == (len(many), 1, 1, *message[1:])
    (expected,), made = plain.take(message, at(0)), batch_of_numbered(taken)
    assert (made.payload, made.position, list(made.ends)) == (
        expected.payload,
        expected.position,
        list(expected.ends),
    )
    assert subscription.position == plain.position == (1, 40)
    assert received(subscription, relay.send(40)) == [40]


def test_other_messages_are_left_to_take():
    relay, subscription = Relay(), Subscription("astropix")
    first, second, third = (relay.send(i)[0] for i in range(3))
    assert subscription.take_next(first, *at(0)) is None, "nobody is known yet"
    subscription.take(first, at(0))
    topic, header, payload = second
    replayed = header[:5] + bytes([wire.REPLAYED]) + header[6:]
    for message in (
        first, third, relay.beat(), Relay(2).send(1)[0], (topic, header), (b"apx/b/data", header, payload),
        (topic, replayed, payload), (topic, header, payload[:-1]), (topic, header[:-1], payload),
    ):  # fmt: skip
        assert subscription.take_next(message, *at(0)) is None
    assert subscription.position == (1, 1)
    assert subscription.take_next(second, *at(0)) is not None
