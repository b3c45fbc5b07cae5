"""What goes into files and to scripts."""

import csv
import io
import json

import pytest

from astropix_stream.counting.places import Place
from astropix_stream.monitor import export
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
from astropix_stream.wire import NO_SOURCE
from unit.monitor.stream import Stream, losing, moment, readout


def view_of(stream, **choice):
    return make_view(stream.accumulator, Choice.read(choice), moment(10))


@pytest.fixture
def stream():
    stream = Stream()
    stream.send([readout(i, 1000 + i, [(5, 12, 400)] * 2) for i in range(99)], 1.0)
    stream.tell(2, losing(RELAY_KERNEL=1))
    return stream


def read(text):
    """Return the head as a dict, and the rows."""
    lines = text.splitlines()
    head = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))
    return head, list(csv.DictReader(line for line in lines if not line.startswith("# ")))


@pytest.mark.parametrize("name", export.TABLES)
def test_the_head_says_what_it_is_of(stream, name):
    head, _ = read(export.table(view_of(stream, chip=0), name))
    assert head["source"] == "tcp://relay:5556"
    assert (head["number"], head["readouts"], head["lost"], head["live_fraction"]) == ("1", "99", "1", "0.99")
    assert (head["chip"], head["masked"], head["since"]) == ("0", "none", "since run start")


def test_tables_hold_every_hit(stream):
    view = view_of(stream)
    _, rows = read(export.table(view, "hit_map"))
    assert len(rows) == 13 * 16
    assert sum(int(row["hits"]) for row in rows) == 198
    assert [row["mean_tot_us"] for row in rows if row["hits"] != "0"] == ["20.000"]
    _, rows = read(export.table(view, "tot"))
    assert sum(int(row["hits"]) for row in rows) == 198
    assert float(rows[0]["tot_from_us"]) == 0.0
    _, rows = read(export.table(view, "per_readout"))
    assert rows[2] == {"hits": "2", "readouts": "99"}
    _, rows = read(export.table(view, "rates"))
    assert sum(float(row["readouts_per_s"]) for row in rows) == 99
    assert sum(int(row["lost"]) for row in rows) == 1
    _, rows = read(export.table(view, "problems"))
    assert len(rows) == 8


def test_json_is_the_same(stream):
    value = json.loads(json.dumps(export.histograms(view_of(stream)), allow_nan=False))
    assert value["run"]["live_fraction"] == 0.99
    assert value["run"]["lost_at"] == {Place.RELAY_KERNEL.name.lower(): 1}
    assert sum(map(sum, value["hit_map"])) == sum(value["tot"]) == 198
    assert value["mean_tot_us"][5][12] == 20.0
    assert value["mean_tot_us"][0][0] is None


def test_json_has_the_tables_of_the_part_that_is_open(stream):
    value = json.loads(json.dumps(export.histograms(view_of(stream, panel="chips")), allow_nan=False))
    assert value["tables"]["chips"] == {"chip": [0], "hits": [198], "hz": value["tables"]["chips"]["hz"]}
    assert sum(value["tables"]["chip_maps"]["hits"]) == 198
    assert export.histograms(view_of(stream))["tables"] == {}


def test_a_file_comes_from_no_address():
    stream = Stream()
    stream.send([readout(0, 1000)], 1.0, daq=NO_SOURCE)
    assert export.run(view_of(stream))["daq"] is None


def test_state(stream):
    value = json.loads(json.dumps(export.state(view_of(stream)), allow_nan=False))
    assert value["state"] in ("live", "quiet", "losing")
    assert (value["run"]["readouts"], value["run"]["hits"]) == (99, 198)
    assert value["ledger"]["lost"] == 1


@pytest.mark.parametrize("name", export.TABLES)
def test_before_the_first_readout(name):
    view = view_of(Stream())
    assert export.state(view)["run"] is None
    assert json.dumps(export.histograms(view), allow_nan=False)
    head, _ = read(export.table(view, name))
    assert head["run"] == "none yet"


def test_a_text_with_line_breaks_stays_in_its_line():
    view = view_of(Stream("tcp://relay\n1,2,3\r\u2028x"))
    text = export.table(view, "tot")
    assert text.splitlines()[0] == "# source: tcp://relay 1,2,3  x"
    assert len(list(csv.reader(io.StringIO(text)))) > 10


@pytest.mark.parametrize("name", export.PANEL_TABLES)
def test_a_table_of_a_part_of_the_page(stream, name):
    head, _ = read(export.table(view_of(stream, panel=export.panel_of(name)), name))
    assert (head["number"], head["name"], head["readouts"]) == ("1", "19700101T000000.000Z", "99")


def test_a_table_of_the_overview_needs_no_part():
    assert export.panel_of("tot") == "overview"


def test_a_mask(stream):
    text = export.mask(view_of(stream, panel="pixel", masked="0/1/2"), one_chip=False)
    assert "# source: tcp://relay:5556\n" in text
    assert text.endswith("0:\n- [1, 2]\n- [12, 5]\n")
    assert export.mask(view_of(stream, panel="pixel", chip=0), one_chip=True).endswith("- [12, 5]\n")
    with pytest.raises(ValueError, match="no noise"):
        export.mask(view_of(stream), one_chip=False)


def test_statistics_and_a_fit(stream):
    value = json.loads(json.dumps(export.histograms(view_of(stream)), allow_nan=False))
    assert value["tot_statistics"] == {"entries": 198, "mean_us": 20.1, "rms_us": 0.0, "median_us": 20.1}
    assert (value["fit"], value["tot_compared"]) == (None, None)
    pytest.importorskip("iminuit")
    view = view_of(stream, fit="gaussian", fit_from=0, fit_to=1)
    value = json.loads(json.dumps(export.histograms(view), allow_nan=False))
    assert (value["fit"]["model"], value["fit"]["chi2"]) == ("gaussian", None)
    assert value["fit"]["problem"]


def test_a_run_against_another(stream):
    stream.send([readout(i, 9000 + i, [(5, 12, 400)]) for i in range(33)], 5.0)
    value = export.histograms(view_of(stream, compare=1))["tot_compared"]
    assert (value["run"], value["scale"]) == ("19700101T000000.000Z", pytest.approx(1 / 3))
    assert sum(value["tot"]) == pytest.approx(66)
    assert "ratio" not in value
    ratio = export.histograms(view_of(stream, compare=1, compare_as="ratio"))["tot_compared"]
    assert [one for one in ratio["ratio"] if one is not None] == [0.5]
    assert [one for one in ratio["error"] if one is not None] == [pytest.approx(0.094, abs=0.001)]
    difference = export.histograms(view_of(stream, compare=1, compare_as="difference"))["tot_compared"]
    assert min(difference["difference"]) == -33
