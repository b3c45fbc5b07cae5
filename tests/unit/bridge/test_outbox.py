"""What is on its way into the log, against a model of a log that loses acknowledgements and messages."""

import random

import pytest

from astropix_bridge.outbox import MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, Anchored, Outbox
from astropix_stream.batch import Position
from unit.bridge.batches import batch, gathered, message, spans


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

        self.sequence, self.last_id = 0, ""

    def publish(self, sending):
        if sending.msg_id in self.ids:
            return self.ids[sending.msg_id], True
        if sending.expected != self.sequence or sending.after not in ("", self.last_id):
            return None
        self.stored.append(sending.message)
        self.sequence += 1
        self.last_id = sending.msg_id
        self.ids[sending.msg_id] = self.sequence
        return self.sequence, False

    def take_of_another(self):
        self.sequence += 1
        self.last_id = ""

    def lose(self):
        lost = self.stored.pop()
        self.sequence -= 1
        self.last_id = ""
        self.ids = {key: number for key, number in self.ids.items() if not key.startswith(lost.msg_id)}

    def end(self):
        return self.sequence, self.stored[-1].end if self.stored else None


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
            log.lose()
            nothing_forgotten = False
        elif event < 0.6:  # somebody else's, between ours
            log.take_of_another()
        elif event < 0.62 and not len(outbox):
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


def test_bytes_on_their_way_are_bounded():
    outbox = Outbox(1 << 30)
    outbox.anchor(0, None)
    (large,) = gathered(batch(0, 1, size=60_000))
    for i in range(300):
        outbox.add(large._replace(position=Position(1, i)))
    sent = 0
    while outbox.send() is not None:
        sent += 1
    assert MAX_IN_FLIGHT_BYTES <= sent * len(large.payload) < MAX_IN_FLIGHT_BYTES + len(large.payload)
    assert outbox.in_flight == sent
    assert outbox.oldest_ns == 5


def test_a_log_that_is_ahead_of_us():
    """Another bridge has stored more than we have read: what comes is left out until it is new."""
    outbox = Outbox(1 << 20)
    outbox.anchor(0, None)
    outbox.rewind(Position(1, 10))
    assert outbox.anchor(4, Position(1, 10)) is Anchored.GO_ON
    outbox.add(message(8, 10))
    outbox.add(message(9, 14))
    assert spans([outbox.send().message]) == [(1, 10, 14)]
    assert outbox.send() is None
    outbox.fail()
    assert outbox.anchor(9, Position(1, 20)) is Anchored.GO_ON
    assert len(outbox) == 0
    outbox.add(message(14, 19))
    assert len(outbox) == 0


def test_an_answer_from_before_the_anchor_says_nothing():
    outbox = Outbox(1 << 20)
    outbox.anchor(0, None)
    outbox.add(message(0, 2))
    old = outbox.send().token
    outbox.acknowledged = Position(1, 0)
    outbox.fail()
    outbox.anchor(0, Position(1, 0))
    assert outbox.acknowledge(old, 1, duplicate=False)
    assert not outbox.fail(old)
    assert outbox.stored == 0


def test_what_is_of_an_older_start_than_the_logs_end_is_left_out():
    outbox = Outbox(1 << 20)
    outbox.add(message(5, 9, relay_id=1))
    outbox.add(message(0, 4, relay_id=2))
    assert outbox.anchor(3, Position(2, 2)) is Anchored.GO_ON
    assert spans([outbox.send().message]) == [(2, 2, 4)]


def test_what_was_purged_is_stored_again_though_its_id_is_remembered():
    log = Log()
    for _ in range(2):  # the second time by another start of the bridge, with a log that is empty
        outbox = Outbox(1 << 20)
        outbox.anchor(*log.end())
        for i in range(3):
            outbox.add(message(2 * i, 2 * i + 2))
        for _ in range(10):
            while (sending := outbox.send()) is not None:
                answer = log.publish(sending)
                if answer is None:
                    outbox.fail()
                else:
                    outbox.acknowledge(sending.token, answer[0], duplicate=answer[1])
            if not outbox.anchored:
                outbox.anchor(*log.end())
        assert spans(log.stored) == [(1, 0, 2), (1, 2, 4), (1, 4, 6)]
        log.stored.clear()


def test_a_message_behind_somebody_elses_is_not_stored_in_place_of_the_one_before_it():
    log, outbox = Log(), Outbox(1 << 20)
    outbox.anchor(0, None)
    for i in range(3):
        outbox.add(message(i, i + 1))
    first, second = outbox.send(), outbox.send()
    assert (first.after, second.after) == ("", first.msg_id)
    log.take_of_another()
    assert log.publish(first) is None
    assert log.publish(second) is None  # though its number is the right one
