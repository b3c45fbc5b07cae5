"""What goes into files and to scripts."""

import csv
import io
import json

import pytest

from astropix_stream.counting.places import Place
from astropix_stream.monitor import export
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
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
