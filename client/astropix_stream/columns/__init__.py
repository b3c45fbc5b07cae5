"""Many readouts at once, to a NumPy table of hits, for each kind of readout.

NumPy finds the hits of clean readouts, in all of them together (see `decoder.Decoder`); the others go through
their own `decode`. The hits are the same in either case. NumPy is no requirement of the wheel: it comes with
its extra ``columns``.
"""

try:
    import numpy as _numpy  # noqa: F401
except ImportError:
    raise ImportError("astropix_stream.columns needs NumPy: pip install 'astropix-stream[columns]'") from None

from astropix_stream.columns.decoder import Decoder, Found, hit_dtype
from astropix_stream.columns.decoding import HIT_DTYPE, Decoded, decode_batch, decode_columns
from astropix_stream.columns.files import columns
from astropix_stream.columns.pixels import PixelMatcher, Pixels, match_pixels

__all__ = [
    "HIT_DTYPE",
    "Decoded",
    "Decoder",
    "Found",
    "PixelMatcher",
    "Pixels",
    "columns",
    "decode_batch",
    "decode_columns",
    "hit_dtype",
    "match_pixels",
]
