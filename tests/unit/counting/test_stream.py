"""The account of a stream: a rule each, then a model of a DAQ and a bad network that must agree."""

import random
import struct
from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import direct_ledger
from astropix_stream.counting.stream import IDLE_S, MAX_SOURCES, StreamLedger
from astropix_stream.multicast.intake import Intake
from drains import drain

EPOCH_NS = 1_700_000_000_000_000_000
U32 = 1 << 32
DAQ, OTHER, STRANGER = Source("10.0.1.1", 40000), Source("10.0.1.9", 40001), Source("10.0.1.66", 6)


def at(seconds):
    return Moment(seconds, EPOCH_NS + round(seconds * 1e9))


def hear(ledger, source, *readout_ids, seconds=0.0, run=0):
    stamps = [EPOCH_NS + run * 10**12 + readout_id for readout_id in readout_ids]
    return ledger.received(source, list(readout_ids), stamps, at(seconds))


@pytest.fixture
def ledger():
    return StreamLedger()


def batch(source, ids):
    """Readouts without data: what they hold is looked at only where an id comes again."""
    ids = range(*ids)
    return Batch(source, EPOCH_NS, b"", ids, [EPOCH_NS + i for i in ids], range(len(ids)))


def goes_on(ledger, told, now):
    return ledger.goes_on([told], told.readout_ids, told.timestamps[-1], now)


def test_readouts_that_go_on_are_noted_without_being_walked():
    ledger = StreamLedger()
    assert not goes_on(ledger, batch(DAQ, (0, 2)), at(0))  # nobody has been heard yet
    ledger.note(batch(DAQ, (0, 3)), at(0))
    assert goes_on(ledger, batch(DAQ, (3, 6)), at(0.1))
    assert not goes_on(ledger, batch(DAQ, (7, 9)), at(0.2))  # 6 is missing
    assert not goes_on(ledger, batch(OTHER, (6, 9)), at(0.2))
    assert (ledger.totals().received, ledger.totals().lost) == (6, 0)


@pytest.mark.parametrize(("stride", "missing"), [(1, 18), (10, 0)])
def test_a_stride_that_is_told_later_holds_for_the_readouts_to_come(stride, missing):
    ledger = StreamLedger()
    ledger.received(DAQ, [0], [EPOCH_NS], at(0))
    ledger.stride = stride
    assert ledger.stride == stride
    ledger.received(DAQ, [10, 20], [EPOCH_NS + 10, EPOCH_NS + 20], at(0.1))
    ledger.tick(at(10))
    assert ledger.totals().lost == missing


# One stream, several sources


def test_sources_are_told_apart_by_address_and_port(ledger):
    same_host = Source(DAQ.address, 40007)
    hear(ledger, DAQ, 0, 1)
    hear(ledger, same_host, 500, 501)
    hear(ledger, DAQ, 2)
    assert ledger.sources() == {
        DAQ: Counts(received=3, runs=1),
        same_host: Counts(received=2, runs=1),
    }
    ledger.tick(at(1))
    assert ledger.totals() == Counts(received=5, before_joining=500, runs=2)


def test_a_run_is_told_with_its_place_and_source(ledger):
    hear(ledger, DAQ, 7, 8)
    (start,) = ledger.received(DAQ, [9, 0, 1], [EPOCH_NS + i for i in (10, 11, 12)], at(0))
    assert (start.position, start.source, start.run.number, start.run.first_id) == (1, DAQ, 2, 0)
    assert ledger.runs()[DAQ][-1] is start.run


def test_each_drop_is_claimed_once_among_two_sources(ledger):
    hear(ledger, DAQ, 0)
    hear(ledger, OTHER, 0)
    ledger.note_dropped(3)
    hear(ledger, DAQ, 3)
    hear(ledger, OTHER, 3)
    ledger.tick(at(1))
    assert ledger.totals() == Counts(received=4, in_kernel=3, before_socket=1, runs=2)
    assert ledger.at_most


def test_drops_are_exact_for_a_single_source_with_nothing_foreign(ledger):
    hear(ledger, DAQ, 0)
    ledger.note_dropped(3)
    hear(ledger, DAQ, 9)
    ledger.tick(at(1))
    assert ledger.totals() == Counts(received=2, in_kernel=3, before_socket=5, runs=1)
    assert not ledger.at_most


@pytest.mark.parametrize("foreign", ["drop", "rejection", "rejection of another source"])
def test_drops_are_at_most_where_there_are_foreign_datagrams(ledger, foreign):
    hear(ledger, DAQ, 0, 1)
    if foreign == "drop":
        ledger.note_dropped(2)
    else:
        ledger.note_rejected(STRANGER if "another" in foreign else DAQ, "magic")
    hear(ledger, DAQ, 2)
    ledger.note_dropped(1)
    hear(ledger, DAQ, 4)
    ledger.tick(at(1))
    assert ledger.totals() == Counts(received=4, in_kernel=1, runs=1)
    assert ledger.at_most


def test_a_rejection_claims_for_its_own_source_only(ledger):
    hear(ledger, DAQ, 0)
    hear(ledger, OTHER, 0)
    ledger.note_rejected(OTHER, "length")
    hear(ledger, DAQ, 2)
    hear(ledger, OTHER, 2)
    ledger.tick(at(1))
    assert ledger.sources()[DAQ] == Counts(received=2, before_socket=1, runs=1)
    assert ledger.sources()[OTHER] == Counts(received=2, rejected={"length": 1}, runs=1)
    assert ledger.rejected == {"length": 1}


def test_more_sources_than_accounts_share_one(ledger):
    for port in range(MAX_SOURCES + 10):
        hear(ledger, Source("10.0.0.1", port), 5, 6)
        hear(ledger, Source("10.0.0.1", port), 9)
    ledger.tick(at(1))
    assert len(ledger.sources()) == MAX_SOURCES
    totals = ledger.totals()
    assert totals.received == 3 * (MAX_SOURCES + 10)
    assert totals.before_socket == 2 * MAX_SOURCES  # of those without an account nothing more is known


def test_idle_accounts_go_to_new_sources_and_totals_never_fall(ledger):
    totals = ledger.totals()
    for port in range(3 * MAX_SOURCES):
        seconds = port * 2.0
        hear(ledger, DAQ, port, seconds=seconds)
        hear(ledger, Source("10.0.0.1", port), 1, 3, seconds=seconds)
        ledger.tick(at(seconds))
        totals = assert_nothing_fell(totals, ledger.totals())
    assert len(ledger.sources()) == MAX_SOURCES
    assert DAQ in ledger.sources()  # it was never idle
    ledger.tick(at(1000))
    starts = 3 * MAX_SOURCES
    assert ledger.totals() == Counts(
        received=3 * starts, before_joining=starts, before_socket=starts, runs=starts + 1
    )
    assert not ledger.at_most


def test_an_account_is_not_given_up_before_it_was_idle_for_a_minute(ledger):
    for port in range(MAX_SOURCES):
        hear(ledger, Source("10.0.0.1", port), 0, seconds=port / 1000)
    hear(ledger, STRANGER, 0, seconds=IDLE_S - 0.1)
    assert STRANGER not in ledger.sources()
    hear(ledger, STRANGER, 1, seconds=IDLE_S + 0.0005)
    assert STRANGER in ledger.sources()
    assert Source("10.0.0.1", 0) not in ledger.sources()
    assert ledger.totals().received == MAX_SOURCES + 2


def test_gaps_of_all_sources_in_order_of_time(ledger):
    for seconds, source in enumerate([DAQ, OTHER, DAQ]):
        hear(ledger, source, 10 * seconds, 10 * seconds + 2, seconds=seconds)
    ledger.tick(at(10))
    assert [(source, gap.ended_ns) for source, gap in ledger.gaps()][:2] == [
        (DAQ, at(0).ns),
        (OTHER, at(1).ns),
    ]
    losses = direct_ledger(ledger).losses
    assert [loss.ended_ns for loss in losses] == sorted(loss.ended_ns for loss in losses)


# The model. What the DAQ sends is written down with its fate; the ledger sees only what arrives.


HEADER = struct.Struct("<3sIQI")
CORRUPTED = {
    "short": lambda whole: whole[:18],
    "magic": lambda whole: b"\x00" + whole[1:],
    "length": lambda whole: whole + b"\x00",
}


class Script:
    """What one DAQ sends and what becomes of it, in the order of the socket's queue.

    With `disorder`, up to so many readouts sent later overtake one; a duplicate comes up to `delay` later.
    """

    def __init__(self, rng, source, *, lengths, first, stride, chances, duplicated=0.0, disorder=0, delay=0):
        self.source = source
        self.before_joining = first // stride
        self.runs = len(lengths)
        phase, stamp_ns, position, reach = first % stride, EPOCH_NS, 0, 0
        places = []
        for run, length in enumerate(lengths):
            for i in range(length):
                readout_id = ((phase if run else first) + i * stride) % U32
                # The last of a run must arrive: of what was sent after the last that arrives, nobody can
                # know. And the first that arrives of the next run must not go beyond the run before, or it
                # looks like its continuation.
                must_arrive = i == length - 1 or i % 30 == 29 or i == (reach if run else 0)
                fate = "delivered" if must_arrive else rng.choices(list(chances), chances.values())[0]
                datagram = readout(readout_id, stamp_ns, size=rng.randrange(3))
                place = position + (rng.uniform(0, disorder) if position else 0)
                places.append((place, fate, CORRUPTED.get(fate, bytes)(datagram)))
                # The first two of a run, doubled in order, are a run of two that comes again.
                if fate == "delivered" and i and rng.random() < duplicated:
                    places.append((place + rng.uniform(0, delay), "duplicate", datagram))
                position += 1
                stamp_ns += 1000
            reach = (readout_id - phase) // stride
            stamp_ns += 10**9
        places.sort(key=lambda event: event[0])
        self.events = [(source, fate, datagram) for _, fate, datagram in places]
        self.sent = Counter(fate for _, fate, _ in places)

    @property
    def received(self):
        return self.sent["delivered"] + self.sent["duplicate"]

    @property
    def lost(self):
        return self.sent.total() - self.received

    @property
    def rejected(self):
        return {reason: self.sent[reason] for reason in CORRUPTED if self.sent[reason]}


def readout(readout_id, stamp_ns, size):
    return HEADER.pack(b"\xfe\xdc\xba", readout_id, stamp_ns, size) + b"\xbc" * size


def merge(rng, scripts):
    """Interleave the events of several sources, each in its order."""
    queues = [script.events[::-1] for script in scripts]
    while queues := [queue for queue in queues if queue]:
        yield rng.choice(queues).pop()


def assert_nothing_fell(old, new):
    for field in fields(Counts):
        if field.name not in ("rejected", "undecided"):
            assert getattr(old, field.name) <= getattr(new, field.name)
    assert all(count <= new.rejected[reason] for reason, count in old.rejected.items())
    assert old.delivered <= new.delivered
    assert old.lost <= new.lost
    return new


def drained(batch):
    datagrams, sources, drops = zip(*batch, strict=True)
    # The kernel tells of drops only.
    return drain(*datagrams, sources=sources, drops=drops if any(drops) else ())


def batches(rng, events, kernel_count):
    """Cut what a socket receives into what single drains give."""
    batch = []
    for source, fate, datagram in events:
        if fate == "kernel":
            kernel_count = (kernel_count + 1) % U32
        elif fate != "lost":
            batch.append((datagram, source, kernel_count))
        if batch and (len(batch) == 64 or rng.random() < 0.05):
            yield drained(batch)
            batch = []
    if batch:
        yield drained(batch)


def play(rng, events, *, stride, kernel_count=0, pauses=(0.0,)):
    """Let a ledger account for the events; no counter may fall on the way."""
    ledger, now_s = StreamLedger(stride=stride), 0.0
    intake, totals = Intake(ledger), Counts()
    for batch in batches(rng, events, kernel_count):
        intake.take(batch, at(now_s))
        totals = assert_nothing_fell(totals, ledger.totals())
        now_s += rng.choice(pauses)
        ledger.tick(at(now_s))
        totals = assert_nothing_fell(totals, ledger.totals())
    ledger.tick(at(now_s + 2))
    assert_nothing_fell(totals, ledger.totals())
    return ledger


chances = st.fixed_dictionaries(
    {
        "delivered": st.just(1.0),
        "lost": st.sampled_from([0.0, 0.01, 0.4]),
        "kernel": st.sampled_from([0.0, 0.01, 0.4]),
        "short": st.sampled_from([0.0, 0.05]),
        "magic": st.sampled_from([0.0, 0.05]),
        "length": st.sampled_from([0.0, 0.05]),
    }
)
duplicated = st.sampled_from([0.0, 0.05, 1.0])
strides = st.sampled_from([1, 1, 3, 10])
# Where the kernel's count stands when we begin to listen: at 0, or somewhere after a takeover of the socket.
kernel_counts = st.sampled_from([0, 7, U32 - 2, U32 - 100, U32 // 2 - 1])
seeds = st.integers(0, 1 << 32)


def first_ids(stride):
    """Return where we join: at the beginning, a little later, or just before the counter wraps."""
    return st.one_of(
        st.just(0), st.integers(0, 100 * stride), st.integers(1, 50).map(lambda i: U32 - i * stride)
    )


def long_runs(least):
    """Lengths of runs; the first is long enough to be over the end of the counter."""
    return st.lists(st.integers(least, least + 100), min_size=1, max_size=3).map(
        lambda lengths: [lengths[0] + 80, *lengths[1:]]
    )


@settings(deadline=None)
@given(st.data())
def test_in_order_each_loss_is_found_where_it_happened(data):
    rng, stride = random.Random(data.draw(seeds)), data.draw(strides)
    daq = Script(
        rng,
        DAQ,
        lengths=data.draw(long_runs(1)),
        first=data.draw(first_ids(stride)),
        stride=stride,
        chances=data.draw(chances),
        duplicated=data.draw(duplicated),
    )
    pauses = data.draw(st.sampled_from([(0.0,), (0.0, 0.3), (0.0, 0.7, 1000.0)]))
    ledger = play(rng, merge(rng, [daq]), kernel_count=data.draw(kernel_counts), pauses=pauses, stride=stride)
    assert ledger.totals() == Counts(
        received=daq.received,
        duplicates=daq.sent["duplicate"],
        before_joining=daq.before_joining,
        rejected=daq.rejected,
        in_kernel=daq.sent["kernel"],
        before_socket=daq.sent["lost"],
        runs=daq.runs,
    )
    assert ledger.totals().delivered == daq.sent["delivered"]
    assert ledger.kernel_dropped == daq.sent["kernel"]
    assert not ledger.at_most


@settings(deadline=None)
@given(st.data())
def test_however_it_is_mixed_up_each_readout_is_accounted_for_once(data):
    """Two DAQs on one socket, reordering, late duplicates, and datagrams of a stranger."""
    rng, stride = random.Random(data.draw(seeds)), data.draw(strides)
    daqs = [
        Script(
            rng,
            source,
            lengths=data.draw(long_runs(130)),
            first=data.draw(first_ids(stride)),
            stride=stride,
            chances=data.draw(chances),
            duplicated=data.draw(duplicated),
            disorder=data.draw(st.sampled_from([0, 3, 32])),
            delay=32,
        )
        for source in data.draw(st.sampled_from([(DAQ,), (DAQ, OTHER)]))
    ]
    junk = [(STRANGER, "magic", b"junk"), (STRANGER, "kernel", b"")] * data.draw(st.integers(0, 20))
    events = [*merge(rng, daqs)]
    for event in junk:
        events.insert(rng.randrange(1, len(events)), event)
    ledger = play(rng, events, kernel_count=data.draw(kernel_counts), stride=stride)
    found = ledger.sources()
    for daq in daqs:
        counts = found[daq.source]
        assert counts.delivered == daq.sent["delivered"]
        assert counts.lost == daq.lost
        assert counts.before_joining == daq.before_joining
        assert counts.duplicates == daq.sent["duplicate"]
        assert (counts.late, counts.stray, counts.runs) == (0, 0, daq.runs)
        assert all(count <= daq.sent[reason] for reason, count in counts.rejected.items())
    totals = ledger.totals()
    assert totals.in_kernel <= ledger.kernel_dropped
    assert totals.received == sum(daq.received for daq in daqs)
    assert ledger.rejected.total() == sum(sum(daq.rejected.values()) for daq in daqs) + len(junk) // 2


def test_two_readouts_of_a_run_that_come_again_in_order_are_doubled_if_the_run_has_more():
    """Found by the test above: with the others out of order, they looked like a recording of two readouts."""
    rng = random.Random(2844)
    fates = ("delivered", "lost", "kernel", "short", "magic", "length")
    sent = dict.fromkeys(fates, 0.0) | {"delivered": 1.0}
    lossy = sent | {"kernel": 0.4, "magic": 0.05, "length": 0.05}
    daqs = [
        Script(rng, DAQ, lengths=[230, 217], first=0, stride=1, chances=sent, delay=32),
        Script(
            rng,
            OTHER,
            lengths=[210, 132, 130],
            first=0,
            stride=1,
            chances=lossy,
            duplicated=1.0,
            disorder=32,
            delay=32,
        ),
    ]
    counts = play(rng, [*merge(rng, daqs)], stride=1).sources()[OTHER]
    assert (counts.delivered, counts.runs) == (daqs[1].sent["delivered"], 3)
