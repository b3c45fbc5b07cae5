"""Notes of the shift crew: a time, who, and a text. Pure.

They are only added to, as a logbook is. Everything in them is text; nobody takes it for anything else.
"""

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from astropix_stream import numbers
from astropix_stream.errors import ConfigError

MAX_NOTES = 500
"""Notes that are kept; the oldest go."""
MAX_TEXT, MAX_AUTHOR = 1000, 40
"""Characters of a text and of a name."""


@dataclass(frozen=True)
class Note:
    """A note.

    Attributes
    ----------
    number
        Counts the notes of this monitor.
    at_ns
        When it was written, ns since the Unix epoch.
    author, text
        By whom, if said, and what.
    run_ns
        The first readout of the run that was going on, ns since the Unix epoch; None without a run.
    """

    number: int
    at_ns: int
    author: str
    text: str
    run_ns: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "number": self.number,
            "time": numbers.iso(self.at_ns),
            "author": self.author,
            "text": self.text,
            "run_of": None if self.run_ns is None else numbers.iso(self.run_ns),
        }


class Notes:
    """The notes, the oldest first."""

    def __init__(self) -> None:
        self._notes: deque[Note] = deque(maxlen=MAX_NOTES)
        self.count = 0
        """Notes written so far."""

    def __iter__(self) -> Iterator[Note]:
        return iter(tuple(self._notes))

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, values: Any, at_ns: int, run_ns: int | None = None) -> Note:
        """Add a note that came from a browser or a script.

        Parameters
        ----------
        values
            An object with `text`, and perhaps `author`.
        at_ns, run_ns
            As in `Note`.

        Raises
        ------
        ConfigError
            One line that says what is wrong with it.
        """
        if not isinstance(values, Mapping) or not set(values) <= {"text", "author"}:
            raise ConfigError('a note is {"text": "…", "author": "…"}')
        text = _readable("text", values.get("text"), MAX_TEXT, lines=True)
        if not text:
            raise ConfigError("write something into the note")
        author = _readable("author", values.get("author", ""), MAX_AUTHOR)
        self.count += 1
        note = Note(self.count, at_ns, author, text, run_ns)
        self._notes.append(note)
        return note

    def to_json(self) -> list[dict[str, Any]]:
        """Return the notes for programs, the oldest first."""
        return [note.to_json() for note in self._notes]

    def saved(self) -> list[dict[str, Any]]:
        """Return what `restore` takes."""
        return [vars(note) for note in self._notes]

    def restore(self, saved: Iterable[Mapping[str, Any]]) -> None:
        """Take up the notes of a monitor that ended.

        Raises
        ------
        ValueError, TypeError, KeyError, ConfigError
            They are not what `saved` gives.
        """
        notes = []
        for one in saved:
            note = Note(**one)
            _readable("text", note.text, MAX_TEXT, lines=True)
            _readable("author", note.author, MAX_AUTHOR)
            if not all(type(number) is int for number in (note.number, note.at_ns, note.run_ns or 0)):
                raise ValueError("no note")
            notes.append(note)
        self._notes.extend(notes)
        self.count = notes[-1].number if notes else 0


def _readable(name: str, value: Any, most: int, *, lines: bool = False) -> str:
    """Return a text without what cannot be printed; only line breaks, where there may be some."""
    if not isinstance(value, str):
        raise ConfigError(f"{name} is not text")
    if len(value) > most:
        raise ConfigError(f"{name} has {len(value)} characters; at most {most}")
    kept = (char if char.isprintable() or (lines and char == "\n") else " " for char in value)
    return "".join(kept).strip()


def notes_table(notes: Iterable[Mapping[str, Any]]) -> str:
    """Return notes as CSV. A text that a spreadsheet would take for a formula is marked as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("time", "author", "text", "run_of"))
    for note in notes:
        words = (_plain(note["author"]), _plain(note["text"]))
        writer.writerow((note["time"], *words, note["run_of"] or ""))
    return text.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
