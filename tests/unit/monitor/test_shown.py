"""What a choice comes to."""

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.geometry import Pixel
from astropix_stream.monitor.shown import find_run, make_shown, take_reset
from unit.monitor.stream import Stream, moment, readout

S = 10**9


@pytest.fixture
def stream():
    stream = Stream()
    stream.run(0, 40, 1.0)
    stream.run(0, 10, 5.0)
    return stream


def shown_of(stream, reset=None, **choice):
    return make_shown(stream.accumulator, Choice.read(choice, stream.accumulator.geometry), moment(10), reset)


class TestRun:
    def test_by_name_or_number(self, stream):
        first, second = stream.accumulator.runs
        assert first.name == "20270115T080001.000Z"
        assert find_run(stream.accumulator, first.name) is first
        assert find_run(stream.accumulator, 1) is first
        assert find_run(stream.accumulator, 77) is second
        assert find_run(stream.accumulator, None) is second

    def test_the_choice_that_is_there_names_it(self, stream):
        assert shown_of(stream, run="1").choice.run == "20270115T080001.000Z"
        assert shown_of(stream, run="77").choice.run is None
        assert shown_of(Stream(), run="77").choice.run == 77  # it may come out of history

    def test_one_is_not_compared_with_itself(self, stream):
        assert shown_of(stream, compare="2").compared is None
        assert shown_of(stream, compare="2").choice.compare is None
        assert shown_of(stream, compare="1").choice.compare == "20270115T080001.000Z"
        assert shown_of(stream, run="1", compare="2").compared is stream.accumulator.runs[1]

    def test_a_file_to_compare_with(self, stream):
        other = Stream()
        other.run(0, 5, 1.0)
        reference = other.accumulator.present
        reference.reference = "old.apx"
        stream.accumulator.references.append(reference)
        assert shown_of(stream, compare="reference").compared is reference

    def test_of_another_kind_it_cannot_be(self, stream):
        stream.accumulator.set_kind(ASTEP)
        stream.run(0, 5, 7.0)
        assert shown_of(stream, compare="1").compared is None


class TestTime:
    def test_it_is_the_daqs(self):
        stream = Stream()
        stream.send([readout(i, 10**18 + i * S) for i in range(11)], 1.0)
        assert shown_of(stream).seconds == 10.0
        assert [one.readouts for one in shown_of(stream).slices()] == [1] * 11

    def test_since_a_reset(self):
        stream = Stream()
        stream.send([readout(i, 10**18 + i * S) for i in range(5)], 1.0)
        reset = take_reset(stream.accumulator, Choice(), moment(2))
        assert reset.last_timestamp == 10**18 + 4 * S
        stream.send([readout(5 + i, 10**18 + (5 + i) * S) for i in range(5)], 3.0)
        shown = shown_of(stream, reset)
        assert shown.seconds == 5.0
        assert shown.counts.readouts == 5
        assert [one.end - 10**18 for one in shown.slices()] == [5 * S, 6 * S, 7 * S, 8 * S, 9 * S, 9 * S]
        assert shown.counts.pixel_spectrum(Pixel(0, 5, 3)).counts.sum() == 5

    def test_where_there_is_none(self):
        stream = Stream()
        stream.send([readout(i, 0) for i in range(40)], 1.0)
        assert shown_of(stream).seconds is None
        assert [one.readouts for one in shown_of(stream).slices()] == [16, 16, 8]
        assert shown_of(Stream()).seconds is None
        assert shown_of(Stream()).slices() == []

    def test_a_reset_before_the_first_readout_is_none(self):
        assert take_reset(Stream().accumulator, Choice(), moment(1)) is None

    def test_a_reset_of_another_run_does_not_count(self, stream):
        reset = take_reset(stream.accumulator, Choice(run="1"), moment(6))
        assert shown_of(stream, reset).reset is None
        assert shown_of(stream, reset, run="1").counts.readouts == 0


class TestSettled:
    def test_what_the_kind_does_not_have_is_left_out(self, stream):
        wrong = {"chip": 200, "other_chip": 99, "pixel": Pixel(0, 99, 99), "tot_of": "halves"}
        choice = Choice().model_copy(update=wrong | {"tot_from": 99_999.0, "tot_to": 99_999.5})
        settled = make_shown(stream.accumulator, choice, moment(10), None).choice
        assert (settled.chip, settled.other_chip, settled.pixel, settled.tot_of) == (
            None,
            None,
            None,
            "pixels",
        )
        assert settled.tot_from < settled.tot_to <= 819.2

    def test_an_axis_that_begins_beyond_its_usual_end_goes_to_the_limit(self, stream):
        settled = shown_of(stream, tot_from=500).choice
        assert (settled.tot_from, settled.tot_to) == (500, pytest.approx(819.2))

    def test_chips(self, stream):
        assert shown_of(stream).chips == shown_of(stream).every == (0,)
        assert shown_of(stream, chip="5").chips == (5,)


def test_since_a_reset_everything_is_a_difference():
    stream = Stream()
    stream.send([readout(i, 10**18 + i, [(3, 5, 100)]) for i in range(5)], 1.0)
    reset = take_reset(stream.accumulator, Choice(), moment(2))
    stream.send([readout(5 + i, 10**18 + 5 + i, [(3, 5, 100), (4, 5, 100)]) for i in range(3)], 3.0)
    counts = shown_of(stream, reset).counts
    assert (counts.hits, counts.hit_map[0, 3, 5]) == (6, 3)
    assert counts.spectrum([0]).sum() == 6
    assert counts.spectrum([0], [Pixel(0, 5, 3)]).sum() == 3
    assert counts.pixel_spectra([0], 3, 16)[5].sum() == 3
    assert counts.fpga is None
    assert shown_of(stream).counts.spectrum([0]).sum() == 11
    assert shown_of(stream).counts.pixel_spectra([0], 3, 16)[5].sum() == 8


def test_the_time_of_the_fpga_since_a_reset():
    stream = Stream(kind=ASTEP)
    detector = Detector(seed=3, kind=ASTEP)
    stream.send([detector.readout(i, 10**18 + i * S) for i in range(5)], 1.0)
    first, last = shown_of(stream).counts.fpga
    reset = take_reset(stream.accumulator, Choice(), moment(2))
    stream.send([detector.readout(5 + i, 10**18 + (5 + i) * S) for i in range(5)], 3.0)
    assert shown_of(stream, reset).counts.fpga[0] == last
    assert shown_of(stream).counts.fpga[0] == first
