"""The messages that a relay publishes: readouts and heartbeats, each under a header of 56 bytes.

Numbers are little-endian.

================  ========  ===============================================================
bytes             type      what
================  ========  ===============================================================
0 to 3            4 bytes   magic: ``APXR``
4                 u8        version of the protocol
5                 u8        flags
6 to 7            u16       count: readouts in the payload; 0 in a heartbeat
8 to 15           u64       relay_id
16 to 23          u64       sequence
24 to 31          u64       received_ns
32 to 47          16 bytes  address of the source, IPv6, or IPv4 mapped into it
48 to 49          u16       port of the source
50 to 55          6 bytes   zero
================  ========  ===============================================================
"""

import ipaddress
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from astropix_stream import fmt, headers
from astropix_stream.batch import Source
from astropix_stream.errors import WireError
from astropix_stream.wire.frames import PROTOCOL, check_start, parse_json_object
from astropix_stream.wire.hello import Hello, parse_hello
from astropix_stream.wire.topics import parse_topic

MESSAGE_MAGIC = b"APXR"
REPLAYED = 0x01  # flag: this message comes from the relay's history
MAX_PAYLOAD = 64 << 10  # bytes in a message, unless a single readout is larger
NO_SOURCE = Source("::", 0)

MESSAGE_HEADER = struct.Struct("<4sBBHQQQ16sH6x")
FLAGS_OFFSET = 5
SOURCE_BYTES = slice(32, 50)
"""Where in a header the source stands."""
_COUNT_AT = 6


class Header(NamedTuple):
    """The header of a message.

    `sequence` is the number of the first readout in the payload; in a heartbeat, the next number to be given.
    `received_ns` is the relay's clock, ns since the Unix epoch, when it read the first datagram.
    """

    flags: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody misses
    relay_id: int
    sequence: int
    received_ns: int
    source: Source


class DataMessage(NamedTuple):
    """Readouts of one source, in the order in which the relay published them."""

    stream: str
    header: Header
    payload: bytes


Numbered = tuple[int, int, int, bytes, bytes]
"""A data message of which only the numbers were read: count, relay_id, sequence, header, payload."""


class BeatMessage(NamedTuple):
    """What the relay knows of one stream, sampled together with the sequence number in the header."""

    stream: str
    header: Header
    report: dict[str, Any]


def parse_message(frames: Sequence[bytes]) -> DataMessage | BeatMessage | Hello:
    """Turn the frames of one received message into a value.

    Raises
    ------
    WireError
        Anything that is not a message of this protocol. The payload of a data message is not walked here:
        `walk_payload` does that.
    """
    if len(frames) == 1:
        return parse_hello(frames[0])
    if len(frames) != 3:
        raise WireError(f"a message of {len(frames)} frames; the protocol's have 3")
    stream, kind = parse_topic(frames[0])
    header = parse_message_header(frames[1])
    if kind == "beat":
        return BeatMessage(stream, header, parse_report(frames[2]))
    if header.count == 0:
        raise WireError("a data message without readouts", offset=_COUNT_AT)
    return DataMessage(stream, header, frames[2])


def pack_header(header: tuple[int, int, int, int, int, Source]) -> bytes:
    """Return the 56 bytes of a header: a `Header`, or a plain tuple like it."""
    flags, count, relay_id, sequence, received_ns, (address, port) = header
    packed = pack_address(address)
    return MESSAGE_HEADER.pack(
        MESSAGE_MAGIC, PROTOCOL, flags, count, relay_id, sequence, received_ns, packed, port
    )


def parse_message_header(data: bytes) -> Header:
    """Parse a header; bytes after the 56th and unknown flags are ignored, as the protocol asks.

    Raises
    ------
    WireError
        Too short, another magic, or another version.
    """
    if len(data) < MESSAGE_HEADER.size:
        told = f"a header of {len(data)} bytes; the protocol's has {MESSAGE_HEADER.size}"
        raise WireError(told, offset=len(data))
    magic, version, flags, count, relay_id, sequence, received_ns, address, port = MESSAGE_HEADER.unpack_from(
        data
    )
    check_start(magic, MESSAGE_MAGIC, version)
    return Header(flags, count, relay_id, sequence, received_ns, Source(unpack_address(address), port))


def parse_numbers(data: bytes) -> tuple[int, int, int, int]:
    """Return flags, count, relay_id and sequence of a header, for callers that need nothing else.

    Raises
    ------
    WireError
        As `parse_message_header`.
    """
    if len(data) < MESSAGE_HEADER.size:
        raise WireError(f"a header of {len(data)} bytes; the protocol's has {MESSAGE_HEADER.size}")
    magic, version, flags, count, relay_id, sequence, _, _, _ = MESSAGE_HEADER.unpack_from(data)
    if magic != MESSAGE_MAGIC or version != PROTOCOL:
        check_start(magic, MESSAGE_MAGIC, version)
    return flags, count, relay_id, sequence


@lru_cache(maxsize=1024)
def pack_address(address: str) -> bytes:
    """Return the 16 bytes of an IPv6 address, or of an IPv4 one mapped into IPv6; a scope is dropped."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    return ip.packed if ip.version == 6 else b"\x00" * 10 + b"\xff\xff" + ip.packed


@lru_cache(maxsize=1024)
def unpack_address(packed: bytes) -> str:
    """Return the text of a 16-byte address; a mapped IPv4 address comes back as IPv4."""
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)


def walk_payload(payload: bytes, count: int) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Find the readouts in the payload of a data message.

    Returns
    -------
    readout_ids, timestamps, ends
        `count` of each; a readout stands at ``payload[ends[i - 1]:ends[i]]`` (the first begins at 0). `ends`
        is a range if they are of one size.

    Raises
    ------
    WireError
        The payload is not `count` readouts back to back.
    """
    readout_ids = headers.parse_equal_ids(payload, count)
    if readout_ids is None:
        return _walk_each(payload, count)
    size = len(payload) // count
    return readout_ids, headers.EqualTimestamps(payload, count), range(size, len(payload) + 1, size)


def _walk_each(payload: bytes, count: int) -> tuple[list[int], list[int], list[int]]:
    unpack, header_size, magic = fmt.HEADER.unpack_from, fmt.HEADER_SIZE, fmt.MAGIC
    readout_ids, timestamps, ends = [], [], []
    at = begin = 0
    try:
        for _ in range(count):
            found, readout_id, timestamp, length = unpack(payload, at)
            if found != magic:
                raise WireError(f"no readout at byte {at} of a payload", offset=at)
            begin = at
            at += header_size + length
            readout_ids.append(readout_id)
            timestamps.append(timestamp)
            ends.append(at)
    except struct.error:
        told = f"a payload of {len(payload)} bytes that ends within its readouts"
        raise WireError(told, offset=at if at <= len(payload) else begin) from None
    if at != len(payload):
        told = f"a payload of {len(payload)} bytes whose {count} readouts take {at}"
        raise WireError(told, offset=at if at < len(payload) else begin)
    return readout_ids, timestamps, ends


def parse_report(text: bytes) -> dict[str, Any]:
    """Return what a beat's payload says; a `WireError` if it is no JSON object."""
    return parse_json_object(text)
