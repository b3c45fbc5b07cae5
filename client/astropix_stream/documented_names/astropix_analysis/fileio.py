"""Files of readouts: `astropix_stream.fileio` under its documented name."""

from astropix_stream.fileio import (
    LENGTH,
    MAGIC,
    MAX_HEADER,
    ApxReader,
    ApxWriter,
    FileHeader,
    apx_open,
)

__all__ = [
    "LENGTH",
    "MAGIC",
    "MAX_HEADER",
    "ApxReader",
    "ApxWriter",
    "FileHeader",
    "apx_open",
]
