"""The relay's core: datagrams in, messages out, no socket in sight."""

import json
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.core import MANY, MIN_BEAT_INTERVAL_S, StreamCore, split_for_messages
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.clock import Moment
from astropix_stream.fmt import AstroPix4Readout
from drains import DAQ, OTHER, drain


def datagram(readout_id, size=4, timestamp=None):
    return AstroPix4Readout(b"\xbc" * size, readout_id, timestamp or 1000 + readout_id).to_bytes()


def at(seconds):
    return Moment(seconds, 1_700_000_000_000_000_000 + int(seconds * 1e9))


@pytest.fixture
def core():
    core = StreamCore("astropix", relay_id=77)
    core.membership(True, "joined on eth0")
    return core


def parse(messages):
    return [wire.parse_message(message) for message in messages]


def test_what_waited_together_becomes_one_message_byte_for_byte(core):
    sent = [datagram(i) for i in range(3)]
    (message,) = parse(core.take(drain(*sent), at(1)))
    assert message.payload == b"".join(sent)
    assert message.header == wire.Header(0, 3, 77, 0, at(1).ns, DAQ)
    (message,) = parse(core.take(drain(datagram(3)), at(2)))
    assert message.header.sequence == 3


def test_a_payload_that_ends_in_padding_is_not_touched(core):
    data = b"\xfe\xdc\xba" + (0).to_bytes(4, "little") + bytes(8) + (2).to_bytes(4, "little") + b"\xff\xff"
    (message,) = parse(core.take(drain(data), at(1)))
    assert message.payload == data


def test_rejected_datagrams_take_no_number_and_are_counted_by_reason(core):
    good = datagram(0)
    messages = core.take(drain(b"", good[:18], b"\x00" + good[1:], good + b"x", good), at(1))
    (message,) = parse(messages)
    assert message.payload == good
    assert message.header.sequence == 0
    assert core.report(at(1))["rejected"] == {"short": 2, "magic": 1, "length": 1}


def test_sources_go_into_messages_of_their_own_and_numbers_follow_publishing(core):
    sent = [datagram(0), datagram(100), datagram(1), datagram(101)]
    one, other = parse(core.take(drain(*sent, sources=[DAQ, OTHER, DAQ, OTHER]), at(1)))
    assert (one.header.source, one.header.sequence, one.payload) == (DAQ, 0, sent[0] + sent[2])
    assert (other.header.source, other.header.sequence, other.payload) == (OTHER, 2, sent[1] + sent[3])


@given(st.lists(st.integers(19, 65507), min_size=1, max_size=40))
def test_split_keeps_everything_in_order_and_within_a_payload(sizes):
    left, parts = list(sizes), list(split_for_messages(list(accumulate(sizes))))
    for begin, end, count in parts:
        part, left = left[:count], left[count:]
        assert end - begin == sum(part)
        assert end - begin <= wire.MAX_PAYLOAD or count == 1
        assert not left or end - begin + left[0] > wire.MAX_PAYLOAD  # no message is sent half full
    assert not left
    assert [begin for begin, _, _ in parts] == [0, *(end for _, end, _ in parts[:-1])]


def test_a_beat_a_second_with_the_next_number(core):
    core.take(drain(datagram(0), datagram(1)), at(0))
    beat = wire.parse_message(core.tick(at(0.1)))
    assert isinstance(beat, wire.BeatMessage)
    assert beat.header == wire.Header(0, 0, 77, 2, at(0.1).ns, wire.NO_SOURCE)
    assert beat.report["published"] == 2
    assert beat.report["state"] == "live"
    assert core.tick(at(1.09)) is None
    assert core.beat_due_s() == pytest.approx(1.1)
    assert core.tick(at(1.1)) is not None


def test_a_new_subscription_is_answered_with_a_beat_but_not_too_often(core):
    core.tick(at(0))
    core.subscribed(b"apx/other/")
    assert core.tick(at(0.2)) is None
    for prefix in (b"", b"apx/", b"apx/astropix/data", b"apx/astropix/beat"):
        core.subscribed(prefix)
        now = core.beat_due_s()
        assert core.tick(at(now - 0.001)) is None
        assert core.tick(at(now)) is not None
    beats = 0
    for step in range(1000):  # a flood of subscriptions within a second
        core.subscribed(b"apx/astropix/")
        beats += core.tick(at(10 + step / 1000)) is not None
    assert beats <= 1 / MIN_BEAT_INTERVAL_S + 1


def test_a_change_of_state_is_told_at_once(core):
    assert json.loads(core.tick(at(0))[2])["state"] == "quiet"
    core.take(drain(datagram(0)), at(0.2))
    assert json.loads(core.tick(at(0.2))[2])["state"] == "live"
    core.membership(False, "the interface is gone")
    report = json.loads(core.tick(at(0.3))[2])
    assert (report["state"], report["joined"]) == ("no network", False)


def test_a_live_stream_that_goes_on_is_settled_with_its_next_heartbeat(core):
    core.tick(at(0))
    core.take(drain(datagram(0)), at(0.2))
    core.tick(at(0.2))
    core.take(drain(datagram(1)), at(0.4))
    assert core.tick(at(0.5)) is None
    assert core.messages == 1
    core.membership(False, "the interface is gone")  # told, whatever has come
    assert json.loads(core.tick(at(0.6))[2])["state"] == "no network"
    assert core.messages == 2
    core.membership(True, "joined on eth0")
    core.tick(at(0.7))
    core.take(drain(datagram(2)), at(1.0))
    report = json.loads(core.tick(at(1.7))[2])
    assert (report["state"], report["received"], core.messages) == ("live", 3, 3)


def test_readouts_of_a_live_stream_are_settled_once_they_are_many(core):
    core.take(drain(datagram(0), drops=[0]), at(0))
    core.tick(at(0))
    for i in range(1, MANY + 1):
        assert core.messages == 1
        core.take_one((datagram(i), DAQ, ()), at(0.1).s, at(0.1).ns)
        assert core.tick(at(0.1)) is None
    assert core.messages == MANY + 1


def test_the_heartbeats_of_a_silent_stream_are_those_that_a_report_would_give(core):
    """They are packed once; all that may change without a readout changes them."""
    changes = (
        lambda: None,
        lambda: core.membership(False, "eth0 is gone"),
        lambda: core.membership(True, "joined on eth1"),
        lambda: setattr(core, "kernel_dropped", 3),
        lambda: setattr(core.ledger, "stride", 10),
        lambda: core.take(drain(b"short"), at(5)),
        lambda: core.take(drain(datagram(0)), at(6)),
        lambda: None,
    )
    for i, change in enumerate(changes):
        change()
        now = at(2.0 * i)
        assert json.loads(core.beat(now)[2]) == core.report(now)


def test_losses_are_told_where_they_happened(core):
    core.take(drain(datagram(0)), at(0))
    # 5 were dropped by the kernel before readout 9 was queued; 3 of the 8 missing never came to the socket
    core.take(drain(datagram(9), drops=[5]), at(0.1))
    core.take(drain(*map(datagram, range(10, 80))), at(0.2))
    report = core.report(at(0.3))
    assert report["kernel_dropped"] == 5
    assert report["totals"]["in_kernel"] == 5
    assert report["totals"]["before_socket"] == 3
    assert report["sources"][0]["port"] == DAQ.port


def test_what_is_published_is_counted_and_remembered_soon(core):
    """Lone readouts at once, by `settle`; under load at the latest after 32 messages."""
    core.history = History(1 << 20)
    for i in range(100):
        core.take(drain(datagram(i)), at(1))
        assert core.sequence == i + 1
        assert core.sequence - core.history.next <= 33
    core.settle()
    assert (core.history.next, core.messages, core.bytes) == (100, 100, 100 * len(datagram(0)))
    assert core.ledger.totals().received == 100


@pytest.mark.parametrize("ask", [StreamCore.report, StreamCore.tick, StreamCore.beat])
def test_whatever_tells_of_readouts_counts_them_first(core, ask):
    core.take(drain(datagram(0), datagram(2)), at(1))
    ask(core, at(1))
    assert core.ledger.totals().received == 2
    assert core.tracker.age_s(at(1)) == 0.0


def test_one_that_came_alone_is_published_as_any_other(core):
    core.history = History(1 << 20)
    core.take(drain(datagram(0)), at(0))
    published = [core.take_one((datagram(i), DAQ, ()), *at(i)) for i in range(1, 5)]
    other = StreamCore("astropix", core.relay_id)
    expected = [message for i in range(5) for message in other.take(drain(datagram(i)), at(i))]
    assert published == expected[1:]
    assert core.report(at(4))["received"] == core.sequence == core.history.next == 5
    assert core.take_one((b"no readout", DAQ, ()), *at(5)) is None
    assert core.take_one((datagram(5), DAQ, (1,)), *at(5)) is None, "the kernel dropped one before it"
    assert core.report(at(5))["received"] == core.sequence == 5
