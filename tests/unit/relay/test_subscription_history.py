"""What a subscriber makes of answers of a relay's history, written byte by byte."""

import pytest

from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.subscription import Subscription
from astropix_stream.wire import Answer, AnswerStatus

DAQ = Source("10.0.1.1", 40000)
RELAY, PORT = 9, 5557


def at(seconds):
    return Moment(seconds, 1_700_000_000_000_000_000 + int(seconds * 1e9))


def header(sequence, count, relay_id=RELAY, flags=0):
    return wire.pack_header((flags, count, relay_id, sequence, at(0).ns, DAQ))


def payload(begin, end):
    return b"".join(AstroPix4Readout(b"\xbc", i, 1000 + i).to_bytes() for i in range(begin, end))


def data(begin, end):
    return [wire.data_topic("astropix"), header(begin, end - begin), payload(begin, end)]


def beat(sequence, relay_id=RELAY):
    return [wire.beat_topic("astropix"), header(sequence, 0, relay_id), b'{"totals": {}}']


def hello(*streams, history_port=PORT):
    return [wire.pack_hello(wire.Hello(RELAY, "1", dict.fromkeys(streams, 4000), history_port))]


def record(begin, end):
    packed = header(begin, end - begin, flags=wire.REPLAYED)
    return wire.RECORD_SIZE.pack(len(payload(begin, end))) + packed + payload(begin, end)


def answer(request, begin, end, page=None, /, **fields):
    """What a relay answers that holds all; `fields` are different."""
    asked = wire.parse_request(request)
    whole = Answer(AnswerStatus.OK, asked.request_id, RELAY, 0, 100, begin, end)._replace(**fields)
    return [wire.pack_answer(whole), record(begin, end) if page is None else page]


@pytest.fixture
def subscription():
    """One that joined at 0, got 0 to 4, lost 5 to 9, and holds 10 and 11."""
    subscription = Subscription("astropix")
    for message in (hello("astropix"), beat(0), data(0, 5), data(10, 12)):
        subscription.take(message, at(0))
    return subscription


def ids(batches):
    return [i for batch in batches for i in batch.readout_ids]


def test_it_asks_for_what_is_missing_and_delivers_it_before_what_it_held(subscription):
    request = subscription.request(at(0))
    asked = wire.parse_request(request)
    assert (asked.kind, asked.stream, asked.relay_id, asked.a, asked.b) == (1, "astropix", RELAY, 5, 10)
    assert subscription.request(at(0)) is None  # an answer is awaited
    batches = subscription.take_answer(answer(request, 5, 10), at(0))
    assert ids(batches) == [5, 6, 7, 8, 9, 10, 11]
    assert [batch.recovered for batch in batches] == [True, False]
    assert (subscription.ledger().recovered, subscription.ledger().lost) == (5, 0)


def test_what_a_page_has_too_much_is_known_and_not_delivered_twice(subscription):
    request = subscription.request(at(0))
    page = record(3, 8) + record(8, 10) + record(10, 12)
    batches = subscription.take_answer(answer(request, 3, 12, page), at(0))
    assert ids(batches) == [5, 6, 7, 8, 9, 10, 11]
    assert subscription.ledger().duplicates == 0


def test_a_page_that_does_not_come_to_the_end_is_followed_by_the_next(subscription):
    request = subscription.request(at(0))
    assert ids(subscription.take_answer(answer(request, 5, 7), at(0))) == [5, 6]
    asked = wire.parse_request(following := subscription.request(at(0)))
    assert (asked.a, asked.b) == (7, 10)
    assert ids(subscription.take_answer(answer(following, 7, 10), at(0))) == [7, 8, 9, 10, 11]


def test_what_is_gone_from_history_is_lost(subscription):
    request = subscription.request(at(0))
    assert ids(subscription.take_answer(answer(request, 8, 10, oldest=8), at(0))) == [8, 9, 10, 11]
    assert subscription.ledger().lost_at == {Place.RELAY_TO_CLIENT: 3}


@pytest.mark.parametrize(
    ("page", "fields", "malformed"),
    [
        (b"", {"status": AnswerStatus.UNKNOWN_STREAM}, 0),
        (b"", {"status": AnswerStatus.OTHER_RELAY}, 0),
        (b"", {"relay_id": RELAY + 1}, 0),
        (b"", {"begin": 5, "end": 5}, 0),  # nothing, and no further
        (record(5, 10)[:-1], {}, 1),
        (record(5, 10)[:20], {}, 1),
    ],
)
def test_an_answer_that_helps_no_further_ends_the_waiting(subscription, page, fields, malformed):
    request = subscription.request(at(0))
    assert ids(subscription.take_answer(answer(request, 5, 10, page, **fields), at(0))) == [10, 11]
    assert subscription.ledger().lost_at == {Place.RELAY_TO_CLIENT: 5}
    assert subscription.malformed == malformed
    assert subscription.request(at(0)) is None


@pytest.mark.parametrize("frames", [[], [b""], [b"", b""], [b"", b"", b""]])
def test_what_is_no_answer_is_counted_and_the_right_one_still_awaited(subscription, frames):
    request = subscription.request(at(0))
    assert subscription.take_answer(frames, at(0)) == []
    assert subscription.malformed == 1
    assert ids(subscription.take_answer(answer(request, 5, 10), at(0))) == [5, 6, 7, 8, 9, 10, 11]


def test_an_answer_to_another_question_is_none(subscription):
    request = subscription.request(at(0))
    assert subscription.take_answer(answer(request, 5, 10, request_id=4711), at(0)) == []
    assert subscription.malformed == 0
    assert len(ids(subscription.take_answer(answer(request, 5, 10), at(0)))) == 7


def test_an_answer_that_comes_when_all_is_there_already_is_nothing(subscription):
    request = subscription.request(at(0))
    subscription.take_answer(answer(request, 5, 10), at(0))
    assert subscription.take_answer(answer(request, 5, 10), at(0)) == []
    assert subscription.ledger().delivered == 12


def test_a_page_that_never_comes_is_waited_for_as_long_as_was_said():
    subscription = Subscription("astropix", recover_timeout=4.0)
    for message in (hello("astropix"), beat(0), data(5, 7)):
        subscription.take(message, at(0))
    assert subscription.request(at(0))
    delivered = {}
    for second in range(1, 6):
        subscription.take(beat(7), at(second))
        delivered[second] = ids(subscription.tick(at(second)))
    assert delivered == {1: [], 2: [], 3: [], 4: [5, 6], 5: []}
    assert subscription.ledger().lost_at == {Place.RELAY_TO_CLIENT: 5}


def test_a_program_slower_than_the_stream_goes_live():
    """Each page brings one readout, and meanwhile the relay has another: nothing is gained in 10 s."""
    subscription = Subscription("astropix")
    for message in (hello("astropix"), beat(0), data(1000, 1002)):
        subscription.take(message, at(0))
    delivered, second = [], 0
    while not subscription.fell_behind:
        request = subscription.request(at(second))
        page = answer(request, second, second + 1, next=2000 + second)
        delivered += ids(subscription.take_answer(page, at(second)))
        second += 1
        assert second < 20
    assert delivered == [*range(11), 1000, 1001]
    assert subscription.ledger().lost_at == {Place.CLIENT_QUEUE: 1000 - 11}


@pytest.mark.parametrize("port", [None, PORT])
def test_the_hello_tells_where_history_is(port):
    subscription = Subscription(None)
    assert subscription.history_port is None
    subscription.take(hello("astropix", history_port=port), at(0))
    assert (subscription.stream, subscription.history_port) == ("astropix", port)


def test_of_several_streams_one_is_to_be_named():
    with pytest.raises(ConfigError, match=r"name one: a, b$"):
        Subscription(None).take(hello("b", "a"), at(0))


def test_a_relay_that_waits_for_the_one_above_it_tells_its_stream_later():
    subscription = Subscription(None)
    subscription.take(hello(), at(0))
    assert subscription.stream is None
    subscription.take(hello("astropix"), at(1))
    assert subscription.stream == "astropix"


@pytest.mark.parametrize("name", ["", "Astro", "hello2", "a/b", "x" * 65])
def test_what_can_be_no_streams_name_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be a stream's name"):
        Subscription(name)


@pytest.mark.parametrize("start", ["now", -1, 1.5, None])
def test_what_is_no_start_is_refused(start):
    with pytest.raises(ConfigError, match="start is 'live', 'oldest' or a number"):
        Subscription("astropix", start=start)


@pytest.mark.parametrize(("start", "first"), [("live", 20), ("oldest", 0), (3, 17), (0, 20), (50, 0)])
def test_a_late_joiner_asks_for_what_it_wants_of_the_past(start, first):
    subscription = Subscription("astropix", start=start)
    for message in (hello("astropix"), beat(20), data(20, 22)):
        subscription.take(message, at(0))
    request = subscription.request(at(0))
    if first == 20:
        assert request is None
    else:
        assert wire.parse_request(request)[3:5] == (first, 20)
        batches = subscription.take_answer(answer(request, first, 20), at(0))
        assert ids(batches) == list(range(first, 22))
    assert (subscription.ledger().before_joining, subscription.ledger().lost) == (first, 0)


def test_messages_that_were_delivered_or_are_held_come_twice_and_count_once(subscription):
    assert subscription.take(data(0, 5), at(0)) == []
    assert subscription.take(data(10, 12), at(0)) == []
    request = subscription.request(at(0))
    assert ids(subscription.take_answer(answer(request, 5, 10), at(0))) == list(range(5, 12))
    assert ids(subscription.take(data(10, 14), at(0))) == [12, 13]
    assert subscription.ledger().delivered == 14


def test_another_streams_messages_are_not_ours(subscription):
    assert subscription.take([wire.data_topic("other"), header(0, 1), payload(0, 1)], at(0)) == []
    assert subscription.ledger().delivered == 5
