"""Whether a class fits the readouts: by what a relay or a file says, and by what decodes. Pure."""

from typing import Any

from astropix_stream.fmt import HIT_SIZE, AstroPix4Hit, AstroPix4Readout, reverse_bit_order

_NAMES = {4000: "AstroPix 4", 3000: "AstroPix 3", 3100: "A-STEP"}
_IDLE = b"\xbc\xff"

SAMPLE = 100  # readouts with data, after which it is judged
_LEAST_DECODED = 0.5  # of their bytes: all in a real run of AstroPix 4, 0.14 in one of AstroPix 3


def describe(uid: int) -> str:
    """Return a kind's name and uid, for people."""
    return f"{_NAMES[uid]} ({uid})" if uid in _NAMES else f"kind {uid}"


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

    def note(self, readout: AstroPix4Readout) -> bool:
        """Note a readout; return whether the doubt is told for the first time."""
        size = len(readout.data().translate(None, _IDLE))
        if not self.open or not size:
            return False
        self._readouts += 1
        self._bytes += size
        self._decoded += sum(len(_bytes_of(hit).translate(None, _IDLE)) for hit in readout.hits())
        if self._readouts < SAMPLE:
            return False
        self.open = False
        if self._decoded >= _LEAST_DECODED * self._bytes:
            return False
        kind = _NAMES[type(readout).uid()]
        share = round(100 * (1 - self._decoded / self._bytes))
        self.text = (
            f"{share} % of the bytes of the first {SAMPLE} readouts belong to no hit of {kind}; "
            f"is this {kind}?"
        )
        return True


def _bytes_of(hit: AstroPix4Hit) -> bytes:
    """Return a hit as the board sent it."""
    return reverse_bit_order(hit.bits.to_bytes(HIT_SIZE, "big"))
