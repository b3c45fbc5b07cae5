"""The most recent messages of one stream, in one preallocated buffer.

Pure. A message costs a copy and about 1 us; a page of the past is a slice of the buffer, whatever the number
of messages in it, so that serving history does not hold up what is live.

=================  ==================================================================================
part               content
=================  ==================================================================================
index, 1/8         a ring of three u64 for each message: first sequence, time received, position
records, 7/8       messages back to back, as `wire` defines a page's records; none is split at the end
=================  ==================================================================================

Positions are counted on from lap to lap; modulo the size of the records they are offsets.
"""

import mmap
import struct
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from astropix_stream import wire

_ENTRY = struct.Struct("<QQQ")  # as the index holds them
_INDEX_SHARE = 8  # 1/8 of all: enough for messages of 168 bytes; of smaller ones fewer bytes are kept
_FLAGS_AT = wire.RECORD_SIZE.size + wire.FLAGS_OFFSET
_RECORD = struct.Struct(f"<I{wire.MESSAGE_HEADER.size}s")  # the size of the payload, the header
_NUMBERS = struct.Struct("<6xH8xQQ")  # of a header: count, sequence, received_ns


class HistoryPage(NamedTuple):
    """Whole messages; valid until the next `append`.

    `begin` is the first sequence asked for that is held, `end` the one after the last in the page.
    """

    begin: int
    end: int
    records: memoryview | bytes


class History:
    """Remembers messages until newer ones need their place.

    Parameters
    ----------
    size
        Bytes that it may take, index and all. They are the kernel's until they are first written.
    """

    def __init__(self, size: int) -> None:
        self._slots = size // _INDEX_SHARE // _ENTRY.size
        index_size = self._slots * _ENTRY.size
        self._capacity = size - index_size
        if self._capacity < 2 * wire.MAX_PAYLOAD:
            raise ValueError(f"a history of {size} bytes has no room for a message")
        # Not a bytearray: that one is filled with zeros at once.
        buffer = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._index = buffer[:index_size]
        index = self._index.cast("Q")
        self._sequences, self._times, self._positions = index[0::3], index[1::3], index[2::3]
        self._records = buffer[index_size:]
        self._first = self._last = 0  # messages are numbered; those from `first` up to `last` are held
        self._position = 0  # where the next record goes
        self._latest_ns = 0
        self.next = 0
        """The sequence after the newest readout."""
        self.relay_id: int | None = None
        """Who numbered them; None for the relay whose history this is."""
        self.filling = False
        """What was published before we came is still being fetched: what is not held yet is not gone."""

    @property
    def oldest(self) -> int:
        """The oldest sequence held; `next` if there is none."""
        return self._sequences[self._first % self._slots] if self._first < self._last else self.next

    def begin(self, relay_id: int | None, sequence: int) -> None:
        """Forget everything: what comes now was numbered by another relay, or is the first."""
        self._first = self._last
        self._latest_ns = 0
        self.relay_id, self.next = relay_id, sequence

    def append(self, header: bytes, payload: bytes) -> None:
        """Remember a data message; its readouts follow those of the message before."""
        count, sequence, received_ns = _NUMBERS.unpack_from(header)
        size = _RECORD.size + len(payload)
        offset = self._position % self._capacity
        if offset + size > self._capacity:  # a record is not split: go on at the beginning
            self._position += self._capacity - offset
            offset = 0
        self._make_room(self._position + size - self._capacity)
        records = self._records
        _RECORD.pack_into(records, offset, len(payload), header)
        records[offset + _FLAGS_AT] |= wire.REPLAYED
        records[offset + _RECORD.size : offset + size] = payload
        slot = self._last % self._slots
        # A clock that was set back must not upset the search.
        self._latest_ns = max(self._latest_ns, received_ns)
        _ENTRY.pack_into(self._index, slot * _ENTRY.size, sequence, self._latest_ns, self._position)
        self._position += size
        self._last += 1
        self.next = sequence + count

    def _make_room(self, until: int) -> None:
        """Forget the messages that begin before this position, and one more if the index is full."""
        first, last, slots = self._first, self._last, self._slots
        if last - first == slots:
            first += 1
        positions = self._positions
        while first < last and positions[first % slots] < until:
            first += 1
        self._first = first

    def since(self, received_ns: int) -> int:
        """Return the first sequence of the messages received at this time or later."""
        found = self._search_times(received_ns)
        return self._sequences[found % self._slots] if found < self._last else self.next

    def page(self, start: int, stop: int, limit: int = wire.MAX_PAGE) -> HistoryPage:
        """Return whole messages with the readouts from `start` up to, not including, `stop`.

        The page ends before `limit` bytes are exceeded (a single larger message is a page), and where the
        buffer does; what precedes `begin` is gone. An empty one begins and ends where the range does.
        """
        stop = max(start, min(stop, self.next))
        begin = min(max(start, self.oldest), stop)
        if begin == stop:
            return HistoryPage(stop, stop, b"")
        first = self._search_sequences(begin)
        offset = self._positions[first % self._slots]
        last = self._fit(first, offset + limit, stop)
        size = self._end_of(last - 1) - offset
        end = self._sequences[last % self._slots] if last < self._last else self.next
        offset %= self._capacity
        return HistoryPage(begin, end, self._records[offset : offset + size])

    def _fit(self, first: int, limit: int, stop: int) -> int:
        """Return the first message that does not fit into a page that begins with `first`."""
        slots, positions, sequences = self._slots, self._positions, self._sequences
        lap_end = positions[first % slots] // self._capacity * self._capacity + self._capacity
        held = range(first, self._last)
        last = first + bisect_left(held, min(limit, lap_end), key=lambda n: positions[n % slots])
        last = min(last, first + bisect_left(held, stop, key=lambda n: sequences[n % slots]))
        if last - first > 1 and self._end_of(last - 1) > limit:
            last -= 1
        return last

    def _end_of(self, message: int) -> int:
        position = self._positions[message % self._slots]
        (size,) = wire.RECORD_SIZE.unpack_from(self._records, position % self._capacity)
        return int(position + _RECORD.size + size)

    def _search_sequences(self, sequence: int) -> int:
        """Return the message that holds this sequence."""
        sequences, slots = self._sequences, self._slots
        held = range(self._first, self._last)
        return self._first + bisect_right(held, sequence, key=lambda n: sequences[n % slots]) - 1

    def _search_times(self, received_ns: int) -> int:
        times, slots = self._times, self._slots
        held = range(self._first, self._last)
        return self._first + bisect_left(held, received_ns, key=lambda n: times[n % slots])
