"""What both receivers share: one readout at a time out of batches, with a network that is a list."""

import asyncio
import select
import socket
import time
from dataclasses import replace
from itertools import accumulate

import pytest

from astropix_stream.batch import Batch, Run, RunStart, Source
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.errors import ClosedError, ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.receiving import readiness
from astropix_stream.receiving.receiver import Receiver

DAQ = Source("10.0.1.1", 40000)

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="this platform has no epoll")


def readout(readout_id, size=16):
    return AstroPix4Readout(b"\xbc" * size, readout_id, 1000 + readout_id)


def batch(*readout_ids, size=16):
    readouts = [readout(readout_id, size) for readout_id in readout_ids]
    datagrams = [readout.to_bytes() for readout in readouts]
    return Batch(
        source=DAQ,
        received_ns=1,
        payload=b"".join(datagrams),
        readout_ids=[readout.readout_id for readout in readouts],
        timestamps=[readout.timestamp for readout in readouts],
        ends=list(accumulate(map(len, datagrams))),
    )


class ListReceiver(Receiver):
    """Receives what `arrive` was given, one call's batches a wake; a socket pair stands for the network."""

    def __init__(self, readout_class=AstroPix4Readout, **options):
        super().__init__(readout_class, **options)
        self.waiting = []
        self.waits = []
        self.closings = 0
        self.lost = 0
        self.can_arrive = True
        self._near, self._far = socket.socketpair()

    def address(self):
        return self._near.getsockname()

    def arrive(self, *batches):
        self.waiting.append(list(batches))
        self._far.send(b"x")

    @property
    def ledger(self):
        return Ledger(lost_at={Place.BEFORE_SOCKET: self.lost})

    @property
    def connected(self):
        return self.can_arrive

    def _receive_batches(self, timeout_s):
        self.waits.append(timeout_s)
        if self.waiting:
            self._near.recv(1)
            return self.waiting.pop(0)
        if timeout_s is None:
            raise AssertionError("waits for ever")
        return []

    def _watched_fds(self):
        return [self._near.fileno()]

    def _close(self):
        self.closings += 1
        self._near.close()
        self._far.close()

    def __str__(self):
        return "a list"


@pytest.fixture
def receiver():
    with ListReceiver(timeout=0) as receiver:
        yield receiver


def ids(readouts):
    return [readout.readout_id for readout in readouts]


def is_readable(receiver):
    return bool(select.select([receiver], [], [], 0)[0])


def test_one_with_nothing_to_wait_for_is_ready_at_once(receiver):
    assert receiver.ready
    receiver.wait_ready()
    receiver.wait_ready(0)
    assert receiver.waits == []


def test_readouts_come_one_by_one_in_order(receiver):
    receiver.arrive(batch(0, 1, 2), batch(10))
    receiver.arrive(batch(3))
    assert ids(receiver) == [0, 1, 2, 10, 3]


@pytest.mark.parametrize("max_size", [65535, 1000])
def test_readouts_are_those_that_were_sent(receiver, max_size):
    receiver.arrive(batch(7, 8, size=100))
    for readout_id in (7, 8):
        received = receiver.receive(max_size)
        assert received.to_bytes() == readout(readout_id, 100).to_bytes()
        assert type(received) is AstroPix4Readout


def test_a_readout_larger_than_max_size_is_skipped_and_counted(receiver, caplog):
    receiver.arrive(batch(0, size=100), batch(1, size=10))
    assert receiver.receive(max_size=50).readout_id == 1
    assert receiver.undecodable == 1
    assert "119 bytes, more than max_size (50)" in caplog.text


@pytest.mark.parametrize("timeout", [None, 0.2, 1e9, float("inf")])
def test_a_wake_for_nothing_is_waited_over_within_the_timeout(receiver, timeout):
    receiver.arrive()
    receiver.arrive(batch(1))
    assert receiver.receive(timeout=timeout).readout_id == 1
    first, second = receiver.waits
    assert second is None if timeout is None else second <= first <= timeout


@pytest.mark.parametrize("timeout", [0, 0.0, -1])
def test_without_time_to_wait_what_is_there_is_taken(receiver, timeout):
    receiver.arrive(batch(1))
    assert receiver.receive(timeout=timeout).readout_id == 1
    with pytest.raises(ReceiveTimeout):
        receiver.receive(timeout=timeout)
    assert receiver.waits == [0.0, 0.0]


def test_a_timeout_is_both_of_this_project_and_of_python(receiver):
    for kind in (ReceiveTimeout, TimeoutError):
        with pytest.raises(kind, match="no readout from a list in time"):
            receiver.receive()


def test_the_receivers_own_timeout_is_the_default():
    with ListReceiver(timeout=0.001) as receiver:
        with pytest.raises(ReceiveTimeout):
            receiver.receive()
        assert 0 < receiver.waits[0] <= 0.001
        receiver.timeout = None
        with pytest.raises(AssertionError, match="for ever"):
            receiver.receive()


def test_iteration_ends_with_the_timeout_and_goes_on_when_asked_again(receiver):
    receiver.arrive(batch(0, 1))
    assert ids(receiver) == [0, 1]
    receiver.arrive(batch(2))
    assert ids(receiver) == [2]


@pytest.mark.parametrize("last", [0, 1])
def test_iteration_ends_when_the_receiver_is_closed(receiver, last):
    receiver.arrive(batch(0, 1, 2))
    seen = []
    for one in receiver:
        seen.append(one.readout_id)
        if one.readout_id == last:
            receiver.close()
    assert seen == list(range(last + 1))
    assert list(receiver) == []


def test_closing_twice_is_closing_once(receiver):
    receiver.fileno()
    receiver.close()
    receiver.close()
    assert receiver.closings == 1


@pytest.mark.parametrize("use", [Receiver.receive, Receiver.receive_batch, Receiver.fileno])
def test_a_closed_receiver_says_so(receiver, use):
    receiver.arrive(batch(0))
    receiver.close()
    with pytest.raises(ClosedError, match="a list is closed"):
        use(receiver)


def test_a_batch_is_bytes_and_columns(receiver):
    receiver.arrive(batch(3, 4))
    received = receiver.receive_batch()
    assert (received.readout_ids, received.timestamps, len(received)) == ([3, 4], [1003, 1004], 2)
    assert list(received.datagrams()) == [readout(3).to_bytes(), readout(4).to_bytes()]
    with pytest.raises(ReceiveTimeout):
        receiver.receive_batch()


class Plain:
    """Any class with from_bytes."""

    def __init__(self, data):
        self.data = data

    @classmethod
    def from_bytes(cls, data):
        return cls(data)


class Failing(Plain):
    @classmethod
    def from_bytes(cls, data):
        raise KeyError("a bug of somebody else")


def test_any_class_with_from_bytes_makes_the_readouts():
    with ListReceiver(Plain, timeout=0) as receiver:
        receiver.arrive(batch(0, 1))
        assert [one.data for one in receiver] == [readout(0).to_bytes(), readout(1).to_bytes()]


def test_any_other_class_costs_its_from_bytes_and_the_handing_out():
    """No more than ours costs, from a batch to the program, and its from_bytes; it was 0.65 of that."""
    many = batch(*range(64))
    raw = list(many.datagrams())

    def receiving(readout_class):
        with ListReceiver(readout_class, timeout=0) as receiver:
            receiver.arrive(*[many] * 50)
            return seconds(lambda: [receiver.receive() for _ in range(64 * 50)])

    def converting():
        return seconds(lambda: [Plain.from_bytes(data) for _ in range(50) for data in raw])

    rounds = [(receiving(Plain), receiving(AstroPix4Readout), converting()) for _ in range(7)]
    other, ours, from_bytes = map(min, zip(*rounds, strict=True))
    assert other < ours + from_bytes


def seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def test_a_class_that_refuses_everything_does_not_outlast_the_timeout():
    with ListReceiver(Failing, timeout=0) as receiver:
        for _ in range(50):
            receiver.arrive(batch(0))
        with pytest.raises(ReceiveTimeout):
            receiver.receive()
        assert receiver.undecodable < 50


def test_a_class_without_from_bytes_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="from_bytes"):
        ListReceiver(int.__class__)


@needs_epoll
def test_it_is_readable_while_the_network_or_the_buffer_has_something(receiver):
    assert not is_readable(receiver)
    receiver.arrive(batch(0, 1), batch(2))
    for i in range(3):
        assert is_readable(receiver)
        assert receiver.receive().readout_id == i
    assert not is_readable(receiver)
    receiver.arrive(batch(3), batch(4))
    for _ in range(2):
        assert is_readable(receiver)
        receiver.receive_batch()
    assert not is_readable(receiver)


@needs_epoll
def test_it_is_readable_while_an_iteration_has_something_left(receiver):
    receiver.fileno()
    receiver.arrive(batch(0, 1, 2))
    for one in receiver:
        assert is_readable(receiver) is (one.readout_id < 2)


def test_iteration_and_receive_take_from_the_same_readouts(receiver):
    receiver.arrive(batch(0, 1, 2, 3, 4))
    iteration = iter(receiver)
    assert [next(iteration).readout_id, next(iteration).readout_id] == [0, 1]
    assert receiver.receive().readout_id == 2
    assert next(iteration).readout_id == 3
    assert receiver.receive().readout_id == 4


@needs_epoll
def test_it_is_readable_for_what_was_buffered_before_it_was_asked(receiver):
    receiver.arrive(batch(0, 1))
    receiver.receive()
    assert is_readable(receiver)
    receiver.receive()
    assert not is_readable(receiver)


@needs_epoll
def test_asyncio_gets_every_readout_with_one_receive_a_wake(receiver):
    receiver.arrive(batch(*range(50)))
    receiver.arrive(batch(*range(50, 60)), batch(60))

    async def collect():
        done, received = asyncio.get_running_loop().create_future(), []

        def on_readable():
            received.append(receiver.receive(timeout=0))
            if len(received) == 61:
                done.set_result(received)

        asyncio.get_running_loop().add_reader(receiver, on_readable)
        try:
            return await asyncio.wait_for(done, 5)
        finally:
            asyncio.get_running_loop().remove_reader(receiver)

    assert ids(asyncio.run(collect())) == list(range(61))


def test_without_epoll_the_network_itself_is_watched(receiver, monkeypatch):
    monkeypatch.delattr(select, "epoll", raising=False)
    assert receiver.fileno() == receiver._near.fileno()


@needs_epoll
def test_a_descriptor_is_watched_in_place_of_another():
    (near, far), (other, far_other) = socket.socketpair(), socket.socketpair()
    with near, far, other, far_other:
        ready = readiness.Readiness(near.fileno())
        ready.forget(near.fileno())
        ready.watch(other.fileno())
        far.send(b"x")
        assert not readiness.wait_readable(ready.fileno(), 0)
        far_other.send(b"x")
        assert readiness.wait_readable(ready.fileno(), 0)
        ready.close()


@pytest.fixture(params=["poll", "select"])
def waiting(request, monkeypatch):
    if request.param == "select":
        monkeypatch.delattr(select, "poll", raising=False)


@pytest.mark.usefixtures("waiting")
def test_waiting_for_a_descriptor():
    near, far = socket.socketpair()
    with near, far:
        assert not readiness.wait_readable(near.fileno(), 0)
        assert not readiness.wait_readable(near.fileno(), 0.01)
        far.send(b"x")
        for timeout_s in (None, 0, 5, 1e9, float("inf")):
            assert readiness.wait_readable(near.fileno(), timeout_s)


def test_its_state_follows_what_arrives(receiver):
    assert (receiver.state, receiver.age_s) == (State.QUIET, None)
    receiver.arrive(batch(0, 1))
    receiver.receive()
    assert receiver.state is State.LIVE
    assert 0 <= receiver.age_s < 1
    receiver.lost = 1
    assert receiver.state is State.LOSING
    receiver.can_arrive = False
    assert receiver.state is State.NO_NETWORK


def test_what_is_recovered_from_history_is_no_lag(receiver):
    receiver.arrive(batch(1))
    receiver.arrive(replace(batch(0), timestamps=[-1_500_000_000], recovered=True))
    for _ in range(2):
        receiver.receive_batch(timeout=1)
    assert receiver.lag_s < 1


# Runs


def with_runs(*readout_ids, begins=(0,)):
    begun = [
        RunStart(at, DAQ, Run(n + 1, readout_ids[at], 0, readout_ids[-1], 0)) for n, at in enumerate(begins)
    ]
    return replace(batch(*readout_ids), runs=begun)


def test_an_on_run_that_raises_loses_nothing():
    with ListReceiver(timeout=1) as receiver:
        told = []

        def on_run(start):
            told.append(start.run.number)
            if len(told) in (1, 3):
                raise RuntimeError(f"run {start.run.number}")

        receiver.on_run = on_run
        receiver.arrive(with_runs(0, 1, 2, 0, 1, begins=(0, 3)), with_runs(7, 8))
        with pytest.raises(RuntimeError, match="run 1"):
            receiver.receive()
        assert [receiver.receive().readout_id for _ in range(5)] == [0, 1, 2, 0, 1]
        with pytest.raises(RuntimeError, match="run 1"):
            receiver.receive()
        assert [receiver.receive().readout_id for _ in range(2)] == [7, 8]
        assert told == [1, 2, 1]  # each once, whatever it did


@needs_epoll
def test_after_an_on_run_that_raises_the_descriptor_is_readable():
    with ListReceiver() as receiver:
        fd = receiver.fileno()

        def on_run(start):
            raise RuntimeError("no")

        receiver.on_run = on_run
        receiver.arrive(with_runs(0, 1))
        with pytest.raises(RuntimeError):
            receiver.receive_batch(timeout=1)
        assert select.select([fd], [], [], 0)[0]
        assert len(receiver.receive_batch(timeout=0)) == 2
