"""Messages as batches, and many small ones counted together."""

import pytest

from astropix_stream import wire
from astropix_stream.batch import Position, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.errors import WireError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.batches import batch_of, batch_of_numbered, count_taken

DAQ, OTHER = Source("10.0.1.1", 40000), Source("10.0.1.9", 7)
EPOCH_NS = 1_700_000_000_000_000_000


def message(*readout_ids, source=DAQ, sequence=0, flags=0):
    """Return header and payload of readouts, each received as many ms after the epoch as its id says."""
    received_ns = EPOCH_NS + readout_ids[0] * 10**6
    header = wire.Header(flags, len(readout_ids), 1, sequence, received_ns, source)
    return header, b"".join(AstroPix4Readout(b"\xbc", i, 1000 + i).to_bytes() for i in readout_ids)


def taken(*readout_ids, source=DAQ):
    header, payload = message(*readout_ids, source=source)
    return wire.pack_header(header), payload, header.count, readout_ids[0] / 1e3, header.received_ns + 5


def test_a_message_is_a_batch():
    batch = batch_of(*message(7, 8, sequence=40))
    assert (batch.source, batch.received_ns, batch.position) == (DAQ, EPOCH_NS + 7 * 10**6, Position(1, 40))
    assert ([*batch.readout_ids], [*batch.timestamps], [*batch.ends]) == ([7, 8], [1007, 1008], [20, 40])
    assert not batch.recovered
    assert batch_of(*message(7, flags=wire.REPLAYED)).recovered


def test_a_payload_of_another_number_of_readouts_is_none():
    header, payload = message(7, 8)
    with pytest.raises(WireError, match="a payload of 40 bytes"):
        batch_of(header._replace(count=3), payload)


def test_of_a_numbered_message_the_rest_is_read():
    header, payload = message(7, 8, sequence=40)
    batch = batch_of_numbered((2, 1, 40, wire.pack_header(header), payload))
    assert (batch.source, batch.received_ns, batch.position, batch.payload) == (
        DAQ, header.received_ns, Position(1, 40), payload,
    )  # fmt: skip


def test_what_goes_on_is_counted_at_once_and_told_once_for_32_messages():
    ledger = StreamLedger()
    ledger.note(batch_of(*message(0)), Moment(0.0, EPOCH_NS))
    told = count_taken([taken(i) for i in range(1, 81)], ledger)
    assert told == [
        (DAQ, 1000 + last, Moment(last / 1e3, EPOCH_NS + last * 10**6 + 5)) for last in (32, 64, 80)
    ]
    assert (ledger.totals().received, ledger.totals().lost) == (81, 0)


def test_what_does_not_go_on_is_counted_as_if_it_had_been_when_it_came():
    messages = [message(0, 1), message(3), message(2), message(5, 5), message(9)]
    one_by_one, together = StreamLedger(), StreamLedger()
    for header, payload in messages:
        now = Moment(header.received_ns / 1e9, header.received_ns + 5)
        one_by_one.note(batch_of(header, payload), now)
    assert len(count_taken([taken(0, 1), taken(3), taken(2), taken(5, 5), taken(9)], together)) == 1
    for ledger in (one_by_one, together):
        ledger.tick(Moment(EPOCH_NS / 1e9 + 100, EPOCH_NS))
    assert together.totals() == one_by_one.totals()
    assert (together.totals().reordered, together.totals().duplicates, together.totals().lost) == (1, 1, 4)


def test_sources_are_counted_each_for_itself():
    ledger = StreamLedger()
    told = count_taken(
        [taken(0), taken(1), taken(70, source=OTHER), taken(2), taken(71, 72, source=OTHER)], ledger
    )
    assert [(source, timestamp) for source, timestamp, _ in told] == [
        (DAQ, 1001), (OTHER, 1070), (DAQ, 1002), (OTHER, 1072),
    ]  # fmt: skip
    assert {source: counts.received for source, counts in ledger.sources().items()} == {DAQ: 3, OTHER: 3}


def test_nothing_is_counted_as_nothing():
    assert count_taken([], StreamLedger()) == []
