"""Each batch tells which runs begin in it, on either path."""

from astropix_stream import fmt, wire
from astropix_stream.clock import Moment
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.multicast.intake import Intake
from astropix_stream.relay.subscription import Subscription
from astropix_stream.sock import MulticastReceiver, MulticastSender
from drains import DAQ, drain

NOW = Moment(100.0, 10**18)


def readout(readout_id, timestamp):
    return fmt.AstroPix4Readout(b"\xbc", readout_id, timestamp).to_bytes()


def positions(runs):
    return [(start.position, start.run.first_id, start.run.first_timestamp) for start in runs]


def test_a_drain_with_two_runs():
    intake = Intake(StreamLedger())
    (group,) = intake.take(drain(readout(5, 10), readout(6, 11), readout(0, 20), readout(1, 21)), NOW)
    assert positions(group.runs) == [(0, 5, 10), (2, 0, 20)]


def test_positions_count_only_what_is_handed_out():
    """Something that is no readout parts what the ledger is told; it takes no position."""
    intake = Intake(StreamLedger())
    sent = (readout(0, 10), b"junk", readout(1, 11), readout(0, 20), b"junk", readout(1, 21))
    (group,) = intake.take(drain(*sent), NOW)
    assert positions(group.runs) == [(0, 0, 10), (3, 0, 20)]  # told with the second readout of the run
    assert [start.before for start in group.runs] == [0, 1]


def test_a_run_that_goes_on_after_a_stray_is_told_again():
    ledger = StreamLedger()
    assert positions(ledger.received(DAQ, [70, 71], [1, 2], NOW)) == [(0, 70, 1)]
    assert positions(ledger.received(DAQ, [0], [90], NOW)) == []
    later = Moment(NOW.s + 2.0, NOW.ns + 2 * 10**9)
    assert positions(ledger.received(DAQ, [72], [3], later)) == [(0, 0, 90)]  # nothing else came for a second
    assert positions(ledger.received(DAQ, [73], [4], later)) == [(0, 70, 1)]
    assert ledger.totals().stray == 1


def test_a_socket(group, port):
    """The drains of a real one come with their headers read already."""
    with (
        MulticastReceiver(fmt.AstroPix4Readout, group, port, interface="127.0.0.1", timeout=10) as receiver,
        MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
    ):
        found = []
        for readout_ids, begin in (([0, 1, 2], 10), ([3, 4], 20), ([0, 1, 2, 3], 30)):
            for i in readout_ids:
                sender.send_data(readout(i, begin + i))
            taken = 0
            while taken < len(readout_ids):
                batch = receiver.receive_batch()
                found += [(batch.readout_ids[at], first, stamp) for at, first, stamp in positions(batch.runs)]
                taken += len(batch)
    assert found == [(0, 0, 10), (0, 0, 30)]


def test_a_relays_message():
    subscription = Subscription("astropix")
    payload = b"".join([readout(5, 10), readout(0, 20), readout(1, 21)])
    header = wire.pack_header(wire.Header(0, 3, 1, 0, NOW.ns, DAQ))
    (batch,) = subscription.take([wire.data_topic("astropix"), header, payload], NOW)
    assert positions(batch.runs) == [(0, 5, 10), (1, 0, 20)]
