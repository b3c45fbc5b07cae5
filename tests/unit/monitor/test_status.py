"""How the stream does."""

from astropix_stream.counting.state import State
from astropix_stream.monitor.status import make_status
from unit.monitor.stream import OTHER_DAQ, Stream, moment


def test_runs_are_named_by_their_time_and_daq():
    stream = Stream()
    stream.run(0, 1, 1.0)
    (label,) = make_status(stream.accumulator, moment(2)).runs
    assert (label.number, label.name) == (1, "20270115T080001.000Z")
    assert label.text.endswith(", 1 readout")
    assert "run" not in label.text
    assert "10.0.0.1" not in label.text
    stream.run(0, 3, 1.5, daq=OTHER_DAQ)
    assert [one.text.split(", ")[1] for one in make_status(stream.accumulator, moment(2)).runs] == [
        "from 10.0.0.2:4711", "from 10.0.0.1:4711",
    ]  # fmt: skip


def test_references_are_told_apart():
    stream, other = Stream(), Stream()
    other.run(0, 7, 1.0)
    other.accumulator.present.reference = "old.apx"
    stream.accumulator.references.append(other.accumulator.present)
    (label,) = make_status(stream.accumulator, moment(2)).references
    assert (label.name, label.text) == ("reference", "reference old.apx, 7 readouts")


def test_state_and_rates():
    stream = Stream("tcp://relay:5556")
    for i in range(8):
        stream.run(10 * i, 10, i)
    stream.tell(7.5, state=State.LIVE, age_s=0.5, lag_s=0.0)
    status = make_status(stream.accumulator, moment(8))
    assert (status.state, status.relayed, status.age_s) == (State.LIVE, True, 1.0)
    assert status.state_text == "last readout 1.0 s ago"
    assert status.readouts_per_s == 10.0
