"""Runs, losses and states, as they come out of batches."""

from collections import Counter

import pytest

from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.losses import Loss
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.monitor.accumulate import MAX_RUNS
from astropix_stream.monitor.runs import Account, Tally, account
from unit.monitor.stream import DAQ, OTHER_DAQ, Stream, losing, moment, readout


def test_counts_equal_what_was_sent():
    stream = Stream()
    for i in range(10):
        stream.run(i * 100, 100, i * 0.25)
    run = stream.accumulator.present
    assert (run.number, run.first_id, run.last_id) == (1, 0, 999)
    assert (run.counts.readouts, run.counts.hits) == (1000, 1000)
    assert run.from_start


def test_a_new_run_in_the_middle_of_a_batch():
    stream = Stream()
    old = [readout(i, 1000 + i) for i in range(5, 8)]
    new = [readout(i, 2000 + i, hits=[(1, 1, 50)] * 2) for i in range(4)]
    stream.send(old + new, 1.0)
    first, second = stream.accumulator.runs
    assert (first.counts.readouts, first.counts.hits, first.first_id, first.last_id) == (3, 3, 5, 7)
    assert (second.counts.readouts, second.counts.hits, second.first_id, second.last_id) == (4, 8, 0, 3)
    assert stream.accumulator.present is second
    assert first.until is not None
    assert not first.from_start
    assert second.from_start


def test_a_run_that_goes_on_after_a_stray():
    stream = Stream()
    stream.send([readout(i, t) for i, t in ((70, 1), (71, 2), (0, 9))], 1.0)
    stream.send([readout(72, 3)], 2.5)  # for a second nothing came but the stray
    first, stray = stream.accumulator.runs
    assert stream.accumulator.present is stray
    stream.send([readout(i, i) for i in range(73, 84)], 3.0)
    assert stream.accumulator.present is first
    assert first.until is None
    # That 0 was no run was told too late for 72, which seemed to follow it.
    assert (first.counts.readouts, stray.counts.readouts) == (13, 2)
    assert (first.last_id, first.last_timestamp) == (83, 83)


def test_the_first_readout_of_a_run_that_is_believed_once_its_second_comes():
    """It was handed out, decoded and counted to the old run before; then it is moved to its own."""
    stream = Stream()
    stream.send([readout(i, 100 + i, [(1, 1, 50)] * 2) for i in range(70, 75)], 1.0)
    stream.send([readout(0, 900, [(2, 2, 80)] * 3)], 1.3)
    (old,) = stream.accumulator.runs
    assert old.counts.readouts == 6  # nobody knows yet
    stream.send([readout(1, 901, [(2, 2, 80)] * 3)], 1.6)
    old, new = stream.accumulator.runs
    assert (old.counts.readouts, old.counts.hits, old.last_id, old.last_timestamp) == (5, 10, 74, 174)
    assert (new.counts.readouts, new.counts.hits, new.first_id) == (2, 6, 0)
    assert (old.counts.hit_map[0, 2, 2], new.counts.hit_map[0, 2, 2]) == (0, 6)
    assert old.counts.spectrum([0]).sum() == 10
    assert new.counts.per_readout[3] == 2
    assert (stream.accumulator.account(old).held, stream.accumulator.account(new).held) == (5, 2)
    assert stream.accumulator.present is new


def test_readouts_that_arrive_in_one_turn_are_moved_too():
    stream = Stream()
    parts = [[readout(i, 100 + i) for i in range(70, 75)], [readout(0, 900)], [readout(1, 901)]]
    stream.accumulator.take([stream.arrival(part, 1.0) for part in parts])
    assert [run.counts.readouts for run in stream.accumulator.runs] == [5, 2]


def test_a_daq_started_anew_sends_from_another_port():
    """Its run is followed once the old source has fallen silent."""
    stream = Stream()
    again = DAQ._replace(port=5000)
    stream.run(0, 10, 0.0)
    stream.run(0, 10, 2.0, daq=again)
    assert stream.accumulator.present.source == DAQ
    stream.run(10, 10, 4.0, daq=again)
    assert stream.accumulator.present.source == again
    assert stream.accumulator.present.counts.readouts == 20


def test_another_daq_or_a_forged_readout_does_not_take_the_page_over():
    stream = Stream()
    for i in range(5):
        stream.run(i * 10, 10, i)
        stream.run(i * 20, 20, i + 0.1, daq=OTHER_DAQ)
    assert stream.accumulator.present.source == DAQ
    assert [run.counts.readouts for run in stream.accumulator.runs] == [50, 100]
    assert stream.accumulator.sources(moment(4.5)) == [DAQ, OTHER_DAQ]


def test_old_runs_are_forgotten_and_the_present_one_is_kept():
    stream = Stream()
    for i in range(MAX_RUNS + 5):
        stream.run(0, 3, 10.0 * i)
    runs = stream.accumulator.runs
    assert [run.number for run in runs] == list(range(6, MAX_RUNS + 6))
    assert stream.accumulator.present is runs[-1]


def test_many_sources_make_no_more_runs_than_allowed():
    stream = Stream()
    stream.run(0, 10, 0.0)
    for i in range(100):
        stream.run(0, 1, 0.01 * i, daq=OTHER_DAQ._replace(port=1000 + i))
    assert len(stream.accumulator.runs) == MAX_RUNS
    assert stream.accumulator.present.source == DAQ


class TestAccount:
    """What a page holds of what was sent."""

    def test_the_losses_of_this_run_only(self):
        stream = Stream()
        stream.tell(0, losing(BEFORE_SOCKET=100))
        stream.run(0, 99, 1.0)
        stream.tell(2, losing(BEFORE_SOCKET=101))
        account = stream.accumulator.account(stream.accumulator.present)
        assert account.lost_at == {Place.BEFORE_SOCKET: 1}
        assert account.live_fraction == 0.99

    def test_a_finished_run_keeps_its_account(self):
        stream = Stream()
        stream.run(0, 100, 1.0)
        stream.tell(2, losing(RELAY_KERNEL=25))
        stream.run(0, 10, 3.0)
        stream.tell(4, losing(RELAY_KERNEL=35))
        first, second = stream.accumulator.runs
        assert stream.accumulator.account(first).live_fraction == 0.8
        assert stream.accumulator.account(second).live_fraction == 0.5

    def test_skipped_readouts_are_lost_in_this_program(self):
        stream = Stream()
        stream.run(0, 60, 1.0)
        stream.run(60, 40, 1.1, skipped=True)
        run = stream.accumulator.present
        account = stream.accumulator.account(run)
        assert (run.counts.readouts, run.skipped) == (60, 40)
        assert account.lost_at == {Place.CLIENT_QUEUE: 40}
        assert account.live_fraction == 0.6
        assert stream.accumulator.state(moment(1.2)) is State.LOSING

    def test_doubled_and_late_ones(self):
        lost_at = Counter({Place.BEFORE_SOCKET: 3})
        assert account(Tally(0, 0, Counter()), Tally(9, 100, lost_at, duplicates=5, late=2)) == Account(
            98, {Place.BEFORE_SOCKET: 3}, 5
        )

    def test_the_hits_of_duplicates_count_nowhere(self):
        readouts = [readout(i, moment(0).ns + i) for i in (0, 1, 1, 2, 1)]
        once, twice = Stream(), Stream()
        once.send([readouts[i] for i in (0, 1, 3)], 1.0)
        twice.send(readouts, 1.0, duplicates=bytes([0, 0, 1, 0, 1]))
        for stream in (once, twice):
            stream.send([readout(3, moment(0).ns)], 5.0)
        for stream, duplicates in ((once, 0), (twice, 2)):
            run = stream.accumulator.present
            assert (run.counts.readouts, run.counts.hits) == (4, 4)
            assert run.counts.per_readout.tolist()[:3] == [0, 4, 0]
            assert stream.accumulator.account(run) == Account(4, {}, duplicates)
            assert stream.accumulator.rates.last(60, moment(5).s).readouts.sum() == 3

    def test_a_batch_of_nothing_but_duplicates(self):
        stream = Stream()
        stream.send([readout(0, 1), readout(1, 2)], 1.0)
        stream.send([readout(0, 1), readout(1, 2)], 1.1, duplicates=b"\1\1")
        stream.send([readout(2, 3)], 1.2, duplicates=b"\1", skipped=True)
        assert stream.accumulator.account(stream.accumulator.present) == Account(2, {}, 3)

    def test_a_loss_told_after_the_next_run_began_belongs_to_the_one_before(self):
        """A gap is told up to a second later, when it closes."""
        stream = Stream()
        stream.run(0, 90, 1.0)
        stream.run(0, 10, 3.0)
        gaps = (
            Loss(Place.BEFORE_SOCKET, 10, moment(0.9).ns, moment(1).ns),
            Loss(Place.BEFORE_SOCKET, 1, moment(1).ns, moment(3).ns),  # at the begin of the second run
            Loss(Place.BEFORE_SOCKET, 2, moment(3).ns, moment(3.1).ns),
        )
        ledger = Ledger(lost_at={Place.BEFORE_SOCKET: 13}, losses=gaps)
        stream.tell(4, ledger)
        assert [stream.accumulator.account(run).lost for run in stream.accumulator.runs] == [10, 3]

    def test_nothing_yet(self):
        assert Account(0, {}, 0).live_fraction == 1.0


class TestRates:
    def test_each_batch_at_its_time(self):
        stream = Stream()
        stream.accumulator.take([stream.arrival([readout(i, i)], 0.5 * i) for i in range(20)])
        series = stream.accumulator.rates.last(60.0, moment(12).s)
        assert series.readouts.sum() == 20
        assert set(series.readouts[:10]) == {2.0}
        assert (series.hits == series.readouts).all()

    def test_recovered_ones_when_the_relay_received_them(self):
        stream = Stream()
        stream.run(0, 50, 100.0, recovered=True, received_s=40.0)
        series = stream.accumulator.rates.last(600.0, moment(101).s)
        assert series.begins_s[series.readouts > 0].tolist() == [moment(40).s]
        assert stream.accumulator.present.began_ns == moment(40).ns

    def test_losses_when_they_happened(self):
        stream = Stream()
        loss = Loss(Place.BEFORE_SOCKET, 12, moment(3).ns, moment(4).ns)
        ledger = Ledger(lost_at={Place.BEFORE_SOCKET: 12}, losses=(loss,))
        stream.tell(6, ledger)
        stream.tell(7, ledger)
        series = stream.accumulator.rates.last(60.0, moment(10).s)
        assert {s: n for s, n in zip(series.begins_s, series.lost, strict=True) if n} == {moment(4).s: 12}

    def test_more_losses_than_the_ledger_lists(self):
        stream = Stream()
        losses = [Loss(Place.BEFORE_SOCKET, 1, moment(i).ns, moment(i).ns) for i in range(5)]
        ledger = Ledger(lost_at={Place.BEFORE_SOCKET: 50}, losses=tuple(losses))
        stream.tell(8, ledger)
        series = stream.accumulator.rates.last(60.0, moment(12).s)
        assert series.lost.sum() == 50
        assert series.lost.max() == 45


class TestState:
    def test_it_is_that_of_the_receiver(self):
        stream = Stream()
        assert stream.accumulator.state(moment(1)) is State.QUIET
        assert stream.accumulator.age_s(moment(1)) is None
        stream.tell(2, state=State.LAGGING, age_s=0.5)
        assert stream.accumulator.state(moment(2.25)) is State.LAGGING
        assert stream.accumulator.age_s(moment(2.25)) == 0.75

    def test_skipping_is_losing_for_ten_seconds(self):
        stream = Stream()
        stream.run(0, 10, 1.0, skipped=True)
        stream.tell(2, state=State.LIVE)
        assert stream.accumulator.state(moment(10)) is State.LOSING
        assert stream.accumulator.state(moment(12)) is State.LIVE
        stream.tell(3, state=State.NO_NETWORK)
        assert stream.accumulator.state(moment(4)) is State.NO_NETWORK


@pytest.mark.parametrize("first_id", [0, 500])
def test_late_join(first_id):
    stream = Stream()
    stream.run(first_id, 10, 1.0)
    assert stream.accumulator.present.from_start == (first_id == 0)
