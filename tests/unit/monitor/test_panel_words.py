"""What is said in the parts of the page."""

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.panel_words import panel_words, per_second
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout

S = 10**9
EVERY = [(row, column, 100) for row in range(13) for column in range(16)]


def said_of(stream, **choice):
    geometry = stream.accumulator.geometry
    return panel_words(make_view(stream.accumulator, Choice.read(choice, geometry), moment(10)))


@pytest.fixture
def stream():
    stream = Stream()
    for i in range(11):
        stream.send([readout(2 * i, BEGIN_NS + i * S, [*EVERY, *[(7, 4, 100)] * 20])], i)
        stream.send([readout(2 * i + 1, BEGIN_NS + i * S, EVERY, chip=1)], i)
    return stream


def test_the_overview_says_nothing_more(stream):
    assert said_of(stream) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.0 Hz"), (0.012, "0.012 Hz"), (4.56, "4.6 Hz"), (1234.0, "1\u202f234 Hz")],
)
def test_rates(value, text):
    assert per_second(value) == text


def test_chips(stream):
    said = said_of(stream, panel="chips")
    assert said["chips_unit"] == "hits, rate over the run"
    assert said["all_chips"][1] == {
        "chip": 1, "name": "chip 1", "hits": "2\u202f288", "share": "47.70\u202f%", "rate": "229 Hz",
    }  # fmt: skip


def test_chips_of_half_hits():
    stream = Stream(kind=ASTEP)
    stream.send([Detector(seed=3, kind=ASTEP, chips=4).readout(0, BEGIN_NS)], 1.0)
    assert said_of(stream, panel="chips")["chips_unit"].startswith("pixels")
    assert said_of(stream, panel="chips", maps_of="halves")["chips_unit"].startswith("half hits")


class TestPixel:
    def test_its_name_in_the_one_order(self, stream):
        said = said_of(stream, panel="pixel", pixel="1/2/3")
        assert said["pixel_name"] == "1/2/3:"
        assert said["pixel_text"] == "11 hits, 1.1 Hz, 0.48\u202f% of its chip;"
        assert said["pixel_statistics"] == "11 entries, mean 5.10 µs, RMS 0.00 µs, median 5.10 µs"
        assert said_of(stream, panel="pixel")["pixel_name"] == "0/4/7, the busiest:"
        assert said_of(Stream(), panel="pixel")["pixel_name"] == "no hit yet"

    def test_noise(self, stream):
        said = said_of(stream, panel="pixel", masked="0/4/7")
        assert said["noise_text"] == "1 pixel above 5 σ above the median of their chip, 0 without hits"
        assert said["noisy"] == [
            {"pixel": "0/4/7", "hits": "231", "rate": "23.1 Hz", "sigma": "66.3", "masked": True}
        ]
        assert said["noise_chip"] == "chip 0"

    def test_in_hz(self, stream):
        said = said_of(stream, panel="pixel", noise_in="hz", noise_above=0.5)
        assert said["noise_text"] == (
            "416 pixels above 0.5 Hz, 0 without hits; the 12 with most hits are listed"
        )
        assert len(said["noisy"]) == 12

    def test_without_times(self):
        stream = Stream()
        stream.send([readout(i, 0) for i in range(4)], 1.0)
        assert "choose a threshold in σ" in said_of(stream, panel="pixel", noise_in="hz")["noise_text"]
        assert said_of(stream, panel="pixel")["pixel_text"] == "4 hits, 100\u202f% of its chip;"


def test_trend(stream):
    assert said_of(stream, panel="spectrum")["trend_text"].startswith("of pixels; within")
    assert "masked ones included" in said_of(stream, panel="spectrum", masked="0/1/1")["trend_text"]
    assert "after a second" in said_of(Stream(), panel="spectrum")["trend_text"]


def test_correlations(stream):
    said = said_of(stream, panel="correlations")
    assert (
        said["correlations_text"]
        == "0 pairs of hits of chip 0 and chip 1 in the latest 22 readouts of the run."
    )
    assert said_of(Stream(), panel="correlations")["correlations_text"].startswith("No two chips have hits.")


def test_readouts(stream):
    said = said_of(stream, panel="readouts", readout=2)
    assert said["listed"][0]["id"] == 21
    assert said["listed"][1] == {
        "id": 20, "time": "08:00:10.000", "hits": "228", "size": "2\u202f053", "problems": "",
    } | {"time": said["listed"][1]["time"]}  # fmt: skip
    assert said["listed"][1]["time"].endswith(":10.000")
    dissected = said["dissected"]
    assert dissected["id"] == 2
    assert dissected["head"].startswith("readout 2, 2\u202f053 bytes, made ")
    assert dissected["pieces"][1] == {"text": dissected["pieces"][1]["text"], "meaning": "start", "hit": 0}
    assert dissected["rest"] == "and 5 bytes more"
    assert (len(dissected["hits"]), dissected["problems"]) == (228, [])
    assert said_of(stream, panel="readouts", readout=99)["dissected"] is None
    assert said_of(stream, panel="readouts", readout=99)["readout_said"].startswith("Readout 99 is not kept")
