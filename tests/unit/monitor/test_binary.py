"""Everything that is shown, as ROOT and HDF5, read again by the libraries that people use."""

import io
import json

import numpy as np
import pytest

from astropix_stream.errors import ConfigError
from astropix_stream.fmt import ASTEP
from astropix_stream.monitor import binary, export
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import Stream, losing, moment

h5py = pytest.importorskip("h5py")
uproot = pytest.importorskip("uproot")

TEN, NINE = "2026-11-28T10:00:00.500+01:00", "2026-11-28T09:00:00.000+01:00"
NOTES = [
    {"number": 1, "time": TEN, "author": "Ana", "text": "beam on π⁺", "run_of": None},
    {"number": 2, "time": TEN, "author": "", "text": "x", "run_of": NINE},
]
ALARMS = {
    "alarms": [{"alarm": "loss above 1 %", "state": "ok"}],
    "log": [{"number": 3, "event": "raised", "alarm": "silence", "time": TEN, "value": None}],
}


@pytest.fixture
def view():
    stream = Stream()
    stream.run(0, 50, 1.0)
    stream.tell(2.0, losing(BEFORE_SOCKET=3))
    return make_view(stream.accumulator, Choice(quantity="median"), moment(5))


def written(view, name, notes=NOTES):
    return io.BytesIO(binary.FORMATS[name](binary.content_of(view, notes, ALARMS)))


def test_hdf5(view):
    with h5py.File(written(view, "hdf5")) as file:
        assert file["maps/hits"][:].tolist() == view.hit_map.tolist()
        assert np.array_equal(file["maps/mean_tot_us"][:], view.mean_tot_us, equal_nan=True)
        assert np.array_equal(file["maps/median_tot_us"][:], view.median_tot_us, equal_nan=True)
        assert file["maps/hits"].attrs["axes"] == "row, column"
        assert file["tot_edges_us"][:].tolist() == view.tot_edges_us.tolist()
        assert file["tot"]["hits"].tolist() == view.tot.tolist()
        assert file["problems"]["problem"][0].decode() == "orphan bytes matched"
        assert file["rates"]["readouts_per_s"].sum() == 50
        assert file["rates"]["time_unix_s"][0] == pytest.approx(moment(0).ns / 1e9, abs=1)
        assert file["notes"]["text"][0].decode() == "beam on π⁺"
        assert file["notes"]["time_unix_s"].tolist() == [1795856400.5, 1795856400.5]
        assert np.isnan(file["notes"]["run_of_unix_s"][0])
        assert file["alarms"]["event"][0].decode() == "raised"
        assert file.attrs["held"] == "50"
        assert json.loads(file.attrs["lost_at"]) == {"before_socket": 3}
        state = json.loads(file["state"][()])
        assert state["run"]["readouts"] == 50
        assert state["choice"]["quantity"] == "median"
        assert state["alarms"] == ALARMS["alarms"]


def test_root(view):
    with uproot.open(written(view, "root")) as file:
        assert file.classnames()["tables/rates;1"] == "TTree"
        tot = file["tot"]
        assert tot.values().tolist() == view.tot.tolist()
        assert tot.axis().edges().tolist() == pytest.approx(view.tot_edges_us.tolist())
        assert (tot.title, tot.member("fEntries")) == ("Time over threshold", view.tot.sum())
        assert tot.member("fXaxis").member("fTitle") == "time over threshold [us]"
        hits = file["hit_map"]
        assert hits.values().T.tolist() == view.hit_map.tolist()
        assert hits.axis("x").member("fTitle") == "column"
        assert file["mean_tot"].values()[5, 3] == view.mean_tot_us[3, 5]
        assert file["per_readout"].values().tolist() == view.per_readout.tolist()
        assert file["tables/notes"].arrays()["text"].tolist() == ["beam on π⁺", "x"]
        assert file["tables/rates"].arrays()["lost"].to_numpy().sum() == 3
        assert json.loads(str(file["state"]))["run"]["lost"] == 3


@pytest.mark.parametrize("name", sorted(binary.FORMATS))
def test_every_table_of_the_page_is_there(view, name):
    data = written(view, name)
    names = [one for one in export.tables_of(view) if export.table(view, one).splitlines()[-1][0].isdigit()]
    with h5py.File(data) if name == "hdf5" else uproot.open(data) as file:
        found = list(file) if name == "hdf5" else [one.split(";")[0] for one in file["tables"]]
    assert set(names) <= set(found)


@pytest.mark.parametrize("name", sorted(binary.FORMATS))
@pytest.mark.parametrize(
    ("panel", "table"), [("chips", "chip_maps"), ("pixel", "noise"), ("spectrum", "trend")]
)
def test_the_part_of_the_page_that_is_open(name, panel, table):
    stream = Stream()
    stream.run(0, 50, 1.0)
    view = make_view(stream.accumulator, Choice.read({"panel": panel, "pixel": "0/5/3"}), moment(5))
    data = written(view, name)
    with h5py.File(data) if name == "hdf5" else uproot.open(data) as file:
        assert table in (list(file) if name == "hdf5" else [one.split(";")[0] for one in file["tables"]])


@pytest.mark.parametrize("name", sorted(binary.FORMATS))
def test_before_the_first_readout_and_of_other_kinds(name):
    for stream in (Stream(), Stream(kind=ASTEP)):
        view = make_view(stream.accumulator, Choice(), moment(1))
        assert len(written(view, name, notes=[]).getvalue()) > 1000


def test_what_is_missing(view, monkeypatch):
    assert binary.missing() == {}
    monkeypatch.setattr(binary, "_LIBRARIES", {"hdf5": "h5py", "root": "uproot_that_is_not_there"})
    said = "this needs uproot_that_is_not_there: pip install 'astropix-stream[convert]'"
    assert binary.missing() == {"root": said}
    with pytest.raises(ConfigError) as caught:
        binary._import("uproot_that_is_not_there")
    assert str(caught.value) == said
