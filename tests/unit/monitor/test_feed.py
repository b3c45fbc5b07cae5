"""The threads between a receiver and the page."""

import threading
from typing import Any

import pytest

from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.feed import Feed, Inbox, trouble
from unit.monitor.stream import Stream, readout


class ListReceiver:
    """Gives batches, or raises, as told; then there is nothing more."""

    def __init__(self, *gives):
        self._gives = list(gives)
        self.ledger = Ledger()
        self.connected = True
        self.readout_uid: int | None = None
        self.report = None
        self.ended = False
        self.state, self.age_s, self.lag_s = State.LIVE, None, 0.0
        self.closed_in = None
        self.idle = threading.Event()
        self._was_asked = False

    def receive_batch(self, timeout):
        if not self._gives:
            if self._was_asked:  # twice, so that it was looked at in between
                self.idle.set()
            self._was_asked = True
            threading.Event().wait(0.01)
            raise ReceiveTimeout
        given = self._gives.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed_in = threading.current_thread().name

    def __str__(self):
        return "a list"


def batches(count, size=1):
    stream = Stream()
    return [stream.arrival([readout(i * size + j, i) for j in range(size)], 1.0).batch for i in range(count)]


def test_everything_received_is_shown_also_what_came_last():
    receiver: Any = ListReceiver(*batches(500))
    with Feed(receiver, "a list") as feed:
        assert receiver.idle.wait(10)
    assert feed.view(Choice()).readouts == 500
    assert receiver.closed_in == "monitor-receive"
    feed.close()


def test_an_error_of_the_receiver_ends_it_and_is_told():
    receiver: Any = ListReceiver(ConfigError("the relay has several streams"))
    with Feed(receiver, "a list") as feed:
        for thread in feed._threads:
            thread.join(10)
        assert isinstance(feed.error, ConfigError)


def test_a_refusal_is_told_and_tried_again():
    receiver: Any = ListReceiver(RefusedError("not on its list"), *batches(1))
    with Feed(receiver, "a list") as feed:
        assert receiver.idle.wait(10)
    assert feed.error is None
    assert feed.view(Choice()).readouts == 1


def test_viewers_with_the_same_choice_share_a_view():
    receiver: Any = ListReceiver()
    with Feed(receiver, "a list") as feed:
        feed.close()
        assert feed.view(Choice(chip=1)) is feed.view(Choice(chip=1))
        assert feed.view(Choice(chip=1)) is not feed.view(Choice(chip=2))


class TestInbox:
    def arrival(self, recovered=False):
        return Stream().arrival([readout(0, 1)], 1.0, recovered=recovered, received_s=0.5)

    def test_what_is_live_and_too_much_loses_its_payload(self):
        size = len(self.arrival().batch.payload)
        inbox = Inbox(limit=2 * size)
        for _ in range(5):
            inbox.put(self.arrival())
        taken = inbox.take()
        assert [arrival.skipped for arrival in taken] == [False, False, True, True, True]
        assert [len(arrival.batch.payload) for arrival in taken] == [size, size, 0, 0, 0]
        inbox.put(self.arrival())
        assert not inbox.take()[0].skipped

    def test_a_batch_larger_than_the_limit_is_taken_alone(self):
        inbox = Inbox(limit=1)
        inbox.put(self.arrival())
        assert not inbox.take()[0].skipped

    def test_what_comes_out_of_history_waits(self):
        inbox = Inbox(limit=len(self.arrival().batch.payload))
        inbox.put(self.arrival(recovered=True))
        waiting = threading.Thread(target=inbox.put, args=[self.arrival(recovered=True)])
        waiting.start()
        taken = []
        while len(taken) < 2:
            taken += inbox.take()
        waiting.join(10)
        assert not any(arrival.skipped for arrival in taken)

    def test_nobody_waits_once_it_is_closed(self):
        inbox = Inbox(limit=1)
        inbox.put(self.arrival(recovered=True))
        inbox.close()
        inbox.put(self.arrival(recovered=True))


@pytest.mark.parametrize(
    ("connected", "report", "said"),
    [
        (True, None, ""),
        (True, {}, ""),
        (True, {"joined": True}, ""),
        (True, {"joined": "nonsense", "membership": 7}, ""),
        (False, {"joined": True}, "a list is not heard"),
        (True, {"joined": False, "membership": "eth1 is down"}, "the relay does not receive: eth1 is down"),
        (True, {"joined": False, "membership": "x" * 9999}, "the relay does not receive: " + "x" * 200),
        (True, {"joined": False}, "the relay does not receive: "),
    ],
)
def test_trouble(connected, report, said):
    receiver: Any = ListReceiver()
    receiver.connected, receiver.report = connected, report
    assert trouble(receiver) == said


def test_skipped_readouts_are_in_the_account(monkeypatch):
    monkeypatch.setattr("astropix_stream.monitor.feed.MAX_WAITING", 1)
    monkeypatch.setattr("astropix_stream.monitor.feed.GATHER_S", 0.2)
    receiver: Any = ListReceiver(*batches(100, size=2))
    with Feed(receiver, "a list") as feed:
        assert receiver.idle.wait(10)
    view = feed.view(Choice())
    assert 0 < view.readouts < 200
    assert view.account.lost == 200 - view.readouts


def test_what_the_receiver_says_is_on_the_page():
    receiver: Any = ListReceiver()
    receiver.connected, receiver.state, receiver.age_s = False, State.NO_NETWORK, 7.0
    with Feed(receiver, "a list") as feed:
        assert receiver.idle.wait(10)
    status = feed.view(Choice()).status
    assert status.state is State.NO_NETWORK
    assert status.state_text.startswith("a list is not heard; last readout 7")


def test_the_kind_is_what_the_relay_says_unless_a_person_says_otherwise():
    for kind, uid, shown in ((None, 3000, ASTROPIX3), (ASTEP, 3000, ASTEP), (None, None, ASTROPIX4)):
        receiver: Any = ListReceiver(*batches(3))
        receiver.readout_uid = uid
        with Feed(receiver, "a list", kind) as feed:
            assert receiver.idle.wait(10)
        assert feed.view(Choice()).geometry.kind == feed.geometry.kind == shown
