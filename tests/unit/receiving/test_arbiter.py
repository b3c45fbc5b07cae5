"""Of each readout the first copy is delivered, whatever the paths do to it."""

import random
from collections import Counter, deque
from itertools import accumulate
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import Batch, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.counting.stream import MAX_SOURCES, StreamLedger
from astropix_stream.fmt import HEADER, MAGIC
from astropix_stream.receiving import arbiter as arbiter_module
from astropix_stream.receiving import awaited
from astropix_stream.receiving.arbiter import PATIENCE_S, WAIT_S, Arbiter

DAQ = Source("10.0.0.1", 40000)
SECOND = 10**9
EPOCH_NS = 1_700_000_000 * SECOND


class Readout(NamedTuple):
    readout_id: int
    timestamp: int


def at(seconds):
    return Moment(float(seconds), int(seconds * 1e9))


def batch(readouts, source=DAQ, recovered=False):
    """A batch whose datagrams are 8 bytes with the timestamp."""
    payload = b"".join(readout.timestamp.to_bytes(8, "little") for readout in readouts)
    ids, timestamps = [r.readout_id for r in readouts], [r.timestamp for r in readouts]
    return Batch(source, 0, payload, ids, timestamps, list(range(8, len(payload) + 1, 8)), recovered)


def run(*ids, start=0):
    """Readouts of one run; each timestamp is larger than that of the one before by at least 1."""
    return [Readout(i, start + i) for i in ids]


class Merged:
    """An arbiter and what it delivered."""

    def __init__(self, paths=2, **options):
        self.arbiter = Arbiter(paths, **options)
        self.delivered = []
        self.ledgers = [StreamLedger(**options) for _ in range(paths)]

    def note(self, batches):
        for each in batches:
            stamps = [int.from_bytes(datagram, "little") for datagram in each.datagrams()]
            assert stamps == list(each.timestamps)
            self.delivered += map(Readout, each.readout_ids, each.timestamps)

    def take(self, path, readouts, seconds=0.0, **options):
        self.note(self.arbiter.take(path, batch(readouts, **options), at(seconds)))

    def bring(self, path, readouts, seconds):
        """Take what a receiver hands out, which tells duplicates."""
        whole = batch(readouts)
        self.ledgers[path].note(whole, at(seconds))
        self.note(self.arbiter.take(path, whole, at(seconds)))

    def tick(self, seconds):
        self.note(self.arbiter.tick(at(seconds)))

    @property
    def ids(self):
        return [readout.readout_id for readout in self.delivered]


def test_the_first_copy_is_delivered_and_later_ones_are_counted():
    merged = Merged()
    merged.take(0, run(0, 1, 2))
    merged.take(1, run(0, 1, 2, 3, 4))
    merged.take(0, run(3))
    merged.take(0, run(4, 5))
    assert merged.ids == [0, 1, 2, 3, 4, 5]
    assert merged.arbiter.first == [4, 2]
    assert merged.arbiter.later == [2, 3]


def test_a_gap_of_one_path_is_filled_by_the_other_in_order():
    merged = Merged()
    merged.take(0, run(0, 1))
    merged.take(1, run(0))
    merged.take(0, run(4, 5))
    merged.take(0, run(6), 0.1)
    assert merged.ids == [0, 1]
    merged.take(1, run(1, 2, 3, 4), 0.1)
    assert merged.ids == [0, 1, 2, 3, 4, 5, 6]
    merged.tick(100)
    assert merged.arbiter.lost == 0


def test_a_gap_is_waited_for_only_a_moment():
    merged = Merged()
    merged.take(0, run(0, 1))
    merged.take(1, run(0))
    merged.take(0, run(4, 5))
    assert merged.arbiter.due_s() == WAIT_S
    merged.tick(WAIT_S - 0.01)
    assert merged.ids == [0, 1]
    merged.tick(WAIT_S)
    assert merged.ids == [0, 1, 4, 5]
    merged.take(1, run(1, 2, 3), 30)
    assert sorted(merged.ids) == [0, 1, 2, 3, 4, 5]


def test_a_gap_that_all_paths_have_passed_is_not_waited_for():
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    merged.take(0, run(3))
    assert merged.ids == [0]
    merged.take(1, run(3))
    assert merged.ids == [0, 3]
    merged.tick(0.5)
    assert merged.arbiter.lost == 0
    merged.tick(1.5)
    assert merged.arbiter.lost == 2
    assert [(loss.place, loss.count) for loss in merged.arbiter.losses] == [(Place.EVERY_PATH, 2)]


def test_a_single_path_waits_for_nobody():
    merged = Merged()
    merged.take(0, run(0))
    merged.take(0, run(5))
    assert merged.ids == [0, 5]
    merged.tick(1)
    assert merged.arbiter.lost == 4


def test_a_path_that_is_silent_may_come_back_and_fill_what_the_other_lost():
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    merged.take(0, run(*range(1, 10), *range(15, 100)), 1)
    merged.tick(60)
    merged.take(1, run(*range(1, 100)), 60, recovered=True)
    assert sorted(merged.ids) == list(range(100))
    merged.tick(100)
    assert merged.arbiter.lost == 0


def test_what_a_dead_path_did_not_bring_in_2_minutes_is_lost_and_delivered_if_it_comes_later():
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    merged.take(0, run(1, 3))
    merged.tick(PATIENCE_S - 1)
    assert merged.arbiter.lost == 0
    merged.tick(PATIENCE_S)
    assert merged.arbiter.lost == 1
    merged.take(1, run(1, 2, 3), PATIENCE_S)
    assert merged.ids == [0, 1, 3, 2]  # late, but nothing that a path brings is withheld
    assert merged.arbiter.lost == 1  # a counter never falls


def test_a_new_run_is_no_duplicate_of_the_old_one_however_far_a_path_is_behind():
    merged = Merged()
    first, second = run(*range(100)), run(*range(50), start=SECOND)
    merged.take(0, first)
    merged.take(1, first[:10])
    merged.take(0, second, 1)
    merged.take(1, [*first[10:], *second], 1)
    assert merged.delivered == [*first, *second]
    merged.tick(200)
    assert merged.arbiter.lost == 0


def test_what_is_missing_at_the_beginning_of_a_run_is_lost_or_filled():
    merged = Merged()
    merged.take(0, run(0, 1))
    merged.take(1, run(0, 1))
    merged.take(0, run(3, 4, start=SECOND))
    assert merged.ids == [0, 1]
    merged.take(1, run(1, 2, 3, 4, start=SECOND))
    assert merged.ids == [0, 1, 1, 2, 3, 4]
    merged.tick(0.5)
    merged.tick(1.5)
    assert merged.arbiter.lost == 1
    merged.take(1, run(0, start=SECOND), 2)
    merged.tick(2 + WAIT_S)
    assert merged.ids == [0, 1, 1, 2, 3, 4, 0]


def test_sources_have_lines_of_their_own():
    merged = Merged()
    other = Source("10.0.0.2", 40000)
    merged.take(0, run(0, 1))
    merged.take(0, run(0, 1), source=other)
    merged.take(1, run(0, 1), source=other)
    assert merged.ids == [0, 1, 0, 1]
    assert merged.arbiter.later == [0, 2]


def test_a_clock_that_is_set_back_loses_and_doubles_nothing():
    merged = Merged()
    before, after = run(*range(100), start=4 * SECOND), run(*range(100, 200))
    merged.take(0, before)
    merged.take(1, before[:50])
    merged.take(0, after)
    merged.take(1, [*before[50:], *after])
    merged.take(1, run(*range(200, 210)))
    merged.take(0, run(*range(200, 211)))
    assert merged.ids == list(range(211))
    merged.tick(10)
    assert merged.arbiter.lost == 0


def test_a_forged_readout_on_one_path_harms_nothing():
    merged = Merged()
    merged.take(0, run(*range(10)))
    merged.take(1, run(*range(10)))
    forged = Readout(5000, 4 * SECOND)
    merged.take(0, [forged])
    for i in range(10, 2000, 10):
        readouts = run(*range(i, i + 10))
        merged.take(0, readouts, i)
        merged.take(1, readouts, i)
    merged.delivered.remove(forged)
    assert merged.ids == list(range(2000))
    assert merged.arbiter.lost == 0


def test_stride():
    merged = Merged(stride=10)
    merged.take(0, run(0, 10, 20))
    merged.take(1, run(0, 10, 20, 30))
    merged.take(0, run(60))
    merged.take(1, run(60))
    merged.tick(0.5)
    merged.tick(1.5)
    assert merged.ids == [0, 10, 20, 30, 60]
    assert merged.arbiter.lost == 2


def test_what_a_path_brings_from_before_the_others_began_is_delivered():
    merged = Merged()
    merged.take(0, run(100, 101))
    merged.take(1, run(98, 99, 100))
    assert sorted(merged.ids) == [98, 99, 100, 101]
    merged = Merged()
    merged.take(0, run(100, 101))
    merged.take(1, run(*range(102)), recovered=True)
    assert sorted(merged.ids) == list(range(102))
    merged.tick(200)
    assert merged.arbiter.lost == 0


def test_a_clock_set_back_into_the_run_before():
    """3000 of 10 000 vanished with 'nothing lost', since they were within a range of timestamps."""
    first, second = run(*range(4000), start=0), run(*range(6000), start=1000)
    merged = Merged()
    merged.take(0, [*first, *second])
    merged.take(1, [*first, *second], 0.1)
    merged.tick(5)
    assert len(merged.ids) == 10_000
    assert merged.arbiter.later == [0, 10_000]
    assert merged.arbiter.lost == 0
    assert merged.arbiter.runs == 2


@pytest.mark.parametrize("size", [1, 7, 258, 516])
@pytest.mark.parametrize("behind", [0, 1, 100, 258, 300])
def test_a_recording_whose_timestamps_are_all_0_played_twice(size, behind):
    """Of 516 were 258 handed out: the n-th of one path is the n-th of the other, not the first."""
    sent = [Readout(i, 0) for i in range(258)] * 2
    merged, came = Merged(), [0, 0]
    while min(came) < len(sent):
        for path in (0, 1):
            begin = came[path]
            until = min(begin + size, len(sent), len(sent) if path == 0 else max(0, came[0] - behind))
            if came[0] == len(sent):
                until = min(begin + size, len(sent))
            if until > begin:
                merged.take(path, sent[begin:until])
                came[path] = until
    merged.tick(WAIT_S)
    assert merged.delivered == sent
    assert merged.arbiter.first == [516, 0]


def test_what_a_path_calls_a_duplicate_is_no_second_readout():
    merged = Merged()
    doubled = batch(run(0, 1, 1, 2))
    doubled.duplicates = bytes([0, 0, 1, 0])
    merged.note(merged.arbiter.take(0, doubled, at(0)))
    merged.take(1, run(0, 1, 2))
    assert merged.ids == [0, 1, 2]
    assert merged.arbiter.later == [1, 3]


def test_a_batch_that_is_held_is_not_overtaken_by_a_later_one():
    merged = Merged()
    merged.take(0, run(0, 1))
    merged.take(1, run(0))
    merged.take(0, run(4))  # held: the other path may bring 2 and 3
    merged.take(1, run(1, 2), 0.05)
    merged.take(0, run(5), 0.1)
    assert merged.ids == [0, 1, 2]
    merged.take(0, run(6), WAIT_S)
    assert merged.ids == [0, 1, 2, 4, 5, 6]


def test_a_run_that_begins_is_told_once_and_where():
    merged = Merged()
    starts = []
    for path in (0, 1):
        for readouts in (run(0, 1, 2), run(0, 1, start=SECOND)):
            for out in merged.arbiter.take(path, batch(readouts), at(0)):
                starts += [(start.position, start.before, start.run.number) for start in out.runs]
    assert starts == [(0, 0, 1), (0, 0, 2)]


def test_memory_is_bounded_by_gaps_sources_and_bytes(monkeypatch):
    monkeypatch.setattr(arbiter_module, "MAX_OPEN_GAPS", 8)
    merged = Merged()
    merged.take(1, run(0))
    for i in range(0, 1000, 2):
        merged.take(0, run(i), 0.001 * i)
    merged.tick(1.0)
    (line,) = merged.arbiter._lines.values()
    assert len(line.sequence.open_gaps()) <= 8
    for i in range(2 * MAX_SOURCES):
        merged.take(0, run(0, 3), i, source=Source("10.0.0.1", i))
    assert len(merged.arbiter._lines) == MAX_SOURCES
    assert merged.arbiter.runs == 2 * MAX_SOURCES + 1
    merged.tick(1000)
    assert merged.arbiter.lost == 499 + 2 * 2 * MAX_SOURCES
    assert len(merged.arbiter.losses) == 100
    monkeypatch.setattr(arbiter_module, "MAX_HELD_BYTES", 2000)
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    merged.take(0, run(*range(2, 200)))
    assert merged.ids == [0]
    merged.take(0, run(*range(200, 400)))
    assert merged.ids == [0, *range(2, 400)]


def test_what_a_dead_path_is_behind_is_kept_in_little_memory_and_known_again(monkeypatch):
    monkeypatch.setattr(awaited, "MAX_NEWEST", 64)
    monkeypatch.setattr(awaited, "CHUNK", 32)
    monkeypatch.setattr(awaited, "MAX_AWAITED", 320)
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    for i in range(1, 300):
        merged.take(0, run(i), i)
    (line,) = merged.arbiter._lines.values()
    assert len(line._awaited[1]._newest) <= 64
    merged.take(1, [one for one in run(*range(1, 300)) if one.readout_id % 7], 300, recovered=True)
    assert merged.ids == list(range(300))
    for i in range(300, 2000):
        merged.take(0, run(i), i)
    assert len(line._awaited[1]._older) * 32 <= 320
    assert merged.ids == list(range(2000))


def test_what_a_path_has_passed_is_awaited_for_two_minutes():
    merged = Merged()
    for i in range(1000):
        merged.take(0, run(i), i)
        if i % 2:
            merged.take(1, run(i), i)
    (line,) = merged.arbiter._lines.values()
    assert len(line._awaited[1]._newest) < PATIENCE_S


def test_a_path_may_recover_more_than_two_minutes():
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    for i in range(1, 1000):
        merged.take(0, run(i), i)
    merged.take(1, run(*range(1, 1001)), 1000, recovered=True)
    assert merged.ids == list(range(1001))


class Path:
    """A way from the DAQ that loses, doubles, swaps, is late and comes back; it never goes far back."""

    def __init__(self):
        self.queue = deque()
        self.lost = set()


class Faults:
    """Two paths under any faults, and what must come out in the end."""

    def __init__(self, draw):
        self.draw = draw
        self.paths = [Path(), Path()]
        self.merged = Merged()
        self.sent = []
        self.doubled = set()
        self.now = 0.0
        self.next_id, self.clock = 0, 0

    def step(self):
        getattr(self, self.draw(st.sampled_from(ACTIONS)))()

    def send(self):
        for _ in range(self.draw(st.integers(1, 6))):
            self.clock += self.draw(st.integers(1, 3))
            readout = Readout(self.next_id, self.clock)
            self.next_id += 1
            self.sent.append(readout)
            for path in self.paths:
                path.queue.append(readout)

    def lose(self):
        path = self.draw(st.sampled_from(self.paths))
        for _ in range(self.draw(st.integers(1, 5))):
            if path.queue:
                path.lost.add(path.queue.popleft())

    def double(self):
        path = self.draw(st.sampled_from(self.paths))
        if path.queue:
            path.queue.appendleft(path.queue[0])
            self.doubled.add(path.queue[0])

    def swap(self):
        """Two readouts of one run change places on the way; not for as long as a gap stays open."""
        number = self.draw(st.integers(0, 1))
        queue = self.paths[number].queue
        if queue and queue[0] in self.doubled:  # of the first one of a run, later, nobody knows what it is
            return
        if len(queue) > 1 and 0 < queue[1].timestamp - queue[0].timestamp < SECOND // 2:
            first, second = queue.popleft(), queue.popleft()
            self.merged.bring(number, [second, first], self.now)

    def deliver(self):
        number = self.draw(st.integers(0, 1))
        queue = self.paths[number].queue
        count = self.draw(st.integers(1, 12))
        taken = [queue.popleft() for _ in range(min(count, len(queue)))]
        if taken:
            self.merged.bring(number, taken, self.now)

    def wait(self):
        self.now += self.draw(st.sampled_from([0.05, 0.3, 0.9]))
        self.merged.tick(self.now)

    def new_run(self):
        self.clock += SECOND
        self.next_id = 0

    def settle(self):
        for number, path in enumerate(self.paths):
            while path.queue:
                self.merged.bring(number, [path.queue.popleft()], self.now)
        self.merged.tick(self.now + PATIENCE_S + 10)


ACTIONS = ["send"] * 4 + ["deliver"] * 5 + ["lose", "double", "swap", "wait", "new_run"]


@given(st.data())
def test_nothing_that_a_path_brings_is_missing_or_doubled(data):
    faults = Faults(data.draw)
    faults.send()
    for number in (0, 1):  # both are there from the beginning
        faults.merged.bring(number, [faults.paths[number].queue.popleft()], 0.0)
    for _ in range(data.draw(st.integers(1, 60))):
        faults.step()
    faults.settle()
    lost = faults.paths[0].lost & faults.paths[1].lost
    assert len(set(faults.merged.delivered)) == len(faults.merged.delivered)
    late = lost & set(faults.merged.delivered)  # lost by a path after it had doubled it
    assert set(faults.merged.delivered) == set(faults.sent) - (lost - late)
    arbiter = faults.merged.arbiter
    assert sum(arbiter.first) == len(faults.merged.delivered)


@given(st.data())
def test_what_no_path_brings_is_counted_exactly_and_the_rest_is_in_order(data):
    """Of one run, by paths in order: what is missing between two that were brought is lost, once."""
    count = data.draw(st.integers(2, 60))
    brought = [data.draw(st.sets(st.integers(0, count - 1), min_size=1)) | {0} for _ in range(2)]
    merged = Merged()
    merged.take(0, run(0))
    merged.take(1, run(0))
    queues = [deque(sorted(ids - {0})) for ids in brought]
    while any(queues):
        number = data.draw(st.integers(0, 1))
        size = data.draw(st.integers(1, 10))
        ids = [queues[number].popleft() for _ in range(min(size, len(queues[number])))]
        if ids:
            merged.take(number, run(*ids))
    merged.tick(PATIENCE_S)
    merged.tick(PATIENCE_S + 1)
    union = brought[0] | brought[1]
    assert merged.ids == sorted(union)
    assert merged.arbiter.lost == max(union) + 1 - len(union)


def test_lost_tail_is_the_paths_business():
    merged = Merged()
    merged.take(0, run(0, 1))
    merged.tick(1000)
    assert merged.arbiter.lost == 0


@pytest.mark.parametrize("size", [1, 50])
def test_a_batch_costs_little_while_all_is_in_order(size):
    """No time is asserted: what is, is that no bytes are copied and nothing is remembered."""
    merged = Merged()
    for i in range(0, 1000, size):
        one = batch(run(*range(i, i + size)))
        (out,) = merged.arbiter.take(0, one, at(i))
        assert out.payload is one.payload
        assert merged.arbiter.take(1, one, at(i)) == []
    (line,) = merged.arbiter._lines.values()
    assert not line.sequence.open_gaps()
    assert not any(line._awaited)


class Sent(NamedTuple):
    """What a DAQ sent, and what each path brings of it: duplicates as None, in the order of arrival."""

    readouts: list[tuple[int, int, bytes]]
    brought: list[list[tuple[bool, int]]]


@st.composite
def streams(draw, *, again):
    """Runs by a DAQ whose clock is set between them; or recordings, played again byte for byte."""
    readouts, stamp, latest = [], EPOCH_NS, []
    for n in range(draw(st.integers(1, 4))):
        length = draw(
            st.sampled_from([2, 3, 20, 63, 64, 65, 150] if again else [1, 2, 3, 20, 63, 64, 65, 150])
        )
        step = draw(st.sampled_from([0, 10_000_000]))
        if not (again and latest and draw(st.booleans())):
            data = b"" if again else bytes([n])
            latest = [(i, stamp + i * step if step else 0, data) for i in range(length)]
        readouts += latest
        stamp += length * step + draw(
            st.sampled_from([0, SECOND, -SECOND, -(length // 2) * step, -3600 * SECOND])
        )
    brought = []
    for _ in range(2):
        lost = (
            set()
            if again
            else draw(st.sets(st.integers(1, len(readouts) - 1), max_size=20))
            if len(readouts) > 1
            else set()
        )
        path = [(False, i) for i in range(len(readouts)) if i not in lost]
        if not again:
            for i in sorted(draw(st.sets(st.integers(0, len(path) - 1), max_size=5)), reverse=True):
                path.insert(i + 1, (True, path[i][1]))
            for i in draw(st.sets(st.integers(0, max(0, len(path) - 2)), max_size=5)):
                ids = [readouts[path[k][1]][0] for k in (i, i + 1)] if i + 1 < len(path) else [0, 0]
                if 0 < ids[0] < ids[1] and not path[i][0] and not path[i + 1][0]:
                    path[i], path[i + 1] = path[i + 1], path[i]
        brought.append(path)
    return Sent(readouts, brought)


def interleave(draw, sent):
    """Let both paths bring what they have, in any interleaving; return the datagrams delivered."""
    arbiter, ledgers, came, now_s, out = Arbiter(2), [StreamLedger(), StreamLedger()], [0, 0], 0.0, []
    leading = draw(st.sampled_from([0.5, 0.1, 0.9]))
    rng = draw(st.randoms(use_true_random=False))
    while any(came[path] < len(sent.brought[path]) for path in (0, 1)):
        path = int(rng.random() < leading)
        path = path if came[path] < len(sent.brought[path]) else 1 - path
        count = rng.choice([1, 1, 3, 10, 50])
        part = [sent.readouts[i] for _, i in sent.brought[path][came[path] : came[path] + count]]
        came[path] += len(part)
        raw = [packed(one) for one in part]
        ids, stamps = [one[0] for one in part], [one[1] for one in part]
        whole = Batch(DAQ, 0, b"".join(raw), ids, stamps, [*accumulate(map(len, raw))])
        ledgers[path].note(whole, at(now_s))
        out += [data for given in arbiter.take(path, whole, at(now_s)) for data in given.datagrams()]
        now_s += rng.choice([0.0, 0.01, 0.1])
        if rng.random() < 0.2:
            out += [data for given in arbiter.tick(at(now_s)) for data in given.datagrams()]
    out += [data for given in arbiter.tick(at(now_s + PATIENCE_S)) for data in given.datagrams()]
    return arbiter, Counter(out)


def packed(readout):
    readout_id, stamp, data = readout
    return HEADER.pack(MAGIC, readout_id, stamp, len(data)) + data


@given(st.data())
def test_nothing_is_withheld_and_nothing_comes_twice_whatever_clocks_and_ids_do(data):
    """Runs in any order of time, lost, doubled and swapped readouts: the model is the n-th of each path."""
    sent = data.draw(streams(again=False))
    arbiter, delivered = interleave(data.draw, sent)
    each = [Counter(packed(sent.readouts[i]) for doubled, i in path if not doubled) for path in sent.brought]
    assert delivered == each[0] | each[1]
    assert sum(arbiter.first) == delivered.total()


@given(st.data())
def test_recordings_played_again_come_out_as_often_as_they_were_played(data):
    sent = data.draw(streams(again=True))
    arbiter, delivered = interleave(data.draw, sent)
    assert delivered == Counter(map(packed, sent.readouts))
    assert arbiter.lost == 0


def gathered(rng, sent, loss):
    """Let a relay lose some of what was sent, and publish the others every 5 ms: when, and what."""
    delay, until, messages = rng.random() * 0.003, -1.0, []
    for seconds, readout in sent:
        if rng.random() < loss:
            continue
        if seconds > until:
            until = seconds + 0.005
            messages.append((until + delay, []))
        messages[-1][1].append(readout)
    return messages


@pytest.mark.parametrize("seed", [7, 13, 19, 20])
def test_a_path_that_lost_the_end_of_a_run_begins_the_next_one_with_the_others(seed):
    """It was taken to be behind them; then only what it lost of the next run began that, with gaps."""
    rng, sent, seconds, length = random.Random(seed), [], 100.0, 300
    for clock_s in (0, -1, -3600, 7200):
        for i in range(length):
            sent.append((seconds, Readout(i, EPOCH_NS + int((seconds + clock_s) * SECOND))))
            seconds += 0.001 * (1 + rng.random() * 0.05)
        seconds += 0.2 + rng.random() * 0.1
    waiting = [deque(gathered(rng, sent, loss)) for loss in (0.05, 0.0)]
    merged, now = Merged(), 100.0
    while now < seconds + 5:
        now += 0.004 + rng.random() * 0.004
        for path, messages in enumerate(waiting):
            while messages and messages[0][0] <= now:
                merged.take(path, messages.popleft()[1], now)
        merged.tick(now)
    assert len(merged.delivered) == 4 * length
    assert (merged.arbiter.lost, merged.arbiter.runs) == (0, 4)
