"""Which bytes of a readout are what: for a page or a terminal that shows them in colours. Pure."""

from typing import Any

from astropix_stream.fmt.astropix4 import ASTROPIX4
from astropix_stream.fmt.framing import BytesLike
from astropix_stream.fmt.kinds import Kind
from astropix_stream.fmt.meaning import Span
from astropix_stream.fmt.readouts import Readout


def spans(
    data: BytesLike, kind: Kind | type[Readout[Any]] | None = None, extra_bytes: bytes | None = None
) -> list[Span]:
    """Say what each byte of a readout is.

    Parameters
    ----------
    data : bytes-like
        Those of one readout, without its header: `Readout.data`, or as the board sent them.
    kind : Kind or class of readouts, optional
        What it is; AstroPix 4 by default.
    extra_bytes : bytes, optional
        As for `Readout.decode`: what the previous readout has left.

    Returns
    -------
    list of Span
        In the order of the data; they cover every byte once. Neighbours differ in their meaning or in their
        hit.

    Examples
    --------
    >>> from astropix_stream import fmt
    >>> for begin, end, meaning, hit in fmt.spans(bytes.fromhex("bcbce08056e80da85403bc")):
    ...     print(begin, end, meaning, hit)
    0 2 idle None
    2 3 start 0
    3 10 hit 0
    10 11 idle None
    """
    readout_class = kind.readout_class if isinstance(kind, Kind) else kind or ASTROPIX4.readout_class
    return readout_class.spans(data, extra_bytes)
