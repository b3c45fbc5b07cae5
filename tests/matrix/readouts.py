"""Readouts that can be told apart and checked without the code under test.

The data is a serial number, filling, and a CRC of all that precedes it in the datagram.
"""

import struct
import zlib

HEADER = struct.Struct("<3sIQI")
MAGIC = bytes.fromhex("fedcba")
_SERIAL = struct.Struct("<Q")
_CRC = struct.Struct("<I")
SMALLEST = _SERIAL.size + _CRC.size
SERIALS_OF_A_DAQ = 10**9  # the DAQs of a row number theirs from a multiple of this on


def pack(readout_id: int, timestamp: int, serial: int, size: int = 60) -> bytes:
    """Return a datagram with `size` bytes of data."""
    filling = bytes(max(0, size - SMALLEST))
    length = SMALLEST + len(filling)
    body = HEADER.pack(MAGIC, readout_id & 0xFFFFFFFF, timestamp, length) + _SERIAL.pack(serial) + filling
    return body + _CRC.pack(zlib.crc32(body))


def serial_of(datagram: bytes) -> int | None:
    """Return the serial number; None for a datagram that is not as it was packed."""
    if len(datagram) < HEADER.size + SMALLEST:
        return None
    if zlib.crc32(datagram[:-4]) != _CRC.unpack_from(datagram, len(datagram) - 4)[0]:
        return None
    return _SERIAL.unpack_from(datagram, HEADER.size)[0]


def timestamp_of(datagram: bytes) -> int:
    """Return when a readout was made, ns."""
    return int(HEADER.unpack_from(datagram)[2])


def reason_of(datagram: bytes) -> str | None:
    """Return why a datagram is not a readout, as formats.md says it; None if it is one."""
    if len(datagram) < HEADER.size:
        return "short"
    magic, _, _, length = HEADER.unpack_from(datagram)
    if magic != MAGIC:
        return "magic"
    return None if length == len(datagram) - HEADER.size else "length"
