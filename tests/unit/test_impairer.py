"""The impairer of the fault matrix: the same seed gives the same faults, and its log says what left it."""

from collections import Counter

import pytest

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.account import KernelDrops
from astropix_stream.counting.sequencing import SourceSequence
from matrix.impairer import FAULTS, REORDER_WITHIN, Impairments
from matrix.readouts import HEADER, pack, reason_of, serial_of

RATES = {"loss": 0.1, "duplicate": 0.1, "reorder": 0.2, "truncate": 0.1, "delay": 0.1}
SENT = [pack(i, i, i) for i in range(1000)]


def run(seed, rates=RATES, sent=SENT):
    impairments = Impairments(seed, rates, spare=20)
    left = [datagram for one in sent for _, datagram in impairments.take(one)]
    left += [datagram for _, datagram in impairments.flush()]
    return left, impairments.log


def test_the_same_seed_gives_the_same_faults():
    assert run(7) == run(7)
    assert run(7) != run(8)


def test_the_log_says_what_left():
    left, log = run(7)
    serials = [serial_of(datagram) for datagram in left]
    whole = [serial for serial in serials if serial is not None]
    assert all(log[fault] > 0 for fault in FAULTS)
    assert log["received"] == 1000
    assert log["sent"] == len(left)
    assert log["loss"] + log["truncate"] == 1000 - len(set(whole))
    assert log["duplicate"] == len(whole) - len(set(whole))
    assert Counter(map(reason_of, left)) == {
        None: len(whole), "short": log["truncate short"], "length": log["truncate length"],
    }  # fmt: skip
    highest = [max(whole[:n]) for n in range(1, len(whole))]
    assert log["behind"] == sum(serial < before for before, serial in zip(highest, whole[1:], strict=True))
    assert max(before - serial for before, serial in zip(highest, whole[1:], strict=True)) <= REORDER_WITHIN


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_are_spared(fault):
    left, _ = run(7, {fault: 1.0}, SENT[:20])
    assert left == SENT[:20]


def test_a_readout_is_checked_without_the_code_under_test():
    datagram = pack(5, 6, 7, size=100)
    assert (len(datagram), serial_of(datagram), reason_of(datagram)) == (HEADER.size + 100, 7, None)
    assert serial_of(datagram[:-1]) is None
    assert serial_of(datagram.replace(b"\0" * 10, b"\1" * 10, 1)) is None


@pytest.mark.parametrize("seed", [7, 54])
def test_what_was_cut_is_counted_as_rejected_whatever_else_happens(seed):
    """Through the accounting of one source: a cut readout may overtake others, and be overtaken."""
    rates = {"loss": 0.05, "duplicate": 0.05, "reorder": 0.05, "truncate": 0.05}
    impairments, sequence = Impairments(seed, rates, spare=20), SourceSequence(1, KernelDrops())
    source, now = Source("10.0.0.1", 4000), Moment(0.0, 0)
    for serial in range(4000):
        impairments.sparing = serial >= 3800
        now = Moment(serial / 1000, serial * 10**6)
        for _, datagram in impairments.take(pack(serial, serial * 10**6, serial)):
            reason = reason_of(datagram)
            if reason is not None:
                sequence.note_rejected(reason)
                continue
            readout_id, stamp = HEADER.unpack_from(datagram)[1:3]
            sequence.note(Batch(source, 0, datagram, [readout_id], [stamp], [len(datagram)]), now)
    sequence.tick(Moment(now.s + 1, now.ns))
    log = impairments.log
    assert (sequence.rejected.total(), sequence.before_socket) == (log["truncate"], log["loss"])
    assert (sequence.reordered, sequence.duplicates) == (log["behind"], log["duplicate"])
