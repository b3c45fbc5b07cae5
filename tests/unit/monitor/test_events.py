"""Readouts one by one."""

import pytest

from astropix_stream.cli.playing.simulation import Detector, pack_hit
from astropix_stream.fmt import ASTEP, AStepReadout, AstroPix4Readout, Decoding, kind_of
from astropix_stream.monitor import events
from astropix_stream.monitor.choice import Choice
from astropix_stream.monitor.view import make_view
from unit.monitor.stream import BEGIN_NS, Stream, moment, readout

HIT = pack_hit(3, 5, 7, 107)
CUT = AstroPix4Readout(b"\xbc" + HIT + b"\xbc" + HIT[:3], 4, BEGIN_NS + 4)
REST = AstroPix4Readout(HIT[3:] + b"\xbc\xbc" + HIT, 5, BEGIN_NS + 5)


def panel_of(stream, **choice):
    geometry = stream.accumulator.geometry
    return make_view(
        stream.accumulator, Choice.read({"panel": "readouts", **choice}, geometry), moment(10)
    ).panel


def pieces_of(panel):
    return [(piece.text, piece.meaning) for piece in panel.shown.pieces]


@pytest.fixture
def stream():
    stream = Stream()
    stream.send([readout(i, BEGIN_NS + i) for i in range(4)] + [CUT, REST, readout(6, BEGIN_NS + 6)], 1.0)
    return stream


def test_the_newest_is_shown_unless_one_is_chosen(stream):
    panel = panel_of(stream)
    assert [one.readout_id for one in panel.listed] == [6, 5, 4, 3, 2, 1, 0]
    assert panel.shown.readout_id == 6
    assert panel_of(stream, readout=2).shown.readout_id == 2
    assert panel_of(stream, readout=2).said == ""


def test_its_bytes_are_told_apart(stream):
    panel = panel_of(stream, readout=6)
    assert pieces_of(panel) == [
        ("bc", "idle"), (HIT[:1].hex(), "start"), (HIT[1:].hex(), "hit"), ("bc", "idle"),
    ]  # fmt: skip
    assert panel.shown.hits == ("hit 0 of readout 6: chip 0, column 5, row 3, TOT 5.00 us",)
    assert panel.shown.problems == ()
    assert (panel.shown.size, panel.shown.rest) == (10, 0)
    assert panel.shown.head.endswith("from 10.0.0.1:4711")


def test_a_hit_over_two_readouts(stream):
    cut, rest = panel_of(stream, readout=4), panel_of(stream, readout=5)
    assert pieces_of(cut)[-1] == (HIT[:3].hex(), "extra")
    assert cut.shown.problems == (events.EXPLAINED[Decoding.VALID_EXTRA_BYTES],)
    assert pieces_of(rest)[0] == (HIT[3:].hex(), "orphan")
    assert rest.shown.problems == (events.EXPLAINED[Decoding.ORPHAN_BYTES_MATCHED],)
    assert len(rest.shown.hits) == 2


def test_if_the_one_before_is_not_kept_it_says_so():
    stream = Stream()
    stream.send([CUT], 1.0)
    stream.send([REST], 1.1)
    recent = stream.accumulator.recent
    while recent.readouts(1)[-1].readout_id != 5:
        recent._last.kept.popleft()
    recent._troubled.kept.clear()
    assert panel_of(stream, readout=5).shown.problems[-1].startswith("the readout before it is not kept")


def test_only_those_with_problems(stream):
    panel = panel_of(stream, troubled=True)
    assert [(one.readout_id, one.problems) for one in panel.listed] == [
        (5, "orphan bytes matched"), (4, "valid extra bytes"),
    ]  # fmt: skip
    assert panel.shown.readout_id == 5


def test_one_that_is_not_kept(stream):
    panel = panel_of(stream, readout=77)
    assert panel.shown is None
    assert panel.said == (
        "Readout 77 is not kept: there are the latest 7, ids 0 to 6, and those with decode problems."
    )


def test_before_the_first_readout():
    assert panel_of(Stream()).said == "No readout yet."


def test_none_with_problems():
    stream = Stream()
    stream.run(0, 3, 1.0)
    assert panel_of(stream, troubled=True).said == "No readout with decode problems."


def test_of_a_run_before_nothing_may_be_kept(stream):
    for i in range(2):
        stream.send([readout(j, BEGIN_NS + 10**9 * (i + 1) + j) for j in range(600)], 2.0 + i)
    first = stream.accumulator.runs[0].name
    assert panel_of(stream, run=first, readout=2).said == "Readout 2 is not kept, nor any other of this run."
    assert panel_of(stream, run=first).said == "No readout of this run is kept."
    assert panel_of(stream, run=first, troubled=True).shown.readout_id == 5


def test_a_long_one_is_cut_and_says_so():
    stream = Stream()
    stream.send([readout(0, BEGIN_NS, [(i % 13, i % 16, 9) for i in range(400)])], 1.0)
    shown = panel_of(stream).shown
    assert sum(len(piece.text) for piece in shown.pieces) == 2 * events.MAX_SHOWN_BYTES
    assert shown.rest == shown.size - events.MAX_SHOWN_BYTES > 0
    assert len(shown.hits) == events.MAX_SHOWN_HITS


def test_without_a_time():
    stream = Stream()
    stream.send([readout(0, 0)], 1.0)
    assert panel_of(stream).listed[0].time == "–"
    assert panel_of(stream).shown.head.startswith("made –")


def test_frames_of_an_astep():
    stream = Stream(kind=ASTEP)
    data = Detector(seed=3, kind=ASTEP, chips=12).readout(0, 0).data()
    stream.send([AStepReadout(b"\x00\x01" + data, 7, BEGIN_NS)], 1.0)
    shown = panel_of(stream).shown
    assert shown.pieces[0] == ("0001", "orphan", None)
    assert {piece.meaning for piece in shown.pieces} >= {"start", "hit"}
    assert shown.hits[0].startswith("hit 0 of readout 7: layer ")
    assert shown.problems


def test_a_kind_that_nobody_knows():
    stream = Stream(kind=kind_of(9999))
    stream.send([readout(0, BEGIN_NS)], 1.0)
    shown = panel_of(stream).shown
    assert {piece.meaning for piece in shown.pieces} == {"undecoded"}
    assert shown.hits == ()
