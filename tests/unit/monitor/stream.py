"""A stream for tests: readouts with known hits, as batches, on a clock of its own."""

from astropix_stream.batch import Batch, Source
from astropix_stream.cli.playing.simulation import pack_hit
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.fmt import ASTROPIX4, AstroPix4Readout
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.arrivals import Arrival, Reception

DAQ = Source("10.0.0.1", 4711)
OTHER_DAQ = Source("10.0.0.2", 4711)
BEGIN_S, BEGIN_NS = 1000.0, 1_800_000_000 * 10**9


def moment(after_s):
    return Moment(BEGIN_S + after_s, BEGIN_NS + round(after_s * 1e9))


def readout(readout_id, timestamp, hits=((3, 5, 100),), chip=0, tail=b""):
    """`hits`: (row, column, ticks of TOT) each."""
    data = b"\xbc".join(pack_hit(row, column, 7, 7 + ticks, chip=chip) for row, column, ticks in hits)
    return AstroPix4Readout(b"\xbc" + data + b"\xbc" + tail, readout_id, timestamp)


class Stream:
    """Gives an accumulator what a receiver would."""

    def __init__(self, source="tcp://relay:5556", kind=ASTROPIX4):
        self.accumulator = Accumulator(moment(0), source, kind)
        self._ledger = StreamLedger()

    def tell(self, after_s, ledger=None, **says):
        """Let the receiver say something of itself."""
        self.accumulator.note(Reception(moment(after_s), Ledger() if ledger is None else ledger, **says))

    def send(
        self, readouts, after_s, *, daq=DAQ, skipped=False, recovered=False, received_s=None, duplicates=b""
    ):
        """Take in some readouts as one batch."""
        self.accumulator.take([
            self.arrival(
                readouts, after_s, daq=daq, skipped=skipped, recovered=recovered,
                received_s=received_s, duplicates=duplicates,
            )
        ])  # fmt: skip

    def arrival(
        self, readouts, after_s, *, daq=DAQ, skipped=False, recovered=False, received_s=None, duplicates=b""
    ):
        raw = [one.to_bytes() for one in readouts]
        ids = [one.readout_id for one in readouts]
        timestamps = [one.timestamp for one in readouts]
        now = moment(after_s)
        return Arrival(
            Batch(
                source=daq,
                received_ns=moment(after_s if received_s is None else received_s).ns,
                payload=b"" if skipped else b"".join(raw),
                readout_ids=ids,
                timestamps=timestamps,
                ends=[sum(map(len, raw[: i + 1])) for i in range(len(raw))],
                recovered=recovered,
                runs=self._ledger.received(daq, ids, timestamps, now),
                duplicates=duplicates,
            ),
            now,
            skipped,
        )

    def run(self, first, count, after_s, **options):
        """Send readouts with ids that follow one another; each has one hit."""
        stamp = moment(after_s).ns
        self.send([readout(first + i, stamp + i) for i in range(count)], after_s, **options)


def losing(**lost_at):
    """Return a ledger with some losses and nothing else."""
    from astropix_stream.counting.places import Place

    return Ledger(lost_at={Place[name]: count for name, count in lost_at.items()})
