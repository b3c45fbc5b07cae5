"""`apx convert`: every kind of table has the hits that the decoder finds."""

import csv
import importlib
import io
import json

import pytest

from astropix_stream import cli, fmt
from astropix_stream.cli.files import tables
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.cli.terminal.ending import Problem
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import ASTROPIX4, AstroPix4Hit, AstroPix4Readout

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
        comment, names, *rows = csv.reader(file, quoting=csv.QUOTE_NONE)
    assert comment[0].startswith("#{")
    return names, [[float(text) if "." in text else int(text) for text in row] for row in rows]


def read_npz(path):
    numpy = pytest.importorskip("numpy")
    with numpy.load(path) as archive:
        *names, comments = archive.files
        assert comments == "comments"
        return names, [list(row) for row in zip(*(archive[name].tolist() for name in names), strict=True)]


def read_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(path.read_bytes()))
    return table.column_names, [list(row.values()) for row in table.to_pylist()]


def read_astropy(path):
    table = pytest.importorskip("astropy.table").Table.read(path)
    return table.colnames, [
        list(row) for row in zip(*(table[n].tolist() for n in table.colnames), strict=True)
    ]


def read_root(path):
    # With a path, uproot starts a thread that stays.
    with path.open("rb") as opened, pytest.importorskip("uproot").open(opened) as file:
        columns = file["HITS"].arrays(library="np")
    return list(columns), [list(row) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


READERS = {".csv": read_csv, ".npz": read_npz, ".parquet": read_parquet} | {
    ".ecsv": read_astropy,
    ".fits": read_astropy,
    ".hdf5": read_astropy,
    ".root": read_root,
}
LIBRARIES = {".csv": "csv", ".npz": "numpy", ".parquet": "pyarrow"} | {
    ".ecsv": "astropy",
    ".fits": "astropy",
    ".hdf5": "h5py",
    ".root": "uproot",
}


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
    told = "unsupported format" if "." in name else "the name does not tell the format"
    assert told in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("suffix", "library"),
    [
        (".npz", "NumPy"),
        (".parquet", "PyArrow"),
        (".fits", "NumPy"),
        (".hdf5", "NumPy"),
        (".root", "NumPy"),
    ],
)
def test_without_the_library(suffix, library, tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Problem) as caught:
        tables.table_class(suffix)(tmp_path / "hits", ASTROPIX4.types, {})
    assert str(caught.value).startswith(
        f"this format needs {library}: pip install 'astropix-stream[convert]';"
    )


def test_csv_needs_no_library(file, expected, tmp_path, monkeypatch):
    path = tmp_path / "hits.csv"
    real = importlib.import_module

    def missing(name):
        if name.partition(".")[0] in ("numpy", "pyarrow"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert cli.run(["convert", str(file), str(path)]) == 0
    assert read_csv(path)[1] == expected


def header_of(path):
    if path.suffix == ".csv":
        table = pytest.importorskip("astropy.table").Table.read(path, comment="#")
    elif path.suffix == ".root":
        with path.open("rb") as opened, pytest.importorskip("uproot").open(opened) as root:
            return json.loads(str(root["comments"]))
    elif path.suffix == ".npz":
        return json.loads("".join(pytest.importorskip("numpy").load(path)["comments"]))
    elif path.suffix == ".parquet":
        metadata = (
            pytest.importorskip("pyarrow.parquet").read_metadata(io.BytesIO(path.read_bytes())).metadata
        )
        return json.loads(metadata[b"comments"])
    else:
        table = pytest.importorskip("astropy.table").Table.read(path)
    return json.loads("".join(table.meta["comments"]))


@pytest.mark.parametrize("kind", READERS)
def test_each_carries_the_header_and_what_was_counted(kind, tmp_path):
    pytest.importorskip(LIBRARIES[kind])
    note = "two  spaces at every place, so that a card of FITS ends in one: " + "a " * 200
    source, path = tmp_path / "run.apx", tmp_path / f"hits{kind}"
    with apx_open(source, "wb", FileHeader(AstroPix4Readout, {"note": note, "e": "é"})) as writer:
        for i in (0, 1, 2, 5, 6, 6):
            writer.write(AstroPix4Readout(HIT, i, 10**18 + i).to_bytes())
    assert cli.run(["convert", str(source), str(path)]) == 0
    header = header_of(path)
    ours = header.pop("astropix_stream")
    assert header == {"readout_uid": 4000, "note": note, "e": "é"}
    assert (ours["file"], ours["kind"], ours["readouts"], ours["hits"]) == ("run.apx", "AstroPix 4", 6, 5)
    assert (ours["lost"], ours["duplicates"], ours["live_fraction"]) == (2, 1, 5 / 7)


def test_columns_several_files_and_a_directory(file, expected, tmp_path, capsys):
    other = tmp_path / "other.apx"
    other.write_bytes(file.read_bytes())
    both = tmp_path / "both.csv"
    assert cli.run(["convert", str(file), str(other), str(both), "--columns", "row, readout_id"]) == 0
    assert read_csv(both) == (["row", "readout_id"], [[row[5], row[2]] for row in expected] * 2)
    assert [each["file"] for each in header_of(both)["astropix_stream"]["files"]] == ["run.apx", "other.apx"]
    (tmp_path / "tables").mkdir()
    assert cli.run(["convert", str(file), str(other), str(tmp_path / "tables"), "--format", "csv"]) == 0
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["other.csv", "run.csv"]
    capsys.readouterr()
    for wrong, said in (
        ([str(file), str(tmp_path / "x.csv"), "--columns", "tot"], "unknown column 'tot'; there are chip_id"),
        ([str(file), str(tmp_path / "tables")], "is a directory: add --format"),
        ([str(file), str(tmp_path / "x.csv"), "--format", "csv"], "the target must be an existing directory"),
        ([str(file), str(tmp_path / "x.csv"), "--pixels"], "a hit of AstroPix 4 is a pixel already"),
        ([str(tmp_path / "tables"), str(tmp_path / "x.csv")], "is a directory, not a file of readouts"),
        ([str(file), str(file), "--force"], "is one of the inputs"),
    ):
        assert cli.run(["convert", *wrong]) == 2
        assert said in capsys.readouterr().err


def test_pixels_of_half_hits(tmp_path):
    numpy = pytest.importorskip("numpy")
    from astropix_stream.columns import columns, match_pixels
    from astropix_stream.fmt import ASTROPIX3

    column, row = (bytes(fmt.reverse_bit_order(bytes(half))) for half in HALVES)
    source, path = tmp_path / "run.apx", tmp_path / "pixels.npz"
    with apx_open(source, "wb", FileHeader(3000, {})) as writer:
        for i in range(3):
            writer.write(ASTROPIX3.readout_class(column + row + column, i, 10**18 + i).to_bytes())
    assert cli.run(["convert", str(source), str(path), "--pixels"]) == 0
    archive = numpy.load(path)
    assert (archive["row"].tolist(), archive["column"].tolist()) == ([7] * 3, [9] * 3)
    assert header_of(path)["astropix_stream"]["half_hits_without_partner"] == 3
    assert len(match_pixels(columns(source), ASTROPIX3).table) == 3


# chip 0, payload 4: column 9 with a TOT of 200 ticks; row 7, of 220.
HALVES = ([0x04, 0x80 | 9, 5, 0, 200], [0x04, 7, 5, 0, 220])


def test_other_formats_become_apx(tmp_path, capsys):
    log, path = tmp_path / "run.log", tmp_path / "run.apx"
    log.write_text(
        "Voltagecard: {'thpix': 1.1}\r\n Namespace(chipVer=4)\r\n"
        f"0\tb'{HIT.hex()}ffff'\r\n1\tb'{HIT.hex()}f'\r\n2\tb'{HIT.hex()}'\r\n"
    )
    assert cli.run(["convert", str(log), str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == f"2 readouts written to {path}\n"
    assert "1 skipped: line 4: readout 1 has an odd number" in err
    with apx_open(path) as reader:
        assert reader.header["Voltagecard"] == {"thpix": 1.1}
        assert reader.header.readout_uid == 4000
        assert [readout.data() for readout in reader] == [HIT, HIT]


def test_a_file_without_a_uid_is_taken_for_astropix4(tmp_path, caplog):
    old, path = tmp_path / "old.apx", tmp_path / "new.apx"
    with apx_open(old, "wb", FileHeader(AstroPix4Readout, {})) as writer:
        writer.write(AstroPix4Readout(HIT, 0, 1).to_bytes())
    old.write_bytes(old.read_bytes().replace(b'"readout_uid": 4000', b'"a":1              '))
    assert cli.run(["convert", str(old), str(path)]) == 0
    assert "taken for AstroPix 4 (4000)" in caplog.text
    caplog.clear()
    with apx_open(path) as reader:
        assert reader.header.readout_uid == 4000
    assert cli.run(["convert", str(old), str(path), "--kind", "3000", "--force"]) == 0
    assert [record.name for record in caplog.records] == ["astropix_stream.fileio"]  # not shown by commands
    with apx_open(path) as reader:
        assert reader.header.readout_uid == 3000


@pytest.mark.shared
@pytest.mark.parametrize("kind", [".csv", ".ecsv", ".fits", ".hdf5"])
def test_a_real_run_is_as_its_users_exchange_it(kind, tmp_path):
    from conftest import SHARED

    table = pytest.importorskip("astropy.table").Table
    path = tmp_path / f"hits{kind}"
    assert cli.run(["convert", str(SHARED / "data" / "run_20250723.apx"), str(path)]) == 0
    theirs = table.read(SHARED / "data" / "run_20250723_hits.csv", comment="#")
    ours = table.read(path, **({"comment": "#"} if kind == ".csv" else {}))
    assert ours.colnames == theirs.colnames
    for name, type_ in ASTROPIX4.types.items():
        assert (ours[name] == theirs[name]).all()
        assert ours[name].dtype.str[1:] == type_ or kind == ".csv"
    header = header_of(path)
    del header["astropix_stream"]
    assert header == json.loads("".join(theirs.meta["comments"]))


def test_a_failure_leaves_no_half_table(file, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.CsvTable, "write", fail)
    assert cli.run(["convert", str(file), str(tmp_path / "hits.csv")]) == 1
    assert capsys.readouterr().err == "apx: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] == ["run.apx"]
