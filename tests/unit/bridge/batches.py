"""Batches and messages for the tests of the bridge."""

from astropix_bridge.gathering import Gatherer
from astropix_stream import wire
from astropix_stream.batch import Batch, Position, Source
from astropix_stream.fmt import AstroPix4Readout

SOURCE = Source("10.0.0.1", 40_000)


def batch(begin, end, relay_id=1, source=SOURCE, size=2):
    payload = b"".join(AstroPix4Readout(b"\x01" * size, i, 1000 + i).to_bytes() for i in range(begin, end))
    columns = wire.walk_payload(payload, end - begin)
    return Batch(source, 5, payload, *columns, position=Position(relay_id, begin))


def message(begin, end, relay_id=1):
    (whole,) = gathered(batch(begin, end, relay_id))
    return whole


def gathered(*batches):
    gatherer = Gatherer()
    return [message for one in batches for message in gatherer.add(one)] + gatherer.flush()


def spans(messages):
    return [(m.position.relay_id, m.position.sequence, m.end.sequence) for m in messages]
