"""What is on its way into the log: in order, once, whatever happens to acknowledgements. Pure.

Each message is sent with the log's number that it expects to follow (`Nats-Expected-Last-Sequence`), many
at a time, and with the id of the one before where that is still on its way (`Nats-Expected-Last-Msg-Id`):
somebody else may have stored a message under the number that was meant for it. So the first that fails
makes all behind it fail, nothing is stored out of order, and an acknowledgement proves that all before it
are stored. After anything else than the acknowledgement that is expected, the log is asked for its last
message, and `anchor` decides how to go on:

=====================================================  ====================================================
the log ends                                           then
=====================================================  ====================================================
within what is here, or just before it                 what it holds is left out, the rest is sent
where the last acknowledgement said                    the rest is sent: a step in the numbers is a gap
anywhere else: it has lost what it had acknowledged,   the relay's history is asked again, from there on
is another log, or is empty
=====================================================  ====================================================
"""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple

from astropix_stream.batch import Position
from astropix_stream.log.messages import Message

MAX_IN_FLIGHT = 256  # messages
MAX_IN_FLIGHT_BYTES = 8 << 20


class Sending(NamedTuple):
    """A message to send now."""

    token: str
    """Names it in its acknowledgement."""
    expected: int
    """The log's number of the message that it follows."""
    after: str
    """The id of that message, while it is on its way; else empty."""
    msg_id: str
    """The id to store it under."""
    message: Message


class Anchored(Enum):
    """How to go on after the log was asked."""

    GO_ON = auto()
    REWIND = auto()
    """Ask the relay again, from where the log ends."""


class Outbox:
    """Messages for one stream of the log.

    Parameters
    ----------
    max_bytes
        Of what waits here while the log does not take it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.stored = 0
        """Readouts whose message was acknowledged, or was found in the log."""
        self.messages = 0
        """Messages acknowledged."""
        self.bytes = 0
        """Bytes of readouts in them."""
        self.trimmed = 0
        """Readouts left out, since the log had them."""
        self.acknowledged: Position | None = None
        """Where the log ends, as far as is known."""
        self.anchored = False
        """Whether messages may be sent."""
        self._waiting: deque[Message] = deque()  # not sent, or to be sent again
        self._in_flight: deque[Message] = deque()
        self._waiting_bytes = self._in_flight_bytes = 0
        self._epoch = 0
        self._first = 0  # number of the first message in flight, since the anchor
        self._sequence = 0  # of the log, at the anchor
        self._skip_to: Position | None = None
        self._repeated: Position | None = None  # of a message that the log said it has
        self._again = ""  # behind ids, where the log remembers such as it no longer has

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether more may be added."""
        return self._waiting_bytes + self._in_flight_bytes < self.max_bytes

    @property
    def waiting_bytes(self) -> int:
        """Bytes of readouts that are not acknowledged."""
        return self._waiting_bytes + self._in_flight_bytes

    @property
    def in_flight(self) -> int:
        """Messages that were sent and are not acknowledged."""
        return len(self._in_flight)

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest readout that is not acknowledged was received; None without any."""
        first = self._in_flight[0] if self._in_flight else self._waiting[0] if self._waiting else None
        return first and first.received_ns

    def add(self, message: Message) -> None:
        """Take a message, behind all others."""
        skip = self._skip_to
        if skip is not None:
            kept = self._rest(message, skip)
            if kept is None:
                return
            message, self._skip_to = kept, None
        self._waiting.append(message)
        self._waiting_bytes += len(message.payload)

    def send(self) -> Sending | None:
        """Return the next message to send; None for now."""
        if not self.anchored or not self._waiting or len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        if self._in_flight and self._in_flight_bytes >= MAX_IN_FLIGHT_BYTES:
            return None
        message = self._waiting.popleft()
        number = self._first + len(self._in_flight)
        after = self._in_flight[-1].msg_id + self._again if self._in_flight else ""
        self._in_flight.append(message)
        self._waiting_bytes -= len(message.payload)
        self._in_flight_bytes += len(message.payload)
        msg_id = message.msg_id + self._again
        return Sending(f"{self._epoch}-{number}", self._sequence + number, after, msg_id, message)

    def acknowledge(self, token: str, sequence: int, *, duplicate: bool) -> bool:
        """Note an acknowledgement; return whether all is as expected, so that no anchor is needed.

        A duplicate is not: the log has a message of this id, which may hold fewer readouts than ours.
        """
        epoch, _, number = token.partition("-")
        if epoch != str(self._epoch) or not number.isdecimal() or not self.anchored:
            return True  # of before the anchor, which has seen what came of it
        count = int(number) - self._first + 1
        if count <= 0:
            return True
        if duplicate or sequence != self._sequence + int(number) + 1 or count > len(self._in_flight):
            self.anchored = False
            if duplicate and count <= len(self._in_flight):
                self._repeated = self._in_flight[count - 1].position
            return False
        for _ in range(count):
            self._store(self._in_flight.popleft())
        self._first += count
        return True

    def _store(self, message: Message) -> None:
        self._in_flight_bytes -= len(message.payload)
        self.stored += message.count
        self.messages += 1
        self.bytes += len(message.payload)
        self.acknowledged = message.end

    def fail(self, token: str | None = None) -> bool:
        """Note that a message was refused, or that no answer came; return whether an anchor is needed."""
        if token is not None and token.partition("-")[0] != str(self._epoch):
            return False
        was, self.anchored = self.anchored, False
        return was

    def anchor(self, sequence: int, end: Position | None, *, numbered_here: bool = False) -> Anchored:
        """Begin again behind the log's last message.

        Parameters
        ----------
        sequence
            Its number in the log; 0 in a new one.
        end
            The position behind its last readout; None if the log is empty.
        numbered_here
            The readouts have their numbers from this bridge: no relay can be asked for them.
        """
        untouched = sequence == self._sequence + self._first and self.acknowledged is not None
        self._waiting.extendleft(reversed(self._in_flight))
        self._waiting_bytes += self._in_flight_bytes
        self._in_flight.clear()
        self._in_flight_bytes = self._first = 0
        self._epoch += 1
        self._sequence = sequence
        self.anchored = True
        if self._was_removed(end):
            self._again = f"@{sequence}"
        self._repeated = None
        if numbered_here or self._continues(end, untouched=untouched):
            if end is not None:
                self._trim(end)
                self.acknowledged = end
            return Anchored.GO_ON
        self.rewind(end)
        return Anchored.REWIND

    def _was_removed(self, end: Position | None) -> bool:
        """Whether the log remembers the id of a message that it no longer has, as after a purge by hand."""
        repeated = self._repeated
        if repeated is None or end is None:
            return repeated is not None
        return end.relay_id == repeated.relay_id and end.sequence <= repeated.sequence

    def _continues(self, end: Position | None, *, untouched: bool) -> bool:
        """Whether what is here, or comes next, goes on where the log ends."""
        if end is None:  # it has removed all of it; or it is new, and we were opened at the oldest of history
            return untouched or (self.acknowledged is None and bool(self._waiting))
        if end == self.acknowledged:
            return True
        ours = [m for m in self._waiting if m.position.relay_id == end.relay_id]
        return bool(ours) and ours[0].position.sequence <= end.sequence

    def rewind(self, end: Position | None) -> None:
        """Forget what is here: it comes again."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.acknowledged = end
        self._skip_to = None

    def _trim(self, end: Position) -> None:
        """Leave out what the log holds, and what is before that."""
        if not any(message.position.relay_id == end.relay_id for message in self._waiting):
            if not self._waiting:
                self._skip_to = end
            return
        while self._waiting:
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload)
            kept = self._rest(message, end)
            if kept is not None:
                self._waiting.appendleft(kept)
                self._waiting_bytes += len(kept.payload)
                return
        self._skip_to = end

    def _rest(self, message: Message, end: Position) -> Message | None:
        """Return what of a message is behind `end`; None for nothing."""
        if message.position.relay_id != end.relay_id:
            later = any(m.position.relay_id == end.relay_id for m in self._waiting)
            return None if later else message
        known = end.sequence - message.position.sequence
        if known <= 0:
            return message
        self.trimmed += min(known, message.count)
        if self.acknowledged is not None:  # else another bridge has stored it, before our time
            self.stored += min(known, message.count)
        return None if known >= message.count else message.without(known)
