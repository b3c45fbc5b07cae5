"""A run's name, and what became of its readouts."""

from collections import Counter

import pytest

from astropix_stream.counting.places import Place
from astropix_stream.monitor.runs import Account, RunData, Tally, account, run_name
from unit.monitor.stream import BEGIN_NS, DAQ, Stream


def run_of(first_timestamp=0, number=3, **more):
    tally = Tally(0, 0, Counter())
    return RunData(number, DAQ, 0, first_timestamp, BEGIN_NS, tally, **more)


class TestName:
    def test_it_is_the_time_of_the_first_readout_in_utc(self):
        assert run_of(1_753_272_123_123_456_789).name == "20250723T120203.123Z"

    def test_without_a_time_that_at_which_it_came(self):
        run = run_of(0)
        assert run.started_ns == BEGIN_NS
        assert run.name == run_name(BEGIN_NS) == "20270115T080000.000Z"

    @pytest.mark.parametrize("timestamp", [2**63, 2**64 - 1])
    def test_a_corrupt_time_is_a_name_too(self, timestamp):
        name = run_of(timestamp).name
        assert name
        assert " " not in name

    def test_a_reference(self):
        assert run_of(5, number=1, reference="a.apx").name == "reference"
        assert run_of(5, number=2, reference="b.apx").name == "reference-2"
        assert run_of(5, number=2, reference="b.apx").title_at(BEGIN_NS) == "reference b.apx"

    def test_people_read_the_time_of_day(self, monkeypatch):
        run = run_of(BEGIN_NS + 10**9)
        assert run.title_at(BEGIN_NS).count(":") == 2
        assert "-" not in run.title_at(BEGIN_NS)
        assert run.title_at(BEGIN_NS + 3 * 86400 * 10**9).startswith("2027-01-1")


class TestAccount:
    def test_the_difference_of_two_tallies(self):
        before = Tally(0, 100, Counter({Place.BEFORE_SOCKET: 3}), duplicates=1, late=2)
        after = Tally(9, 200, Counter({Place.BEFORE_SOCKET: 8}), duplicates=5, late=4)
        found = account(before, after)
        assert found == Account(98, {Place.BEFORE_SOCKET: 5}, 4)
        assert found.lost == 5
        assert found.live_fraction == pytest.approx(98 / 103)

    def test_nothing_yet_is_whole(self):
        assert account(Tally(0, 0, Counter()), Tally(0, 0, Counter())).live_fraction == 1.0


def test_from_start():
    assert run_of().from_start
    run = run_of()
    run.first_id = 4
    assert not run.from_start


def test_what_is_kept_does_not_change_any_more():
    stream = Stream()
    stream.run(0, 10, 1.0)
    run = stream.accumulator.present
    kept = run.kept()
    stream.run(10, 10, 5.0)
    assert (kept.counts.readouts, run.counts.readouts) == (10, 20)
    assert sum(one.readouts for one in kept.slices.until(kept.counts, kept.last_timestamp)) == 10
