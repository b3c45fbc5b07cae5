"""The readouts of a relay's data messages as batches: one message, or many small ones together. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from astropix_stream import headers, wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.stream import StreamLedger

_TOGETHER = 32  # messages that are counted at once

Taken = tuple[bytes, bytes, int, float, int]
"""A message that is counted later: header, payload, how many readouts, and both clocks when it was taken."""


def batch_of(header: wire.Header, payload: bytes) -> Batch:
    """Return the readouts of a message.

    Raises
    ------
    WireError
        The payload is not as many readouts as the header says.
    """
    columns = wire.walk_payload(payload, header.count)
    position = Position(header.relay_id, header.sequence)
    replayed = bool(header.flags & wire.REPLAYED)
    return Batch(header.source, header.received_ns, payload, *columns, replayed, position=position)


def batch_of_numbered(message: wire.Numbered) -> Batch:
    """Return the readouts of a message of which only the numbers were read."""
    _, _, _, header, payload = message
    return batch_of(wire.parse_message_header(header), payload)


def count_taken(messages: Sequence[Taken], readouts: StreamLedger) -> list[tuple[Source, int, Moment]]:
    """Count readouts that were handed out before.

    Returns
    -------
    list of tuple
        Of messages that were counted at once: the source, the timestamp of the last readout, and when that
        was taken.
    """
    return [
        _count(together[at : at + _TOGETHER], readouts)
        for together in _by_source(messages)
        for at in range(0, len(together), _TOGETHER)
    ]


def _by_source(messages: Sequence[Taken]) -> Iterator[Sequence[Taken]]:
    """Yield messages that follow each other from one source, together."""
    for _, together in groupby(messages, lambda message: message[0][wire.SOURCE_BYTES]):
        yield [*together]


def _count(messages: Sequence[Taken], readouts: StreamLedger) -> tuple[Source, int, Moment]:
    """Count messages of one source as one, if that goes on where the last ended; else each by itself."""
    data, _, _, s, ns = messages[-1]
    last = wire.parse_message_header(data)
    payload, count = b"".join([one[1] for one in messages]), sum([one[2] for one in messages])
    batch = Batch(last.source, last.received_ns, payload, *headers.columns_of(payload, count))
    ids, timestamp = batch.readout_ids, batch.timestamps[-1]
    if not readouts.goes_on((batch,), ids, timestamp, Moment(last.received_ns / 1e9, ns)):
        for data, payload, _, _, then_ns in messages:
            header = wire.parse_message_header(data)
            readouts.note(batch_of(header, payload), Moment(header.received_ns / 1e9, then_ns))
    return last.source, timestamp, Moment(s, ns)
