"""What is decoded together, hits over the borders of readouts, and whether the kind can be right."""

from astropix_stream.columns import decode_batch
from astropix_stream.fmt import AstroPix4Readout, Decoding
from astropix_stream.monitor import waiting
from astropix_stream.monitor.recent import Recent
from astropix_stream.monitor.slices import WIDTH_NS
from astropix_stream.monitor.waiting import Waiting
from unit.monitor.stream import DAQ, OTHER_DAQ, Stream, moment, readout


def test_batches_of_one_turn_are_decoded_together(monkeypatch):
    """A call costs 0.12 ms however few readouts it gets: one readout a message must not cost 0.12 ms each."""
    calls = []

    def decode(raw, *more, **options):
        calls.append(len(raw))
        return decode_batch(raw, *more, **options)

    monkeypatch.setattr("astropix_stream.monitor.waiting.decode_batch", decode)
    stream = Stream()
    arrivals = [stream.arrival([readout(i, moment(0).ns + i)], 0.1) for i in range(500)]
    stream.accumulator.take(arrivals)
    assert len(calls) == 1
    assert stream.accumulator.present.counts.readouts == 500


def test_a_hit_that_was_split_over_two_readouts_is_found():
    hit = readout(0, 0).data()[1:9]
    stream = Stream()
    stream.send([AstroPix4Readout(hit[:3], 0, 1)], 1.0)
    stream.send([AstroPix4Readout(hit[3:] + hit, 0, 1)], 1.0, daq=OTHER_DAQ)  # of somebody else
    stream.send([AstroPix4Readout(hit[3:] + hit[:3], 1, 2)], 1.1)
    stream.send([AstroPix4Readout(hit[3:], 3, 4)], 1.2)  # one is missing
    run, other = stream.accumulator.runs
    assert (run.counts.hits, other.counts.hits) == (1, 1)
    matched, dropped = (run.counts.problems[bit] for bit in Decoding if "ORPHAN" in bit.name and bit < 2)
    assert (matched, dropped) == (1, 1)


def test_a_split_hit_is_not_put_together_over_the_boundary_of_a_run():
    hit = readout(0, 0).data()[1:9]
    stream = Stream()
    old = [AstroPix4Readout(b"\xbc", 0, 1), AstroPix4Readout(hit[:3], 1, 2)]
    new = [AstroPix4Readout(hit[3:], 0, 100), AstroPix4Readout(hit, 1, 101)]
    stream.send(old + new, 1.0)
    assert [run.counts.hits for run in stream.accumulator.runs] == [0, 1]


def test_readouts_of_another_kind_are_doubted_once(caplog):
    """Half hits of an AstroPix 3, which has five bytes a hit."""
    stream = Stream("udp://239.1.1.1:5007")
    for i in range(30):
        data = b"\xbc".join(bytes([0x20, i, j, 0, 1]) for j in range(10))
        stream.send([AstroPix4Readout(data, 10 * i + k, i) for k in range(10)], 1.0)
    told = "100 % of the bytes of the first 100 readouts belong to no hit of AstroPix 4; is this AstroPix 4?"
    assert stream.accumulator.doubt == told
    assert caplog.text.count(told) == 1


def test_nothing_is_doubted_of_hits_and_of_silence():
    stream = Stream()
    stream.run(0, 99, 1.0)
    stream.send([AstroPix4Readout(b"\xbc" * 50, 99 + i, i) for i in range(300)], 2.0)
    stream.run(399, 99, 3.0)
    assert stream.accumulator.doubt == ""


def test_much_at_once_is_decoded_in_parts(monkeypatch):
    monkeypatch.setattr(waiting, "MAX_TOGETHER", 100)
    calls = []

    def decode(*args, **kwargs):
        calls.append(1)
        return decode_batch(*args, **kwargs)

    monkeypatch.setattr(waiting, "decode_batch", decode)
    stream = Stream()
    stamps = [moment(0).ns + i for i in range(200)]
    arrivals = [
        stream.arrival([readout(10 * i + j, stamps[10 * i + j]) for j in range(10)], 0.1) for i in range(20)
    ]
    stream.accumulator.take(arrivals)
    assert stream.accumulator.present.counts.readouts == 200
    assert len(calls) == 20


def test_forged_sources_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(waiting, "_MAX_JOINERS", 3)
    one = Waiting(Recent(), "a stream")
    kept = one._joiner(DAQ)
    assert one._joiner(DAQ) is kept
    for port in range(10):
        one._joiner(DAQ._replace(port=port))
        assert len(one._joiners) <= 3
    assert one._joiner(DAQ) is not kept


def test_where_a_slice_of_a_run_ends_what_waits_is_decoded(monkeypatch):
    calls = []

    def decode(raw, *more, **options):
        calls.append(len(raw))
        return decode_batch(raw, *more, **options)

    monkeypatch.setattr(waiting, "decode_batch", decode)
    stream = Stream()
    stamps = [moment(0).ns + i * WIDTH_NS // 4 for i in range(40)]
    stream.send([readout(i, stamp) for i, stamp in enumerate(stamps)], 300.0)
    assert stream.accumulator.present.counts.readouts == 40
    assert len(calls) == 10
