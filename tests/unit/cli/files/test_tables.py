"""`apx convert`: every kind of table has the hits that the decoder finds."""

import csv
import importlib

import pytest

from astropix_stream import cli
from astropix_stream.cli.files import tables
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Hit, AstroPix4Readout

HIT = bytes.fromhex("e0401eac0dccc200")


@pytest.fixture
def file(tmp_path):
    """A file with hits that were split: within a chunk of 4096, and between two of them."""
    detector = Detector(seed=1)
    readouts = [detector.readout(i, 10**18 + i) for i in range(5000)]
    for i in (100, 4095):
        readouts[i] = AstroPix4Readout(readouts[i].data() + HIT[:5], i, 10**18 + i)
        readouts[i + 1] = AstroPix4Readout(HIT[5:] + readouts[i + 1].data(), i + 1, 10**18 + i + 1)
    readouts[200] = AstroPix4Readout(b"\x00" + readouts[200].data(), 200, 10**18 + 200)
    path = tmp_path / "run.apx"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        writer.write(b"".join(readout.to_bytes() for readout in readouts))
    return path


@pytest.fixture
def expected(file):
    hits, extra = [], None
    with apx_open(file) as reader:
        for readout in reader:
            hits += readout.decode(extra)
            extra = readout.extra_bytes()
    return [hit.attribute_values() for hit in hits]


def read_csv(path):
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return names, [[float(text) if "." in text else int(text) for text in row] for row in rows]


def read_npz(path):
    numpy = pytest.importorskip("numpy")
    with numpy.load(path) as archive:
        names = archive.files
        return names, [list(row) for row in zip(*(archive[name].tolist() for name in names), strict=True)]


def read_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    return table.column_names, [list(row.values()) for row in table.to_pylist()]


READERS = {".csv": read_csv, ".npz": read_npz, ".parquet": read_parquet}
LIBRARIES = {".csv": "csv", ".npz": "numpy", ".parquet": "pyarrow"}


@pytest.mark.parametrize("kind", READERS)
def test_every_kind_has_the_same_hits_in_the_documented_columns(kind, file, expected, tmp_path, capsys):
    pytest.importorskip(LIBRARIES[kind])
    path = tmp_path / f"hits{kind}"
    assert cli.run(["convert", str(file), str(path)]) == 0
    assert f"{len(expected)} hits of 5000 readouts written to {path}\n" == capsys.readouterr().out
    names, rows = READERS[kind](path)
    assert tuple(names) == AstroPix4Hit.ATTRIBUTE_NAMES
    assert rows == expected


@pytest.fixture
def doubled(file, tmp_path):
    """The same run in which every third readout stands twice, split ones among them."""
    path = tmp_path / "doubled.apx"
    with apx_open(file) as reader, apx_open(path, "wb", reader.header) as writer:
        for raw, readout_id, _ in reader.datagrams():
            writer.write(raw * (1 + (readout_id % 3 == 0 or readout_id in (100, 101, 4095, 4096))))
    return path


@pytest.mark.parametrize("kind", READERS)
def test_the_hits_of_duplicates_are_left_out(kind, doubled, expected, tmp_path, capsys):
    pytest.importorskip(LIBRARIES[kind])
    path = tmp_path / f"hits{kind}"
    assert cli.run(["convert", str(doubled), str(path)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("duplicates left out (--keep-duplicates keeps them)\n")
    assert READERS[kind](path)[1] == expected
    assert cli.run(["convert", str(doubled), str(path), "--keep-duplicates", "--force"]) == 0
    assert "left out" not in capsys.readouterr().out
    rows = READERS[kind](path)[1]
    assert len(rows) > len(expected)
    assert {tuple(row) for row in expected} <= {tuple(row) for row in rows}


@pytest.mark.parametrize("kind", READERS)
def test_two_halves_that_are_no_hit_are_none(kind, tmp_path):
    pytest.importorskip(LIBRARIES[kind])
    path, table = tmp_path / "gap.apx", tmp_path / f"hits{kind}"
    pieces = [
        (HIT[:3], 5),
        (HIT[3:] + HIT, 7),
        (HIT[:3], 8),
        (HIT[3:], 0),
        (HIT[:3], 1),
        (HIT[3:] + HIT[:3], 2),
    ]
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        for at, (data, readout_id) in enumerate(pieces):
            writer.write(AstroPix4Readout(data, readout_id, 10**18 + at * 10**9).to_bytes())
    assert cli.run(["convert", str(path), str(table)]) == 0
    assert [row[2] for row in READERS[kind](table)[1]] == [7, 2]


@pytest.mark.parametrize("kind", READERS)
def test_no_readouts_are_an_empty_table(kind, tmp_path):
    pytest.importorskip(LIBRARIES[kind])
    with apx_open(tmp_path / "run.apx", "wb", FileHeader(AstroPix4Readout, {})):
        pass
    assert cli.run(["convert", str(tmp_path / "run.apx"), str(tmp_path / f"hits{kind}")]) == 0
    names, rows = READERS[kind](tmp_path / f"hits{kind}")
    assert tuple(names) == AstroPix4Hit.ATTRIBUTE_NAMES
    assert rows == []


def test_a_truncated_file_is_converted_as_far_as_it_goes(file, expected, tmp_path, capsys):
    file.write_bytes(file.read_bytes()[:-3])
    assert cli.run(["convert", str(file), str(tmp_path / "hits.csv")]) == 2
    assert "truncated" in capsys.readouterr().err
    _, rows = read_csv(tmp_path / "hits.csv")
    assert rows == [row for row in expected if row[2] < 4999]


def test_a_damaged_file_is_converted_up_to_the_damage(file, expected, tmp_path, capsys):
    file.write_bytes(file.read_bytes() + b"x" * 100)
    assert cli.run(["convert", str(file), str(tmp_path / "hits.csv")]) == 2
    assert "not a readout at byte" in capsys.readouterr().err
    _, rows = read_csv(tmp_path / "hits.csv")
    assert rows == expected


def test_files_beside_the_table_are_left_alone(file, tmp_path):
    mine = [tmp_path / name for name in ("hits.csv.new", "hits.csv.part", ".hits.csv.new")]
    for there in mine:
        there.write_text("mine")
    assert cli.run(["convert", str(file), str(tmp_path / "hits.csv")]) == 0
    assert [there.read_text() for there in mine] == ["mine"] * 3
    assert len(list(tmp_path.iterdir())) == 5


def test_a_table_that_exists_is_kept(file, tmp_path, capsys):
    path = tmp_path / "hits.csv"
    path.write_text("precious")
    assert cli.run(["convert", str(file), str(path)]) == 2
    assert capsys.readouterr().err == (
        f"apx: {path} exists: choose another name, or overwrite it with --force\n"
    )
    assert path.read_text() == "precious"
    assert cli.run(["convert", str(file), str(path), "--force"]) == 0
    assert path.read_text() != "precious"


@pytest.mark.parametrize("name", ["hits", "hits.xls", "hits.CSV"])
def test_another_kind(name, file, tmp_path, capsys):
    assert cli.run(["convert", str(file), str(tmp_path / name)]) == 2
    assert "give a name that ends in .csv, .parquet or .npz" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("kind", "library"), [(".npz", "NumPy"), (".parquet", "PyArrow")])
def test_without_the_library(kind, library, file, tmp_path, monkeypatch, capsys):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Problem, match=f"this needs {library}: pip install"):
        tables.open_table(tmp_path / "hits", kind, AstroPix4Readout)


def test_a_failure_leaves_no_half_table(file, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.CsvTable, "write", fail)
    assert cli.run(["convert", str(file), str(tmp_path / "hits.csv")]) == 1
    assert capsys.readouterr().err == "apx: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] == ["run.apx"]
