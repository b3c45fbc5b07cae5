"""What a source's account is asked by a merged receiver, which knows of several paths."""

import pytest

from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.sequencing import SourceSequence

MS = 10**6


def at(seconds):
    return Moment(seconds, 10**18 + round(seconds * 1e9))


@pytest.fixture
def sequence():
    sequence = SourceSequence(1, KernelDrops())
    sequence.keeps_gaps = True
    return sequence


def hear(sequence, *ids, seconds=100.0):
    return sequence.note_received(list(ids), [10**18 + i * MS for i in ids], at(seconds))


def test_nothing_heard_is_continued_by_anything(sequence):
    assert (sequence.last_id, sequence.first_ordinal, sequence.ordinal) == (None, 0, 0)
    assert sequence.continues(0)
    assert sequence.continues(77)
    assert sequence.open_gaps() == []


def test_the_next_id_goes_on_where_the_run_is(sequence):
    hear(sequence, 5, 6)
    assert (sequence.last_id, sequence.ordinal) == (6, 2)
    assert sequence.continues(7)
    assert not sequence.continues(6)
    assert not sequence.continues(8)


def test_the_next_id_may_go_on_where_what_is_pending_is(sequence):
    hear(sequence, *range(200))
    hear(sequence, 9000)
    assert sequence.continues(200)
    assert sequence.continues(9001)
    assert not sequence.continues(9000)


def test_ids_begin_again_behind_the_last_of_the_counter(sequence):
    hear(sequence, (1 << 32) - 2, (1 << 32) - 1)
    assert sequence.continues(0)


def test_a_run_says_with_which_readout_it_began(sequence):
    hear(sequence, *range(100))
    sequence.note_received([0, 1, 2], [10**18 + (500 + i) * MS for i in range(3)], at(101))
    assert (sequence.run_count, sequence.first_ordinal, sequence.ordinal) == (2, 100, 103)


def test_a_gap_stays_open_until_it_is_closed_by_hand(sequence):
    hear(sequence, *range(100), 103, *range(104, 300))
    sequence.tick(at(200.0))
    (gap,) = sequence.open_gaps()
    assert (gap.missing, sequence.before_socket) == (3, 0)
    sequence.note_late(gap)
    assert (gap.missing, sequence.reordered, sequence.late) == (2, 1, 0)
    sequence.close_gap(gap)
    assert sequence.open_gaps() == []
    assert sequence.before_socket == 2
    sequence.note_late(None)
    assert (sequence.late, sequence.received) == (1, 299)
    sequence.close_gap(gap)  # it is counted once
    assert sequence.before_socket == 2
