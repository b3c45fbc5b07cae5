"""Put what comes from a relay together into fewer, larger messages for the log. Pure.

Who reads a log late takes messages, not readouts: 20 ms of 1000 readouts/s are one message and not 20. Only
consecutive numbers of one source can share a message.
"""

from astropix_stream.batch import Batch
from astropix_stream.log.messages import MAX_COUNT, MAX_PAYLOAD, Message


class Gatherer:
    """Gathers batches until `flush`, or until a message is full."""

    def __init__(self) -> None:
        self._first: Batch | None = None
        self._parts: list[bytes] = []
        self._count = 0
        self._bytes = 0

    def add(self, batch: Batch) -> list[Message]:
        """Take a batch that has a position; return what can wait no longer."""
        complete = [] if self._goes_on(batch) else self.flush()
        if self._first is None:
            self._first = batch
        self._parts.append(batch.payload)
        self._count += len(batch)
        self._bytes += len(batch.payload)
        return complete

    def _goes_on(self, batch: Batch) -> bool:
        """Whether a batch can share a message with what waits."""
        first = self._first
        if first is None:
            return True
        assert first.position is not None
        assert batch.position is not None
        return (
            batch.source == first.source
            and batch.position.relay_id == first.position.relay_id
            and batch.position.sequence == first.position.sequence + self._count
            and self._bytes + len(batch.payload) <= MAX_PAYLOAD
            and self._count + len(batch) <= MAX_COUNT
        )

    def flush(self) -> list[Message]:
        """Return what waits."""
        first = self._first
        if first is None:
            return []
        assert first.position is not None
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        message = Message(first.position, self._count, first.source, first.received_ns, payload)
        self._first, self._parts, self._count, self._bytes = None, [], 0, 0
        return [message]
