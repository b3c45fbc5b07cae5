"""The framing of a readout, the same for all kinds: a header, then the data as the board sent them.

One readout, as a UDP datagram and in the body of an .apx file, little-endian (`HEADER`):

======  ======  ============================================================
offset  size    field
======  ======  ============================================================
0       3       magic ``fe dc ba``
3       4       readout_id, u32: sequential, restarts at 0 with each run
7       8       timestamp, u64: ns since the Unix epoch, DAQ host clock
15      4       length of the data, u32
19      length  data as the board sent it, trailing padding stripped
======  ======  ============================================================
"""

import struct
from collections.abc import Generator
from functools import lru_cache
from typing import TypeAlias

from astropix_stream.errors import FormatError

BytesLike: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"\xfe\xdc\xba"
HEADER = struct.Struct("<3sIQI")  # magic, readout_id, timestamp, length
HEADER_SIZE = HEADER.size
MAX_DATAGRAM = 65507  # bytes: the largest UDP payload over IPv4
MAX_DATA = MAX_DATAGRAM - HEADER_SIZE


def parse_header(buffer: BytesLike, offset: int = 0) -> tuple[int, int, int]:
    """Check the header of a readout, and read it.

    Parameters
    ----------
    buffer : bytes-like
        Holds the header; what follows it is not looked at.
    offset : int
        Where in the buffer the header begins.

    Returns
    -------
    readout_id, timestamp, length : int
        The timestamp in ns since the Unix epoch, the length of the data in bytes.

    Raises
    ------
    FormatError
        If there are less than 19 bytes, the magic is wrong, or the length is more than a datagram can hold.
    """
    try:
        magic, readout_id, timestamp, length = HEADER.unpack_from(buffer, offset)
    except struct.error:
        found = max(0, len(buffer) - offset)
        raise FormatError(
            f"{found} bytes, where the header of a readout is {HEADER_SIZE}", offset=offset
        ) from None
    if magic != MAGIC:
        told = f"begins with {magic.hex(' ')}, not with the magic {MAGIC.hex(' ')}"
        raise FormatError(told, offset=offset)
    if length > MAX_DATA:
        told = f"header announces {length} bytes of data, more than the {MAX_DATA} of a datagram"
        raise FormatError(told, offset=offset)
    return readout_id, timestamp, length


@lru_cache(maxsize=256)
def equal_readouts(size: int) -> struct.Struct:
    """Return what unpacks readout_id, timestamp and data of readouts of this size."""
    return struct.Struct(f"<3xIQ4x{size - HEADER_SIZE}s")


def split(buffer: bytes, base: int = 0) -> Generator[tuple[bytes, int, int], None, int]:
    """Walk over readouts back to back, as in the body of a file or the payload of a relay message.

    Parameters
    ----------
    buffer : bytes
        Readouts; the last may be incomplete.
    base : int
        Where the buffer stands in the file, for the text of an error.

    Yields
    ------
    raw, readout_id, timestamp : bytes, int, int
        The exact bytes of each whole readout, and the two fields of its header (ns since the Unix epoch).

    Returns
    -------
    int
        Where the first byte stands that is not part of a whole readout (the value of `yield from`).

    Raises
    ------
    FormatError
        At bytes that are not a readout, with their offset.
    """
    offset, size = 0, len(buffer)
    try:
        while (begin := offset + HEADER_SIZE) <= size:
            readout_id, timestamp, length = parse_header(buffer, offset)
            if (end := begin + length) > size:
                break
            yield buffer[offset:end], readout_id, timestamp
            offset = end
    except FormatError as error:
        at = base + offset
        raise FormatError(f"not a readout at byte {at}: {error}", offset=at, reason=error.reason) from None
    return offset
