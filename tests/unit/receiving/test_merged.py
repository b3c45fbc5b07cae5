"""Several receivers as one: it notes what it takes in, and a look changes nothing. Networks are lists."""

import time

import pytest

from astropix_stream.batch import Run
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.errors import ConfigError, ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.receiving import arbiter
from astropix_stream.receiving.merged import MergedReceiver, open_merged

from .test_receiver import ListReceiver, batch, needs_epoll

pytestmark = needs_epoll


class Way(ListReceiver):
    """A path that is ready when told so, and may refuse."""

    is_ready = True
    refuses = None
    account = Ledger()
    told_stride = 1

    @property
    def stride(self):
        return self.told_stride

    @property
    def ready(self):
        return self.is_ready

    @property
    def ledger(self):
        return self.account

    def _receive_batches(self, timeout_s):
        if self.refuses and not self.waiting:
            raise self.refuses
        return super()._receive_batches(timeout_s)


@pytest.fixture
def ways():
    return [Way(), Way()]


@pytest.fixture
def merged(ways):
    with MergedReceiver(AstroPix4Readout, ways, timeout=0.05) as receiver:
        yield receiver


def ids(receiver, count):
    return [receiver.receive().readout_id for _ in range(count)]


def test_what_comes_while_waiting_is_noted(merged, ways):
    for way in ways:
        way.is_ready = False
    ways[0].arrive(batch(0, 1))
    with pytest.raises(ReceiveTimeout, match="no path works"):
        merged.wait_ready(0.0)
    assert merged.age_s is not None
    assert merged.state is State.LIVE
    assert ids(merged, 2) == [0, 1]


def test_reading_the_ledger_changes_nothing(merged, ways):
    ways[0].arrive(batch(0, 1))
    ways[1].arrive(batch(0))
    assert ids(merged, 2) == [0, 1]
    ways[0].arrive(batch(4))
    with pytest.raises(ReceiveTimeout):
        merged.receive(timeout=0)  # 4 is held: 2 and 3 may come
    before = merged.ledger
    assert merged.ledger == before
    ways[1].arrive(batch(2))
    assert merged.ledger == before
    assert [merged.receive(timeout=2).readout_id for _ in range(2)] == [
        2,
        4,
    ]  # what was held overtook nothing


def test_an_account_of_all_paths(merged, ways):
    ways[0].account = Ledger(before_joining=3, restarts=1, remarks=("two sources seem to share x",))
    ways[1].account = Ledger(before_joining=2, restarts=1, remarks=("two sources seem to share x",))
    ways[0].arrive(batch(0, 1))
    ways[1].arrive(batch(0, 1, 2))
    assert ids(merged, 3) == [0, 1, 2]
    ledger = merged.ledger
    assert (ledger.delivered, ledger.runs, ledger.before_joining, ledger.restarts) == (3, 1, 2, 2)
    assert ledger.remarks == ("two sources seem to share x",)
    assert [(path.first, path.later) for path in ledger.paths] == [(2, 0), (1, 2)]
    assert not ledger.lost_at


def test_a_loss_on_every_path_has_its_time(merged, ways, monkeypatch):
    monkeypatch.setattr(arbiter, "CLOSE_AFTER_S", 0.0)
    for way in ways:
        way.arrive(batch(0), batch(3))
    assert ids(merged, 2) == [0, 3]
    with pytest.raises(ReceiveTimeout):
        merged.receive(timeout=0)
    ledger = merged.ledger
    assert ledger.lost_at == {Place.EVERY_PATH: 2}
    assert [loss.count for loss in ledger.losses] == [2]
    assert set(ledger.periods) == {Place.EVERY_PATH}


def test_runs_are_told_once(merged, ways):
    told: list[Run] = []
    merged.on_run = lambda start: told.append(start.run)
    for way in ways:
        way.arrive(batch(0, 1), batch(2))
    assert ids(merged, 3) == [0, 1, 2]
    assert [run.number for run in told] == [1]


def test_one_that_is_refused_does_not_hold_up_the_others(merged, ways):
    ways[1].refuses = RefusedError("who are you")
    ways[0].arrive(batch(0, 1))
    assert ids(merged, 2) == [0, 1]


def test_what_had_come_comes_out_after_a_refusal(ways):
    for way in ways:
        way.is_ready = False
    ways[1].refuses = RefusedError("who are you")
    with MergedReceiver(AstroPix4Readout, ways, timeout=0.05) as merged:
        ways[0].arrive(batch(0, 1))
        with pytest.raises(RefusedError):
            merged.receive()
        ways[1].refuses = None
        assert ids(merged, 2) == [0, 1]


def test_none_stays_open_if_one_cannot_be_opened(ways):
    def fail(**options):
        raise ConfigError("no")

    with pytest.raises(ConfigError):
        open_merged(AstroPix4Readout, [lambda **options: ways[0], fail])
    assert ways[0].closings == 1
    ways[1].close()


def test_it_needs_a_path():
    with pytest.raises(ConfigError, match="at least one"):
        MergedReceiver(AstroPix4Readout, [])


def test_what_a_relay_says_of_the_stride_is_no_loss(merged, ways):
    ways[0].arrive(batch(0))  # before the relay has told it
    assert ids(merged, 1) == [0]
    ways[1].told_stride = 10
    ways[1].arrive(batch(0, 10, 20))
    ways[0].arrive(batch(10, 20, 30))
    assert ids(merged, 3) == [10, 20, 30]
    assert (merged.stride, merged.ledger.lost) == (10, 0)
    ways[0].arrive(batch(50))  # 40 is missing
    ways[1].arrive(batch(30, 50))
    assert ids(merged, 1) == [50]
    merged._arbiter.tick(Moment(time.monotonic() + 60, time.time_ns()))
    assert merged.ledger.lost_at == {Place.EVERY_PATH: 1}


def test_a_stride_that_is_given_goes_before_what_relays_say():
    way = Way()
    way.told_stride = 10
    with MergedReceiver(AstroPix4Readout, [way], stride=1) as merged:
        assert merged.stride == 1
