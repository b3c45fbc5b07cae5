"""Whether a run goes on after nobody looked, and what was lost meanwhile."""

import pytest

from astropix_stream.batch import Batch, Position, Run, RunStart
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from astropix_stream.monitor.resuming import Gap, counts_of, goes_on, unseen
from unit.monitor.stream import DAQ, moment, readout

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
