"""`apx info`, and the one walk over a file behind it."""

import json
import re
import sys

import pytest

from astropix_stream import cli
from astropix_stream.cli.files.contents import examine
from astropix_stream.errors import FormatError
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout, Decoding

HIT = bytes.fromhex("e0401eac0dccc200")
S = 1_000_000_000
DAY = 20_000 * 86_400 * S


def readout(i, at_s, data=b"\xbc" + HIT + b"\xbc"):
    return AstroPix4Readout(data, i, DAY + round(at_s * S)).to_bytes()


@pytest.fixture
def write(tmp_path):
    def write_file(*raws, name="run.apx", **header):
        path = tmp_path / name
        with apx_open(path, "wb", FileHeader(AstroPix4Readout, header)) as writer:
            writer.write(b"".join(raws))
        return path

    return write_file


def test_a_run(write):
    contents = examine(write(*(readout(i, i / 10) for i in range(11)), args={"vinj": 250}))
    assert (contents.readouts, contents.hits, contents.runs, contents.missing) == (11, 11, 1, 0)
    assert (contents.oldest_ns, contents.newest_ns) == (DAY, DAY + S)
    assert contents.span_s == 1.0
    assert contents.rate == pytest.approx(10)
    assert contents.hit_rate == pytest.approx(11)
    assert contents.longest_pause_ns == S / 10
    assert contents.header["args"] == {"vinj": 250}
    assert contents.trouble == ""


def test_two_runs_with_gaps_doubles_and_disorder(write):
    first = [readout(i, i) for i in (3, 4, 4, 8, 7, 9)]  # 5 and 6 are missing
    second = [readout(i, 100 + i) for i in (0, 1, 3)]  # 2 is missing
    contents = examine(write(*first, *second))
    assert (contents.readouts, contents.runs, contents.first_id) == (9, 2, 3)
    assert (contents.missing, contents.duplicates, contents.reordered) == (3, 1, 1)
    assert contents.longest_pause_ns == 91 * S


@pytest.mark.parametrize("plain", [False, True])
def test_timestamps_of_0_are_no_times(write, capsys, monkeypatch, plain):
    if plain:
        monkeypatch.setitem(sys.modules, "astropix_stream.columns.files", None)
    zero = [AstroPix4Readout(b"\xbc", i, 0).to_bytes() for i in range(2)]
    path = write(*zero, readout(2, 2), readout(3, 3), AstroPix4Readout(b"\xbc", 4, 0).to_bytes())
    contents = examine(path)
    assert (contents.oldest_ns, contents.newest_ns) == (DAY + 2 * S, DAY + 3 * S)
    assert (contents.untimed, contents.longest_pause_ns) == (3, S)
    assert cli.run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "(the timestamp of 3 readouts is 0)" in out
    assert "1970" not in out
    assert cli.run(["info", str(write(*zero, name="zero.apx"))]) == 0
    assert "from          not known: all timestamps are 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ((0, 1, 2), "missing       nothing\n"),
        ((0, 1, 1, 2), "missing       nothing; 1 duplicate\n"),
        ((0, 3, 2, 3, 5), "missing       2; 1 duplicate, 1 out of order\n"),
    ],
)
def test_what_is_missing_is_told_without_noughts(write, capsys, ids, told):
    assert cli.run(["info", str(write(*(readout(i, i) for i in ids)))]) == 0
    assert told in capsys.readouterr().out


def test_hits_split_between_readouts_are_counted(write):
    contents = examine(write(readout(0, 0, b"\xbc" + HIT[:5]), readout(1, 1, HIT[5:] + b"\xbc")))
    assert contents.hits == 1
    assert contents.decoding == {Decoding.VALID_EXTRA_BYTES: 1, Decoding.ORPHAN_BYTES_MATCHED: 1}


def test_the_hits_of_duplicates_are_left_out(write, capsys):
    raws = [readout(i, i / 10) for i in range(10)]
    raws[4:4] = [raws[3], raws[2]]
    path = write(*raws)
    contents = examine(path)
    assert (contents.readouts, contents.duplicates, contents.hits, contents.missing) == (12, 2, 10, 0)
    assert examine(path, keep_duplicates=True).hits == 12
    assert (
        contents.longest_pause_ns == examine(write(*(readout(i, i / 10) for i in range(10)))).longest_pause_ns
    )
    path = write(*raws)
    assert cli.run(["info", str(path)]) == 0
    assert "/s; those of 2 duplicates are left out" in capsys.readouterr().out
    assert cli.run(["info", str(path), "--keep-duplicates"]) == 0
    assert "with those of 2 duplicates" in capsys.readouterr().out


def test_the_same_id_with_other_bytes_is_no_duplicate(write):
    contents = examine(write(readout(0, 0), readout(1, 1), readout(1, 1, b"\xbc" + HIT + HIT), readout(2, 2)))
    assert contents.hits == 5


def test_padding_at_the_end_is_no_data(write):
    raw = readout(0, 0, b"\xbc" + HIT)
    padded = raw[:15] + (len(raw) - 18).to_bytes(4, "little") + raw[19:] + b"\xff"
    contents = examine(write(padded))
    assert contents.hits == 1
    assert not contents.decoding


def test_no_readouts(write, capsys):
    path = write()
    contents = examine(path)
    assert (contents.readouts, contents.rate, contents.runs) == (0, 0, 0)
    assert cli.run(["info", str(path)]) == 0
    assert "readouts      0\n" in capsys.readouterr().out


@pytest.mark.parametrize("tail", [readout(2, 2)[:2], readout(2, 2)[:-1]])
def test_truncated(write, tail, capsys):
    path = write(readout(0, 0), readout(1, 1), tail)
    assert cli.run(["info", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "readouts      2, 1.0/s\n" in out
    assert err == f"apx: {path}: truncated: {len(tail)} bytes of an incomplete readout at its end\n"


def test_damaged(write, capsys):
    path = write(readout(0, 0), readout(1, 1), b"x" * 100)
    assert cli.run(["info", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["readouts"] == 2
    assert "not a readout at byte" in json.loads(out)["trouble"]
    assert err.count("\n") == 1


def test_not_an_apx_file(tmp_path):
    (tmp_path / "x.apx").write_text("x")
    with pytest.raises(FormatError):
        examine(tmp_path / "x.apx")


def test_several_files_are_a_table_and_a_bad_one_hides_no_other(write, tmp_path, capsys):
    paths = [write(readout(0, 0), name="a.apx"), tmp_path / "none.apx", write(readout(1, 1), name="b.apx")]
    assert cli.run(["info", *map(str, paths)]) == 2
    out, err = capsys.readouterr()
    assert err == f"apx: {paths[1]}: No such file or directory\n"
    rows = [line.split() for line in out.splitlines() if ".apx" in line]
    assert [row[0] for row in rows] == [str(paths[0]), str(paths[2])]


def test_json_has_everything(write, capsys):
    assert cli.run(["info", str(write(readout(0, 0), readout(1, 1), note="x")), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["header"] == {"readout_uid": 4000, "note": "x"}
    assert (value["readouts"], value["hits"], value["span_s"], value["missing"]) == (2, 2, 1.0, 0)


def test_the_latest_timestamp_that_there_is(write, capsys):
    assert cli.run(["info", str(write(AstroPix4Readout(b"", 0, 2**64 - 1).to_bytes()))]) == 0
    assert "from          2554-" in capsys.readouterr().out


def test_a_long_value_of_the_header_is_cut(write, capsys):
    assert cli.run(["info", str(write(readout(0, 0), configuration=["x" * 1000]))]) == 0
    assert "… (all of it with --json)" in capsys.readouterr().out


@pytest.mark.shared
def test_a_real_run(capsys):
    from conftest import SHARED

    contents = examine(SHARED / "data" / "run_20250723.apx")
    assert (contents.readouts, contents.hits, contents.runs, contents.missing) == (775, 776, 1, 0)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal_with_names_shortened_in_the_middle(write, capsys, monkeypatch, width):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    long = f"{'a' * 80}-run-17.apx"
    paths = [write(*(readout(i, i) for i in range(3)), name=name) for name in (long, "run[18].apx")]
    assert cli.run(["info", *map(str, paths)]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert max(map(len, lines)) <= width
    assert {"file", "readouts", "hits", "missing"} <= set(lines[0].split())
    for line, end in zip(lines[2:], ("17.apx", "18].apx"), strict=True):
        name, *cells = line.split()
        assert name.endswith(end)
        assert "…" in name
        assert {"3"} <= set(cells)
