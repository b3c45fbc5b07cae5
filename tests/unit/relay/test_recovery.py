"""Lost messages come back from history, in order; what does not come back is counted, once."""

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.clients.archive import answer_request
from astropix_relay.core import StreamCore
from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.subscription import Subscription
from drains import drain

DAQ = Source("10.0.1.1", 40000)
SMALL = 160 << 10
START = Moment(0.0, 0)


class Relay:
    """A relay's core with its history, fed with readouts by their ids."""

    def __init__(self, relay_id=1, size=1 << 20):
        self.core = StreamCore("astropix", relay_id, history_port=5557)
        self.core.membership(True, "")
        self.histories = {"astropix": History(size)}

    def hello(self, port=5557):
        return [wire.pack_hello(wire.Hello(self.core.relay_id, "0", {"astropix": 4000}, port))]

    def publish(self, *readout_ids, data=b"\xbc\x01", now=START):
        """Return the messages, one a readout, as those of a quiet DAQ."""
        messages = []
        for i in readout_ids:
            datagram = AstroPix4Readout(data, i, 1000 + i).to_bytes()
            messages += self.core.take(drain(datagram), now)
        for message in messages:
            self.histories["astropix"].append(*message[1:])
        return messages

    def beat(self, now=START):
        return self.core.beat(now)

    def answer(self, request):
        answer, page = answer_request([request], self.core.relay_id, self.histories)
        return [wire.pack_answer(answer), bytes(page)]


class Client:
    """A subscription at a time of its own; `ids` are those delivered."""

    def __init__(self, relay=None, **options):
        self.subscription = Subscription("astropix", **options)
        self.batches = []
        self.s = 0.0
        self.request = None  # the latest
        if relay is not None:
            self.take(relay.hello(), relay.beat())

    @property
    def now(self):
        return Moment(self.s, 1_700_000_000_000_000_000 + int(self.s * 1e9))

    @property
    def ids(self):
        return [i for batch in self.batches for i in batch.readout_ids]

    @property
    def ledger(self):
        return self.subscription.ledger()

    def take(self, *messages):
        for message in messages:
            self.batches += self.subscription.take(message, self.now)

    def ask(self):
        request = self.subscription.request(self.now)
        self.request = request or self.request
        return request

    def answer(self, frames):
        self.batches += self.subscription.take_answer(frames, self.now)

    def recover(self, relay):
        """Ask for page after page, until nothing is missing; return how many were asked for."""
        pages = 0
        while (request := self.ask()) is not None:
            self.answer(relay.answer(request))
            pages += 1
        return pages

    def wait(self, seconds, relay=None, step=0.5):
        """Let time pass; with a relay, its beats come."""
        for _ in range(round(seconds / step)):
            self.s += step
            if relay is not None:
                self.take(relay.beat(self.now))
            self.batches += self.subscription.tick(self.now)
            self.ask()


def test_a_gap_is_filled_before_what_follows():
    relay = Relay()
    client = Client(relay)
    first, _, _, fourth = relay.publish(0, 1, 2, 3)
    client.take(first, fourth)
    assert client.ids == [0]
    assert client.recover(relay) == 1
    assert client.ids == [0, 1, 2, 3]
    assert [batch.recovered for batch in client.batches] == [False, True, True, False]
    assert (client.ledger.delivered, client.ledger.recovered, client.ledger.lost) == (4, 2, 0)


def test_a_beat_shows_what_is_missing_at_the_tail():
    relay = Relay()
    client = Client(relay)
    relay.publish(0, 1)
    client.take(relay.beat())
    request = client.ask()
    client.take(*relay.publish(2))  # comes while the page is on its way
    client.answer(relay.answer(request))
    assert client.ids == [0, 1, 2]
    assert client.ask() is None


def test_nothing_is_asked_while_nothing_is_missing_or_an_answer_is_awaited():
    relay = Relay()
    client = Client(relay)
    client.take(*relay.publish(0, 1))
    assert client.ask() is None
    relay.publish(2)
    client.take(relay.beat())
    assert client.ask() is not None
    assert client.ask() is None


def test_a_stall_of_a_minute_at_1000_a_second_loses_nothing():
    """The relay's queue took 1 s of it; what follows the stall comes while history is read."""
    relay = Relay(size=64 << 20)
    client = Client(relay)
    data = bytes(range(1, 201))
    client.take(*relay.publish(*range(1000), data=data))
    relay.publish(*range(1000, 60_000), data=data)
    client.s += 60
    ids = iter(range(60_000, 70_000))
    while True:
        client.take(*relay.publish(*(next(ids) for _ in range(10)), data=data))
        client.s += 0.01
        if (request := client.ask()) is None:
            break
        client.answer(relay.answer(request))
    assert client.ids == list(range(next(ids)))
    assert client.ledger.lost == 0
    assert client.ledger.recovered >= 59_000


def test_what_history_no_longer_holds_is_a_counted_gap():
    relay = Relay(size=SMALL)
    client = Client(relay)
    first, *_, last = relay.publish(*range(20), data=bytes(range(1, 251)) * 100)
    oldest = relay.histories["astropix"].oldest
    client.take(first, last)
    client.recover(relay)
    assert oldest > 10
    assert client.ids == [0, *range(oldest, 20)]
    assert client.ledger.lost_at == {Place.RELAY_TO_CLIENT: oldest - 1}


def test_a_page_at_a_time_until_the_gap_is_filled():
    relay = Relay(size=8 << 20)
    client = Client(relay)
    first, *_, last = relay.publish(*range(100), data=bytes(range(1, 251)) * 200)
    client.take(first, last)
    assert client.recover(relay) == 5
    assert client.ids == list(range(100))


def test_what_is_held_is_bounded_and_what_it_pushes_out_comes_from_history():
    relay = Relay(size=32 << 20)
    client = Client(relay)
    client.subscription._window._max_bytes = 1 << 20
    first, _, *rest = relay.publish(*range(400), data=bytes(range(1, 251)) * 200)
    client.take(first, *rest)
    assert client.subscription._window._bytes <= 1 << 20
    client.recover(relay)
    assert client.ids == list(range(400))


def test_a_page_that_never_comes_is_counted_and_history_is_left_alone_for_a_while():
    relay = Relay()
    client = Client(relay, recover_timeout=5.0)
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    assert client.ask() is not None
    client.wait(4.5, relay)
    assert client.ids == [0]
    client.wait(0.5, relay)
    assert client.ids == [0, 2]
    assert client.ledger.lost_at == {Place.RELAY_TO_CLIENT: 1}
    _, fifth = relay.publish(3, 4)
    client.take(fifth)
    assert client.ids == [0, 2, 4]
    client.wait(60, relay)
    _, seventh = relay.publish(5, 6)
    client.take(seventh)
    client.recover(relay)
    assert client.ids == [0, 2, 4, 5, 6]
    assert client.ledger.lost == 2


def test_an_overdue_page_is_asked_for_again():
    relay = Relay()
    client = Client(relay)
    relay.publish(0)
    client.take(relay.beat())
    lost = client.ask()
    client.wait(2.0, relay)
    assert client.request != lost
    client.answer(relay.answer(lost))  # so late that it is not awaited any more
    assert client.ids == []
    client.answer(relay.answer(client.request))
    assert client.ids == [0]


def test_a_lost_connection_is_waited_for():
    """No beat comes either: it is not history that is silent."""
    relay = Relay()
    client = Client(relay)
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    client.ask()
    client.wait(30)
    relay.publish(*range(3, 1000))
    client.take(relay.hello(), relay.beat())
    client.wait(2, relay)
    client.answer(relay.answer(client.request))
    client.recover(relay)
    assert client.ids == list(range(1000))
    assert client.ledger.lost == 0


def test_a_stop_of_this_process_does_not_use_up_the_timeout():
    relay = Relay()
    client = Client(relay)
    relay.publish(0)
    client.take(relay.beat())
    client.ask()
    client.wait(60, relay, step=60)
    client.answer(relay.answer(client.request))
    assert client.ids == [0]


def test_a_program_that_is_slower_than_the_stream_goes_live_and_says_so():
    relay = Relay(size=64 << 20)
    client = Client(relay)
    data = bytes(range(1, 251)) * 200
    ids = iter(range(10**6))
    first, *_ = relay.publish(*(next(ids) for _ in range(100)), data=data)
    client.take(first)
    while not client.subscription.fell_behind:
        assert client.s < 12
        messages = relay.publish(*(next(ids) for _ in range(30)), data=data)
        client.take(messages[-1])
        client.s += 1.0
        request = client.ask()
        client.answer(relay.answer(request))
    assert client.s >= 10
    assert client.ask() is None
    assert client.ids[-1] == next(ids) - 1
    ledger = client.ledger
    assert ledger.lost_at == {Place.CLIENT_QUEUE: client.ids[-1] + 1 - len(client.ids)}
    assert client.ids == sorted(set(client.ids))


def test_a_restarted_relay_is_asked_from_its_beginning():
    relay = Relay(1)
    client = Client(relay)
    client.take(*relay.publish(0, 1, 2))
    relay = Relay(2)
    relay.publish(3, 4)
    client.take(relay.hello(), *relay.publish(5))
    client.recover(relay)
    assert client.ids == [0, 1, 2, 3, 4, 5]
    assert (client.ledger.restarts, client.ledger.lost, client.ledger.recovered) == (1, 0, 2)


def test_what_a_restarted_relay_no_longer_holds_is_lost_and_was_not_before_joining():
    relay = Relay(1)
    relay.publish(*range(100))
    client = Client(relay)
    client.take(*relay.publish(100))
    relay = Relay(2, SMALL)
    *_, last = relay.publish(*range(101, 121), data=bytes(range(1, 251)) * 100)
    client.take(relay.hello(), last)
    client.recover(relay)
    oldest = relay.histories["astropix"].oldest
    assert oldest > 0
    assert client.ids == [100, *range(101 + oldest, 121)]
    assert client.ledger.lost_at == {Place.RELAY_TO_CLIENT: oldest}
    assert client.ledger.before_joining == 100


def test_an_answer_of_another_relay_is_none():
    relay = Relay(1)
    client = Client(relay)
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    answer, page = relay.answer(client.ask())
    client.answer([wire.pack_answer(wire.parse_answer(answer)._replace(relay_id=2)), page])
    assert client.ids == [0, 2]
    assert client.ledger.lost == 1


@pytest.mark.parametrize("told_by", ["beat", "answer"])
def test_what_a_relay_that_is_gone_did_not_hand_out_is_lost(told_by):
    relay = Relay(1)
    client = Client(relay)
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    request = client.ask()
    relay = Relay(2)
    if told_by == "beat":
        client.take(relay.beat())
    else:
        client.answer(relay.answer(request))
    assert client.ids == [0, 2]
    client.take(*relay.publish(3))
    assert client.ids == [0, 2, 3]
    assert client.ledger.lost_at == {Place.RELAY_TO_CLIENT: 1}


@pytest.mark.parametrize(
    ("start", "ids", "before"),
    [
        ("live", [5], 5),
        ("oldest", [0, 1, 2, 3, 4, 5], 0),
        (2, [3, 4, 5], 3),
        (0, [5], 5),
        (99, list(range(6)), 0),
    ],
)
def test_a_late_joiner_begins_where_it_wants(start, ids, before):
    relay = Relay()
    relay.publish(0, 1, 2, 3, 4)
    client = Client(relay, start=start)
    client.take(*relay.publish(5))
    client.recover(relay)
    assert client.ids == ids
    assert (client.ledger.lost, client.ledger.before_joining) == (0, before)


def test_a_late_joiner_may_begin_in_the_middle_of_a_message():
    relay = Relay()
    datagrams = [AstroPix4Readout(bytes([i]), i, 1000 + i).to_bytes() for i in range(10)]
    (message,) = relay.core.take(drain(*datagrams), Moment(0.0, 0))
    relay.histories["astropix"].append(*message[1:])
    client = Client(relay, start=3)
    client.recover(relay)
    assert client.ids == [7, 8, 9]
    assert list(client.batches[0].datagrams()) == datagrams[7:]


def test_what_history_no_longer_holds_was_before_a_late_joiner():
    relay = Relay(size=SMALL)
    relay.publish(*range(20), data=bytes(range(1, 251)) * 100)
    client = Client(relay, start="oldest")
    client.recover(relay)
    oldest = relay.histories["astropix"].oldest
    assert client.ids == list(range(oldest, 20))
    assert (client.ledger.lost, client.ledger.before_joining) == (0, oldest)


def test_without_history_a_gap_is_counted_at_once():
    relay = Relay()
    client = Client()
    client.take(relay.hello(port=None), relay.beat())
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    assert client.ids == [0, 2]
    without = Client(relay, recover=False)
    relay.publish(3)
    without.take(*relay.publish(4))
    assert without.ids == [4]
    assert without.ledger.lost == client.ledger.lost == 1


def test_a_start_that_is_none_is_refused():
    wrong: list[Any] = ["newest", -1, 1.5]
    for start in wrong:
        with pytest.raises(ConfigError, match="start is 'live', 'oldest' or a number"):
            Subscription("astropix", start=start)


@given(st.data())
def test_any_answer_is_taken_and_the_stream_goes_on(data):
    relay = Relay()
    client = Client(relay)
    first, _, third = relay.publish(0, 1, 2)
    client.take(first, third)
    frames = [bytearray(frame) for frame in relay.answer(client.ask())]
    for _ in range(data.draw(st.integers(0, 4))):
        frame = data.draw(st.sampled_from(frames))
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    client.answer([bytes(frame) for frame in frames])
    client.answer(data.draw(st.lists(st.binary(max_size=80), max_size=3)))
    client.wait(8, relay)
    assert client.ids[0] == 0
    assert client.ids[-1] == 2
    assert client.ledger.delivered + client.ledger.lost == 3


class Lossy:
    """The way from relays to a client under any faults, held against what must come of it."""

    def __init__(self, draw, size):
        self.draw = draw
        self.size = size
        self.relay = Relay(1, size)
        self.client = Client(self.relay)
        self.link, self.pages = deque(), deque()
        self.next_id = 0
        self.relays = 1

    def step(self):
        getattr(self, self.draw(st.sampled_from(ACTIONS)))()

    def publish(self):
        count = self.draw(st.integers(1, 5))
        data = bytes([1]) * self.draw(st.sampled_from([1, 1, 20_000]))
        ids = range(self.next_id, self.next_id + count)
        self.next_id += count
        self.link.extend(self.relay.publish(*ids, data=data))

    def lose(self):
        for _ in range(self.draw(st.integers(1, min(10, len(self.link) or 1)))):
            if self.link:
                self.link.popleft()

    def beat(self):
        self.link.append(self.relay.beat(self.client.now))

    def deliver(self):
        while self.link:
            self.client.take(self.link.popleft())

    def ask(self):
        if (request := self.client.ask()) is not None:
            self.pages.append(self.relay.answer(request))

    def page(self):
        if self.pages:
            self.client.answer(self.pages.popleft())

    def lose_page(self):
        self.pages.clear()

    def wait(self):
        self.client.s += self.draw(st.sampled_from([0.1, 1.0, 3.0]))
        self.client.batches += self.client.subscription.tick(self.client.now)

    def restart(self):
        self.deliver()  # what was published leaves before a relay ends
        self.client.take(self.relay.beat())
        self.client.recover(self.relay)
        self.relays += 1
        self.relay = Relay(self.relays, self.size)

    def settle(self):
        self.client.take(self.relay.hello(), self.relay.beat())
        for _ in range(10):
            self.client.wait(0.5, self.relay)
            if self.client.request is not None:
                self.client.answer(self.relay.answer(self.client.request))
            self.client.recover(self.relay)


ACTIONS = ["publish"] * 4 + ["deliver"] * 2 + ["ask", "page"] * 2
ACTIONS += ["lose", "beat", "lose_page", "wait", "restart"]


@given(st.data(), st.sampled_from([SMALL, 1 << 20]))
def test_each_readout_is_delivered_once_in_order_or_counted_once(data, size):
    lossy = Lossy(data.draw, size)
    for _ in range(data.draw(st.integers(1, 40))):
        lossy.step()
        assert lossy.client.ids == sorted(set(lossy.client.ids))
    lossy.settle()
    client = lossy.client
    assert client.ids == sorted(set(client.ids))
    assert client.ask() is None
    assert client.ledger.delivered == len(client.ids)
    assert client.ledger.delivered + client.ledger.lost == lossy.next_id
    assert client.ledger.recovered == sum(len(batch) for batch in client.batches if batch.recovered)
