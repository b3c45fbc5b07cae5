"""What `apx demo` shows besides the table, and what it calls missing."""

from collections import Counter
from itertools import accumulate, islice
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from astropix_stream.batch import Batch, Source
from astropix_stream.cli import demo
from astropix_stream.cli.playing.simulation import COLUMNS, ROWS, Detector
from astropix_stream.cli.showing.demo_pictures import PicturedRow
from astropix_stream.fmt import ASTEP, ASTROPIX3, pair_half_hits

READOUTS = [readout for _, readout in islice(Detector(seed=3, hits=5).readouts(), 200)]
RAW = [readout.to_bytes() for readout in READOUTS]


NO_SOURCE: Any = object()  # it is not asked


def drawn(row, width=80):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(row.draw("the live page: [none]"))
    return captured.get().splitlines()


@pytest.fixture
def row():
    row = PicturedRow(NO_SOURCE, "through the relay")
    ids = range(len(RAW))
    row.take(Batch(Source("10.0.0.1", 1), 0, b"".join(RAW), ids, ids, list(accumulate(map(len, RAW)))))
    return row


def test_the_hottest_pixel_is_where_most_hits_are(row):
    pixels = Counter((hit.column, hit.row) for readout in READOUTS for hit in readout.decode())
    ((column, line), _), *_ = pixels.most_common()
    text, titles, *lines = drawn(row)
    assert text.strip() == "the live page: [none]"
    assert titles.startswith(f"hits in {COLUMNS} columns and {ROWS} rows  ")
    assert len(lines) == ROWS
    assert lines[line][2 * column : 2 * column + 2] == "██"


def test_the_longest_bar_is_where_most_tots_are(row):
    bins = Counter(int(hit.tot_us // 20) for readout in READOUTS for hit in readout.decode())
    bars = [line.count("▇") for line in drawn(row)[2:]]
    assert (max(bars), bars.index(max(bars))) == (36, bins.most_common()[0][0])


def test_nothing_is_drawn_before_the_first_hit():
    assert not set("".join(drawn(PicturedRow(NO_SOURCE, "x"))[2:])) & set("░▒▓█▇")


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal_cuts_the_pictures_off(row, width):
    lines = drawn(row, width)
    assert len(lines) == ROWS + 2
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("sent", "delivered", "lost", "missing"), [(10, 10, 0, 0), (10, 8, 2, 2), (10, 8, 0, 2), (10, 10, 1, 1)]
)
def test_missing_is_what_is_lost_or_did_not_come(sent, delivered, lost, missing):
    row: Any = SimpleNamespace(ledger=SimpleNamespace(delivered=delivered, lost=lost))
    assert demo._missing(row, sent) == missing


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP], ids=str)
def test_chips_with_half_hits_are_drawn_by_their_pixels(kind):
    readouts = [readout for _, readout in islice(Detector(seed=3, hits=5, kind=kind).readouts(), 200)]
    raw = [readout.to_bytes() for readout in readouts]
    row, ids = PicturedRow(NO_SOURCE, "x", kind), range(len(raw))
    row.take(Batch(Source("10.0.0.1", 1), 0, b"".join(raw), ids, ids, list(accumulate(map(len, raw)))))
    places = Counter(
        (pixel.column // 2, pixel.row // 2)
        for readout in readouts
        for pixel in pair_half_hits(readout.hits(), kind.pixel_rule)[0]
    )
    ((column, line), _), *_ = places.most_common()
    _, titles, *lines = drawn(row)
    assert titles.startswith("hits in 35 columns and 35 rows  ")
    assert len(lines) == 18
    assert lines[line][2 * column : 2 * column + 2] == "██"
