"""The rows and the table of `apx top`."""

import json
import sys
from dataclasses import replace
from itertools import accumulate, islice
from typing import Any

import pytest
from rich.console import Console

from astropix_stream.batch import Batch, Source
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.cli.showing.top_screen import Screen, draw_table
from astropix_stream.cli.showing.top_view import Hits, Lines, Records, Row
from astropix_stream.cli.terminal import ending
from astropix_stream.cli.terminal.sources import OpenSource
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import State
from astropix_stream.fmt import ASTEP, ASTROPIX3, AstroPix4Readout
from astropix_stream.url import parse_url

READOUTS = [readout for _, readout in islice(Detector(seed=3, hits=5).readouts(), 200)]
RAW = [readout.to_bytes() for readout in READOUTS]
HITS = sum(len(readout.decode()) for readout in READOUTS)


@pytest.fixture(params=["numpy", "plain"])
def hits(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "astropix_stream.columns", None)
    return Hits()


def test_hits_are_counted(hits):
    hits.take(batch(RAW[:100]))
    hits.take(batch(RAW[100:]))
    hits.tick()
    hits.tick()
    assert hits.count == HITS


def test_too_many_to_decode_are_estimated(hits):
    hits._limit = 1
    for _ in range(10):
        hits.take(batch(RAW))
    hits.tick()
    assert hits.count == 10 * HITS


def test_a_split_hit_is_counted_and_those_of_duplicates_are_not(hits):
    hit = READOUTS[0].data()[READOUTS[0].data().index(b"\xbc\xe0") + 1 :][:8]
    raws = [AstroPix4Readout(data, i, 0).to_bytes() for i, data in enumerate((hit[:3], hit[3:] + hit))]
    hits.take(batch(raws[:1]))
    hits.tick()
    hits.take(batch([raws[1]], first=1))
    hits.take(replace(batch([raws[1], raws[1]], first=1), duplicates=b"\1\1"))
    hits.tick()
    assert hits.count == 2


@pytest.mark.parametrize("kind", [ASTROPIX3, ASTEP])
def test_hits_of_each_kind_are_counted(hits, kind):
    readouts = [readout for _, readout in islice(Detector(seed=3, kind=kind).readouts(), 100)]
    hits.take(batch([readout.to_bytes() for readout in readouts]))
    hits.tick(kind)
    assert 400 < hits.count < 700
    assert not hits.doubt.text


class Receiver:
    readout_uid: int | None = None
    state, lag_s, age_s = State.LIVE, 0.25, 0.5
    ledger = Ledger(delivered=200, lost_at={Place.BEFORE_SOCKET: 12, Place.RELAY_TO_CLIENT: 3})


class Opened(OpenSource):
    def __init__(self, kind=None, url="udp://239.1.1.1:5007?interface=eth1"):
        self.paths = [parse_url(url)]
        self.receiver: Any = Receiver()
        self._kind = kind


def batch(raws, first=0):
    ids = range(first, first + len(raws))
    ends = list(accumulate(map(len, raws)))
    return Batch(Source("10.0.0.1", 1), 0, b"".join(raws), ids, ids, ends)


@pytest.fixture
def row():
    row = Row(Opened())
    row.tick(Moment(0.0, 0))
    row.take(batch(RAW))
    row.tick(Moment(2.0, 0))
    return row


def test_a_row_has_rates_and_what_the_receiver_says(row):
    assert (row.readout_rate, row.hit_rate) == (100.0, HITS / 2)
    assert row.byte_rate == sum(map(len, RAW)) / 2
    assert (row.state, row.lag, row.age) == (State.LIVE, "0.2 s", "0.5 s ago")
    assert row.losses == ["12 before the socket", "3 between relay and here"]


def test_a_loss_between_relays_has_its_hop_and_what_was_thinned_is_no_loss(row, capsys):
    row.ledger = Ledger(
        lost_at={Place.BETWEEN_RELAYS: 14}, hops={"between relay-a and relay-roma": 14}, thinned=300
    )
    assert row.losses == ["14 between relay-a and relay-roma"]
    Lines([row]).show(Moment(4.0, 77))
    assert "lost: 14 between relay-a and relay-roma; 300 thinned out" in capsys.readouterr().out
    assert (row.to_json(Moment(4.0, 0))["thinned"], row.to_json(Moment(4.0, 0))["hops"]) == (
        300,
        row.ledger.hops,
    )
    table = draw_table([row], 200)
    assert "300 thinned out" in str(next(iter(table.columns[-1].cells)))


def test_hits_of_another_kind_are_not_counted(row, capsys):
    row.source.receiver.readout_uid = 77
    row.take(batch(RAW))
    row.tick(Moment(4.0, 0))
    record = row.to_json(Moment(4.0, 77))
    assert (record["hits_per_s"], record["readout_uid"], record["readouts"]) == (None, 77, 400)
    Lines([row]).show(Moment(4.0, 77))
    assert "100/s readouts, unknown hits" in capsys.readouterr().out


def test_readouts_that_decode_to_nothing_are_doubted_once(caplog):
    row = Row(Opened())
    for _ in range(3):
        row.take(batch([AstroPix4Readout(b"\x20\x01\x02" * 9, i, 0).to_bytes() for i in range(90)]))
        row.tick(Moment(4.0, 0))
    assert caplog.text.count("is this AstroPix 4?") == 1
    assert row.to_json(Moment(4.0, 0))["doubt"].endswith("is this AstroPix 4?")


def test_a_record(row):
    record = row.to_json(Moment(2.0, 77))
    assert (record["time_ns"], record["state"], record["readouts"]) == (77, "live", 200)
    assert (record["lost"], record["lost_at"]) == (15, {"before_socket": 12, "relay_to_client": 3})
    assert (record["readouts_per_s"], record["last_readout_age_s"]) == (100.0, 0.5)


def test_lines_have_the_heading_and_the_name(row, capsys):
    row.name = "through the relay"
    Lines([row], lambda: "sent 200 readouts").show(Moment(2.0, 77))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.endswith("  sent 200 readouts")
    assert (
        f"  through the relay  live: 100/s readouts, {HITS / 2:.0f}/s hits, last 0.5 s ago, lost: 12 b"
        in line
    )


def test_records_have_neither(row, capsys):
    row.name = "through the relay"
    Records([row], lambda: "sent 200 readouts").show(Moment(2.0, 77))
    assert json.loads(capsys.readouterr().out) == row.to_json(Moment(2.0, 77))


def test_a_screen_is_drawn_only_when_it_has_changed(row, monkeypatch):
    with Screen([row]) as screen:
        drawn = []
        monkeypatch.setattr(screen._live, "update", lambda picture, refresh: drawn.append(picture))

        def is_drawn():
            screen.show(Moment(4.0, 0))
            found = len(drawn)
            drawn.clear()
            return found == 1

        assert [is_drawn(), is_drawn()] == [True, False]
        row.state = State.QUIET
        assert [is_drawn(), is_drawn()] == [True, False]
        row.ledger = Ledger(lost_at={Place.BEFORE_SOCKET: 13})
        assert [is_drawn(), is_drawn()] == [True, False]
        ending.log.warning("the relay is silent")
        assert [is_drawn(), is_drawn()] == [True, False]
        screen._live.console.width += 20
        assert [is_drawn(), is_drawn()] == [True, False]


def test_without_readouts_there_is_no_lag(row):
    row.age_s = None
    assert (row.lag, row.age) == ("", "none yet")
    row.age_s = 75.0
    assert (row.lag, row.age) == ("", "1 min 15 s ago")


@pytest.mark.parametrize(
    ("width", "there", "missing"),
    [
        (140, ["state", "readouts/s", "hits/s", "bytes/s", "lag", "last readout", "lost"], []),
        (100, ["state", "readouts/s", "hits/s", "lag", "last readout", "lost"], ["bytes/s"]),
        (60, ["state", "readouts/s", "last readout", "lost"], ["hits/s", "bytes/s", "lag"]),
        (45, ["state", "readouts/s", "lost"], ["hits/s", "bytes/s", "lag", "last readout"]),
    ],
)
def test_a_narrow_terminal_keeps_what_matters(row, width, there, missing):
    row.state = State.NO_NETWORK
    console = Console(width=width)
    with console.capture() as captured:
        console.print(draw_table([row, row], width))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= width
    assert all(name in text for name in there)
    assert not any(name in text for name in missing)
    assert text.count("no network") == 2


LONG = "tcp://relay-of-the-beam-hall.accelerator.example.org:5556?stream=astropix-quad-chip"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("state", State)
def test_a_long_name_is_shortened_in_the_middle_and_the_columns_stay(width, state):
    row = Row(Opened(url=LONG))
    row.state = state
    other = Row(Opened(url="tcp://relay:5556"), "a [red]name[/red] in brackets")
    console = Console(width=width)
    with console.capture() as captured:
        console.print(draw_table([row, other], width))
    head, _, first, *rest = (line.rstrip() for line in captured.get().splitlines())
    assert max(map(len, (head, first, *rest))) <= width
    assert {"stream", "state", "readouts/s", "lost"} <= set(head.split())
    name = first.split()[0]
    assert name.startswith("tcp")
    assert name.endswith("chip")
    assert "…" in name
    assert f" {state} " in first
    assert " 0.0 " in first
    assert "[red" in "".join(rest)


def test_each_path_of_a_stream_has_a_line():
    opened = Opened()
    opened.paths = [parse_url(f"tcp://relay-{name}:5556?stream=astropix") for name in "ab"]
    row = Row(opened)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(draw_table([row], 100))
    lines = captured.get().splitlines()
    assert [line.split()[0] for line in lines[2:4]] == [str(path) for path in opened.paths]
    assert row.name == " and ".join(map(str, opened.paths))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_of_a_loss_each_word_is_in_one_piece(row, width):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(draw_table([row], width))
    words = set(captured.get().split())
    assert {"before", "socket", "between", "relay", "here"} <= words
