"""The shift crew's notes."""

import csv
import io

import pytest

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.notes import MAX_NOTES, Note, Notes, notes_table

AT_NS = 1_800_000_000 * 10**9


def test_a_note():
    notes = Notes()
    assert notes.add({"text": " beam on\nat last ", "author": "Ana"}, AT_NS, 7) == Note(
        1, AT_NS, "Ana", "beam on\nat last", 7
    )
    (one,) = notes.to_json()
    assert (one["author"], one["text"], one["number"]) == ("Ana", "beam on\nat last", 1)
    assert one["time"].startswith("2027-01-15T")
    notes.add({"text": "x"}, AT_NS)
    assert [note.author for note in notes] == ["Ana", ""]
    assert notes.to_json()[1]["run_of"] is None
    assert len(notes) == 2


def test_what_cannot_be_printed_is_left_out():
    note = Notes().add({"text": "a\x1b[31m\u202eb\tc\r\n", "author": "A\nB"}, AT_NS)
    assert (note.text, note.author) == ("a [31m b c", "A B")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "a note is"),
        ({"text": "x", "html": "y"}, "a note is"),
        ({}, "text is not text"),
        ({"text": 7}, "text is not text"),
        ({"text": " \n "}, "write something into the note"),
        ({"text": "x" * 1001}, "text has 1001 characters; at most 1000"),
        ({"text": "x", "author": "y" * 41}, "author has 41 characters; at most 40"),
    ],
)
def test_what_is_no_note(values, said):
    notes = Notes()
    with pytest.raises(ConfigError, match=said):
        notes.add(values, AT_NS)
    assert not len(notes)


def test_the_oldest_go():
    notes = Notes()
    for i in range(MAX_NOTES + 3):
        notes.add({"text": str(i)}, AT_NS)
    assert (len(notes), next(iter(notes)).text) == (MAX_NOTES, "3")


def test_they_outlive_the_monitor():
    notes, again = Notes(), Notes()
    for text in "ab":
        notes.add({"text": text, "author": "Ana"}, AT_NS, 5)
    again.restore(notes.saved())
    assert list(again) == list(notes)
    assert again.add({"text": "c"}, AT_NS).number == 3
    Notes().restore([])


@pytest.mark.parametrize("change", [{"text": 1}, {"author": "x" * 99}, {"at_ns": "1"}, {"html": "x"}])
def test_what_was_not_saved_by_us_is_refused(change):
    notes = Notes()
    notes.add({"text": "a"}, AT_NS)
    again = Notes()
    with pytest.raises((ValueError, TypeError, ConfigError)):
        again.restore([notes.saved()[0] | change])
    assert not len(again)


def test_as_a_table():
    notes = Notes()
    notes.add({"text": 'two "lines"\nof text', "author": "=Ana"}, AT_NS, AT_NS)
    notes.add({"text": "-1 V", "author": ""}, AT_NS)
    first, second = list(csv.reader(io.StringIO(notes_table(notes.to_json()))))[1:]
    assert first[1:3] == ["'=Ana", 'two "lines"\nof text'], "no spreadsheet takes it for a formula"
    assert first[0] == first[3]
    assert second[1:] == ["", "'-1 V", ""]
