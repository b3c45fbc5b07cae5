"""The ring of recent messages, held against a list that keeps everything."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astropix_relay.history import History
from astropix_stream import wire
from astropix_stream.batch import Source

SIZE = 160 << 10  # records take 140 kB of it
SOURCE = Source("10.0.0.1", 5013)


class Kept(NamedTuple):
    header: wire.Header
    payload: bytes

    @property
    def end(self):
        return self.header.sequence + self.header.count


class Model:
    """What was ever appended, in a list."""

    def __init__(self, size=SIZE):
        self.history = History(size)
        self.messages = []

    def append(self, count, size, received_ns):
        sequence = self.messages[-1].end if self.messages else 0
        payload = bytes([sequence % 256]) * size
        header = wire.Header(0, count, 1, sequence, received_ns, SOURCE)
        self.history.append(wire.pack_header(header), payload)
        self.messages.append(Kept(header, payload))

    def held(self):
        return [message for message in self.messages if message.header.sequence >= self.history.oldest]

    def read(self, start, stop, limit=wire.MAX_PAGE):
        """Everything from start to stop, page by page; what comes before `begin` of a page is gone."""
        read, at = [], start
        while at < stop:
            page = self.history.page(at, stop, limit)
            messages = list(wire.walk_page(bytes(page.records)))
            assert len(page.records) <= limit or len(messages) == 1
            assert page.end > at
            if messages:
                assert messages[0][0].sequence <= page.begin < page.end
                assert messages[-1][0].sequence + messages[-1][0].count == page.end
            else:
                assert page.begin == page.end == stop
            read += messages
            at = page.end
        return read


appended = st.lists(
    st.tuples(
        st.integers(1, 400), st.sampled_from([0, 30, 500, 60_000]) | st.integers(0, 65536), st.integers(0, 99)
    ),
    max_size=40,
)


@settings(deadline=None)
@given(appended, st.data())
def test_the_newest_are_held_and_any_range_of_them_is_read(items, data):
    model = Model()
    for item in items:
        model.append(*item)
    history, held = model.history, model.held()
    assert history.next == sum(count for count, _, _ in items)
    assert held or not items
    start = data.draw(st.integers(0, history.next))
    stop = data.draw(st.integers(start, history.next))
    expected = [m for m in held if m.end > start and m.header.sequence < stop and start < stop]
    read = model.read(start, stop, data.draw(st.sampled_from([1, 1000, 70_000, wire.MAX_PAGE])))
    assert [(h._replace(flags=0), payload) for h, payload in read] == [tuple(m) for m in expected]
    assert all(header.flags == wire.REPLAYED for header, _ in read)


@settings(deadline=None)
@given(appended, st.integers(0, 100))
def test_since_misses_nothing_even_where_the_clock_was_set_back(items, time):
    model = Model()
    for item in items:
        model.append(*item)
    since = model.history.since(time)
    missed = [m for m in model.held() if m.header.sequence < since and m.header.received_ns >= time]
    assert not missed
    after = [m for m in model.messages if m.header.sequence == since]
    earlier = [m.header.received_ns for m in model.messages if m.header.sequence <= since]
    assert since == model.history.next or (after and max(earlier) >= time)


def test_nearly_all_of_the_size_is_used():
    model = Model(1 << 20)
    for _ in range(5000):
        model.append(1, 500, 1)
    assert sum(60 + len(m.payload) for m in model.held()) > 0.87 * (1 << 20)


def test_messages_too_small_for_the_index_push_each_other_out():
    model = Model()
    for _ in range(5000):
        model.append(1, 20, 1)
    assert len(model.held()) == SIZE // 8 // 24
    assert [m.payload for m in model.held()] == [p for _, p in model.read(0, 5000)]


def test_an_empty_history_has_empty_pages():
    history = History(SIZE)
    assert (history.oldest, history.next, history.since(5)) == (0, 0, 0)
    assert tuple(history.page(0, wire.WITHOUT_END)) == (0, 0, b"")
    assert tuple(history.page(7, 9)) == (7, 7, b"")


def test_a_range_that_is_gone_gives_an_empty_page_at_its_end():
    model = Model()
    for _ in range(10):
        model.append(1, 60_000, 1)
    oldest = model.history.oldest
    assert oldest > 3
    assert tuple(model.history.page(0, 3)) == (3, 3, b"")
    page = model.history.page(0, 10)
    assert page.begin == oldest


def test_a_page_ends_before_its_limit_but_holds_a_message_at_least():
    model = Model()
    for size in (500, 600, 5000, 100):
        model.append(1, size, 1)
    sizes = [
        [len(p) for _, p in wire.walk_page(bytes(model.history.page(at, 4, 1500).records))] for at in range(4)
    ]
    assert sizes == [[500, 600], [600], [5000], [100]]


def test_a_size_without_room_for_a_message_is_refused():
    with pytest.raises(ValueError, match="no room"):
        History(100_000)
