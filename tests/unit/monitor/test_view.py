"""What a viewer sees of a known stream."""

import numpy as np
import pytest

from astropix_stream import numbers
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.state import State
from astropix_stream.fmt import ASTEP, ASTROPIX4, AStepReadout, kind_of
from astropix_stream.monitor import export, geometry, words
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.fits import Fit
from astropix_stream.monitor.geometry import Pixel
from astropix_stream.monitor.shown import take_reset
from astropix_stream.monitor.spectra import Statistics
from astropix_stream.monitor.view import against, make_view, map_values, shown_problems
from unit.monitor.stream import OTHER_DAQ, Stream, losing, moment, readout

LATER = moment(10)
EVERY = [(row, column, 200) for row in range(13) for column in range(16)]


def view_of(stream, at=LATER, reset=None, **choice):
    return make_view(stream.accumulator, Choice.read(choice, stream.accumulator.geometry), at, reset)


def said_of(stream, at=LATER, **choice):
    view = view_of(stream, at, **choice)
    return words.stream_words(view.status, view.now) | words.run_words(view)


@pytest.fixture
def stream():
    """Two chips; a pixel of chip 0 is hot."""
    stream = Stream()
    hot = [(5, 12, 4000)] * 9
    for i in range(30):
        stream.send([readout(4 * i, 100 + i, EVERY), readout(4 * i + 1, 100 + i, hot)], 0.1 * i)
        stream.send([readout(4 * i + 2, 100 + i, EVERY, chip=3), readout(4 * i + 3, 100 + i, [])], 0.1 * i)
    return stream


def test_before_the_first_readout():
    view = view_of(Stream())
    assert (view.run, view.readouts, view.hits, view.hot) == (None, 0, 0, ())
    assert view.hit_map.shape == (13, 16)
    said = said_of(Stream())
    assert (said["run"], said["live_fraction"], said["state"]) == ("no run yet", "–", "quiet")
    assert "no readout yet" in said["state_text"]


def test_numbers(stream):
    view = view_of(stream)
    assert (view.readouts, view.hits) == (120, 30 * (208 + 9 + 208))
    assert view.chips == (0, 3)
    assert view.hit_map.sum() == view.hits
    assert view.hit_map[5, 12] == 30 + 270 + 30
    assert view.mean_tot_us[5, 12] == pytest.approx((60 * 10.0 + 270 * 200.0) / 330)
    assert view.mean_tot_us[0, 0] == 10.0
    assert view.per_readout[[0, 9, 208]].tolist() == [30, 30, 60]


def test_one_chip(stream):
    view = view_of(stream, chip=3)
    assert view.hit_map.sum() == 30 * 208
    assert view.tot.sum() == 30 * 208
    assert view.chips == (0, 3)  # those that there are to choose from


def test_a_chip_without_hits(stream):
    assert view_of(stream, chip=17).hit_map.sum() == 0


def test_the_map_grows_for_hits_outside_of_a_chip():
    stream = Stream()
    stream.send([readout(0, 0, [(20, 3, 5)])], 1.0)
    assert view_of(stream).hit_map.shape == (32, 16)


class TestTot:
    def test_axis(self, stream):
        view = view_of(stream, tot_from=0, tot_to=100, tot_bins=50)
        assert np.allclose(view.tot_edges_us, np.arange(51) * 2.0)
        assert view.tot[5] == 30 * 416  # 200 ticks are 10 µs
        assert view.tot_outside == 270  # 4000 ticks are 200 µs

    @pytest.mark.parametrize(
        ("first", "last", "bins"), [(0, 819.2, 1000), (3.3, 7.7, 1000), (0, 0.2, 1), (1, 400, 7)]
    )
    def test_any_axis_has_whole_bins_and_loses_nothing(self, stream, first, last, bins):
        view = view_of(stream, tot_from=first, tot_to=last, tot_bins=bins)
        assert len(view.tot) == len(view.tot_edges_us) - 1 <= bins + 1
        assert (np.diff(view.tot_edges_us) > 0.19).all()
        assert view.tot.sum() + view.tot_outside == view.hits


class TestMask:
    def test_the_hot_pixel_is_found(self, stream):
        (hot,) = view_of(stream).hot
        assert (hot.pixel, hot.hits) == (Pixel(0, 12, 5), 300)

    def test_it_leaves_map_and_spectrum_and_stays_counted(self, stream):
        view = view_of(stream, masked="0/12/5")
        assert view.hits == 30 * 425
        assert view.hit_map[5, 12] == 30  # those of chip 3
        assert view.tot.sum() == 30 * 415
        assert view.tot_outside == 0

    def test_a_place_is_crossed_out_only_if_no_chip_is_left_there(self, stream):
        assert not view_of(stream, masked="0/12/5").masked.any()
        assert view_of(stream, masked="0/12/5", chip=0).masked[5, 12]
        assert view_of(stream, masked="0/12/5", chip=3).hit_map.sum() == 30 * 208

    def test_a_beam_spot_is_not_hot(self):
        stream = Stream()
        rng = np.random.default_rng(1)
        rows = np.clip(rng.normal(6, 1.5, 20_000).astype(int), 0, 12)
        columns = np.clip(rng.normal(8, 1.5, 20_000).astype(int), 0, 15)
        places = [(row, column, 100) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
        stream.send([readout(i, i, places[i * 100 : i * 100 + 100]) for i in range(200)], 1.0)
        assert view_of(stream).hot == ()


class TestRuns:
    @pytest.fixture
    def runs(self):
        stream = Stream()
        stream.run(0, 40, 1.0)
        stream.run(0, 10, 5.0)
        return stream

    def test_the_present_one_is_shown(self, runs):
        assert said_of(runs)["run"] == numbers.time_of_day(moment(5).ns)
        assert view_of(runs).readouts == 10

    def test_a_finished_one_can_be_chosen(self, runs):
        assert view_of(runs, run=1).readouts == 40
        assert [label.number for label in view_of(runs).status.runs] == [2, 1]

    def test_one_that_is_forgotten_gives_the_present_one(self, runs):
        assert view_of(runs, run=77).run.number == 2

    def test_outline(self, runs):
        view = view_of(runs, compare=1)
        assert view.scale == 0.25
        assert view.tot_outline.sum() == pytest.approx(10)
        assert view.per_readout_outline.tolist() == [0, 10] + [0] * 8
        assert (
            said_of(runs, compare=1)["compared"] == f"overlay: {numbers.clock(moment(1).ns, LATER.ns)} × 0.25"
        )

    def test_the_daq_is_named_where_there_are_two(self, runs):
        assert "10.0.0.1" not in view_of(runs).status.runs[0].text
        runs.run(0, 5, 5.0, daq=OTHER_DAQ)
        assert "10.0.0.2" in view_of(runs).status.runs[0].text


class TestMaskAll:
    def test_the_one_real_pixel_of_an_injection_run_is_left(self):
        stream = Stream()
        stream.send([readout(i, i, [(0, 9, 300)]) for i in range(700)], 1.0)
        said = said_of(stream)
        assert [hot["pixel"] for hot in said["hot"]] == ["0/9/0"]
        assert said["mask_all"] == []
        assert said["hot_text"] == (
            "These have 100\u202f% of the hits, as in an injection run: mask them one by one."
        )

    def test_noise_is_masked(self, stream):
        assert said_of(stream)["mask_all"] == ["0/12/5"]
        assert said_of(Stream())["hot_text"] == "No hot pixels."


class TestColours:
    def test_single_corrupt_hits_do_not_stretch_those_of_tot(self):
        stream = Stream()
        stream.send([readout(i, i, [(3, 5, 100 + i)]) for i in range(9)], 1.0)
        stream.send([readout(9, 9, [(1, 1, 16000), (3, 5, 16000)])], 1.0)
        values, title, limits = map_values(view_of(stream, quantity="tot", tot_to=20))
        assert title == "mean TOT [µs]"
        assert values[1, 1] == pytest.approx(800)
        assert limits == (0, 20)
        values, title, _ = map_values(view_of(stream, quantity="median", tot_to=20))
        assert title == "median TOT [µs]"
        assert values[3, 5] == pytest.approx(5.3)
        values, _, _ = map_values(view_of(stream, quantity="median", masked="0/5/3"))
        assert np.isnan(values[3, 5])
        assert values[1, 1] > 790

    def test_the_median_since_a_reset(self):
        stream = Stream()
        stream.send([readout(i, i, [(3, 5, 100)]) for i in range(9)], 1.0)
        reset = take_reset(stream.accumulator, Choice(), moment(3))
        stream.send([readout(9, 9, [(3, 5, 300)])], 4.0)
        values, _, _ = map_values(view_of(stream, reset=reset, quantity="median"))
        assert values[3, 5] == pytest.approx(15.1)


class TestReset:
    def test_counts_begin_again_for_this_viewer(self, stream):
        reset = take_reset(stream.accumulator, Choice(), moment(3))
        stream.run(120, 7, 4.0)
        view = view_of(stream, reset=reset)
        assert (view.readouts, view.hits, view.hit_map.sum(), view.tot.sum()) == (7, 7, 7, 7)
        assert view.since.startswith("since the reset at")
        assert view.account.held == 7
        assert view_of(stream).readouts == 127

    def test_losses_before_it_are_gone(self, stream):
        stream.tell(3, losing(BEFORE_SOCKET=5))
        reset = take_reset(stream.accumulator, Choice(), moment(3))
        stream.tell(4, losing(BEFORE_SOCKET=7))
        assert view_of(stream, reset=reset).account.lost == 2
        assert view_of(stream).account.lost == 7

    def test_a_new_run_ends_it(self, stream):
        reset = take_reset(stream.accumulator, Choice(), moment(3))
        stream.run(0, 5, 4.0)
        assert view_of(stream, reset=reset).readouts == 5
        assert view_of(stream, reset=reset).since == "since run start"


class TestWords:
    def test_live_fraction(self):
        stream = Stream()
        stream.run(0, 9998, 1.0)
        stream.tell(2, losing(BEFORE_SOCKET=1, RELAY_TO_CLIENT=1))
        said = said_of(stream, moment(2))
        assert said["live_fraction"] == "99.98\u202f%"
        assert said["holds"] == (
            "This page holds 99.98\u202f% of the run's readouts since run start; "
            "2 missed: 1 before the relay's socket, 1 between relay and here."
        )
        assert not said["whole"]

    def test_all_of_it(self):
        stream = Stream()
        stream.run(0, 10, 1.0)
        assert said_of(stream)["holds"] == "This page holds all the run's readouts since run start."
        assert said_of(stream)["live_fraction"] == "100\u202f%"

    def test_late_join(self):
        stream = Stream()
        stream.run(500, 10, 1.0)
        said = said_of(stream)
        assert said["since"].removeprefix("since ") == said["run_text"].removeprefix("first readout ")
        assert said["ids"] == "ids 500 to 509"

    def test_what_is_at_most(self):
        stream = Stream("udp://239.1.1.1:5007")
        stream.run(0, 10, 1.0)
        ledger = losing(CLIENT_KERNEL=3)
        stream.tell(2, Ledger(lost_at=ledger.lost_at, at_most=True))
        assert "3 missed: at most 3 in this host's kernel" in said_of(stream)["holds"]

    def test_no_network_says_why(self):
        stream = Stream()
        stream.tell(1, state=State.NO_NETWORK, trouble="tcp://relay:5556 is not heard")
        said = said_of(stream)
        assert (said["state"], said["state_text"]) == (
            "no network",
            "tcp://relay:5556 is not heard; no readout yet",
        )

    def test_everything_can_be_sent_to_a_browser(self, stream):
        import json

        json.dumps(said_of(stream, masked="0/12/5", compare=1), allow_nan=False)


class TestHalfHits:
    """The map is of pixels, and half hits have profiles and a spectrum of their own."""

    @pytest.fixture
    def stream(self):
        stream = Stream(kind=ASTEP)
        # Pixels of column 32 and row 13 on chip 3 of layer 2, and a row alone on chip 0 of layer 1.
        frames = half(2, 3, 1, 32, 100) + half(2, 3, 0, 13, 110) + half(1, 0, 0, 7, 200, time=9)
        stream.send([AStepReadout(frames, i, i) for i in range(10)], 1.0)
        return stream

    def test_numbers(self, stream):
        view = view_of(stream)
        assert (view.readouts, view.hits, view.pixels, view.unpaired) == (10, 30, 10, 10)
        assert view.hit_map.shape == (35, 35)
        assert view.hit_map[13, 32] == view.hit_map.sum() == 10
        assert view.mean_tot_us[13, 32] == pytest.approx(1.1)
        assert view.rows[[7, 13]].tolist() == [10, 10]
        assert view.columns[32] == view.columns.sum() == 10
        assert [geometry.chip_value(chip) for chip in view.chips] == ["1.0", "2.3"]
        assert view.fpga == (5, 9)

    def test_the_spectrum_is_of_pixels_or_of_half_hits(self, stream):
        assert view_of(stream).tot_edges_us[-1] == 40
        assert view_of(stream, tot_to=4, tot_bins=40).tot.nonzero()[0].tolist() == [11]
        halves = view_of(stream, tot_of="halves", tot_to=4, tot_bins=40)
        assert halves.tot[[10, 11, 20]].tolist() == [10, 10, 10]
        assert halves.tot_outside == 0
        assert view_of(stream, tot_of="halves", tot_to=1.5).tot_outside == 10

    def test_one_chip_and_a_mask(self, stream):
        chip = view_of(stream, chip="1.0")
        assert (chip.hit_map.sum(), chip.rows.sum(), chip.columns.sum()) == (0, 10, 0)
        assert view_of(stream, masked="2.3/32/13").hit_map.sum() == 0
        assert view_of(stream, masked="2.3/32/13", chip="2.3").masked[13, 32]

    def test_words(self, stream):
        said = said_of(stream, chip="2.3")
        assert (said["hits_name"], said["hits_text"]) == ("Half hits", "10 pixels, 10 unpaired")
        assert said["chips"] == [
            {"value": "1.0", "text": "layer 1, chip 0"}, {"value": "2.3", "text": "layer 2, chip 3"},
        ]  # fmt: skip
        assert said["shown"]["chip"] == "2.3"
        assert said["fpga"] == "FPGA time 5 to 9 ticks"
        assert "layer 2, chip 3" in said["caption"]
        assert said["kind"]["half_hits"]

    def test_a_tick_that_is_known(self):
        kind = ASTEP.configured(tick_ns=1e9)
        stream = Stream(kind=kind)
        stream.send([kind.readout_class(half(1, 0, 0, 7, 200, time=9), 0, 0)], 1.0)
        assert said_of(stream)["fpga"] == "FPGA time 9.000 to 9.000 s"

    def test_a_reset(self, stream):
        reset = take_reset(stream.accumulator, Choice(), moment(3))
        stream.send([AStepReadout(half(1, 0, 0, 8, 200, time=11), 10, 10)], 4.0)
        view = view_of(stream, reset=reset)
        assert (view.hits, view.pixels, view.unpaired, view.rows.sum(), view.fpga) == (1, 0, 1, 1, (9, 11))

    def test_problems_have_the_names_of_the_kind(self, stream):
        stream.send([AStepReadout(b"\x06\x01aaaaa", 10, 10)], 4.0)
        assert shown_problems(view_of(stream)) == {
            "frame from two readouts": 0, "frame not completed": 0, "begins within a frame": 0,
            "ends within a frame": 0, "noise between frames": 0, "bad frame": 1,
        }  # fmt: skip

    def test_locations_that_no_chip_has(self, stream):
        stream.send([AStepReadout(half(1, 0, 0, 60, 200), 10, 10)], 4.0)
        assert len(view_of(stream).rows) == 64

    def test_a_run_of_another_kind_follows(self, stream):
        stream.accumulator.set_kind(ASTROPIX4)
        stream.run(11, 5, 5.0)
        view = view_of(stream, compare=1)
        assert (view.run.number, view.readouts, view.hit_map.shape) == (2, 5, (13, 16))
        assert view.compared is None  # its chips have other pixels
        assert view_of(stream, run=1).hit_map.shape == (35, 35)

    def test_export(self, stream):
        value = export.histograms(view_of(stream))
        assert value["kind"] == {"uid": 3100, "name": "A-STEP"}
        assert (value["chips"], value["pixels"], value["unpaired"]) == (["1.0", "2.3"], 10, 10)
        text = export.table(view_of(stream), "profiles")
        assert "# kind: A-STEP (3100)\n" in text
        assert text.splitlines()[-28:][0] == "7,10,0"


def half(layer, chip, is_column, location, tot, time=5):
    """Return a frame."""
    return bytes(
        [10, layer, chip << 3 | 4, is_column << 7 | location, 0, tot >> 8, tot & 0xFF, time, 0, 0, 0]
    )


def test_an_unknown_kind_counts_readouts_and_says_that_it_decodes_nothing():
    kind = kind_of(5000)
    stream = Stream(kind=kind)
    stream.send([kind.readout_class(b"\xe0" * 8, i, i) for i in range(3)], 1.0)
    view = view_of(stream)
    assert (view.readouts, view.hits, view.hit_map.sum()) == (3, 0, 0)
    assert said_of(stream)["hits_text"] == "kind 5000: not decoded"


class TestAgainstAnotherRun:
    @pytest.fixture
    def runs(self):
        """40 readouts with a hit each, and 10 with three."""
        stream = Stream()
        stream.send([readout(i, 100 + i, [(3, 5, 100)]) for i in range(40)], 1.0)
        stream.send([readout(i, 9000 + i, [(3, 5, 100)] * 2 + [(4, 6, 300)]) for i in range(10)], 5.0)
        return stream

    def test_the_difference_with_its_error(self, runs):
        view = view_of(runs, compare=1, compare_as="difference", tot_to=40, tot_bins=10)
        values, errors = against(view, view.tot, view.tot_outline)
        assert values[[1, 3]].tolist() == [20 - 10, 10]
        assert errors[1] == pytest.approx((20 + 40 * 0.25**2) ** 0.5)  # of both counts
        shown, title, (low, high) = map_values(view)
        assert (shown[3, 5], shown[4, 6], shown[0, 0]) == (10, 10, 0)
        assert (title, low, high) == ("difference from the other run", 0, 10)

    def test_the_ratio_with_its_error(self, runs):
        view = view_of(runs, compare=1, compare_as="ratio", tot_to=40, tot_bins=10)
        values, errors = against(view, view.tot, view.tot_outline)
        assert values[1] == 2.0
        assert errors[1] == pytest.approx(2.0 * (1 / 20 + 1 / 40) ** 0.5)
        assert np.isnan(values[3])  # the other run has none there
        shown, title, limits = map_values(view)
        assert shown[3, 5] == 2.0
        assert np.isnan(shown[4, 6])
        assert title == "ratio to the other run"
        assert limits[0] == 2.0 < limits[1]

    def test_hits_per_readout_end_where_the_counts_do(self, runs):
        view = view_of(runs, compare=1, compare_as="difference")
        values, _ = against(view, view.per_readout[:3], view.per_readout_outline)
        assert len(values) == len(view.per_readout_outline)
        assert values[1] == -10

    def test_without_another_run_the_map_is_that_of_hits(self, runs):
        assert map_values(view_of(runs, compare_as="ratio"))[1] == "hits"
        assert view_of(runs).map_outline.size == 0

    def test_where_no_run_has_a_hit(self):
        stream = Stream()
        stream.send([readout(0, 100, [])], 1.0)
        stream.send([readout(0, 200, [])], 5.0)
        stream.send([readout(1, 201, [])], 5.1)
        assert map_values(view_of(stream, compare=1, compare_as="ratio"))[2] == (0.0, 1.0)


def test_a_spectrum_without_entries_has_no_numbers():
    assert words.numbers_of(Statistics(0, *[float("nan")] * 3)) == "no entries"
    assert words.numbers_of(Statistics(1, 2.0, 0.0, 2.0)).startswith("1 entry, mean 2.00 µs")


def test_a_fit_is_told_with_its_errors_or_why_there_is_none():
    assert words.fit_text(None) == ""
    assert (
        words.fit_text(Fit("moyal", 1.0, 9.0, problem="too few entries"))
        == "Moyal, 1 to 9 µs: too few entries"
    )
    fit = Fit("gaussian", 1.0, 9.0, 5.0, 0.123, 1.0, float("nan"), 100.0, 10.0, 12.3, 10)
    assert words.fit_text(fit) == (
        "Gaussian, 1 to 9 µs: peak 5.00 ± 0.12 µs, σ 1 µs, 100 ± 10 entries, χ²/ndf 12.3/10"
    )


def test_the_last_line_says_which_run_it_is_of(stream):
    assert words.summary(view_of(stream)).startswith("run of ")
    assert words.summary(view_of(Stream())) == "no run yet: 0 readouts, 0 hits. No readout yet."
