"""Of losses the latest are kept, and of each place the first and the last."""

from dataclasses import dataclass

from astropix_stream.counting.losses import KEPT_GAPS, Gaps, Loss, Losses, Period
from astropix_stream.counting.places import Place


@dataclass
class Gap:
    began_ns: int
    ended_ns: int
    before_socket: int = 0
    in_kernel: int = 0
    rejected: int = 0


def test_the_latest_losses_and_the_period_of_all():
    losses = Losses(Loss(Place.BEFORE_SOCKET, 1, i, i + 1) for i in range(1000))
    losses.append(Loss(Place.CLIENT_QUEUE, 2, 5, 6))
    assert len(losses) == KEPT_GAPS
    assert [loss.began_ns for loss in losses] == [*range(901, 1000), 5]
    assert losses.periods == {Place.BEFORE_SOCKET: Period(0, 1000), Place.CLIENT_QUEUE: Period(5, 6)}


def test_a_gap_belongs_to_each_cause_that_has_a_part_of_it():
    gaps: Gaps[Gap] = Gaps()
    gaps.append(Gap(1, 2, before_socket=3, in_kernel=1))
    gaps.append(Gap(5, 9, in_kernel=1))
    gaps.append(Gap(20, 21))
    assert len(gaps) == len(list(gaps)) == 3
    assert gaps.periods == {"before_socket": Period(1, 2), "in_kernel": Period(1, 9)}


def test_two_periods_make_one_that_holds_both():
    assert Period(3, 4) | Period(1, 2) == Period(1, 4) == Period(1, 2) | Period(3, 4)
