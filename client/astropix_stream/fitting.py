"""Whether a class fits the readouts: by what a relay or a file says, and by what decodes. Pure."""

from typing import Any

from astropix_stream.fmt import Readout, kind_of

SAMPLE = 100  # readouts with data, after which it is judged
_LEAST_DECODED = 0.5  # of their bytes: all in a real run of AstroPix 4, 0.14 in one of AstroPix 3


def describe(uid: int) -> str:
    """Return a kind's name and uid, for people."""
    return str(kind_of(uid))


def misfit(readout_class: Any, uid: int | None) -> str:
    """Say what is wrong with decoding readouts of a kind with some class; nothing if it fits.

    Parameters
    ----------
    readout_class
        Any class of readouts; one without ``uid()`` fits everything.
    uid
        The readouts' kind; None if nobody says it.
    """
    own = getattr(readout_class, "uid", None)
    if uid is None or own is None or own() == uid:
        return ""
    return f"the readouts are {describe(uid)}, and {readout_class.__name__} decodes {describe(own())}"


class Doubt:
    """Looks at the first readouts of a stream, and doubts that they are what they are decoded as.

    A relay may be configured wrongly, and of multicast nobody says the kind at all. Where most bytes, idle
    and padding aside, belong to no hit, the readouts are probably of another kind.

    Attributes
    ----------
    text
        The doubt in one line; empty without one.
    open
        More readouts are wanted.
    """

    def __init__(self) -> None:
        self.text = ""
        self.open = True
        self._readouts = self._bytes = self._decoded = 0

    def note(self, readout: Readout[Any]) -> bool:
        """Note a readout; return whether the doubt is told for the first time."""
        if not self.open:
            return False
        decoded, size = readout.explained()
        if not size:
            return False
        self._readouts += 1
        self._bytes += size
        self._decoded += decoded
        if self._readouts < SAMPLE:
            return False
        self.open = False
        if self._decoded >= _LEAST_DECODED * self._bytes:
            return False
        kind = kind_of(readout.uid()).name
        share = round(100 * (1 - self._decoded / self._bytes))
        self.text = (
            f"{share} % of the bytes of the first {SAMPLE} readouts belong to no hit of {kind}; "
            f"is this {kind}?"
        )
        return True
