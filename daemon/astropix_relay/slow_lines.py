"""What subscribers behind slow lines are sent: gathered, compressed, thinned to a bandwidth. Pure.

Each topic of `astropix_stream.links` that somebody has subscribed to is a `Line`; without one, nothing is
done. A line sends what has gathered in 0.1 s, and before each heartbeat, whose number would else show what is
still to come as lost.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from astropix_relay.core import Message
from astropix_relay.thinning import Thinning
from astropix_stream import links, wire
from astropix_stream.batch import Source
from astropix_stream.links import Link

_log = logging.getLogger(__name__)

GATHER_S = 0.1
MAX_BANDWIDTHS = 8  # different ones at once: each costs the loop a look at every readout
_MAX_COUNT = (1 << 16) - 1  # the header's count is a u16
# Around a message: ZMTP's 9 bytes a frame, and Ethernet's, IP's and TCP's headers for each packet.
_FRAMES, _PACKET, _HEADERS = 27, 1448, 66


class Line:
    """One topic: what waits to be sent there.

    Parameters
    ----------
    topic, link
        Where, and how.
    """

    def __init__(self, topic: bytes, link: Link) -> None:
        self.topic, self.link = topic, link
        self.subscribers = 0
        self.due_s = math.inf
        """When to `flush`."""
        self._thinning = Thinning(link.max_bandwidth) if link.max_bandwidth is not None else None
        self._relay_id = self._next = 0
        self._begin_next()

    def _begin_next(self) -> None:
        """Let nothing wait; what comes next stands for the numbers from here on."""
        self._begin = self._next
        self._stride = 1 if self._thinning is None else self._thinning.stride
        self._first: tuple[int, int, Source] | None = None  # flags, received_ns and source of what waits
        self._parts: list[bytes] = []
        self._count = self._bytes = 0
        self.due_s = math.inf

    def begin(self, relay_id: int, sequence: int, now_s: float) -> list[Message]:
        """Return what waits, and what tells a new subscriber with which number its readouts begin."""
        messages = self.flush(now_s)
        self._relay_id, self._next = relay_id, sequence
        self._begin_next()
        return [*messages, self._pack(now_s)]

    def take(self, header: bytes, payload: bytes, now_s: float) -> list[Message]:
        """Take a data message of the stream; return what has to go before it."""
        head = wire.parse_message_header(header)
        messages: list[Message] = []
        if head.relay_id != self._relay_id or head.sequence != self._next:
            messages = self.flush(now_s)
            self._relay_id, self._next = head.relay_id, head.sequence
            self._begin_next()
        count, part = self._keep(head, payload)
        if count and not self._fits(head, count, len(part)):
            messages += self.flush(now_s)
            count, part = self._keep(head, payload)  # the stride may be another one now
        if count:
            if self._first is None:
                self._first = (head.flags, head.received_ns, head.source)
                self.due_s = now_s + GATHER_S
            self._parts.append(part)
            self._count += count
            self._bytes += len(part)
        self._next += head.count
        return messages

    def _keep(self, head: wire.Header, payload: bytes) -> tuple[int, bytes]:
        """Return how many readouts of a message are sent, and their bytes."""
        if self._stride == 1:
            return head.count, payload
        skipped = -head.sequence % self._stride
        kept = range(skipped, head.count, self._stride)
        if not kept:
            return 0, b""
        _, _, ends = wire.walk_payload(payload, head.count)
        return len(kept), b"".join(payload[ends[i - 1] if i else 0 : ends[i]] for i in kept)

    def _fits(self, head: wire.Header, count: int, size: int) -> bool:
        """Whether readouts can share a message with those that wait."""
        if self._first is None:
            return True
        flags, _, source = self._first
        return (
            (flags, source) == (head.flags, head.source)
            and self._bytes + size <= wire.MAX_PAYLOAD
            and self._count + count <= _MAX_COUNT
        )

    def flush(self, now_s: float) -> list[Message]:
        """Return what waits, and what it stands for."""
        if self._next == self._begin:
            return []
        message = self._pack(now_s)
        self._begin_next()
        return [message]

    def _pack(self, now_s: float) -> Message:
        flags, received_ns, source = self._first or (0, 0, wire.NO_SOURCE)
        payload = b"".join(self._parts)
        if self.link.compressed and payload:
            frame = links.compress(payload)
            if len(frame) < len(payload):
                payload, flags = frame, flags | links.COMPRESSED
        header = wire.pack_header((flags, self._count, self._relay_id, self._begin, received_ns, source))
        if self._thinning is not None:
            header += links.THINNED.pack(self._stride, self._next - self._begin)
            self._thinning.spend(on_the_line(len(self.topic) + len(header) + len(payload)), now_s)
        return self.topic, header, payload

    def heartbeat(self, size: int, now_s: float) -> None:
        """Note that a heartbeat goes the same way."""
        if self._thinning is not None:
            self._thinning.spend(on_the_line(size), now_s)


def on_the_line(size: int) -> int:
    """Return the bytes that a message takes there, headers of frames and packets included."""
    return size + _FRAMES + _HEADERS * math.ceil((size + _FRAMES) / _PACKET)


class SlowLines:
    """The lines of all streams.

    Parameters
    ----------
    zstd
        Whether we can compress.
    """

    def __init__(self, *, zstd: bool) -> None:
        self.offers = frozenset({"thinned", "zstd"} if zstd else {"thinned"})
        """What subscribers may choose, as the hello tells it."""
        self._zstd = zstd
        self._lines: dict[str, dict[bytes, Line]] = {}  # by stream and topic
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def subscribed(
        self, topic: bytes, numbers: Mapping[str, tuple[int, int]], now_s: float
    ) -> Sequence[Message]:
        """Take a new subscriber; return what tells it where its readouts begin.

        Parameters
        ----------
        topic
            What it subscribed to.
        numbers
            Of each stream that is known: who numbers it, and the number that comes next.
        now_s
            Seconds of any clock that goes on evenly.
        """
        found = links.parse_topic(topic)
        if found is None or found[0] not in numbers:
            return ()
        stream, link = found
        line = self._lines.get(stream, {}).get(topic)
        if line is None:
            if not self._accepts(link):
                return ()
            line = self._lines.setdefault(stream, {})[topic] = Line(topic, link)
        line.subscribers += 1
        return line.begin(*numbers[stream], now_s)

    def _accepts(self, link: Link) -> bool:
        if link.compressed and not self._zstd:
            self._tell(
                f"a subscriber asks for compressed readouts, and there is no zstd here: {links.INSTALL}"
            )
            return False
        used = {line.link.max_bandwidth for lines in self._lines.values() for line in lines.values()}
        if link.thinned and link.max_bandwidth not in used and len(used - {None}) >= MAX_BANDWIDTHS:
            self._tell(
                f"a subscriber asks for another max_bandwidth than the {MAX_BANDWIDTHS} in use: none for it"
            )
            return False
        return True

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s", what)

    def unsubscribed(self, topic: bytes) -> None:
        """Note that a subscriber is gone; with the last one, nothing is done for the topic any more."""
        found = links.parse_topic(topic)
        lines = self._lines.get(found[0], {}) if found else {}
        if topic in lines:
            lines[topic].subscribers -= 1
            if not lines[topic].subscribers:
                del lines[topic]
        self._lines = {stream: lines for stream, lines in self._lines.items() if lines}

    def take(self, stream: str, messages: Iterable[Message], now_s: float) -> Iterator[Message]:
        """Take the data messages of a stream; yield those that go out on its lines now."""
        lines = self._lines.get(stream)
        if lines:
            for _, header, payload in messages:
                for line in lines.values():
                    yield from line.take(header, payload, now_s)

    def before_heartbeat(self, stream: str, beat: Message, now_s: float) -> Iterator[Message]:
        """Yield all that waits on a stream's lines: a heartbeat tells the next number."""
        for line in self._lines.get(stream, {}).values():
            yield from line.flush(now_s)
            line.heartbeat(sum(map(len, beat)), now_s)

    def due(self, now_s: float) -> Iterator[Message]:
        """Yield what has waited for long enough."""
        for line in self._every():
            if now_s >= line.due_s:
                yield from line.flush(now_s)

    def due_s(self) -> float:
        """Return when to call `due`."""
        return min((line.due_s for line in self._every()), default=math.inf)

    def _every(self) -> Iterator[Line]:
        return (line for lines in self._lines.values() for line in lines.values())
