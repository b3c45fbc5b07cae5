"""What comes from a relay is put together into messages of one source, with consecutive numbers."""

from itertools import pairwise

import pytest

from astropix_bridge.gathering import Gatherer
from astropix_stream.batch import Source
from astropix_stream.log.messages import MAX_PAYLOAD, Message
from unit.bridge.batches import batch, gathered, message, spans


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


def test_nothing_gathered_is_no_message():
    assert Gatherer().flush() == []


def test_a_part_of_a_message_is_the_same_readouts():
    whole = message(10, 20)
    assert whole.without(4) == message(14, 20)


def test_messages_are_values():
    assert isinstance(message(0, 2), Message)
    assert message(0, 2).headers(4000)["Nats-Msg-Id"] == "1:0"
