"""The page of a file is the page of the same readouts live, bin for bin."""

import contextlib

import numpy as np
import pytest

from astropix_stream import clock
from astropix_stream.batch import Drained, Source
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fileio import FileHeader
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.arrivals import Arrival, Reception
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.status import make_status
from astropix_stream.monitor.view import make_view
from astropix_stream.multicast.intake import Intake
from astropix_stream.opening import open_receiver

DAQ = Source("10.0.0.1", 4000)


def histograms(accumulator):
    counts = accumulator.present.counts
    arrays = {name: value for name, value in vars(counts).items() if isinstance(value, np.ndarray)}
    return {name: value for name, value in arrays.items() if not name.startswith("_")}


@pytest.mark.parametrize("kind", [ASTROPIX4, ASTROPIX3, ASTEP], ids=str)
@pytest.mark.parametrize("size", [1, 7, 400])
def test_the_page_of_a_file_is_that_of_the_same_readouts_live(tmp_path, size, kind):
    detector = Detector(seed=3, kind=kind, chips=4)
    raws = [detector.readout(i, (1000 + i) * 10**7).to_bytes() for i in range(400)]
    raws = raws[:100] + raws[103:]  # some are missing
    path = tmp_path / "run.apx"
    path.write_bytes(FileHeader(kind.readout_class, {}).serialize() + b"".join(raws))

    live = Accumulator(clock.now(), "live", kind=kind)
    intake = Intake(StreamLedger())
    for begin in range(0, len(raws), size):
        part = raws[begin : begin + size]
        drained = Drained(b"".join(part), [len(raw) for raw in part], [DAQ] * len(part), (), True)
        live.take([Arrival(batch, clock.now()) for batch in intake.take(drained, clock.now())])
        intake.tell()

    filed = Accumulator(clock.now(), "file", kind=kind)
    with open_receiver(kind.readout_class, str(path)) as receiver:
        while not receiver.ended:
            with contextlib.suppress(ReceiveTimeout):
                filed.take([Arrival(receiver.receive_batch(), clock.now())])

    assert len(filed.runs) == len(live.runs) == 1
    for name, value in histograms(live).items():
        assert np.array_equal(histograms(filed)[name], value), name
    assert sum(int(value.sum()) for value in histograms(filed).values()) > 400


def test_the_page_of_a_file_says_that_it_was_read_and_ends_with_its_newest_readout():
    now = clock.now()
    accumulator = Accumulator(now, "run.apx")
    accumulator.rates.add(now.s - 1e6, readouts=5, hits=7)
    assert "the DAQ sends nothing" in make_status(accumulator, now).state_text
    accumulator.note(Reception(now, Ledger(), ended=True))
    assert make_status(accumulator, now).state_text == "the file was read to its end"
    series = make_view(accumulator, Choice(), now).series
    assert (series.readouts[-1], series.hits[-1]) == (5.0, 7.0)
