"""What a drain of a socket becomes: valid datagrams by source, and events for the ledger."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import NOTHING, SLOT_SIZE, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.fmt import HEADER, MAGIC
from astropix_stream.multicast.intake import Intake, Rejection
from drains import DAQ, OTHER, by_columns, drain

NOW, LATER = Moment(0.0, 10**18), Moment(5.0, 10**18 + 5 * 10**9)
U32 = 1 << 32


def datagrams_of(group):
    return [group.payload[i:j] for i, j in pairwise([0, *group.ends])]


def datagram(readout_id, data=b"\xbc"):
    return HEADER.pack(MAGIC, readout_id, 10**18 + readout_id, len(data)) + data


@pytest.fixture
def ledger():
    return StreamLedger()


@pytest.fixture
def intake(ledger):
    return Intake(ledger)


def test_valid_datagrams_come_out_with_what_their_headers_say(intake, ledger):
    sent = [datagram(7, b""), datagram(8, b"\xff\xff")]
    (group,) = intake.take(drain(*sent), NOW)
    assert (group.source, datagrams_of(group)) == (DAQ, sent)
    assert (group.readout_ids, group.timestamps) == ([7, 8], [10**18 + 7, 10**18 + 8])
    assert ledger.totals().received == 2


def test_datagrams_are_grouped_by_source_each_in_order_of_arrival(intake):
    sent = [datagram(i) for i in range(6)]
    sources = [DAQ, OTHER, OTHER, DAQ, OTHER, DAQ]
    one, other = intake.take(drain(*sent, sources=sources), NOW)
    assert (one.source, one.readout_ids) == (DAQ, [0, 3, 5])
    assert (other.source, datagrams_of(other)) == (OTHER, [sent[1], sent[2], sent[4]])


def test_an_equal_source_need_not_be_the_same_object(intake):
    sources = [DAQ, OTHER, Source(*DAQ), Source(*OTHER)]
    groups = intake.take(drain(*map(datagram, (0, 1, 2, 3)), sources=sources), NOW)
    assert [group.readout_ids for group in groups] == [[0, 2], [1, 3]]


def test_nothing_drained_is_nothing(intake, ledger):
    assert intake.take(NOTHING, NOW) == []
    assert ledger.totals() == Counts()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", Rejection.SHORT),
        (datagram(0, b"")[:-1], Rejection.SHORT),
        (b"\x00" * 40, Rejection.MAGIC),
        (datagram(0) + b"\xbc", Rejection.LENGTH),
        (datagram(0)[:-1], Rejection.LENGTH),
        (datagram(0).ljust(SLOT_SIZE), Rejection.TRUNCATED),
    ],
)
def test_what_is_not_a_readout_is_rejected_with_its_reason(intake, ledger, bad, reason):
    (group,) = intake.take(drain(datagram(0), bad, datagram(2)), NOW)
    assert group.readout_ids == [0, 2]
    ledger.tick(LATER)
    assert ledger.rejected == {reason: 1}
    assert ledger.totals().rejected == {reason: 1}  # the missing readout 1


def test_a_drain_of_rejects_has_no_groups(intake, ledger):
    assert intake.take(drain(b"", b"junk", sources=[DAQ, OTHER]), NOW) == []
    assert ledger.rejected.total() == 2


def test_kernel_drops_belong_to_the_gap_before_the_datagram_that_tells_of_them(intake, ledger):
    sent = [datagram(i) for i in (0, 1, 4, 7)]
    intake.take(drain(*sent, drops=[0, 0, 2, 2]), NOW)
    ledger.tick(LATER)
    assert [(gap.first_id, gap.in_kernel, gap.before_socket) for _, gap in ledger.gaps()] == [
        (2, 2, 0),
        (5, 0, 2),
    ]
    assert ledger.kernel_dropped == 2


@pytest.mark.parametrize("first_count", [0, 1, U32 - 3, U32 - 1, U32 // 2])
def test_the_kernels_count_may_begin_anywhere_and_wrap(intake, ledger, first_count):
    for i in range(5):
        intake.take(drain(datagram(3 * i), drops=[(first_count + 2 * i) % U32]), NOW)
    ledger.tick(LATER)
    assert ledger.kernel_dropped == 8
    assert ledger.totals().in_kernel == 8


def test_before_the_first_drop_a_socket_tells_no_count(intake, ledger):
    intake.take(NOTHING, NOW)
    intake.take(drain(datagram(0)), NOW)
    intake.take(drain(datagram(3), drops=[2]), NOW)
    assert ledger.kernel_dropped == 2


# Any traffic

sources = st.sampled_from([DAQ, OTHER, Source("::1", 5)])
ids = st.integers(0, U32 - 1)
valid = st.builds(
    lambda i, stamp, data: HEADER.pack(MAGIC, i, stamp, len(data)) + data,
    ids | st.integers(0, 20),
    st.integers(0, (1 << 64) - 1),
    st.binary(max_size=8),
)
damaged = st.builds(
    lambda whole, at, bit: bytes(b ^ (1 << bit) * (i == at) for i, b in enumerate(whole)),
    valid,
    st.integers(0, 18),
    st.integers(0, 7),
)
anything = st.one_of(valid, damaged, st.binary(max_size=40), st.binary(max_size=30).map(MAGIC.__add__))
drains = st.lists(st.tuples(anything, sources, st.integers(0, U32 - 1)), max_size=20)


def is_readout(data):
    """Say what formats.md says of a datagram, in other words than the code."""
    return (
        data.startswith(b"\xfe\xdc\xba")
        and len(data) >= 19
        and int.from_bytes(data[15:19], "little") == len(data[19:])
    )


@given(st.lists(st.tuples(drains, st.booleans()), max_size=4))
def test_any_datagrams_are_taken_or_rejected_and_valid_ones_come_out_untouched(script):
    ledger = StreamLedger()
    intake = Intake(ledger)
    received = rejected = 0
    for seconds, (batch, has_drops) in enumerate(script):
        datagrams, origins, drops = zip(*batch, strict=True) if batch else ((), (), ())
        now = Moment(float(seconds), 10**18)
        groups = intake.take(drain(*datagrams, sources=origins, drops=drops if has_drops else ()), now)
        ledger.tick(now)
        for source in {*origins}:
            expected = [d for d, origin, _ in batch if origin == source and is_readout(d)]
            found = [data for group in groups if group.source == source for data in datagrams_of(group)]
            assert found == expected
        assert len({group.source for group in groups}) == len(groups)
        for group in groups:
            heads = [HEADER.unpack_from(data) for data in datagrams_of(group)]
            assert group.readout_ids == [head[1] for head in heads]
            assert group.timestamps == [head[2] for head in heads]
        received += sum(map(is_readout, datagrams))
        rejected += len(datagrams) - sum(map(is_readout, datagrams))
        assert ledger.totals().received == received
        assert ledger.rejected.total() == rejected
    assert set(ledger.rejected) <= set(Rejection)
    counts = ledger.totals()
    assert 0 <= counts.delivered <= counts.received


quiet = st.lists(st.tuples(valid, st.just(DAQ), st.just(5)), min_size=1, max_size=20)


def test_a_drop_in_the_middle_is_seen_by_columns_too(intake, ledger):
    intake.take(by_columns(drain(datagram(0))), NOW)
    intake.take(by_columns(drain(datagram(1), datagram(3), drops=[1, 0])), NOW)
    assert ledger.kernel_dropped == 1


def parts(groups):
    """What is in groups, whichever kind of sequence it stands in."""
    return [
        (g.source, g.payload, list(g.ends), list(g.readout_ids), list(g.timestamps), list(g.runs))
        for g in groups
    ]


def account(ledger):
    return (
        ledger.sources(),
        ledger.totals(),
        ledger.rejected,
        ledger.kernel_dropped,
        ledger.at_most,
        ledger.gaps(),
        ledger.runs(),
    )


@given(st.lists(st.tuples(drains.filter(bool) | quiet, st.booleans()), max_size=6))
def test_by_columns_or_one_by_one_is_the_same(script):
    ledgers = StreamLedger(), StreamLedger()
    quick, plain = map(Intake, ledgers)
    for seconds, (batch, has_drops) in enumerate(script):
        datagrams, origins, drops = zip(*batch, strict=True)
        one = drain(*datagrams, sources=origins, drops=drops if has_drops else ())
        now = Moment(float(seconds), 10**18)
        assert parts(quick.take(by_columns(one), now)) == parts(plain.take(one, now))
        for ledger in ledgers:
            ledger.tick(now)
        assert account(ledgers[0]) == account(ledgers[1])


# A DAQ that counts on, as a rule, in drains of one size; sometimes it skips, goes back or begins anew.
steps = st.sampled_from([1, 1, 1, 1, 1, 1, 2, 70, -1, 0])
runs_of_drains = st.lists(
    st.tuples(
        st.integers(1, 80), steps, st.sampled_from([DAQ, DAQ, DAQ, OTHER]), st.booleans(), st.booleans()
    ),
    max_size=30,
)


@given(runs_of_drains, st.sampled_from([0, 250, U32 - 100]))
def test_told_at_once_or_later_is_the_same(script, first_id):
    """Drains that wait to be told are told as one where they count on; nobody can tell afterwards."""
    ledgers = StreamLedger(), StreamLedger()
    late, prompt = map(Intake, ledgers)
    next_id, told, expected = first_id, [], []
    for n, (count, step, source, tell, junk) in enumerate(script):
        ids = [(next_id + i) % U32 for i in range(count)]
        next_id = ids[-1] + step
        sent = [HEADER.pack(MAGIC, i % U32, 10**18 + 1000 * n + k, 1) + b"\xbc" for k, i in enumerate(ids)]
        sent += [b"junk"] * (junk and n % 5 == 0)
        one, now = by_columns(drain(*sent, sources=[source] * len(sent))), Moment(n * 0.3, 10**18 + n)
        assert [g.payload for g in late.sort(one, now)] == [g.payload for g in prompt.sort(one, now)]
        expected += prompt.tell()
        if tell or n == len(script) - 1:
            told += late.tell()
            assert account(ledgers[0]) == account(ledgers[1])
            assert {note.source: note for note in told} == {note.source: note for note in expected}


def test_a_run_that_begins_in_a_quiet_drain_is_told(intake):
    intake.take(drain(HEADER.pack(MAGIC, 100, 10**18, 0)), NOW)
    anew = [HEADER.pack(MAGIC, i, 2 * 10**18 + i, 0) for i in range(3)]
    (group,) = intake.take(by_columns(drain(*anew)), NOW)
    assert [(start.position, start.run.number) for start in group.runs] == [(0, 2)]


def drops_at(*counts):
    """One readout a drain, each with the kernel's count at its arrival (None: none was told)."""
    for readout_id, count in enumerate(counts):
        yield by_columns(drain(datagram(readout_id), drops=() if count is None else (count,)))


@pytest.mark.parametrize(
    ("before", "at_the_end", "after", "dropped"),
    [
        ([None, 3, 3], 3, [None, None], 3),
        ([None, 3, 3], 5, [None, None], 5),  # two more after the last datagram
        ([None, 3], 3, [None, 2, 2], 5),
        ([None], 0, [None], 0),
        ([7, 7], 7, [None], 0),  # a socket that was inherited: 7 are of the process before
        ([], 7, [None, 1], 1),
        ([U32 - 2, 1], 1, [2], 5),  # the counter wraps
    ],
)
def test_another_socket_counts_its_drops_from_0(intake, ledger, before, at_the_end, after, dropped):
    for drained in drops_at(*before):
        intake.take(drained, NOW)
    intake.replace_socket(at_the_end)
    for drained in drops_at(*after):
        intake.take(drained, NOW)
    assert ledger.kernel_dropped == dropped


# A few readouts that come by themselves: taken in now, counted later.


def one(intake, data, source=DAQ, drops=(), now=NOW):
    return intake.take_one((data, source, drops), *now)


def test_one_by_one_they_are_counted_later_and_all_the_same(intake, ledger):
    intake.take(drain(datagram(0)), NOW)
    for i in range(1, 301):
        found = one(intake, datagram(i, b"\xbc" * (i % 5)), now=Moment(i / 200, i))
        assert found == (i, 10**18 + i)
    assert ledger.totals().received == 1, "not before somebody asks"
    told = intake.tell()
    assert told[-1] == (DAQ, 10**18 + 300, Moment(1.5, 300))
    assert (ledger.totals().received, ledger.totals().lost, ledger.totals().runs) == (301, 0, 1)
    assert intake.tell() == []


@pytest.mark.parametrize("form", [lambda drained: drained, by_columns])
def test_so_are_a_few_together(intake, ledger, form):
    intake.take(form(drain(datagram(0))), NOW)
    for sizes in ((1, 1, 1), (1, 2, 3)):
        first = ledger.totals().received
        sent = [datagram(first + i, b"\xbc" * size) for i, size in enumerate(sizes)]
        assert intake.take_few(form(drain(*sent)), *NOW)
        assert ledger.totals().received == first
        intake.tell()
        assert ledger.totals().received == first + 3
    assert ledger.totals().lost == 0


def test_nothing_is_taken_so_before_the_drop_count_is_known_nor_where_a_drop_is_new(intake):
    assert one(intake, datagram(0)) is None
    intake.take(drain(datagram(0), drops=[7]), NOW)
    assert one(intake, datagram(1)) is None
    assert one(intake, datagram(1), drops=[8]) is None
    assert not intake.take_few(drain(datagram(1), datagram(2), drops=[7, 8]), *NOW)
    assert one(intake, datagram(1), drops=[7])
    assert intake.take_few(drain(datagram(2), datagram(3), drops=[7, 7]), *NOW)


@pytest.mark.parametrize("bad", [b"", datagram(2)[:-1], datagram(2) + b"\xbc", bytes(20), datagram(2)[:10]])
def test_what_is_not_all_readouts_is_not_taken_at_all(intake, ledger, bad):
    intake.take(drain(datagram(0)), NOW)
    assert one(intake, bad) is None
    assert not intake.take_few(drain(datagram(1), bad), *NOW)
    assert not intake.take_few(by_columns(drain(bad, bad)), *NOW)
    intake.tell()
    assert ledger.totals().received == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from([DAQ, DAQ, DAQ, OTHER]),
            st.sampled_from(["few", "few", "few", "sort", "bad", "drop"]),
            st.sampled_from([0, 1, 1, 1, 1, 2, -1]),
        ),
        max_size=60,
    )
)
def test_a_few_are_counted_as_if_each_had_been_drained(script):
    """In any order with drains, rejections, drops and other sources."""
    mine, other = StreamLedger(), StreamLedger()
    fast, plain = Intake(mine), Intake(other)
    ids, dropped = {DAQ: 0, OTHER: 0}, 0
    for at, (source, how, step) in enumerate(script):
        ids[source] = max(0, ids[source] + step)
        dropped += how == "drop"
        data = datagram(ids[source])[: 10 if how == "bad" else None]
        drops, now = ([dropped] if dropped else ()), Moment(at / 200, at)
        drained = drain(data, sources=[source], drops=drops)
        if how != "few" or not one_of(fast, at, data, source, drops, drained, now):
            fast.sort(drained, now)
        plain.take(drained, now)
    fast.tell()
    for until in (NOW, LATER):
        mine.tick(until)
        other.tick(until)
        assert mine.sources() == other.sources()
        assert (mine.totals(), mine.rejected, mine.kernel_dropped) == (
            other.totals(),
            other.rejected,
            other.kernel_dropped,
        )


def one_of(intake, at, data, source, drops, drained, now):
    """Take one in either of the two short ways."""
    if at % 2:
        return intake.take_few(drained, *now)
    return one(intake, data, source, drops, now) is not None
