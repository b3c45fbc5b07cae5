"""Which format a file has, told by its first bytes, and by its name where these leave a doubt. Pure."""

from enum import Enum

from astropix_stream.fileio import MAGIC
from astropix_stream.fmt import ASTEP, Kind
from astropix_stream.fmt.astep import find_frames

LOOK = 4096  # bytes at the beginning that tell
_CONTROL = frozenset({*range(32), 127} - set(b"\t\n\r\f"))


class Format(Enum):
    """A format of files with readouts; its value is the ending of their names."""

    APX = ".apx"
    LOG = ".log"
    BIN = ".bin"


def tell_format(head: bytes, suffix: str = "", kind: Kind = ASTEP) -> Format | None:
    """Tell the format of a file.

    Parameters
    ----------
    head
        Its first bytes, `LOOK` of them if there are so many.
    suffix
        How its name ends: '.bin'.
    kind
        The kind of A-STEP frames to look for.

    Returns
    -------
    Format or None
        None if it is none of them, or is too short to tell.
    """
    claimed = next((form for form in Format if form.value == suffix.lower()), None)
    if len(head) < len(MAGIC) and MAGIC.startswith(head):
        return claimed
    if head.startswith(MAGIC):
        return Format.APX
    if is_text(head):
        return Format.LOG if claimed is not Format.APX or _reads_like_a_log(head) else None
    if _reads_like_a_log(head) and _CONTROL.isdisjoint(head):  # in an encoding of Windows
        return Format.LOG
    if claimed is Format.BIN or (claimed is not Format.APX and has_frames(head, kind)):
        return Format.BIN
    return None


def is_text(head: bytes) -> bool:
    """Tell whether bytes are text."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(head) or len(head) < LOOK:  # else a character is cut at the end
            return False
    return _CONTROL.isdisjoint(head)


def has_frames(head: bytes, kind: Kind = ASTEP) -> bool:
    """Tell whether there are frames of an A-STEP in the bytes, more than they have noise."""
    frame_length: int = kind.readout_class.frame_length()  # type: ignore[attr-defined]
    found = find_frames(head, frame_length, ended=False)
    noise = sum(end - begin for begin, end in found.noise)
    return len(found.whole) * (1 + frame_length) > noise


def _reads_like_a_log(head: bytes) -> bool:
    return b"Namespace(" in head or b"\tb'" in head
