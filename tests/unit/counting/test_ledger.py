"""The account of a stream: a rule each, then a model of a DAQ and a bad network that must agree."""

import html
import json
import random
import struct
from collections import Counter
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import (
    IDLE_S,
    MAX_SOURCES,
    Counts,
    Ledger,
    PathAccount,
    StreamLedger,
    direct_ledger,
    place_counts,
)
from astropix_stream.counting.losses import KEPT_GAPS, Loss, Period
from astropix_stream.counting.places import Place
from astropix_stream.errors import WireError
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


# Values


keys = st.sampled_from([field.name for field in fields(Counts)]) | st.text(max_size=5)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
numbers = st.integers(0, (1 << 64) - 1)
any_counts = st.builds(
    Counts,
    **{field.name: numbers for field in fields(Counts) if field.name != "rejected"},
    rejected=st.dictionaries(st.text(max_size=8), numbers, max_size=4),
)


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


@given(any_counts)
def test_counts_survive_json(counts):
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


@given(any_json)
def test_any_json_is_counts_or_a_wire_error(value):
    try:
        counts = Counts.from_json(json.loads(json.dumps(value)))
    except WireError:
        return
    assert counts.lost >= 0
    assert all(isinstance(number, int) for number in counts.to_json().values() if number != counts.rejected)


def test_counts_of_another_version():
    assert Counts.from_json({"received": 3, "invented_later": [1]}) == Counts(received=3)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        3,
        {"received": -1},
        {"received": 1.0},
        {"late": True},
        {"runs": None},
        {"rejected": 3},
        {"rejected": {"magic": "3"}},
        {"stray": 1 << 64},
    ],
)
def test_what_is_not_counts(value):
    with pytest.raises(WireError, match="counts that are not"):
        Counts.from_json(value)


@given(any_counts, any_counts)
def test_counts_add_and_subtract(one, other):
    without_zeros = Counts(**{**one.to_json(), "rejected": {r: n for r, n in one.rejected.items() if n}})
    assert one + other - other == without_zeros
    assert (one + other).lost == one.lost + other.lost
    assert (one + other).delivered == one.delivered + other.delivered


def test_delivered_counts_each_readout_once():
    counts = Counts(received=100, duplicates=5, reordered=7, late=2, stray=1)
    assert counts.delivered == 93  # the stray among them


def local_ns(text):
    return round(datetime.fromisoformat(text).timestamp() * 1e9)


NOON_NS = local_ns("2026-07-23 12:00:00")
S = 10**9


def test_a_ledger_says_what_was_lost_where_and_when():
    ledger = Ledger(
        delivered=986,
        lost_at={Place.RELAY_KERNEL: 12, Place.CLIENT_QUEUE: 2},
        periods={
            Place.RELAY_KERNEL: Period(NOON_NS, NOON_NS + S),
            Place.CLIENT_QUEUE: Period(NOON_NS + S, NOON_NS + 2 * S),
        },
    )
    assert (ledger.lost, ledger.live_fraction) == (14, 0.986)
    assert ledger.text(NOON_NS + 3600 * S) == (
        "14 lost of 1000: 12 in the relay's kernel, between 12:00:00 and 12:00:01; "
        "2 in this program, between 12:00:01 and 12:00:02"
    )
    assert "at most 12 in the relay's kernel, 2 in" in str(Ledger(lost_at=ledger.lost_at, at_most=True))


def test_what_was_lost_at_the_same_time_has_one_period():
    both = dict.fromkeys((Place.RELAY_KERNEL, Place.CLIENT_QUEUE), Period(NOON_NS, NOON_NS + S))
    ledger = Ledger(delivered=1, lost_at=dict.fromkeys(both, 2), periods=both)
    assert ledger.text(NOON_NS) == (
        "4 lost of 5: 2 in the relay's kernel, 2 in this program, between 12:00:00 and 12:00:01"
    )


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (0, "between 12:00:00 and 12:00:02"),
        (1, "between 2026-07-23 12:00:00 and 2026-07-23 12:00:02"),
        (400, "between 2026-07-23 12:00:00 and 2026-07-23 12:00:02"),
    ],
)
def test_what_is_not_of_today_has_its_date(days, told):
    losses = (Loss(Place.BEFORE_SOCKET, 4, NOON_NS, NOON_NS + 2 * S),)
    ledger = Ledger(delivered=6, lost_at={Place.BEFORE_SOCKET: 4}, losses=losses)
    assert ledger.text(NOON_NS + days * 86400 * S).endswith(f"4 before the socket, {told}")


def test_a_period_of_several_days_has_the_date_of_its_begin():
    period = Period(NOON_NS - 3 * 86400 * S, NOON_NS)
    assert period.text(NOON_NS) == "2026-07-20 12:00:00 and 12:00:00"


def test_the_readme_shows_the_line_that_is_printed():
    ledger = Ledger(
        delivered=19986,
        lost_at={Place.BEFORE_SOCKET: 2, Place.CLIENT_KERNEL: 12},
        periods={
            Place.BEFORE_SOCKET: Period(local_ns("2026-07-23 10:02:11"), local_ns("2026-07-23 10:02:12")),
            Place.CLIENT_KERNEL: Period(local_ns("2026-07-23 10:07:40"), local_ns("2026-07-23 10:07:43")),
        },
    )
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text().split())
    assert f"`{ledger.text(NOON_NS)}`" in readme


def test_a_ledger_of_nothing():
    assert str(Ledger()) == "no readouts"
    assert Ledger().live_fraction == 1.0
    assert str(Ledger(delivered=7)) == "nothing lost of 7"


def test_a_ledger_as_json():
    ledger = Ledger(
        delivered=3,
        lost_at={Place.BEFORE_SOCKET: 1},
        losses=(Loss(Place.BEFORE_SOCKET, 1, 5, 6),),
        periods={Place.BEFORE_SOCKET: Period(5, 6)},
    )
    assert json.loads(json.dumps(ledger.to_json())) == {
        "delivered": 3,
        "lost": 1,
        "live_fraction": 0.75,
        "lost_at": {"before_socket": 1},
        "duplicates": 0,
        "reordered": 0,
        "late": 0,
        "stray": 0,
        "before_joining": 0,
        "runs": 0,
        "recovered": 0,
        "restarts": 0,
        "at_most": False,
        "periods": {"before_socket": {"first_ns": 5, "last_ns": 6}},
        "losses": [{"place": "before_socket", "count": 1, "began_ns": 5, "ended_ns": 6}],
        "remarks": [],
        "thinned": 0,
    }


def test_what_a_receiver_shows_that_joined_the_group_itself(ledger):
    hear(ledger, DAQ, 3, 3)
    ledger.note_rejected(DAQ, "magic")
    ledger.note_dropped(2)
    hear(ledger, DAQ, 10, seconds=1)
    ledger.tick(at(2))
    shown = direct_ledger(ledger)
    assert shown.lost_at == {Place.BEFORE_SOCKET: 3, Place.CLIENT_KERNEL: 2, Place.CLIENT_REJECTED: 1}
    assert [(loss.place, loss.count) for loss in shown.losses] == list(shown.lost_at.items())
    assert {(loss.began_ns, loss.ended_ns) for loss in shown.losses} == {(at(0).ns, at(1).ns)}
    assert (shown.delivered, shown.duplicates, shown.before_joining, shown.runs) == (2, 1, 3, 1)
    assert str(shown).startswith(
        "6 lost of 8: 3 before the socket, 2 in this host's kernel, 1 rejected here, "
    )


def test_the_last_hundred_losses_are_shown(ledger):
    for i in range(150):
        hear(ledger, DAQ, 2 * i, seconds=i)
    ledger.tick(at(200))
    losses = direct_ledger(ledger).losses
    assert len(losses) == KEPT_GAPS
    assert losses[-1].ended_ns == at(149).ns


def test_the_period_of_the_losses_begins_with_the_first_of_them(ledger):
    hear(ledger, DAQ, 1)
    ledger.note_dropped(1)
    for i in range(1, 150):
        hear(ledger, DAQ, 1 + 2 * i, seconds=i)
    ledger.tick(at(200))
    periods = direct_ledger(ledger).periods
    assert periods[Place.BEFORE_SOCKET] == Period(at(1).ns, at(149).ns)
    assert periods[Place.CLIENT_KERNEL] == Period(at(0).ns, at(1).ns)


def test_the_period_outlives_the_account_of_its_source(ledger):
    hear(ledger, DAQ, 1, 3)
    for i in range(MAX_SOURCES):
        hear(ledger, DAQ._replace(port=50000 + i), 0, seconds=100)
    assert DAQ not in ledger.sources()
    assert direct_ledger(ledger).periods == {Place.BEFORE_SOCKET: Period(at(0).ns, at(0).ns)}


def test_places_without_a_loss_are_not_named():
    counts = Counts(in_kernel=2, rejected={"magic": 1, "short": 2})
    assert place_counts(counts, Place.RELAY_KERNEL, Place.RELAY_REJECTED) == {
        Place.RELAY_KERNEL: 2,
        Place.RELAY_REJECTED: 3,
    }


def test_what_was_lost_between_relays_is_told_by_hop():
    ledger = Ledger(
        delivered=86,
        lost_at={Place.BEFORE_SOCKET: 2, Place.BETWEEN_RELAYS: 12},
        hops={"between relay-a and relay-roma": 12},
    )
    assert str(ledger) == "14 lost of 100: 2 before the socket, 12 between relay-a and relay-roma"


def test_a_notebook_shows_a_row_for_each_place():
    period = Period(NOON_NS, NOON_NS + S)
    path = PathAccount("tcp://a:5556", 7, 0, Ledger(delivered=7))
    ledger = Ledger(
        delivered=86,
        lost_at={Place.BEFORE_SOCKET: 2, Place.CLIENT_KERNEL: 12, Place.CLIENT_QUEUE: 0},
        periods={Place.BEFORE_SOCKET: period},
        at_most=True,
        remarks=("two sources seem to share <10.0.0.5:40000>",),
        paths=(path,),
    )
    text = ledger._repr_html_()
    assert "share &lt;10.0.0.5:40000&gt;" in text
    assert "14 lost of 100 readouts" in text
    text = html.unescape(text)
    assert text.count(str(Place.BEFORE_SOCKET)) == text.count(str(Place.CLIENT_KERNEL)) == 1
    assert str(Place.CLIENT_QUEUE) not in text
    assert "at most 12" in text
    assert "12:00:01" in text
    assert "tcp://a:5556" in text
    assert "nothing lost of 7 readouts" in text
