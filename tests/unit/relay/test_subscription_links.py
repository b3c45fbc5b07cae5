"""What a subscriber makes of compressed and thinned messages."""

import pytest

from astropix_stream import links, wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.links import Link
from astropix_stream.relay.subscription import Subscription

RELAY, SOURCE, NOW = 7, Source("10.0.0.1", 40_000), Moment(1.0, 10**18)
COMPRESSED, NARROW = Link(True), Link(False, 9000)
COUNTS = {"before_socket": 0, "in_kernel": 0, "rejected": {}}


def beat(sequence, relay_id=RELAY):
    header = wire.pack_header((0, 0, relay_id, sequence, NOW.ns, wire.NO_SOURCE))
    return [wire.beat_topic("s"), header, wire.pack_json({"totals": COUNTS})]


def message(link, sequence, numbers=(), *, part=None, relay_id=RELAY, source=SOURCE):
    """Return a message with the readouts of these numbers; their ids are the numbers."""
    payload = b"".join(AstroPix4Readout(b"\xbc" * 50, i, 10**18 + i).to_bytes() for i in numbers)
    flags = links.COMPRESSED if link.compressed and payload else 0
    header = wire.pack_header((flags, len(numbers), relay_id, sequence, NOW.ns, source))
    header += links.THINNED.pack(*part) if part else b""
    return [link.topic("s"), header, links.compress(payload) if flags else payload]


def take(subscription, *messages):
    return [i for one in messages for batch in subscription.take(one, NOW) for i in batch.readout_ids]


def hello(*offers, port=None):
    return [wire.pack_hello(wire.Hello(1, "0.2", {"s": 4000}, port, offers=frozenset(offers)))]


def test_compressed_readouts_begin_with_the_marker_and_not_with_a_heartbeat():
    subscription = Subscription("s", link=COMPRESSED)
    assert take(subscription, beat(3)) == []
    assert not subscription.ready
    marker, two = message(COMPRESSED, 5), message(COMPRESSED, 5, (5, 6))
    assert take(subscription, marker, two, beat(7)) == [5, 6]
    ledger = subscription.ledger()
    assert (ledger.delivered, ledger.lost, ledger.before_joining) == (2, 0, 5)


def test_of_compressed_readouts_history_is_asked_for_compressed_pages():
    subscription = Subscription("s", link=COMPRESSED)
    take(subscription, hello("zstd", port=5557), message(COMPRESSED, 0), message(COMPRESSED, 3, (3,)))
    request = wire.parse_request(subscription.request(NOW))
    assert (request.a, request.b, request.flags) == (0, 3, wire.ZSTD)
    header, payload = message(Link(), 0, (0, 1, 2))[1:]
    page = wire.RECORD_SIZE.pack(len(payload)) + header + payload
    numbers = (wire.AnswerStatus.OK, request.request_id, RELAY, 0, 4, 0, 3)
    answer = wire.pack_answer(wire.Answer(*numbers, wire.ZSTD))
    batches = subscription.take_answer([answer, links.compress(page)], NOW)
    found = [i for batch in batches for i in batch.readout_ids]
    assert found == [0, 1, 2, 3]


def test_a_page_that_is_a_bomb_is_a_damaged_one():
    subscription = Subscription("s", link=COMPRESSED)
    take(subscription, hello("zstd", port=5557), message(COMPRESSED, 0), message(COMPRESSED, 3, (3,)))
    request = wire.parse_request(subscription.request(NOW))
    numbers = (wire.AnswerStatus.OK, request.request_id, RELAY, 0, 4, 0, 3)
    answer = wire.pack_answer(wire.Answer(*numbers, wire.ZSTD))
    bomb = links.compress(bytes(links.MAX_PLAIN + 1))
    found = [i for b in subscription.take_answer([answer, bomb], NOW) for i in b.readout_ids]
    assert (found, subscription.malformed, subscription.missed) == ([3], 1, 3)


def test_what_is_left_out_is_thinned_and_what_is_missing_is_lost():
    subscription = Subscription("s", link=NARROW)
    found = take(
        subscription,
        message(NARROW, 4, part=(1, 0)),
        message(NARROW, 4, (4, 8), part=(4, 8)),  # 4 to 11
        message(NARROW, 12, part=(16, 3)),  # 12 to 14, none of them
        message(NARROW, 20, (20, 24), part=(4, 6)),  # 15 to 19 are missing
        message(NARROW, 20, (20, 24), part=(4, 6)),  # known
        message(NARROW, 12, part=(16, 3)),  # known
        beat(30),  # 26 to 29 are missing
    )
    assert found == [4, 8, 20, 24]
    ledger = subscription.ledger()
    assert (ledger.thinned, subscription.thinned) == (6 + 3 + 4, 13)
    assert ledger.lost_at == {Place.RELAY_TO_CLIENT: 5 + 4}
    assert subscription.missed == 9
    assert subscription.request(NOW) is None


def test_over_a_restart_what_was_thinned_is_not_missing():
    subscription = Subscription("s", link=NARROW)
    take(subscription, message(NARROW, 0, (0, 4), part=(4, 6)))
    other = message(NARROW, 0, (0,), part=(4, 3), relay_id=8, source=Source("10.0.0.2", 1))
    topic, header, _ = message(NARROW, 3, (4,), part=(4, 3), relay_id=8)
    readout = AstroPix4Readout(b"\xbc" * 50, 11, 10**18).to_bytes()
    assert take(subscription, other, [topic, header, readout]) == [0, 11]
    # 5 to 10 are six; the numbers 1 to 3 were left out, of whichever source
    assert subscription.ledger().lost_at == {Place.BEFORE_SOCKET: 3}


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_another_number_of_frames(frames):
    subscription = Subscription("s", link=NARROW)
    assert take(subscription, [NARROW.topic("s"), *[b""] * (frames - 1)]) == []
    assert subscription.malformed == 1


def test_what_the_relay_does_not_offer():
    for link, words in ((NARROW, "too old for max_bandwidth"), (COMPRESSED, "cannot compress")):
        with pytest.raises(ConfigError, match=words):
            Subscription("s", link=link).take(hello(), NOW)
    with pytest.raises(ConfigError, match="start is 'live' with max_bandwidth"):
        Subscription("s", link=NARROW, start=7)
