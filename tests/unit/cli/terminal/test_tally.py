"""The account of the readouts that were handed on, where the receiver has read further."""

import pytest

from astropix_stream.batch import Batch, RunStart, Source
from astropix_stream.cli.terminal.tally import Tally
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.losses import Loss, Losses
from astropix_stream.counting.places import Place

DAQ = Source("10.0.0.2", 4000)
SECOND = 10**9


def batch(*readout_ids, at_s=0.0, recovered=False):
    return Batch(
        source=DAQ,
        received_ns=int(at_s * SECOND),
        payload=bytes(len(readout_ids)),
        readout_ids=list(readout_ids),
        timestamps=[10**18 + one for one in readout_ids],
        ends=list(range(1, len(readout_ids) + 1)),
        recovered=recovered,
    )


def ledger(*losses, delivered=14, paths=()):
    """Return what a receiver says that has read on, and noticed these losses, in order of time."""
    lost_at = {}
    for place, count in losses:
        lost_at[place] = lost_at.get(place, 0) + count
    told = tuple(Loss(place, count, at, at + 1) for at, (place, count) in enumerate(losses))
    return Ledger(delivered, lost_at, losses=told, periods=Losses(told).periods, paths=paths)


def tallied(*batches, stride=1):
    tally = Tally(stride)
    for one in batches:
        tally.note(one)
    return tally


def test_what_was_read_further_does_not_count():
    account = tallied(batch(0, 1)).account(ledger((Place.BEFORE_SOCKET, 3)))
    assert str(account) == "nothing lost of 2"
    assert (account.losses, account.periods) == ((), {})


def test_the_receiver_knows_where_it_was_lost():
    known = ledger((Place.CLIENT_KERNEL, 2), (Place.BEFORE_SOCKET, 5), (Place.CLIENT_KERNEL, 1))
    account = tallied(batch(0, 3)).account(known)
    assert (account.delivered, account.lost_at) == (2, {Place.CLIENT_KERNEL: 2})
    assert [loss.count for loss in account.losses] == [2]
    assert set(account.periods) == {Place.CLIENT_KERNEL}


def test_a_loss_may_be_cut():
    account = tallied(batch(0, 3)).account(ledger((Place.BEFORE_SOCKET, 5)))
    assert account.lost_at == {Place.BEFORE_SOCKET: 2}
    assert [loss.count for loss in account.losses] == [2]


def test_losses_that_are_not_told_one_by_one_are_cut_from_the_end_of_the_way():
    known = Ledger(14, {Place.BEFORE_SOCKET: 4, Place.RELAY_TO_CLIENT: 4})
    assert tallied(batch(0, 6)).account(known).lost_at == {Place.BEFORE_SOCKET: 4, Place.RELAY_TO_CLIENT: 1}


def test_what_only_the_ids_tell_was_lost_before_the_socket():
    account = tallied(batch(0, 3)).account(ledger())
    assert account.lost_at == {Place.BEFORE_SOCKET: 2}


def test_all_is_taken_over_where_both_agree():
    known = ledger((Place.BEFORE_SOCKET, 2), delivered=2, paths=("path",))
    account = tallied(batch(0), batch(3, at_s=1, recovered=True)).account(known)
    assert (account.losses, account.periods, account.lost_at) == (known.losses, known.periods, known.lost_at)
    assert (account.recovered, account.runs, account.paths) == (1, 1, ())


@pytest.mark.parametrize(("stride", "lost"), [(1, 2), (3, 0)])
def test_the_stride_is_no_loss(stride, lost):
    assert tallied(batch(0, 3), stride=stride).close().lost == lost


def test_duplicates_are_told():
    account = tallied(batch(0, 1, 1)).account(ledger())
    assert (account.delivered, account.duplicates) == (2, 1)


def test_a_batch_keeps_its_first_runs():
    runs = [RunStart(at, DAQ, None) for at in (0, 2, 3)]
    whole = batch(0, 1, 0, 0)
    whole.runs = runs
    first = whole.first(3)
    assert (list(first.readout_ids), first.runs) == ([0, 1, 0], runs[:2])
    assert whole.first(4) is whole
