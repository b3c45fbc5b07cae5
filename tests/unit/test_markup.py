"""What notebooks show: tables in which everything is escaped."""

from xml.etree import ElementTree

import pytest

from astropix_stream import markup
from astropix_stream.counting.ledger import Ledger, PathAccount
from astropix_stream.counting.losses import Period
from astropix_stream.counting.places import Place
from astropix_stream.fmt import AStepReadout, AstroPix3Readout, AstroPix4Readout, kind_of

HIT = bytes([0xE0, 1, 2, 3, 4, 5, 6, 7])
SCRIPT = "<script>alert('&\"')</script>"


def parsed(html):
    """Return the tables and paragraphs, which must be well-formed."""
    return ElementTree.fromstring(f"<div>{html}</div>")


def cells(html):
    return [[cell.text or "" for cell in row] for row in parsed(html).iter("tr")]


def test_everything_is_escaped():
    html = markup.table(SCRIPT, [SCRIPT], [[SCRIPT]]) + markup.paragraph(SCRIPT)
    assert "<script" not in html
    tree = parsed(html)
    assert [tree.find(f".//{tag}").text for tag in ("caption", "th", "td", "p")] == [SCRIPT] * 4


def test_a_readout_shows_its_hits_and_is_not_decoded_by_it():
    readout = AstroPix4Readout(b"\xbc" + HIT * 2 + HIT[:5], 7, 1)
    html = readout._repr_html_()
    assert not readout.decoded()  # else a split hit could not be completed any more
    names = list(readout.HIT_CLASS.ATTRIBUTE_NAMES)
    hits = readout.decode()
    assert cells(html) == [names, *([str(value) for value in hit.attribute_values()] for hit in hits)]
    assert readout._repr_html_() == html
    assert parsed(html).find(".//caption").text == str(readout)
    assert cells(hits[1]._repr_html_()) == [cells(html)[0], cells(html)[2]]


def test_of_many_hits_the_first_are_shown():
    html = AstroPix4Readout(HIT * 150, 7, 1)._repr_html_()
    assert len(cells(html)) == 101
    assert "150 hits, the first 100 are shown" in html


@pytest.mark.parametrize("kind", [AstroPix3Readout, AStepReadout, kind_of(7).readout_class])
def test_a_readout_of_each_kind_shows(kind):
    assert "readout 5" in parsed(kind(b"\xbc\x01", 5, 1)._repr_html_()).find(".//caption").text


def test_a_ledger_shows_the_places_with_the_first_and_the_last_loss():
    second = 10**9
    lost_at = {Place.BEFORE_SOCKET: 3, Place.CLIENT_KERNEL: 2, Place.CLIENT_QUEUE: 0}
    periods = {Place.BEFORE_SOCKET: Period(86400 * second, 86465 * second)}
    path = PathAccount(SCRIPT, 1, 0, Ledger(delivered=4))
    ledger = Ledger(
        delivered=10, lost_at=lost_at, at_most=True, periods=periods, remarks=(SCRIPT,), paths=(path,)
    )
    html = ledger._repr_html_()
    assert "<script" not in html
    head, before, kernel = cells(html)
    assert head == ["place", "lost", "first", "last"]
    assert before[:2] == ["before the socket", "3"]
    assert before[2].startswith("1970-01-0")
    assert before[2].endswith(":00")
    assert before[3].endswith(":05")
    assert kernel == ["in this host's kernel", "at most 2", "", ""]
    tree = parsed(html)
    assert [each.text for each in tree.iter("caption")] == [
        "5 lost of 15 readouts",
        "nothing lost of 4 readouts",
    ]
    assert [each.text for each in tree.iter("p")] == [SCRIPT, SCRIPT]
