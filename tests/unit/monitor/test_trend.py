"""The spectrum over the run."""

import gc

import numpy as np
import pytest

from astropix_stream.monitor import trend
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout

S = 10**9


@pytest.fixture(scope="module")
def drifting():
    """20 s in which the peak moves from 20 to 29.5 µs."""
    stream, rng = Stream(), np.random.default_rng(1)
    for second in range(20):
        ticks = rng.normal(400 + 10 * second, 20, 100).astype(int).tolist()
        stream.send([readout(second, BEGIN_NS + second * S, [(3, 5, tot) for tot in ticks])], second)
    return stream


def panel_of(stream, **choice):
    geometry = stream.accumulator.geometry
    return make_view(
        stream.accumulator, Choice.read({"panel": "spectrum", **choice}, geometry), moment(20)
    ).panel


def test_it_follows_a_drift(drifting):
    points = panel_of(drifting).points
    assert len(points) == 20
    means = [point.statistics.mean_us for point in points]
    assert means[0] == pytest.approx(20.1, abs=0.5)
    assert means[-1] == pytest.approx(29.6, abs=0.5)
    assert [point.begin for point in points] == [BEGIN_NS + i * S for i in range(20)]
    assert all(point.fit is None for point in points)
    assert panel_of(drifting).timed


def test_so_does_the_fitted_peak(drifting):
    pytest.importorskip("iminuit")
    points = panel_of(drifting, fit="gaussian", tot_to=60).points
    assert [point.fit.problem for point in points] == [""] * 20
    for second, point in enumerate(points):
        assert point.fit.peak_us == pytest.approx(20 + second / 2, abs=0.6)
        assert 0.05 < point.fit.peak_error_us < 0.2


def test_the_range_is_that_of_the_spectrum(drifting):
    assert panel_of(drifting, tot_to=10).points[0].statistics.entries == 0


def test_what_was_worked_out_is_kept(drifting, monkeypatch):
    first = panel_of(drifting, tot_to=70)
    calls = []
    monkeypatch.setattr(trend, "statistics", lambda *given: calls.append(given))
    again = panel_of(drifting, tot_to=70)
    assert again.points[:19] == first.points[:19]
    assert len(calls) <= 1  # of the slice that goes on


def test_it_goes_with_its_slice():
    """The one of the present is another one at each look: what was worked out of it must not stay."""
    stream = Stream()
    for i in range(100):
        stream.send([readout(i, BEGIN_NS + i * S)], i)
    for _ in range(3):
        panel_of(stream)
        gc.collect()
        kept = len(trend._points), len(trend._pairs)
    slices = stream.accumulator.present.slices
    assert kept <= (len(slices._done), len(slices._done))
    del stream, slices
    gc.collect()
    assert (len(trend._points), len(trend._pairs)) < kept


def test_many_slices_are_put_together():
    stream = Stream()
    for i in range(100):
        stream.send([readout(i, BEGIN_NS + i * S)], i)
    points = panel_of(stream).points
    assert len(points) == 50
    assert sum(point.statistics.entries for point in points) == 100


def test_before_the_first_readout():
    assert panel_of(Stream()).points == ()
