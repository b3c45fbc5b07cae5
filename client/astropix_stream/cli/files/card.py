"""A readout of a file, with what else there is to tell of it. Pure."""

from typing import Any, NamedTuple

from astropix_stream.fmt import Readout, Span


class Card(NamedTuple):
    """A readout of a file, decoded."""

    place: int
    """In the file, from 0."""
    readout: Readout[Any]
    data: bytes
    """As they are in the file, padding included."""
    spans: list[Span]
    """What each byte of the data is."""
    begins_run: bool
    duplicate: bool
    after_ns: int | None
    """Since the readout before it in the file; None if there is none, or a timestamp is 0."""
    missing: int
    """Readouts that are missing between it and the one before, by their ids."""
