"""The account of a numbered stream: losses here, in the relay, on hops, and over restarts."""

from astropix_stream import wire
from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.hops import Hop
from astropix_stream.counting.losses import Loss, Period
from astropix_stream.counting.numbered import NumberedAccount
from astropix_stream.counting.places import Place
from astropix_stream.fmt import AstroPix4Readout

SOURCE = Source("10.0.0.1", 40_000)
HERE = Place.RELAY_TO_CLIENT


def batch(*readout_ids):
    payload = b"".join(AstroPix4Readout(b"\x01", i, 10**18 + i).to_bytes() for i in readout_ids)
    return Batch(SOURCE, 10**18, payload, *wire.walk_payload(payload, len(readout_ids)))


def deliver(account, *readout_ids, at_ns=10):
    account.delivered(batch(*readout_ids), Moment(1.0, at_ns), at_ns)


def ledger(account, report=None):
    return account.ledger(HERE, report)


def test_what_is_missed_here_began_when_the_last_readout_came():
    account = NumberedAccount()
    account.join(None)
    deliver(account, 0, 1, at_ns=10)
    account.miss(HERE, 3, 20)
    account.miss(HERE, 0, 30)
    deliver(account, 5, at_ns=30)
    assert ledger(account).lost_at == {HERE: 3}
    assert ledger(account).losses == (Loss(HERE, 3, 10, 20),)
    assert ledger(account).delivered == 3


def test_a_loss_that_nobody_knows_the_time_of_has_no_period():
    account = NumberedAccount()
    account.lose(Place.NO_LONGER_KEPT, 7, None)
    assert ledger(account).lost_at == {Place.NO_LONGER_KEPT: 7}
    assert ledger(account).periods == {}


def test_of_the_relays_counts_only_what_comes_after_joining_is_ours():
    account = NumberedAccount()
    account.join(None)
    assert account.relay_losses() == {}
    account.take_counts(Counts(before_socket=5), 10)
    account.take_counts(Counts(before_socket=7, in_kernel=1), 20)
    account.take_counts(Counts(before_socket=7, in_kernel=1), 30)
    assert ledger(account).lost_at == {Place.BEFORE_SOCKET: 2, Place.RELAY_KERNEL: 1}
    assert [loss.count for loss in ledger(account).losses] == [2, 1]


def test_a_restart_keeps_what_was_lost_and_counts_the_step_in_the_ids():
    account = NumberedAccount()
    account.join(Counts())
    deliver(account, 0, 1, 2)
    account.take_counts(Counts(before_socket=4), 15)
    account.restart(Counts())
    assert account.resumed
    account.miss(HERE, 2, 20, not_ours=1)
    deliver(account, 10, 11, at_ns=30)  # 3 to 9 are missing; 3 of them by number
    assert not account.resumed
    assert account.restarts == 1
    assert ledger(account).lost_at == {Place.BEFORE_SOCKET: 4 + 4, HERE: 2}


def test_another_run_after_a_restart_is_no_loss():
    account = NumberedAccount()
    account.join(Counts())
    deliver(account, 5, 6)
    account.restart(Counts())
    deliver(account, 0, 1)
    assert ledger(account).lost_at == {}


def test_what_is_counted_later_is_not_missed_either():
    account = NumberedAccount(stride=10)
    account.join(Counts())
    deliver(account, 0, 10)
    account.restart(Counts())
    account.miss(HERE, 1, 20)
    account.missed, account.last_ns = 0, 25  # as who counts it later does
    deliver(account, 40, at_ns=30)
    assert ledger(account).lost_at == {Place.BEFORE_SOCKET: 2, HERE: 1}
    assert account.last_ns == 30


def test_what_was_lost_between_relays_is_named_by_its_hop():
    account = NumberedAccount()
    account.join(Counts())

    def report(lost):
        first = Hop(1, "relay-a", "tcp://a:5556")
        there = {Place.BETWEEN_RELAYS.key: lost}
        second = Hop(2, "relay-roma", "tcp://b:5556", (1,), there, lost_first_ns=5, lost_last_ns=9)
        return {
            "hops": [first.to_json(), second.to_json()],
            "remarks": ["two", "un\0printable"],
            "at_most": 1,
        }

    account.take_hops(report(2))
    account.take_hops(report(16))
    assert ledger(account).hops == {}  # nothing is missing in the numbers yet
    account.miss(HERE, 20, 30)
    found = ledger(account, report(16))
    assert found.hops == {"between relay-a and relay-roma": 14}
    assert found.lost_at == {Place.BETWEEN_RELAYS: 14, HERE: 6}
    assert found.periods[Place.BETWEEN_RELAYS] == Period(5, 9)
    assert found.remarks == ("two",)
    assert found.at_most


def test_hops_that_nobody_tells():
    account = NumberedAccount()
    account.take_hops(None)
    assert ledger(account).hops == {}


def test_what_was_lost_before_a_relay_that_thins_comes_on_top_of_what_the_numbers_show():
    account = NumberedAccount()
    account.join(Counts())

    def report(lost, thinned):
        there = {Place.BETWEEN_RELAYS.key: lost}
        narrow = Hop(2, "roma", "tcp://b:5556", (1,), there, lost_first_ns=5, lost_last_ns=9, thinned=thinned)
        return {"hops": [Hop(1, "a", "tcp://a:5556").to_json(), narrow.to_json()]}

    account.take_hops(report(0, 0))
    account.take_hops(report(4, 20))
    account.miss(HERE, 3, 30)
    found = account.ledger(HERE, report(4, 20), thinned=1)
    assert found.lost_at == {Place.BETWEEN_RELAYS: 4, HERE: 3}
    assert found.thinned == 21
    assert "thinned out, to save bandwidth" in str(found)
    assert "21 thinned out" in found._repr_html_()
    assert account.lost(HERE) == 3
