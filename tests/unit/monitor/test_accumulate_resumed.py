"""Runs that go on in a monitor that was started again."""

import pytest

from astropix_stream.batch import Position, Run, RunStart
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.memory import pack, unpack
from unit.monitor.stream import DAQ, OTHER_DAQ, Stream, losing, moment, readout


def beat(**totals):
    return {"totals": Counts(**totals).to_json()}


class Restarted:
    """A stream whose monitor ended after so many seconds, and was started again."""

    def __init__(self, before, saved_s, again_s):
        self.stream = Stream()
        data = pack(before.accumulator.remember(moment(saved_s), {}), {})[0]
        self.accumulator = Accumulator(moment(again_s), "tcp://relay:5556")
        self.accumulator.resume(unpack(data).memory, moment(again_s))
        self.stream.accumulator = self.accumulator
        self.stream.tell(again_s)

    def send(self, first, count, after_s, daq=DAQ):
        self.stream.run(first, count, after_s, daq=daq)
        return self.accumulator.present

    def account(self, run=None):
        found = self.accumulator.account(run or self.accumulator.present)
        return found.held, {place.key: count for place, count in found.lost_at.items()}


@pytest.fixture
def before():
    stream = Stream()
    for second in range(100):
        stream.run(10 * second, 10, float(second))
    return stream


def test_a_run_goes_on_and_the_gap_is_counted(before):
    again = Restarted(before, 99.5, 110.0)
    run = again.send(1100, 10, 110.0)
    assert run.number == 1
    assert run.from_start
    assert run.counts.readouts == 1010
    assert again.account() == (1010, {"client_away": 100})
    assert again.accumulator.sources(moment(110.5)) == [DAQ]
    again.send(1110, 10, 111.0)
    assert again.account() == (1020, {"client_away": 100})


def test_a_single_readout_at_first(before):
    """A run is believed with its second readout only: the first has none in the ledger."""
    again = Restarted(before, 99.5, 110.0)
    again.send(1100, 1, 110.0)
    again.send(1101, 9, 110.1)
    assert len(again.accumulator.runs) == 1
    assert again.account() == (1010, {"client_away": 100})


def test_the_run_that_went_on_is_not_the_next_one(before):
    again = Restarted(before, 99.5, 110.0)
    run = again.send(1100, 10, 110.0)
    second = again.send(0, 20, 120.0)
    assert (run.number, second.number) == (1, 2)
    assert again.account(run) == (1010, {"client_away": 100})
    assert again.account(second) == (20, {})


def test_another_run_began_meanwhile(before):
    again = Restarted(before, 99.5, 130.0)
    run = again.send(0, 10, 130.0)
    assert run.number == 2
    assert again.account() == (10, {})
    assert again.account(again.accumulator.runs[0]) == (1000, {})
    assert again.accumulator.runs[0].until is not None


def test_another_daq(before):
    again = Restarted(before, 99.5, 110.0)
    run = again.send(5, 10, 110.0, daq=OTHER_DAQ)
    assert (run.number, run.source) == (2, OTHER_DAQ)
    assert again.send(1100, 10, 110.1).source == OTHER_DAQ, "the page follows one until it falls silent"
    assert again.account(again.accumulator.runs[0]) == (1020, {"client_away": 100}), "of both DAQs"


def test_losses_go_on_from_what_they_were(before):
    before.tell(99.0, losing(BEFORE_SOCKET=7, RELAY_TO_CLIENT=2))
    again = Restarted(before, 99.5, 110.0)
    again.send(1000, 10, 110.0)
    assert again.account() == (1010, {"before_socket": 7, "relay_to_client": 2})
    again.stream.tell(111.0, losing(RELAY_TO_CLIENT=1))
    assert again.account() == (1010, {"before_socket": 7, "relay_to_client": 3})


def test_the_relay_tells_of_the_gap():
    before = Stream()
    arrival = before.arrival([readout(i, moment(1).ns + i) for i in range(100)], 1.0)
    arrival.batch.position = Position(7, 0)
    before.accumulator.take([arrival])
    before.tell(1.5, report=beat(before_socket=3))
    again = Restarted(before, 2.0, 10.0)
    assert again.accumulator.remember(moment(10), {}).position == Position(7, 100)
    more = again.stream.arrival([readout(i, moment(9).ns + i) for i in range(150, 200)], 10.0)
    more.batch.position = Position(7, 140)
    again.accumulator.take([more])
    assert again.account() == (150, {}), "nothing is said twice: the relay's numbers tell it"
    ledger = Ledger(before_joining=140)
    for _ in range(3):
        again.stream.tell(
            11.0, ledger, report=beat(before_socket=13), first_report=beat(before_socket=13), relay_id=7
        )
    assert again.account() == (150, {"before_socket": 10, "client_away": 40})
    series = again.accumulator.rates.last(60, moment(15).s)
    assert series.lost.sum() == 50
    kept = again.accumulator.remember(moment(12), {})
    assert (kept.position, kept.totals) == (Position(7, 190), Counts(before_socket=13))


def test_a_monitor_that_ends_before_it_heard_anything_knows_as_much_as_before():
    before = Stream()
    arrival = before.arrival([readout(i, moment(1).ns + i) for i in range(100)], 1.0)
    arrival.batch.position = Position(7, 0)
    before.accumulator.take([arrival])
    before.tell(1.5, report=beat(before_socket=3))
    again = Restarted(before, 2.0, 10.0)
    kept = again.accumulator.remember(moment(11), {})
    assert (kept.position, kept.totals) == (Position(7, 100), Counts(before_socket=3))
    assert list(kept.current) == [DAQ]
    assert kept.present == 0
    third = Restarted(again.stream, 11.0, 20.0)
    third.send(100, 10, 20.0)
    assert third.account() == (110, {})


def test_the_numbers_of_a_relay_that_was_restarted():
    before = Stream()
    arrival = before.arrival([readout(i, moment(1).ns + i) for i in range(100)], 1.0)
    arrival.batch.position = Position(7, 500)
    before.accumulator.take([arrival])
    again = Restarted(before, 2.0, 10.0)
    more = again.stream.arrival([readout(i, moment(9).ns + i) for i in range(120, 130)], 10.0)
    more.batch.position = Position(8, 0)
    again.accumulator.take([more])
    assert again.account() == (110, {"client_away": 20})
    assert again.accumulator.remember(moment(12), {}).totals is None, (
        "those of the old relay mean nothing now"
    )


def test_what_was_counted_already_is_left_out(before):
    """A log is read from a little before the end."""
    stream = Stream()
    arrival = stream.arrival([readout(i, moment(1).ns + i) for i in range(100)], 1.0)
    arrival.batch.position = Position(7, 0)
    stream.accumulator.take([arrival])
    again = Restarted(stream, 2.0, 10.0)
    for first in (80, 95):
        more = again.stream.arrival([readout(i, moment(1).ns + i) for i in range(first, first + 10)], 10.0)
        more.batch.position = Position(7, first)
        again.accumulator.take([more])
    assert again.account() == (105, {})
    assert again.accumulator.present.last_id == 104


def test_a_run_that_goes_on_after_a_stray(before):
    """It is told with the readout as which it went on here, not with its first."""
    again = Restarted(before, 99.5, 110.0)
    again.send(1100, 10, 110.0)
    arrival = again.stream.arrival([readout(1110, moment(111).ns)], 111.0)
    first = before.accumulator.runs[0]
    start = next(iter(again.accumulator._known_as))
    run = Run(1, start[1], start[2], 1109, 0)
    arrival.batch.runs = [RunStart(0, DAQ, run)]
    again.accumulator.take([arrival])
    assert [one.number for one in again.accumulator.runs] == [first.number]
