"""Whether a run goes on after nobody looked, and what was lost meanwhile."""

import pytest

from astropix_stream.batch import Batch, Position, Run, RunStart
from astropix_stream.counting.ledger import Counts, Ledger
from astropix_stream.counting.places import Place
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.memory import pack, unpack
from astropix_stream.monitor.resuming import Gap, counts_of, goes_on, unseen
from unit.monitor.stream import DAQ, OTHER_DAQ, Stream, losing, moment, readout

S = 10**9


@pytest.mark.parametrize(
    ("then", "missing"),
    [
        ((1001, 1001 * S), 0),
        ((1002, 1002 * S), 1),
        ((1500, 1500 * S), 499),
        ((1500, 1001 * S), 499),  # ids, and not clocks, tell how many
        ((2000, 5000 * S), None),  # a run that began meanwhile may have come as far
        ((1000, 1001 * S), None),  # the same id
        ((10, 1010 * S), None),  # ids began again
        ((1001, 999 * S), None),  # its clock says that it is older
    ],
)
def test_goes_on(then, missing):
    """A run of a readout a second, of which 0 to 1000 are known."""
    assert goes_on((0, 0), (1000, 1000 * S), then) == missing


def test_a_long_absence():
    """Longer than the run had lasted: only an id that fits is believed."""
    first, last = (0, 0), (1000, 1000 * S)
    assert goes_on(first, last, (11_000, 11_000 * S)) == 9999
    assert goes_on(first, last, (10_500, 11_000 * S)) == 9499
    assert goes_on(first, last, (5_000, 11_000 * S)) is None


def test_a_run_that_had_just_begun():
    """It has no rate yet; of the same source, ids that grow are believed."""
    assert goes_on((0, 0), (9, 9), (5_000, 60 * S)) == 4990


def test_stride():
    assert goes_on((0, 0), (1000, 1000 * S), (1030, 1030 * S), 10) == 2


def test_the_end_of_the_counter():
    last = (1 << 32) - 3
    assert goes_on((last - 1000, 0), (last, 1000 * S), (2, 1005 * S)) == 4


def beat(**totals):
    return {"totals": Counts(**totals).to_json()}


def test_what_the_relay_counted_meanwhile():
    gap = Gap(Position(7, 1000), Counts(before_socket=5, in_kernel=2))
    assert not gap.lost(Ledger(), None, None)
    first = beat(before_socket=8, in_kernel=2, rejected={"short": 4})
    assert gap.lost(Ledger(before_joining=1000), first, 7) == {
        Place.BEFORE_SOCKET: 3, Place.RELAY_REJECTED: 4,
    }  # fmt: skip
    assert not gap.lost(Ledger(before_joining=1000), first, 7), "it is told once"
    assert gap.lost(Ledger(before_joining=1300), first, 7) == {Place.CLIENT_AWAY: 300}


def test_another_relay_says_nothing_of_the_old_one():
    gap = Gap(Position(7, 1000), Counts())
    assert not gap.lost(Ledger(before_joining=5000), beat(before_socket=8), 8)


def test_a_relay_that_counts_nothing():
    assert counts_of(None) is None
    assert counts_of({"totals": 3}) is None
    gap = Gap(Position(7, 0), None)
    assert gap.lost(Ledger(before_joining=3), {}, 7) == {Place.CLIENT_AWAY: 3}


def batch(sequence, count, relay_id=7, runs=()):
    ids = range(sequence, sequence + count)
    raw = [readout(one, one).to_bytes() for one in ids]
    ends = range(len(raw[0]), count * len(raw[0]) + 1, len(raw[0]))
    position = Position(relay_id, sequence)
    return Batch(DAQ, moment(0).ns, b"".join(raw), ids, ids, ends, runs=runs, position=position)


def test_what_was_counted_already_is_left_out():
    position = Position(7, 100)
    assert unseen(batch(90, 10), position) is None
    assert unseen(batch(100, 10), position).readout_ids[0] == 100
    assert unseen(batch(95, 10, relay_id=8), position).readout_ids[0] == 95
    assert unseen(batch(95, 10), None).readout_ids[0] == 95
    run = Run(1, 0, 0, 0, 0)
    rest = unseen(batch(95, 10, runs=[RunStart(2, DAQ, run), RunStart(7, DAQ, run)]), position)
    assert list(rest.readout_ids) == [100, 101, 102, 103, 104]
    assert [start.position for start in rest.runs] == [2]


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
