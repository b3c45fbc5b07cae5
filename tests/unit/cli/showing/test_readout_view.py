"""What `apx playback` shows of a readout: text, rows in colours, records."""

import json

import pytest

from astropix_stream.cli.files.card import Card
from astropix_stream.cli.showing import readout_view
from astropix_stream.fmt import ASTEP, ASTROPIX4, kind_of

HIT = "e08056e80da85403"
FRAME = "0a011c910b00ca4d917151"


def card(data, kind=ASTROPIX4, extra=None, timestamp=0, **more):
    raw = bytes.fromhex(data)
    readout = kind.readout_class(raw, 17, timestamp)
    readout.decode(extra)
    given = {"place": 3, "begins_run": False, "duplicate": False, "after_ns": None, "missing": 0} | more
    return Card(readout=readout, data=raw, spans=kind.readout_class.spans(raw, extra), **given)


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_heading_says_what_is_special(utc):
    assert readout_view.heading(card("bc")) == "[3] readout 17, no timestamp, 1 byte"
    assert readout_view.heading(
        card("bcbc", timestamp=1_753_255_536_707_000_000, after_ns=77_980_000, missing=2)
    ) == (
        "[3] readout 17, 2025-07-23 07:25:36.707 UTC, 77.980 ms later, 2 bytes, 2 readouts missing before it"
    )
    assert readout_view.heading(card("", after_ns=-1500, begins_run=True, duplicate=True)) == (
        "[3] readout 17, no timestamp, 0.002 ms earlier, 0 bytes, begins a run, a duplicate"
    )


@pytest.mark.parametrize(
    ("shown", "lines"),
    [
        (card("bcbc" + HIT + "bc" * 9 + "e040"), [
            "     0  idle       bc bc",
            "     2  hit 0      e0 80 56 e8 0d a8 54 03",
            "    10  idle       9 × bc",
            "    19  extra      e0 40",
            "  hit 0 of readout 17: chip 0, column 5, row 0, TOT 162.75 us",
            "  decoding: VALID_EXTRA_BYTES",
        ]),
        (card("05340800" + HIT, extra=bytes.fromhex("e040eec9")), [
            "     0  hit 0, rest 05 34 08 00",
            "     4  hit 1      e0 80 56 e8 0d a8 54 03",
        ]),
        (card("0534" + "01" * 15), [
            "     0  orphan     05 34 01 01 01 01 01 01 01 01 01 01 01 01 01 01",
            "    16             01",
            "  decoding: ORPHAN_BYTES_NOT_USED",
        ]),
        (card(FRAME + "07011162b2197051", ASTEP), [
            "     0  hit 0      0a 01 1c 91 0b 00 ca 4d 91 71 51",
            "    11  dropped    07 01 11 62 b2 19 70 51",
        ]),
        (card("0102ff", kind_of(99)), [
            "     0  undecoded  01 02 ff", "  not decoded: the uid 99 is unknown",
        ]),
    ],
)  # fmt: skip
def test_lines_name_each_piece(shown, lines):
    text = list(readout_view.lines(shown))[1:]
    assert text[: len(lines)] == lines


def test_a_record_has_all_of_it():
    record = json.loads(
        json.dumps(readout_view.record(card("bc" + HIT + "e040", begins_run=True, missing=4)))
    )
    assert [record[name] for name in ("index", "readout_id", "begins_run", "missing_before", "decoding")] == [
        3, 17, True, 4, ["VALID_EXTRA_BYTES"]
    ]  # fmt: skip
    assert record["spans"][1] == {"begin": 1, "end": 2, "meaning": "start", "hit": 0}
    assert [hit["column"] for hit in record["hits"]] == [5]
    assert readout_view.record(card("bc"))["decoding"] == []


def text_of(row):
    return "".join(piece.text for piece in row)


def test_rows_have_each_byte_in_the_style_of_its_meaning():
    rows = readout_view.rows(card("bc" + HIT + HIT + "e040"), 80)
    assert text_of(rows[0]) == "     0  bc e0 80 56 e8 0d a8 54 03 e0 80 56 e8 0d a8 54 03 e0 40"
    styles = [piece.style for piece in rows[0] if len(piece.text) == 2]
    assert styles == (
        [
            "dim",
            "bold black on green",
            *["green"] * 7,
            "bold black on cyan",
            *["cyan"] * 7,
            "magenta",
            "magenta",
        ]
    )
    assert [text_of(row)[:7] for row in rows[1:]] == ["", "  hit 0", "  hit 1", "  decod"]
    assert [row[0].style for row in rows[2:]] == ["green", "cyan", "yellow"]


@pytest.mark.parametrize(("width", "per_row"), [(20, 8), (60, 16), (80, 24), (300, 32)])
def test_rows_fit_the_terminal(width, per_row):
    rows = readout_view.rows(card("00" * 40), width)
    assert len(text_of(rows[0])) == 7 + 3 * per_row
    assert readout_view.rows(card(""), width) == [[], [("  no hits", "dim")]]


def test_the_legend_names_the_colours():
    assert text_of(readout_view.legend()) == "start  hit  idle  orphan  extra  dropped  "
