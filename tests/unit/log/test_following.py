"""A log's messages to batches, and the account of what is not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream import wire
from astropix_stream.batch import Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.places import Place
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.log.following import Beginning, Following
from astropix_stream.log.messages import Message, Stored

SOURCE = Source("10.0.0.1", 40_000)


class Log:
    """Messages for a `Following`, each as the bridge would store it."""

    def __init__(self, removed=False, skip_to=None):
        self.following = Following()
        self.following.begins = Beginning(removed, skip_to)
        self.number = 0
        self.ids = []

    def store(self, begin, end, *, relay_id=1, first_id=None, lost=None, skipped=0):
        """Store readouts with the numbers from `begin` on; `skipped` messages before it were removed."""
        first_id = begin if first_id is None else first_id
        readout_ids = range(first_id, first_id + end - begin)
        payload = b"".join(AstroPix4Readout(b"\x01", i, 10**18 + i).to_bytes() for i in readout_ids)
        message = Message(Position(relay_id, begin), end - begin, SOURCE, 10**18 + begin, payload)
        self.number += 1 + skipped
        counts = None if lost is None else Counts(before_socket=lost)
        stored = Stored(self.number, 0, message.headers(4000, counts), message.pack())
        batches = self.following.take(stored, Moment(1.0, 10**18))
        self.ids += [i for batch in batches for i in batch.readout_ids]
        return batches

    @property
    def lost_at(self):
        return self.following.ledger().lost_at


def test_what_is_stored_comes_out():
    log = Log()
    log.store(0, 5)
    log.store(5, 6)
    assert log.ids == list(range(6))
    assert log.following.ledger().delivered == 6
    assert log.lost_at == {}
    assert log.following.readout_uid == 4000


def test_a_step_in_the_relays_numbers_was_never_stored():
    log = Log()
    log.store(0, 5)
    log.store(9, 10)
    assert log.lost_at == {Place.RELAY_TO_LOG: 4}


def test_a_step_in_the_logs_numbers_too_was_removed():
    log = Log()
    log.store(0, 5)
    log.store(9, 10, skipped=2)
    assert log.lost_at == {Place.NO_LONGER_KEPT: 4}


def test_before_the_first():
    assert Log().store(7, 9) != []
    log = Log(removed=True)
    log.store(7, 9)
    assert log.lost_at == {Place.NO_LONGER_KEPT: 7}
    log = Log()
    log.store(7, 9)
    assert log.lost_at == {}
    assert log.following.ledger().before_joining == 7


def test_only_what_was_asked_for():
    log = Log(skip_to=Position(1, 12))
    log.store(7, 11)
    log.store(11, 15)
    assert log.ids == [12, 13, 14]
    assert log.following.ledger().before_joining == 12
    assert log.following.repeated == 0


def test_what_is_there_twice_comes_out_once():
    log = Log()
    log.store(0, 5)
    log.store(3, 8)
    log.store(2, 6)
    assert log.ids == list(range(8))
    assert log.following.repeated == 6
    assert log.lost_at == {}


def test_a_message_that_comes_again_is_known():
    log = Log()
    log.store(0, 5)
    log.number = 0
    assert log.store(0, 5) == []
    assert log.following.repeated == 0


def test_a_relay_that_starts_again_is_no_loss():
    log = Log()
    log.store(0, 5)
    log.store(0, 4, relay_id=2, first_id=5)
    assert log.ids == list(range(9))
    assert log.lost_at == {}
    assert log.following.ledger().restarts == 1


def test_what_was_sent_while_no_relay_was_there_is_counted():
    log = Log()
    log.store(0, 5)
    log.store(0, 4, relay_id=2, first_id=12)
    assert log.lost_at == {Place.BEFORE_SOCKET: 7}


def test_the_beginning_of_another_start_that_was_not_stored():
    log = Log()
    log.store(0, 5)
    log.store(3, 4, relay_id=2, first_id=12)
    assert log.lost_at == {Place.BEFORE_SOCKET: 4, Place.RELAY_TO_LOG: 3}


def test_a_relay_that_comes_back_goes_on_where_it_was():
    log = Log()
    log.store(0, 5)
    log.store(0, 1, relay_id=2, first_id=5)
    log.store(5, 7, first_id=6)
    assert log.lost_at == {}


def test_what_the_relay_lost_before_us_is_not_ours():
    log = Log()
    log.store(3, 5, lost=10)
    log.store(5, 6, lost=12)
    assert log.lost_at == {Place.BEFORE_SOCKET: 2}


def test_all_of_a_relay_that_we_follow_from_its_first_readout_is_ours():
    log = Log()
    log.store(0, 5, lost=1)
    log.store(0, 1, relay_id=2, first_id=5, lost=4)
    assert log.lost_at == {Place.BEFORE_SOCKET: 5}


def test_a_heartbeat_counts_once_we_have_read_so_far():
    log = Log()
    log.store(0, 5, lost=0)
    header = wire.pack_header((0, 0, 1, 8, 1, wire.NO_SOURCE))
    beat = header + wire.pack_json({"totals": Counts(in_kernel=3).to_json(), "state": "live"})
    log.following.take_beat(beat, Moment(2.0, 2))
    assert log.following.report["state"] == "live"
    assert log.lost_at == {}
    log.store(5, 8, lost=0)
    assert log.lost_at == {Place.RELAY_KERNEL: 3}


@pytest.mark.parametrize(
    ("told", "notes"),
    [({}, {}), ({"notes": "cosmics"}, {"": "cosmics"}), ({"notes": {"HV": "-150 V"}}, {"HV": "-150 V"})],
)
def test_a_heartbeat_brings_the_operators_notes(told, notes):
    following = Following()
    header = wire.pack_header((0, 0, 1, 8, 1, wire.NO_SOURCE))
    following.take_beat(header + wire.pack_json({"totals": {}, "notes": "before"}), Moment(2.0, 2))
    following.take_beat(header + wire.pack_json({"totals": {}, **told}), Moment(2.0, 2))
    assert following.notes == notes


@given(st.binary(max_size=200))
def test_any_bytes_are_ignored_or_readouts(data):
    following = Following()
    assert following.take(Stored(1, 0, {}, data), Moment(0, 0)) == []
    following.take_beat(data, Moment(0, 0))
    assert following.malformed == 2
