"""What goes into files of the parts of the page."""

import csv
import io

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fmt import ASTEP
from astropix_stream.monitor import export, panel_tables
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout


@pytest.fixture(scope="module")
def stream():
    """Twelve chips for 5 s."""
    stream = Stream(kind=ASTEP)
    detector = Detector(seed=3, kind=ASTEP, chips=12)
    stream.send([detector.readout(i, BEGIN_NS + i * 10**7) for i in range(500)], 5.0)
    return stream


def rows_of(stream, name, **choice):
    wanted = Choice.read({"panel": export.panel_of(name), **choice}, stream.accumulator.geometry)
    view = make_view(stream.accumulator, wanted, moment(10))
    lines = [line for line in export.table(view, name).splitlines() if not line.startswith("# ")]
    return view, list(csv.DictReader(io.StringIO("\n".join(lines))))


@pytest.mark.parametrize("name", panel_tables.TABLES)
def test_each_has_its_columns_and_its_head(stream, name):
    choice = Choice.read({"panel": export.panel_of(name)}, stream.accumulator.geometry)
    text = export.table(make_view(stream.accumulator, choice, moment(10)), name)
    assert "# readouts: 500\n" in text
    assert ",".join(panel_tables.TABLES[name][1]) in text


@pytest.mark.parametrize("name", panel_tables.TABLES)
def test_before_the_first_readout(name):
    _, rows = rows_of(Stream(), name)
    assert len(rows) in (0, 13 * 16, 20) or name in ("pixel_tot",)


def test_chips(stream):
    counts = stream.accumulator.present.counts
    _, rows = rows_of(stream, "chips")
    assert [row["chip"] for row in rows] == [f"{layer}.{chip}" for layer in (1, 2, 3) for chip in range(4)]
    assert sum(int(row["hits"]) for row in rows) == counts.pixels
    assert float(rows[0]["hz"]) == pytest.approx(int(rows[0]["hits"]) / 4.99, rel=1e-4)
    _, rows = rows_of(stream, "chip_maps")
    assert len(rows) == 12 * 35 * 35
    assert sum(int(row["hits"]) for row in rows) == counts.pixels


def test_a_pixel(stream):
    view, rows = rows_of(stream, "pixel_tot")
    assert sum(int(row["hits"]) for row in rows) == view.panel.tot.sum() > 0
    _, rows = rows_of(stream, "pixel_history")
    assert [row["from"] for row in rows[1:]] == [row["to"] for row in rows[:-1]]
    seconds = [float(row["rate"]) for row in rows]
    assert sum(seconds) == pytest.approx(view.panel.hits, abs=view.panel.hits / 5)
    _, rows = rows_of(stream, "noise")
    assert len(rows) == 35 * 35
    assert {row["unit"] for row in rows} == {"Hz"}


def test_without_times_there_are_readout_ids_and_hits():
    stream = Stream()
    stream.send([readout(i, 0) for i in range(40)], 1.0)
    _, rows = rows_of(stream, "pixel_history")
    assert [row["to"] for row in rows] == ["16", "32"]
    _, rows = rows_of(stream, "noise")
    assert sum(float(row["rate"]) for row in rows) == 40
    assert rows[0]["unit"] == "hits"
    _, rows = rows_of(stream, "trend")
    assert [row["from"] for row in rows] == ["0", "16", "32"]


def test_the_trend_with_and_without_a_fit(stream):
    pytest.importorskip("iminuit")
    _, rows = rows_of(stream, "trend")
    assert sum(int(row["entries"]) for row in rows) == pytest.approx(
        stream.accumulator.present.counts.pixels, rel=0.01
    )
    assert {row["peak_us"] for row in rows} == {""}
    _, rows = rows_of(stream, "trend", fit="moyal", fit_from=2, fit_to=9)
    assert float(rows[0]["peak_us"]) == pytest.approx(4.0, abs=0.5)
    assert int(rows[0]["ndf"]) > 10


def test_coincidences(stream):
    view, rows = rows_of(stream, "correlation_columns")
    assert sum(int(row["pairs"]) for row in rows) == view.panel.pairs > 0
    _, rows = rows_of(stream, "correlation_rows")
    assert sum(int(row["pairs"]) for row in rows) == view.panel.pairs
    _, rows = rows_of(stream, "coincidence")
    assert sum(int(row["pairs"]) for row in rows) == view.panel.deltas.sum() > 0
    _, rows = rows_of(stream, "clusters")
    assert [row["pixels"] for row in rows] == [str(size) for size in range(1, 21)]
