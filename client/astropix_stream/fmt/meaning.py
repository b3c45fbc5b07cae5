"""What each byte of a readout is: part of a hit, idle, dropped. Pure.

`Span` is what `fmt.spans` gives; `Division` is how the kinds make a list of them.
"""

import re
from enum import StrEnum
from typing import NamedTuple

_IDLE_OR_NOT = re.compile(rb"[\xbc\xff]+|[^\xbc\xff]+").finditer


class Meaning(StrEnum):
    """What a byte of a readout is."""

    START = "start"
    """The start byte of a hit, or the length byte of a frame."""
    HIT = "hit"
    """Another byte of a hit or a frame."""
    IDLE = "idle"
    """Idle or padding: ``bc`` or ``ff``."""
    ORPHAN = "orphan"
    """Before the first hit: the rest of a hit that began in the previous readout, or is taken for it."""
    EXTRA = "extra"
    """The beginning of a hit, at the end: the next readout has its rest."""
    DROPPED = "dropped"
    """In no hit: of one that was cut short, of a bad frame, or noise."""
    UNDECODED = "undecoded"
    """Of a kind of which nothing is known."""


class Span(NamedTuple):
    """Bytes of a readout that follow one another and are all the same."""

    begin: int
    """Position of the first byte in the data of the readout, from 0."""
    end: int
    """Position after the last."""
    meaning: Meaning
    """What they are."""
    hit: int | None = None
    """The `decoding_order` of the hit that the bytes are part of. Orphans have one if they complete a hit."""


class Division:
    """Divides data into spans, from the first byte on.

    Attributes
    ----------
    spans : list of Span
        So far.
    at : int
        Where they end.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.at = 0

    def cover(self, end: int, meaning: Meaning, hit: int | None = None) -> None:
        """Say what the bytes are from `at` to `end`; nothing if these are none."""
        if end <= self.at:
            return
        begin = self.at
        if self.spans and self.spans[-1][2:] == (meaning, hit):
            begin = self.spans.pop().begin
        self.spans.append(Span(begin, end, meaning, hit))
        self.at = end

    def cover_hit(self, end: int, hit: int) -> None:
        """Say that a hit is from `at` to `end`."""
        self.cover(self.at + 1, Meaning.START, hit)
        self.cover(end, Meaning.HIT, hit)

    def drop(self, data: bytes, end: int) -> None:
        """Say that no hit is from `at` to `end`: idle bytes, and others that are dropped."""
        for run in _IDLE_OR_NOT(data, self.at, end):
            self.cover(run.end(), Meaning.IDLE if run[0][0] in b"\xbc\xff" else Meaning.DROPPED)
