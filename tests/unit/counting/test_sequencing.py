"""Following the readout_ids of one source: a rule each, then any traffic."""

import random
from dataclasses import asdict
from itertools import accumulate, cycle
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.following import KEPT_RUNS
from astropix_stream.counting.losses import KEPT_GAPS
from astropix_stream.counting.sequencing import SourceSequence
from astropix_stream.counting.track import CLOSE_AFTER_READOUTS, PLAUSIBLE_JUMP, distance
from astropix_stream.fmt import HEADER, MAGIC

DAQ = Source("10.0.0.1", 40000)
EPOCH_NS = 1_700_000_000_000_000_000
HOUR_NS = 3600 * 10**9
MS = 10**6  # ns between the readouts of a run, by the DAQ's clock
U32 = 1 << 32
COUNTS = (
    "received",
    "duplicates",
    "reordered",
    "late",
    "stray",
    "before_joining",
    "in_kernel",
    "before_socket",
)


def at(seconds):
    return Moment(seconds, EPOCH_NS + round(seconds * 1e9))


class Listener:
    """Hands readouts to a `SourceSequence` one by one, as a DAQ stamps them: 1 ms from id to id."""

    def __init__(self, stride=1):
        self.kernel = KernelDrops()
        self.sequence = SourceSequence(stride, self.kernel)
        self.stride = stride
        self.run_began_ns = EPOCH_NS
        self.now_s = 100.0
        self.begun = []

    def restart(self, after_ns=HOUR_NS):
        self.run_began_ns += after_ns

    def stamp(self, readout_id):
        return self.run_began_ns + readout_id // self.stride * MS

    def hear(self, *readout_ids, stamp_ns=None):
        for readout_id in readout_ids:
            stamp = self.stamp(readout_id) if stamp_ns is None else stamp_ns
            self.begun += self.sequence.note_received([readout_id], [stamp], at(self.now_s))

    def wait(self, seconds):
        self.now_s += seconds
        self.sequence.tick(at(self.now_s))

    def counts(self):
        """All that is not 0, after every gap has closed."""
        self.wait(1.0)
        found = {name: getattr(self.sequence, name) for name in COUNTS}
        found["rejected"] = self.sequence.rejected.total()
        found["runs"] = self.sequence.run_count
        return {name: count for name, count in found.items() if count}


@pytest.fixture
def daq():
    return Listener()


def test_in_order_is_nothing_to_report(daq):
    daq.hear(*range(200))
    assert daq.counts() == {"received": 200, "runs": 1}
    assert not daq.sequence.gaps


def test_what_was_sent_before_we_joined_is_no_loss(daq):
    daq.hear(1000, 1001)
    assert daq.counts() == {"received": 2, "before_joining": 1000, "runs": 1}


def test_reordering_at_the_moment_of_joining(daq):
    daq.hear(1000, 998, 1001)
    assert daq.counts() == {"received": 3, "before_joining": 999, "reordered": 1, "runs": 1}


# Gaps


def test_a_gap_closes_after_64_further_readouts(daq):
    daq.hear(0, 2, *range(3, 3 + CLOSE_AFTER_READOUTS - 1))
    assert daq.sequence.before_socket == 0
    daq.hear(3 + CLOSE_AFTER_READOUTS - 1)
    assert daq.sequence.before_socket == 1


def test_a_gap_closes_after_a_second(daq):
    daq.hear(0, 5)
    daq.wait(0.99)
    assert daq.sequence.before_socket == 0
    daq.wait(0.02)
    assert daq.sequence.before_socket == 4


def test_a_gap_says_what_and_when(daq):
    for readout_id in (0, 1, 5):
        daq.hear(readout_id)
        daq.wait(0.5)
    daq.wait(1)
    (gap,) = daq.sequence.gaps
    assert (gap.first_id, gap.count, gap.began_ns, gap.ended_ns) == (2, 3, at(100.5).ns, at(101).ns)


def test_a_gap_within_a_batch_lasts_no_longer_than_the_batch(daq):
    daq.sequence.note_received([0], [daq.stamp(0)], at(0))
    daq.sequence.note_received([1, 3], [daq.stamp(1), daq.stamp(3)], at(5))
    daq.sequence.tick(at(6))
    (gap,) = daq.sequence.gaps
    assert (gap.began_ns, gap.ended_ns) == (at(5).ns, at(5).ns)


def test_the_last_hundred_gaps_are_kept(daq):
    daq.hear(*range(0, 1000, 2))
    daq.wait(1)
    assert daq.sequence.before_socket == 499
    assert [gap.first_id for gap in daq.sequence.gaps] == list(range(1000 - 2 * KEPT_GAPS - 1, 998, 2))


def test_a_wall_clock_that_is_set_closes_no_gap_and_keeps_none_open(daq):
    for step_ns in (HOUR_NS, -HOUR_NS):
        sequence = SourceSequence(1, KernelDrops())
        sequence.note_received([0, 2], [1, 3], Moment(0.0, EPOCH_NS))
        sequence.tick(Moment(0.5, EPOCH_NS + step_ns))
        assert sequence.before_socket == 0
        sequence.tick(Moment(1.0, EPOCH_NS + step_ns))
        assert sequence.before_socket == 1


# Who claims them


def test_rejections_claim_first_then_kernel_drops_and_the_rest_is_before_the_socket(daq):
    daq.hear(0)
    daq.sequence.note_rejected("magic")
    daq.sequence.note_rejected("length")
    daq.kernel.total += 3
    daq.hear(10)
    assert daq.counts() == {"received": 2, "rejected": 2, "in_kernel": 3, "before_socket": 4, "runs": 1}
    assert daq.sequence.rejected == {"magic": 1, "length": 1}
    assert daq.kernel.claimed == 3
    (gap,) = daq.sequence.gaps
    assert (gap.count, gap.rejected, gap.in_kernel, gap.before_socket) == (9, 2, 3, 4)


def test_no_more_is_claimed_than_is_missing(daq):
    daq.hear(0)
    daq.sequence.note_rejected("magic")
    daq.kernel.total += 5
    daq.hear(4)
    for reason in ("magic", "magic", "length", "length"):
        daq.sequence.note_rejected(reason)
    daq.hear(8)
    assert daq.counts() == {"received": 3, "rejected": 4, "in_kernel": 2, "runs": 1}
    assert daq.sequence.rejected == {"magic": 3, "length": 1}
    assert daq.kernel.claimed == 2


def test_a_drop_belongs_to_the_gap_that_it_was_seen_with(daq):
    daq.hear(0, 2)
    daq.kernel.total += 1
    daq.hear(4)
    assert daq.counts() == {"received": 3, "in_kernel": 1, "before_socket": 1, "runs": 1}
    assert [gap.in_kernel for gap in daq.sequence.gaps] == [0, 1]


def test_what_is_dropped_where_nothing_is_missing_is_foreign(daq):
    daq.hear(0, 1)
    daq.kernel.total += 4
    daq.hear(2, 4)  # 3 is missing, but after that
    assert daq.counts() == {"received": 4, "before_socket": 1, "runs": 1}
    assert daq.kernel.claimed == 0


@pytest.mark.parametrize("overtaken", [1, 8])
def test_what_is_rejected_may_have_overtaken_others(daq, overtaken):
    daq.hear(0)
    daq.sequence.note_rejected("short")
    daq.hear(*range(1, overtaken + 1), overtaken + 2)
    daq.hear(*range(overtaken + 4, 200, 2))  # the others are losses of their own
    assert daq.counts()["rejected"] == 1
    assert next(iter(daq.sequence.gaps)).rejected == 1


def test_what_is_rejected_is_not_what_comes_after_all(daq):
    daq.hear(0, 2)
    daq.sequence.note_rejected("short")  # readout 4, which has overtaken 3; or 1, as far as is known then
    daq.hear(3, 1, 5)
    assert daq.counts() == {"received": 5, "reordered": 1, "rejected": 1, "runs": 1}


def test_what_is_rejected_is_of_another_gap_if_this_one_is_filled(daq):
    daq.hear(0, 2, 4)
    daq.sequence.note_rejected("short")
    daq.hear(5, 3)  # so it was 1
    assert daq.counts() == {"received": 5, "reordered": 1, "rejected": 1, "runs": 1}
    assert [gap.first_id for gap in daq.sequence.gaps] == [1]


def test_rejections_that_a_gap_has_no_room_for_are_of_the_next_one(daq):
    daq.hear(0)
    for _ in range(3):
        daq.sequence.note_rejected("short")  # 1, 3 and 4, which have overtaken 2
    daq.hear(2, 5)
    assert daq.counts() == {"received": 3, "rejected": 3, "runs": 1}


def test_what_is_rejected_explains_no_loss_long_after_it(daq):
    daq.hear(0)
    for _ in range(100):
        daq.sequence.note_rejected("magic")
    daq.hear(*range(1, 10), 30)
    assert daq.counts() == {"received": 11, "before_socket": 20, "runs": 1}
    assert not daq.sequence.rejected


def test_readouts_that_come_together_leave_a_rejection_as_far_behind_as_single_ones(daq):
    daq.hear(0)
    daq.sequence.note_rejected("magic")
    daq.sequence.note_received(
        range(1, 10), [daq.stamp(readout_id) for readout_id in range(1, 10)], at(100.0)
    )
    daq.hear(11)
    assert daq.counts() == {"received": 11, "before_socket": 1, "runs": 1}


def test_a_dropped_readout_that_was_overtaken_is_still_found(daq):
    daq.hear(0, 2)
    daq.kernel.total += 1  # readout 1, behind 2
    daq.hear(3)
    assert daq.counts() == {"received": 3, "in_kernel": 1, "runs": 1}


def test_what_is_accounted_for_leaves_a_later_drop_to_another_gap(daq):
    daq.hear(0, 2)
    daq.kernel.total += 1
    daq.hear(4)  # the drop is 3
    daq.kernel.total += 1
    daq.hear(5)  # and this one must be 1
    assert daq.counts() == {"received": 4, "in_kernel": 2, "runs": 1}


def test_a_duplicate_does_not_take_the_drops_of_the_gap_to_come(daq):
    daq.hear(0)
    daq.kernel.total += 1
    daq.hear(0, 2)
    assert daq.counts() == {"received": 3, "duplicates": 1, "in_kernel": 1, "runs": 1}


# Not ahead


def test_duplicates(daq):
    daq.hear(0, 0, 1, 2, 1, 2)
    assert daq.counts() == {"received": 6, "duplicates": 3, "runs": 1}


def test_a_duplicate_of_the_64th_before(daq):
    daq.hear(*range(65), 0)
    assert daq.counts() == {"received": 66, "duplicates": 1, "runs": 1}


def test_a_reordered_readout_fills_its_gap(daq):
    daq.hear(0, 3, 1, 2, 1)
    assert daq.counts() == {"received": 5, "reordered": 2, "duplicates": 1, "runs": 1}
    assert not daq.sequence.gaps


@pytest.mark.parametrize("together", [False, True])
def test_what_lies_in_the_queue_after_a_pause_of_ours_still_fills_its_gap(daq, together):
    daq.hear(0, 2)
    daq.now_s += 3  # nobody looked
    waited = [3, 4, 1, 5]
    if together:
        daq.sequence.note_received(waited, [daq.stamp(one) for one in waited], at(daq.now_s))
    else:
        daq.hear(*waited)
    assert daq.counts() == {"received": 6, "reordered": 1, "runs": 1}


def test_a_gap_before_a_pause_closes_soon_after_it(daq):
    daq.hear(0, 2)
    daq.now_s += 3
    daq.hear(3)
    assert not daq.sequence.gaps
    daq.now_s += 0.3
    daq.hear(4)
    assert len(daq.sequence.gaps) == 1


def test_late_after_the_gap_was_closed_stays_counted_as_lost(daq):
    daq.hear(0, 2)
    daq.wait(1)
    daq.hear(1, 1)
    assert daq.counts() == {"received": 4, "late": 1, "duplicates": 1, "before_socket": 1, "runs": 1}


def test_late_by_64_is_still_reordered(daq):
    daq.hear(*range(30), *range(31, 95), 30)
    assert daq.counts() == {"received": 95, "reordered": 1, "runs": 1}


def test_late_within_64_is_no_run(daq):
    daq.hear(*range(30), *range(31, 60))
    daq.wait(1)
    daq.hear(*range(60, 95), 30)
    assert daq.counts() == {"received": 95, "late": 1, "before_socket": 1, "runs": 1}


def test_what_comes_again_long_after_is_a_duplicate_however_many_there_are(daq):
    daq.hear(*range(200), *range(20, 60), *range(200, 210))
    assert daq.counts() == {"received": 250, "duplicates": 40, "runs": 1}


# Runs


def test_a_run_is_an_id_that_falls_back_with_a_newer_timestamp(daq):
    daq.hear(*range(100))
    daq.restart()
    daq.hear(*range(50))
    assert daq.counts() == {"received": 150, "runs": 2}
    assert [position for position, _ in daq.begun] == [0, -1]  # believed with the second readout
    first, second = daq.sequence.runs
    assert (first.number, first.first_id, first.last_id) == (1, 0, 99)
    assert (second.number, second.first_id, second.last_id) == (2, 0, 49)
    assert second.first_timestamp == daq.stamp(0)
    assert second.last_timestamp == daq.stamp(49)


def test_a_run_says_where_in_a_batch_it_begins(daq):
    ids = [7, 8, 9, 0, 1]
    begun = daq.sequence.note_received(ids, [EPOCH_NS + i for i in range(5)], at(0))
    assert [(position, run.number) for position, run in begun] == [(0, 1), (3, 2)]


def test_the_missing_beginning_of_a_new_run_is_lost(daq):
    daq.hear(*range(100))
    daq.restart()
    daq.kernel.total += 2
    daq.hear(*range(10, 20))
    assert daq.counts() == {"received": 110, "in_kernel": 2, "before_socket": 8, "runs": 2}


def test_where_more_than_64_are_missing_a_second_readout_must_confirm_the_run(daq):
    daq.hear(*range(1000))
    daq.restart()
    daq.hear(100)
    assert daq.sequence.run_count == 1
    daq.hear(101)
    assert daq.counts() == {"received": 1002, "before_socket": 100, "runs": 2}
    assert daq.sequence.runs[-1].first_id == 100


@pytest.mark.parametrize(("first_id", "runs"), [(0, 2), (63, 2), (64, 1)])
def test_a_lone_readout_before_silence_begins_a_run_if_it_is_one_of_the_first_64(daq, first_id, runs):
    daq.hear(*range(1000))
    daq.restart()
    daq.hear(first_id)
    assert daq.sequence.run_count == 1
    daq.wait(1.0)
    assert daq.sequence.run_count == runs
    assert daq.sequence.stray == 2 - runs


@pytest.mark.parametrize("lengths", [(1, 1, 1), (1, 5), (2, 3), (5, 1, 5)])
def test_runs_of_a_few_readouts(daq, lengths):
    for length in lengths:
        daq.hear(*range(length))
        daq.restart()
    assert daq.counts() == {"received": sum(lengths), "runs": len(lengths)}


def test_a_loss_at_the_beginning_of_a_run_after_a_short_one(daq):
    daq.hear(0, 1)
    daq.restart()
    daq.hear(0, 2)  # 2 would continue the run before, but is nearer in time to this one
    assert daq.counts() == {"received": 4, "before_socket": 1, "runs": 2}


def test_stragglers_of_the_previous_run(daq):
    daq.hear(*range(100), 102)
    began_ns = daq.run_began_ns
    daq.restart()
    daq.hear(0)
    for straggler in (101, 103, 100, 103):  # two that fill the gap; the very last, and its duplicate
        daq.hear(straggler, stamp_ns=began_ns + straggler * MS)
    daq.hear(1, 2)
    assert daq.counts() == {"received": 108, "reordered": 2, "duplicates": 1, "runs": 2}
    assert daq.sequence.runs[0].last_id == 103


def test_the_first_readout_of_a_run_overtaken_by_the_second(daq):
    daq.hear(*range(100))
    daq.restart()
    daq.hear(1, 0, 2)
    assert daq.counts() == {"received": 103, "reordered": 1, "runs": 2}


def test_the_counter_wraps_without_loss_or_run(daq):
    daq.hear(*(i % U32 for i in range(U32 - 5, U32 + 5)))
    assert daq.counts() == {"received": 10, "before_joining": U32 - 5, "runs": 1}


def test_gaps_reordering_and_duplicates_over_the_end_of_the_counter():
    daq = Listener()
    for readout_id in (-3, 1, -1, 0, -1, 2, 5):  # -2, 3 and 4 do not come
        daq.hear(readout_id % U32, stamp_ns=EPOCH_NS + readout_id * MS)
    assert daq.counts() == {
        "received": 7,
        "before_joining": U32 - 3,
        "reordered": 2,
        "duplicates": 1,
        "before_socket": 3,
        "runs": 1,
    }


def test_a_daq_clock_set_back_with_a_restart_is_a_new_run_once_the_second_readout_confirms_it(daq):
    daq.hear(*range(100))
    daq.restart(-HOUR_NS)
    daq.hear(0)
    assert daq.sequence.run_count == 1
    daq.hear(1, *range(2, 80))
    assert daq.counts() == {"received": 180, "runs": 2}
    assert daq.sequence.runs[-1].first_id == 0


def test_a_daq_whose_timestamps_never_change_is_followed_too(daq):
    daq.hear(*range(100), *range(80), stamp_ns=0)
    assert daq.counts() == {"received": 180, "runs": 2}


def test_a_daq_clock_set_in_the_middle_of_a_run_changes_nothing(daq):
    daq.hear(*range(100))
    daq.restart(-HOUR_NS)
    daq.hear(*range(100, 200))
    daq.restart(2 * HOUR_NS)
    daq.hear(*range(200, 300))
    assert daq.counts() == {"received": 300, "runs": 1}


def test_a_daq_that_pauses_for_ten_minutes_has_lost_nothing(daq):
    daq.hear(*range(100))
    daq.wait(600)
    daq.restart(600 * 10**9)
    daq.hear(*range(100, 200))
    assert daq.counts() == {"received": 200, "runs": 1}


def test_the_latest_runs_are_kept(daq):
    for _ in range(KEPT_RUNS + 4):
        daq.hear(*range(3))
        daq.restart()
    assert [run.number for run in daq.sequence.runs] == list(range(5, KEPT_RUNS + 5))


# Jumps


@pytest.mark.parametrize("ahead", [65, 1000, 1 << 16, PLAUSIBLE_JUMP, 5_000_000, 1 << 30])
def test_a_long_jump_is_a_gap_once_the_next_readout_continues_it(daq, ahead):
    daq.hear(0, ahead)
    assert daq.sequence.runs[-1].last_id == 0
    daq.hear(ahead + 1)
    assert daq.counts() == {"received": 3, "before_socket": ahead - 1, "runs": 1}


def test_a_short_jump_is_a_gap_at_once(daq):
    daq.hear(0, 64)
    assert daq.counts() == {"received": 2, "before_socket": 63, "runs": 1}


def test_a_jump_is_believed_that_is_confirmed_after_a_second(daq):
    """A slow DAQ: until then it is counted as a stray, and stays so."""
    daq.hear(0, 5000)
    daq.wait(2.0)
    assert daq.sequence.stray == 1
    daq.hear(5001)
    daq.wait(2.0)
    daq.hear(5002)
    assert daq.counts() == {"received": 4, "stray": 1, "before_socket": 4999, "runs": 1}


def test_jumps_are_believed_where_few_readouts_get_through(daq):
    daq.hear(0, *range(5_000_000, 5_010_000, 100))
    assert daq.counts() == {"received": 101, "before_socket": 5_009_900 - 100, "runs": 1}


def test_jumps_that_do_not_continue_each_other_are_strays(daq):
    daq.hear(0, 3_000_000_000, 5_000_000, 1_000_000_000, 1)
    assert daq.counts() == {"received": 5, "stray": 3, "runs": 1}


def test_duplicates_of_what_is_not_believed_yet(daq):
    daq.hear(*range(100))
    daq.restart(-HOUR_NS)
    daq.hear(0, 0, 1, 1, 2, 2)
    assert daq.counts() == {"received": 106, "duplicates": 3, "runs": 2}


FAR_FUTURE_NS = EPOCH_NS + 1000 * HOUR_NS


@pytest.mark.parametrize(
    ("forged_id", "stamp_ns"),
    [
        pytest.param(499 + PLAUSIBLE_JUMP + 1, EPOCH_NS + 500 * MS, id="far ahead"),
        pytest.param(U32 - 1, FAR_FUTURE_NS, id="the highest"),
        pytest.param(100, EPOCH_NS + 100 * MS + 1, id="back, older, of this run"),
        pytest.param(100, 0, id="back, older than this run"),
        pytest.param(0, EPOCH_NS + 500 * MS - 1, id="a new run"),
        pytest.param(40, EPOCH_NS + 500 * MS - 1, id="a new run that lost its beginning"),
        pytest.param(0, FAR_FUTURE_NS, id="a new run of the future"),
        pytest.param(300, FAR_FUTURE_NS, id="a new run that lost a lot"),
        pytest.param(490, FAR_FUTURE_NS, id="a new run close behind"),
    ],
)
@pytest.mark.parametrize("seconds", [0, 2])
def test_a_single_forged_readout_distorts_nothing(daq, forged_id, stamp_ns, seconds):
    daq.hear(*range(500))
    daq.hear(forged_id, stamp_ns=stamp_ns)
    for readout_id in range(500, 700):
        daq.hear(readout_id)
        daq.wait(seconds / 200)
    counts = daq.counts()
    counts.pop("runs")  # a new run may have been told before it turned out to be none
    assert counts == {"received": 701, "stray": 1}
    assert [run.last_id for run in daq.sequence.runs] == [699]


# Stride


def test_with_a_stride_losses_are_counted_in_readouts_multicast():
    daq = Listener(stride=10)
    daq.hear(53, 63, 73, 103, 93, 113)  # 83 is missing; 3 to 43 were sent before
    assert daq.counts() == {
        "received": 6,
        "before_joining": 5,
        "reordered": 1,
        "before_socket": 1,
        "runs": 1,
    }


def test_with_a_stride_of_a_million():
    daq = Listener(stride=1_000_000)
    daq.hear(*(i * 1_000_000 for i in (0, 1, 2, 4, 3, 6)))
    daq.restart()
    daq.hear(0, 1_000_000)
    assert daq.counts() == {"received": 8, "reordered": 1, "before_socket": 1, "runs": 2}


def test_without_the_stride_told_the_rest_counts_as_lost_and_readouts_as_delivered(daq):
    daq.hear(*range(0, 1000, 10))
    assert daq.counts() == {"received": 100, "before_socket": 99 * 9, "runs": 1}


# Any traffic


@example(U32 - 1, PLAUSIBLE_JUMP)
@example(0, -PLAUSIBLE_JUMP)
@given(st.integers(0, U32 - 1), st.integers(-PLAUSIBLE_JUMP, PLAUSIBLE_JUMP))
def test_distance_goes_over_the_end_for_short_steps(last_id, ahead):
    assert distance(last_id, (last_id + ahead) % U32) == ahead


@given(st.integers(0, U32 - 1), st.integers(0, U32 - 1))
def test_distance_is_the_difference_for_long_ones(last_id, readout_id):
    assert distance(last_id, readout_id) % U32 == (readout_id - last_id) % U32
    if PLAUSIBLE_JUMP < abs(readout_id - last_id) < U32 - PLAUSIBLE_JUMP:
        assert distance(last_id, readout_id) == readout_id - last_id


@settings(deadline=None)
@given(st.data())
def test_any_single_forged_readout_distorts_nothing(data):
    """Except one that jumps forward by a plausible step: that is what a loss looks like."""
    daq = Listener()
    first_id = data.draw(st.integers(0, 5000))
    count = data.draw(st.integers(130, 300))
    daq.hear(*range(first_id, first_id + count))
    last_id = first_id + count - 1
    near = st.integers(max(0, last_id - 200), last_id)
    forged_id = data.draw(
        st.one_of(st.integers(0, 100), near, st.integers(last_id + PLAUSIBLE_JUMP + 1, U32 - 1))
    )
    forged_ns = data.draw(
        st.one_of(
            st.integers(0, 2 * EPOCH_NS),
            st.integers(daq.stamp(first_id), daq.stamp(last_id) + MS - 1),
        )
    )
    daq.hear(forged_id, stamp_ns=forged_ns)
    daq.hear(*range(last_id + 1, last_id + 150))
    counts = daq.counts()
    counts.pop("runs")
    kind = {name: counts.pop(name, 0) for name in ("stray", "duplicates", "late", "reordered")}
    assert counts.pop("before_joining", 0) == first_id - kind["reordered"]
    assert counts == {"received": count + 150}
    assert sum(kind.values()) == 1
    assert daq.sequence.runs[-1].last_id == last_id + 149


steps = st.one_of(
    st.integers(-70, 70),
    st.just(1),
    st.sampled_from([PLAUSIBLE_JUMP, PLAUSIBLE_JUMP + 1, -1000, 1000, 1 << 31]),
)
events = st.one_of(
    st.tuples(steps, st.integers(1, 100), st.sampled_from([MS, MS, -MS, -HOUR_NS])),  # a step, then in order
    st.sampled_from(["drop", "reject", "wait", "restart"]),
)


@settings(deadline=None)
@given(st.integers(0, U32 - 1), st.lists(events, max_size=30), st.sampled_from([1, 3]))
def test_batches_count_as_single_readouts_do_and_counters_never_fall(readout_id, script, stride):
    single, batched = SourceSequence(stride, KernelDrops()), SourceSequence(stride, KernelDrops())
    now_s, stamp = 100.0, EPOCH_NS
    for event in script:
        before = [counted(single), counted(batched)]
        if event == "drop":
            single._kernel.total += 1
            batched._kernel.total += 1
        elif event == "reject":
            single.note_rejected("magic")
            batched.note_rejected("magic")
        elif event == "wait":
            now_s += 0.6
            single.tick(at(now_s))
            batched.tick(at(now_s))
        elif event == "restart":
            readout_id = 0
        else:
            step, count, elapsed_ns = event
            stamp += elapsed_ns
            first_id = readout_id + step * stride
            ids = [(first_id + i * stride) % U32 for i in range(count)]
            stamps = [stamp + i for i in range(count)]
            readout_id, stamp = ids[-1], stamps[-1]
            apart = [
                (i + position, asdict(run))
                for i in range(count)
                for position, run in single.note_received(ids[i : i + 1], stamps[i : i + 1], at(now_s))
            ]
            together = batched.note_received(ids, stamps, at(now_s))
            kept = {run.number for run in batched.runs}  # not one that was a stray, as the same batch showed
            assert [(i, run["number"]) for i, run in apart if run["number"] in kept] == [
                (i, run.number) for i, run in together
            ]
        assert counted(single) == counted(batched)
        assert list(single.gaps) == list(batched.gaps)
        assert list(single.runs) == list(batched.runs)
        assert all(old[name] <= counted(single)[name] for old in before for name in old)


def counted(sequence):
    return {name: getattr(sequence, name) for name in (*COUNTS, "run_count")} | dict(sequence.rejected)


# What comes again, and runs by their content: timestamps decide nothing here


def datagram(readout_id, timestamp, data=b"\xbc"):
    return HEADER.pack(MAGIC, readout_id % U32, timestamp, len(data)) + data


def play(readouts, sizes=(1,), *, stride=1, step_s=0.01, silence_s=2.0):
    """Note readouts (id, timestamp, data) in batches of these sizes; then nothing comes for a while."""
    sequence, now_s, position, runs, mask = SourceSequence(stride, KernelDrops()), 100.0, 0, [], b""
    for size in cycle(sizes):
        part = readouts[position : position + size]
        if not part:
            break
        raw = [datagram(*readout) for readout in part]
        batch = Batch(
            DAQ, 0, b"".join(raw), [one[0] % U32 for one in part], [one[1] for one in part],
            [*accumulate(map(len, raw))],
        )  # fmt: skip
        begun, duplicates = sequence.note(batch, at(now_s))
        runs += [position + at for at, _ in begun]
        mask += duplicates or bytes(len(part))
        position += size
        now_s += step_s
    sequence.tick(at(now_s + silence_s))
    found = {name: getattr(sequence, name) for name in (*COUNTS, "run_count")}
    return Played({name: count for name, count in found.items() if count}, runs, mask, sequence)


class Played(NamedTuple):
    counts: dict[str, int]
    begins: list[int]
    mask: bytes
    sequence: SourceSequence


def run_of(count, begin_ns=EPOCH_NS, *, first=0, step_ns=10 * MS, data=b"\xbc"):
    return [(first + i, begin_ns + i * step_ns, data) for i in range(count)]


both_ways = pytest.mark.parametrize("sizes", [(1,), (100_000,), (7,)], ids=["one by one", "at once", "by 7"])
LENGTHS = (1, 2, 63, 64, 65, 300)


@both_ways
@pytest.mark.parametrize("back_ns", [0, 20 * MS, 2 * 10**9, HOUR_NS, 55 * 365 * 24 * HOUR_NS, -HOUR_NS])
@pytest.mark.parametrize("first", LENGTHS)
@pytest.mark.parametrize("second", LENGTHS)
def test_a_clock_set_by_any_amount_between_runs(first, second, back_ns, sizes):
    begin_ns = max(1, EPOCH_NS + first * 10 * MS - back_ns)
    played = play([*run_of(first), *run_of(second, begin_ns, data=b"2")], sizes)
    assert played.counts == {"received": first + second, "run_count": 2}
    if second > 1:
        assert played.begins == [0, first]


@both_ways
@pytest.mark.parametrize("length", LENGTHS)
def test_runs_whose_timestamps_are_all_0(length, sizes):
    readouts = [one for n in range(10) for one in run_of(length, 0, step_ns=0, data=bytes([n]))]
    assert play(readouts, sizes).counts == {"received": 10 * length, "run_count": 10}


@both_ways
@pytest.mark.parametrize("length", [2, 5, 63, 64, 65, 300])
@pytest.mark.parametrize("step_ns", [0, 10 * MS])
def test_a_recording_that_is_played_again_is_a_new_run(length, step_ns, sizes):
    played = play(4 * run_of(length, step_ns=step_ns), sizes)
    assert played.counts == {"received": 4 * length, "run_count": 4}
    assert played.begins == [0, length, 2 * length, 3 * length]
    assert not any(played.mask)


def test_recordings_of_different_lengths_that_begin_alike():
    lengths = (20, 5, 150, 20, 3, 64)
    played = play([one for length in lengths for one in run_of(length, 0, step_ns=0)])
    assert played.counts == {"received": sum(lengths), "run_count": len(lengths)}


def test_a_recording_played_slowly():
    played = play(2 * run_of(100), step_s=3.0, silence_s=10.0)
    assert played.counts.pop("duplicates") == 1  # its first readout, until the second one came
    assert played.counts == {"received": 200, "run_count": 2}


def test_a_recording_played_again_whose_first_readouts_are_lost():
    played = play([*run_of(1000), *run_of(1000)[3:]])
    assert played.counts == {"received": 1997, "before_socket": 3, "run_count": 2}


def test_a_recording_of_the_middle_of_a_run_played_twice_has_lost_nothing():
    played = play(2 * run_of(100, first=5000))
    assert played.counts == {"received": 200, "before_joining": 10_000, "run_count": 2}


@both_ways
def test_lone_repetitions_are_duplicates_and_marked(sizes):
    readouts = run_of(200)
    doubled = [
        *readouts[:100],
        readouts[99],
        readouts[97],
        *readouts[100:150],
        readouts[120],
        *readouts[150:],
    ]
    played = play(doubled, sizes)
    assert played.counts == {"received": 203, "duplicates": 3, "run_count": 1}
    assert [i for i, is_duplicate in enumerate(played.mask) if is_duplicate] == [100, 101, 152]


@both_ways
def test_the_first_readouts_of_a_run_doubled_a_little_later_are_no_run(sizes):
    readouts = run_of(40)
    played = play([*readouts[:20], readouts[0], readouts[1], *readouts[20:]], sizes)
    assert played.counts == {"received": 42, "duplicates": 2, "run_count": 1}


def test_another_readout_with_the_same_id_is_no_duplicate():
    readouts = run_of(100)
    played = play([*readouts, (99, EPOCH_NS + 990 * MS, b"other"), *run_of(50, first=100)])
    assert played.counts == {"received": 151, "stray": 1, "run_count": 1}
    assert not any(played.mask)


def test_the_first_of_a_run_comes_between_the_last_of_the_run_before():
    old, new = run_of(103), run_of(50, EPOCH_NS + HOUR_NS)
    mixed = [*old[:99], new[0], old[100], old[102], old[99], old[99], new[1], old[101], *new[2:]]
    played = play(mixed)
    assert played.counts == {"received": 154, "duplicates": 1, "reordered": 2, "run_count": 2}


@both_ways
@pytest.mark.parametrize("first", [1, 5, 63, 64, 65, 500])
def test_a_restart_whose_first_readouts_are_lost(first, sizes):
    played = play([*run_of(1000), *run_of(200, EPOCH_NS + 10**10, first=first)], sizes)
    assert played.counts == {"received": 1200, "before_socket": first, "run_count": 2}
    assert played.begins == [0, 1000]


def test_several_restarts_in_a_row_and_runs_of_one():
    lengths = (3, 1, 1, 2, 1, 70, 1, 1)
    readouts = [
        one for n, length in enumerate(lengths) for one in run_of(length, 0, step_ns=0, data=bytes([n]))
    ]
    assert play(readouts).counts == {"received": sum(lengths), "run_count": len(lengths)}


@both_ways
@pytest.mark.parametrize("bit", range(32))
@pytest.mark.parametrize("at_id", [3, 100, 500, 900])
def test_one_flipped_bit_of_an_id(bit, at_id, sizes):
    """What is missing is missed, and nothing else; nothing begins again."""
    readouts = run_of(1001)
    readouts[at_id] = (at_id ^ 1 << bit, *readouts[at_id][1:])
    counts = play(readouts, sizes).counts
    counts.pop("reordered", 0)  # up to 64 ahead it is believed at once, and those it overtook come after it
    assert counts == {"received": 1001, "before_socket": 1, "stray": 1, "run_count": 1}


@pytest.mark.parametrize("bit", [6, 10, 16, 20, 31])
def test_a_flipped_bit_of_the_last_id_before_silence(bit):
    readouts = run_of(1000)
    readouts[-1] = (999 + (1 << bit), *readouts[-1][1:])
    assert play(readouts).counts == {"received": 1000, "stray": 1, "run_count": 1}


@both_ways
@pytest.mark.parametrize("burst", [1, 2, 5, 40])
@pytest.mark.parametrize(("one", "other"), [(0, 0), (0, 5000), (5000, 0), (100, 7_000_000), (7_000_000, 100)])
def test_two_daqs_that_share_an_address(one, other, burst, sizes):
    ours, theirs = run_of(400, first=one, data=b"1"), run_of(400, first=other, data=b"2")
    del ours[250:260], theirs[300:307]  # in the end both go on; what is lost then is seen
    mixed = []
    while ours or theirs:
        mixed += ours[:burst] + theirs[:burst]
        del ours[:burst], theirs[:burst]
    played = play(mixed, sizes)
    assert played.sequence.shared
    assert played.counts["before_socket"] == 17
    assert played.counts.get("stray", 0) == played.counts.get("duplicates", 0) == 0


def test_an_address_is_shared_as_long_as_both_go_on():
    mixed = [
        one
        for pair in zip(run_of(50, data=b"1"), run_of(50, first=900, data=b"2"), strict=True)
        for one in pair
    ]
    sequence = play(mixed).sequence
    assert sequence.shared
    sequence.tick(at(1000.0))
    assert not sequence.shared


def test_how_many_of_the_latest_readouts_may_still_find_another_place(daq):
    daq.hear(*range(200))
    assert (daq.sequence.undecided, daq.sequence.unproved) == (0, 0)
    daq.hear(5000)  # a stray, or the first after a long gap
    assert (daq.sequence.undecided, daq.sequence.unproved) == (1, 0)
    daq.hear(5001)
    assert daq.sequence.undecided == 0


def test_how_many_came_before_and_may_be_of_a_run_that_comes_again():
    sequence = play([*run_of(200), *run_of(1)], silence_s=0.0).sequence
    assert (sequence.undecided, sequence.unproved) == (1, 1)


def test_in_a_file_whose_timestamps_rise_a_young_run_goes_on_by_one_comparison():
    def goes_on(sequence, ids):
        stamps = [EPOCH_NS + HOUR_NS + i * MS for i in ids]
        raw = [datagram(i, stamp) for i, stamp in zip(ids, stamps, strict=True)]
        batch = Batch(DAQ, 0, b"".join(raw), ids, stamps, [*accumulate(map(len, raw))])
        return sequence.goes_on(ids, stamps[-1], at(101.0), (batch,), rising=True)

    far = play([*run_of(500), *run_of(2, EPOCH_NS + HOUR_NS, data=b"2")], silence_s=0.0).sequence
    assert goes_on(far, [2, 3, 4])
    assert far.received == 505
    near = play([*run_of(5), *run_of(2, EPOCH_NS + HOUR_NS, data=b"2")], silence_s=0.0).sequence
    assert not goes_on(near, [2, 3, 4])  # these may be of the run before
    assert near.received == 7


@both_ways
@pytest.mark.parametrize("most", [10**4, 10**6, U32])
def test_ids_at_random_are_no_loss(most, sizes):
    rng = random.Random(most)
    played = play([(rng.randrange(most), EPOCH_NS + i, b"") for i in range(3000)], sizes)
    assert played.sequence.implausible
    assert played.counts.get("before_socket", 0) == 0


pieces = st.tuples(
    st.sampled_from(["on", "gap", "back", "restart", "stray", "duplicate", "again", "other data"]),
    st.integers(1, 70),
    st.sampled_from([0, 10**9, -(10**9), HOUR_NS, -HOUR_NS]),
)


@settings(deadline=None)
@given(
    st.lists(pieces, max_size=14),
    st.lists(st.integers(1, 90), min_size=1, max_size=5),
    st.sampled_from([1, 3]),
)
def test_many_at_once_and_one_by_one_give_the_same_account(script, sizes, stride):
    sent, next_id, stamp_ns = [], 0, EPOCH_NS
    for what, number, step_ns in script:
        if what in ("duplicate", "again") and sent:
            sent += sent[-number:] if what == "again" else sent[-number : len(sent) - number + 1]
            continue
        if what == "stray":
            sent.append((number << 20, stamp_ns, b"s"))
            continue
        if what == "restart":
            next_id, stamp_ns = 0, stamp_ns + step_ns
        elif what in ("gap", "back"):
            next_id = max(0, next_id + (number if what == "gap" else -number) * stride)
        data = b"other" if what == "other data" else b""
        sent += [(next_id + i * stride, stamp_ns + i * 10 * MS, data) for i in range(number)]
        next_id += number * stride
        stamp_ns += number * 10 * MS
    apart = play(sent, stride=stride, step_s=0.0)
    together = play(sent, sizes, stride=stride, step_s=0.0)
    assert apart.counts == together.counts
    assert list(apart.sequence.gaps) == list(together.sequence.gaps)
    assert apart.counts.get("received", 0) == len(sent)
