"""What is on its way into the log, against a model of a log that loses acknowledgements and messages."""

import random
from itertools import pairwise

import pytest

from astropix_bridge.gathering import Gatherer
from astropix_bridge.numbering import Numberer, relay_counts
from astropix_bridge.outbox import MAX_IN_FLIGHT, Anchored, Outbox
from astropix_stream import wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.log.messages import MAX_PAYLOAD, Message

SOURCE = Source("10.0.0.1", 40_000)


def batch(begin, end, relay_id=1, source=SOURCE, size=2):
    payload = b"".join(AstroPix4Readout(b"\x01" * size, i, 1000 + i).to_bytes() for i in range(begin, end))
    columns = wire.walk_payload(payload, end - begin)
    return Batch(source, 5, payload, *columns, position=Position(relay_id, begin))


def message(begin, end, relay_id=1):
    (whole,) = gathered(batch(begin, end, relay_id))
    return whole


def gathered(*batches):
    gatherer = Gatherer()
    return [message for one in batches for message in gatherer.add(one)] + gatherer.flush()


def spans(messages):
    return [(m.position.relay_id, m.position.sequence, m.end.sequence) for m in messages]


def test_consecutive_numbers_of_one_source_share_a_message():
    assert spans(gathered(batch(0, 3), batch(3, 5), batch(5, 6))) == [(1, 0, 6)]
    (whole,) = gathered(batch(0, 3), batch(3, 5))
    assert whole.payload == batch(0, 5).payload
    assert whole.received_ns == 5


@pytest.mark.parametrize(
    "second",
    [batch(4, 6), batch(3, 6, relay_id=2), batch(3, 6, source=Source("10.0.0.2", 40_000)), batch(2, 6)],
)
def test_nothing_else_does(second):
    assert len(gathered(batch(0, 3), second)) == 2


def test_a_message_is_bounded():
    messages = gathered(*(batch(i, i + 10, size=900) for i in range(0, 200, 10)))
    assert [len(m.payload) <= MAX_PAYLOAD for m in messages] == [True] * len(messages)
    assert spans(messages)[0][1] == 0
    assert all(one.end == other.position for one, other in pairwise(messages))


def test_a_part_of_a_message_is_the_same_readouts():
    whole = message(10, 20)
    assert whole.without(4) == message(14, 20)


def test_nothing_is_sent_before_the_log_was_asked():
    outbox = Outbox(1000)
    outbox.add(message(0, 3))
    assert outbox.send() is None
    assert outbox.anchor(0, None) is Anchored.GO_ON
    assert outbox.send().expected == 0


def test_an_acknowledgement_proves_those_before_it():
    outbox = Outbox(10_000)
    outbox.anchor(7, None)
    for i in range(3):
        outbox.add(message(i, i + 1))
    sent = [outbox.send() for _ in range(3)]
    assert [one.expected for one in sent] == [7, 8, 9]
    assert outbox.acknowledge(sent[2].token, 10, duplicate=False)
    assert (len(outbox), outbox.stored, outbox.acknowledged) == (0, 3, Position(1, 3))
    assert outbox.acknowledge(sent[0].token, 8, duplicate=False)  # late: known already
    assert outbox.stored == 3


@pytest.mark.parametrize(("sequence", "duplicate"), [(9, False), (8, True), (1, True)])
def test_what_is_not_as_expected_asks_the_log(sequence, duplicate):
    outbox = Outbox(10_000)
    outbox.anchor(7, None)
    outbox.add(message(0, 5))
    sending = outbox.send()
    assert not outbox.acknowledge(sending.token, sequence, duplicate=duplicate)
    assert outbox.send() is None
    assert outbox.stored == 0


def test_a_duplicate_that_holds_fewer_readouts_is_completed():
    outbox = Outbox(10_000)
    outbox.anchor(7, None)
    outbox.acknowledged = Position(1, 0)
    outbox.add(message(0, 5))
    outbox.acknowledge(outbox.send().token, 8, duplicate=True)
    assert outbox.anchor(8, Position(1, 2)) is Anchored.GO_ON
    assert spans([outbox.send().message]) == [(1, 2, 5)]
    assert outbox.trimmed == 2


@pytest.mark.parametrize(
    ("end", "sequence", "then"),
    [
        (Position(1, 10), 20, Anchored.GO_ON),  # as acknowledged
        (Position(1, 13), 21, Anchored.GO_ON),  # one more was stored
        (Position(1, 6), 18, Anchored.REWIND),  # it has lost what it had acknowledged
        (Position(9, 4), 20, Anchored.REWIND),  # another log
        (None, 0, Anchored.REWIND),  # a new one
        (None, 20, Anchored.GO_ON),  # the same, which has removed all by age
    ],
)
def test_how_to_go_on(end, sequence, then):
    outbox = Outbox(10_000)
    outbox.anchor(19, None)
    outbox.add(message(0, 10))
    outbox.acknowledge(outbox.send().token, 20, duplicate=False)
    outbox.add(message(10, 13))
    outbox.add(message(13, 15))
    outbox.send()
    outbox.fail()
    assert outbox.anchor(sequence, end) is then
    assert outbox.acknowledged == (end if end or then is Anchored.REWIND else Position(1, 10))
    assert (len(outbox) == 0) == (then is Anchored.REWIND)


def test_what_was_numbered_here_is_never_asked_for_again():
    outbox = Outbox(10_000)
    outbox.add(message(0, 10))
    assert outbox.anchor(5, Position(9, 4), numbered_here=True) is Anchored.GO_ON
    assert outbox.send().expected == 5


def test_there_is_a_bound():
    outbox = Outbox(2000)
    outbox.anchor(0, None)
    while outbox.has_room:
        outbox.add(message(0, 1))
    assert outbox.waiting_bytes < 2100
    outbox = Outbox(1 << 20)
    outbox.anchor(0, None)
    for i in range(MAX_IN_FLIGHT + 5):
        outbox.add(message(i, i + 1))
    assert sum(outbox.send() is not None for _ in range(MAX_IN_FLIGHT + 5)) == MAX_IN_FLIGHT


class Log:
    """A log as NATS has it: expected numbers are checked, ids are remembered, and answers may be lost."""

    def __init__(self):
        self.stored = []
        self.ids = {}

    def publish(self, sending):
        key = sending.message.position
        if key in self.ids:
            return self.ids[key], True
        if sending.expected != len(self.stored):
            return None
        self.stored.append(sending.message)
        self.ids[key] = len(self.stored)
        return len(self.stored), False

    def end(self):
        return len(self.stored), self.stored[-1].end if self.stored else None


@pytest.mark.parametrize("seed", range(30))
def test_each_readout_once_and_in_order_whatever_happens(seed):
    """Answers and messages are lost, the log forgets what it acknowledged, bridge and relay start again."""
    chance = random.Random(seed)
    log, relay_id, given = Log(), 1, 0
    starts = {1: 0}
    outbox = Outbox(1 << 20)
    nothing_forgotten = True

    def anchor():
        nonlocal given
        sequence, end = log.end()
        if outbox.anchor(sequence, end) is Anchored.REWIND:
            given = end.sequence if end is not None and end.relay_id == relay_id else 0

    anchor()
    for _ in range(400):
        event = chance.random()
        if event < 0.5:
            count = chance.randrange(1, 9)
            outbox.add(message(given, given + count, relay_id))
            given += count
        elif event < 0.53:  # another start of the bridge
            outbox = Outbox(1 << 20)
            anchor()
        elif event < 0.55 and log.stored:  # what was acknowledged is lost with a disk
            lost = log.stored.pop()
            log.ids.pop(lost.position, None)
            nothing_forgotten = False
        elif event < 0.57 and not len(outbox):
            starts[relay_id] = given
            relay_id, given = relay_id + 1, 0
            starts[relay_id] = 0
        elif (sending := outbox.send()) is not None:
            fate = chance.random()
            answer = log.publish(sending) if fate > 0.1 else None
            if fate < 0.2 or answer is None:
                outbox.fail()
            else:
                outbox.acknowledge(sending.token, answer[0], duplicate=answer[1])
        if not outbox.anchored:
            anchor()
    for _ in range(1000):
        if not outbox.anchored:
            anchor()
        if (sending := outbox.send()) is None:
            break
        answer = log.publish(sending)
        outbox.fail() if answer is None else outbox.acknowledge(sending.token, answer[0], duplicate=answer[1])
    expected = {}
    for one in log.stored:
        relay, sequence = one.position
        assert sequence >= expected.get(relay, 0), "twice, or out of order"
        if nothing_forgotten:
            assert sequence == expected.get(relay, 0), "a gap"
        expected[relay] = one.end.sequence
    assert [m.position.relay_id for m in log.stored] == sorted(m.position.relay_id for m in log.stored)
    assert log.stored


def test_numbers_of_the_bridges_own():
    numberer = Numberer(77)
    assert numberer.number(batch(40, 45)).position == Position(77, 0)
    assert numberer.number(batch(5, 9)).position == Position(77, 5)


def test_a_receivers_account_in_a_relays_words():
    ledger = Ledger(
        delivered=5, lost_at={Place.EVERY_PATH: 3, Place.CLIENT_KERNEL: 2, Place.CLIENT_REJECTED: 1}
    )
    counts = relay_counts(ledger)
    assert (counts.before_socket, counts.in_kernel, counts.rejected, counts.lost) == (
        3,
        2,
        {"rejected": 1},
        6,
    )


def test_messages_are_values():
    assert isinstance(message(0, 2), Message)
    assert message(0, 2).headers(4000)["Nats-Msg-Id"] == "1:0"
