"""How the run was taken, as names and texts."""

import pytest

from astropix_stream.monitor.setup import MAX_LINES, MAX_TEXT, setup_of

HEADER = {
    "configuration": [{"thpmos": 0, "vcasc2": 1.1}, {"maxcyc": 63}],
    "args": {"outdir": "E:\\data", "inject": [0, 9], "vinj": 250.0, "threshold": 100.0, "name": None},
}


def test_the_header_of_a_file():
    setup = setup_of(HEADER)
    assert setup.headline == "threshold 100.0, vinj 250.0, inject [0, 9]"
    assert setup.lines[:2] == (("configuration[0].thpmos", "0"), ("configuration[0].vcasc2", "1.1"))
    assert ("args.outdir", "E:\\data") in setup.lines
    assert len(setup.lines) == 8


def test_two_of_one_name_are_told_apart():
    setup = setup_of({"configuration": [{"vinj": 142}], "args": {"vinj": 250.0, "threshold": 100.0}})
    assert setup.headline == "threshold 100.0, configuration[0].vinj 142, args.vinj 250.0"


@pytest.mark.parametrize(
    ("notes", "headline"),
    [
        ({}, ""),
        ({"": "cosmics, no beam"}, "cosmics, no beam"),
        ({"beam": "120 GeV", "threshold": "200 mV"}, "threshold 200 mV, beam 120 GeV"),
        ({"gas": "none", "crew": "Ana"}, "gas none, crew Ana"),
        ({str(i): "x" for i in range(9)}, ""),
    ],
)
def test_the_notes_of_a_relay(notes, headline):
    assert setup_of(notes).headline == headline


def test_it_is_bounded_and_on_one_line():
    setup = setup_of({"a\nb": "x\x1b[31m\u202e" + "y" * 1000, **{str(i): i for i in range(1000)}})
    assert setup.lines[0][0] == "a b"
    assert setup.lines[0][1].startswith("x [31m yyy")
    assert len(setup.lines[0][1]) == MAX_TEXT
    assert len(setup.lines) == MAX_LINES + 1
    assert setup.lines[-1] == ("", "and more")
