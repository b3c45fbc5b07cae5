"""The tables that AstroPix users exchange: ours are read by the same lines, and have the same content."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astropix_stream import cli
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AStepReadout, AstroPix3Readout, AstroPix4Readout

Table = pytest.importorskip("astropy.table").Table
pytest.importorskip("h5py")

SHARED = Path(__file__).parents[3] / "shared" / "data"

FORMATS: dict[str, dict[str, Any]] = {".csv": {"comment": "#"}, ".ecsv": {}, ".fits": {}, ".hdf5": {}}

# As formats of exchanged tables are described, spelled out once more.
TYPES = {
    4000: "chip_id:u1 payload:u1 readout_id:u4 timestamp:u8 decoding_order:u1 row:u1 column:u1 ts_neg1:u1 "
    "ts_coarse1:u2 ts_fine1:u1 ts_tdc1:u1 ts_neg2:u1 ts_coarse2:u2 ts_fine2:u1 ts_tdc2:u1 "
    "ts_dec1:u4 ts_dec2:u4 tot_us:f8",
    3000: "chip_id:u1 payload:u1 readout_id:u4 timestamp:u8 decoding_order:u2 is_column:u1 location:u1 ts:u1 "
    "tot_msb:u1 tot_lsb:u1 tot:u2 tot_us:f8",
}
TYPES[3100] = f"layer:u1 {TYPES[3000]} fpga_timestamp:u8"
PIXELS = (
    "chip_id:u1 readout_id:u4 timestamp:u8 column:u1 row:u1 ts_column:u1 ts_row:u1 tot_column_us:f8 "
    "tot_row_us:f8"
)
PIXEL_TYPES = {3000: PIXELS, 3100: f"layer:u1 {PIXELS} fpga_timestamp:u8"}

# Hits of real runs, and what they are in the tables that were exchanged with these.
HITS: dict[int, tuple[Any, str, list[Any]]] = {
    4000: (AstroPix4Readout, "bcbc e0401eac0dccc200 bcbc",
           [0, 7, 5, 10**18, 0, 0, 9, 1, 12395, 3, 0, 0, 13123, 0, 0, 66157, 70639, 224.1]),
    3000: (AstroPix3Readout, "bcbc 2010e9003b 20b1e90083 bc",
           [0, 4, 5, 10**18, 0, 0, 8, 151, 0, 220, 220, 1.1]),
    3100: (AStepReadout, "0a011c910b00ca4d917151",
           [1, 3, 4, 5, 10**18, 0, 1, 17, 11, 0, 202, 202, 2.02, 1366397261]),
}  # fmt: skip


def convert(source, target, *options):
    assert cli.run(["convert", str(source), str(target), *options]) == 0


def described(table):
    """Return the names and types of the columns, whatever their byte order."""
    return " ".join(f"{name}:{table[name].dtype.str[1:]}" for name in table.colnames)


def header_of(table):
    return json.loads("".join(table.meta["comments"]))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("uid", HITS)
def test_columns_types_values_and_header(uid, suffix, tmp_path):
    readout_class, data, values = HITS[uid]
    run, path = tmp_path / "run.apx", tmp_path / f"hits{suffix}"
    args = {"who": "Zoë  ☃", "note": "x" * 200}
    with apx_open(run, "wb", FileHeader(readout_class, {"args": args})) as file:
        file.write(readout_class(bytes.fromhex(data), 5, 10**18).to_bytes())
    convert(run, path)
    table = Table.read(path, **FORMATS[suffix])
    if suffix == ".csv":  # text has no types
        assert [name.split(":")[0] for name in TYPES[uid].split()] == table.colnames
        assert {table[name].dtype.kind for name in table.colnames} == {"i", "f"}
    else:
        assert described(table) == TYPES[uid]
    assert list(table[0]) == values
    header = header_of(table)
    assert list(header) == ["readout_uid", "args", "astropix_stream"]
    assert header["readout_uid"] == uid
    assert header["args"] == args
    ours = header["astropix_stream"]
    assert (ours["readouts"], ours["hits"], ours["lost"], ours["live_fraction"]) == (1, len(table), 0, 1.0)


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".hdf5"])
@pytest.mark.parametrize("uid", PIXEL_TYPES)
def test_pixels_have_the_described_columns(uid, suffix, tmp_path):
    data = {3000: "2010e9003b 20b1e90083", 3100: "0a011c080b00d44d917151 0a011c910b00ca4d917151"}[uid]
    run, path = tmp_path / "run.apx", tmp_path / f"pixels{suffix}"
    with apx_open(run, "wb", FileHeader(HITS[uid][0], {})) as file:
        file.write(HITS[uid][0](bytes.fromhex(data), 0, 0).to_bytes())
    convert(run, path, "--pixels")
    table = Table.read(path)
    assert described(table) == PIXEL_TYPES[uid]
    assert len(table) == 1
    assert header_of(table)["astropix_stream"]["half_hits_without_partner"] == 0


REAL = {
    "run_20250723": "run_20250723.apx",
    "run_20250729_astropix3": "run_20250729_astropix3.apx",
    "astep_20250820": "astep_20250820.bin",
}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data")
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", REAL)
def test_real_tables(name, suffix, tmp_path):
    """What others have written, and what is written here of the same run, by the same lines."""
    path = tmp_path / f"hits{suffix}"
    convert(SHARED / REAL[name], path)
    theirs = Table.read(SHARED / f"{name}_hits.csv", comment="#", format="ascii.csv")
    ours = Table.read(path, **FORMATS[suffix])
    added = [column for column in ours.colnames if column not in theirs.colnames]
    assert added == (["readout_id", "timestamp", "decoding_order"] if name.startswith("astep") else [])
    ours.remove_columns(added)
    assert ours.colnames == theirs.colnames
    assert len(ours) == len(theirs)
    if suffix == ".csv":
        assert described(ours) == described(theirs)
    for column in theirs.colnames:
        np.testing.assert_array_equal(ours[column], theirs[column], err_msg=column)
    if theirs.meta.get("comments"):
        header = header_of(ours)
        assert header.pop("astropix_stream")["hits"] == len(theirs)
        assert header == header_of(theirs)


def metadata(path):
    """Return the JSON object that a table carries."""
    if path.suffix in FORMATS:
        return header_of(Table.read(path, **FORMATS[path.suffix]))
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        return json.loads(parquet.ParquetFile(io.BytesIO(path.read_bytes())).metadata.metadata[b"comments"])
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return json.loads(str(archive["comments"][0]))
    with path.open("rb") as opened, pytest.importorskip("uproot").open(opened) as file:
        return json.loads(str(file["comments"]))


@pytest.mark.parametrize("suffix", [*FORMATS, ".parquet", ".npz", ".root"])
def test_a_table_of_several_files_has_the_header_and_the_counts_of_each(suffix, tmp_path):
    runs = []
    for number, ids in enumerate([(0, 1, 4), (0, 1)]):
        runs.append(tmp_path / f"run{number}.apx")
        with apx_open(runs[-1], "wb", FileHeader(AstroPix3Readout, {"number": number})) as file:
            for i in ids:
                data = bytes.fromhex("2010e9003b 20b1e90083 bc 2010e9003b")
                file.write(AstroPix3Readout(data, i, 10**18 + number * 10**12 + i).to_bytes())
    path = tmp_path / f"pixels{suffix}"
    convert(runs[0], path, "--pixels")
    alone = metadata(path)
    assert (alone["readout_uid"], alone["number"]) == (3000, 0)
    ours = alone["astropix_stream"]
    assert (ours["file"], ours["kind"], ours["readouts"], ours["hits"]) == ("run0.apx", "AstroPix 3", 3, 3)
    assert (ours["lost"], ours["live_fraction"], ours["half_hits_without_partner"]) == (2, 0.6, 3)
    assert cli.run(["convert", *map(str, runs), str(path), "--pixels", "--force"]) == 0
    both = metadata(path)
    assert (both["readout_uid"], both["number"]) == (3000, 0)
    ours = both["astropix_stream"]
    assert (ours["readouts"], ours["hits"], ours["lost"], ours["half_hits_without_partner"]) == (5, 5, 2, 5)
    assert ours["live_fraction"] == 5 / 7
    assert [one["file"] for one in ours["files"]] == ["run0.apx", "run1.apx"]
    assert ours["files"][1]["header"] == {"readout_uid": 3000, "number": 1}
    assert ours["files"][1]["live_fraction"] == 1.0
