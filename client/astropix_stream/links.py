"""A subscriber's link to a relay over a slow line: compressed, or thinned to a bandwidth. Pure.

A subscriber chooses its link by the topic; all else is as on the plain one, and heartbeats are the same:

==========================================  ===============================================================
topic                                       what comes
==========================================  ===============================================================
``apxz/<stream>/data``                      every readout; the payload is a zstd frame where flag bit 1 is set
``apxt/<stream>/<bytes per second>/data``   as many as fit; each message says which numbers it stands for
``apxtz/<stream>/<bytes per second>/data``  both
==========================================  ===============================================================

None begins with ``apx/``, so that whoever subscribes to ``apx/<stream>/`` gets none of them. The header of a
thinned message goes on after its 56 bytes with `stride` and `covered`, u32 each: the message stands for the
numbers from `sequence` up to, not including, ``sequence + covered``, and brings those that `stride` divides.
docs/protocol.md is the reference.
"""

import importlib.util
import re
import struct
from functools import lru_cache
from typing import NamedTuple

from astropix_stream import wire
from astropix_stream.errors import ConfigError, WireError

COMPRESSED = 0x02
"""Flag of a message: its payload is a zstd frame."""
MAX_PLAIN = 2 * wire.MAX_PAYLOAD
"""Bytes that a compressed payload may unpack to: a full message, or one large readout."""
MIN_BANDWIDTH, MAX_BANDWIDTH = 8_000, 1_000_000_000  # bytes/s: heartbeats alone take 1000
THINNED = struct.Struct("<II")  # stride, covered
INSTALL = "pip install 'astropix-stream[zstd]'"

_LEVEL = 3  # of zstd's 22: on recorded readouts level 6 gains 1 to 10 % more, and takes three times as long
_TOPIC = re.compile(rb"apx(t?)(z?)/([a-z0-9_-]{1,64})/(?:([1-9][0-9]{0,9})/)?data")
_BITS = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_BANDWIDTH = re.compile(
    rf"([0-9]{{1,12}}(?:\.[0-9]{{1,6}})?) ?({'|'.join([*_BITS, *_BYTES])})(?:/s)?", re.ASCII
)


class Link(NamedTuple):
    """How readouts come: each as it is, compressed, or as many as fit into `max_bandwidth` (bytes/s)."""

    compressed: bool = False
    max_bandwidth: int | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the one that every subscriber has."""
        return not self.compressed and self.max_bandwidth is None

    @property
    def thinned(self) -> bool:
        """Whether readouts may be left out."""
        return self.max_bandwidth is not None

    def needs(self) -> frozenset[str]:
        """Return what the relay has to offer for it, as its hello says."""
        wanted = {"zstd": self.compressed, "thinned": self.thinned}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)

    def topic(self, stream: str) -> bytes:
        """Return the topic of a stream's readouts on this link."""
        if self.plain:
            return wire.data_topic(stream)
        root = "apx" + "t" * self.thinned + "z" * self.compressed
        cap = f"{self.max_bandwidth}/" if self.thinned else ""
        return f"{root}/{stream}/{cap}data".encode("ascii")


@lru_cache(maxsize=1024)
def parse_topic(topic: bytes) -> tuple[str, Link] | None:
    """Return the stream and the link of a topic; None for one that is not that of a slow line."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    thin, compressed, name, cap = match.groups()
    if not (thin or compressed) or bool(thin) != (cap is not None):
        return None
    if cap is not None and not MIN_BANDWIDTH <= int(cap) <= MAX_BANDWIDTH:
        return None
    try:
        stream = wire.check_stream_name(name.decode("ascii"))
    except WireError:
        return None
    return stream, Link(bool(compressed), int(cap) if cap else None)


def parse_link(compress: str | None, max_bandwidth: str | int | None) -> Link:
    """Check what a person wrote.

    Raises
    ------
    ConfigError
        Another kind of compression than zstd, zstd without its library, or no bandwidth.
    """
    if compress not in (None, "zstd"):
        raise ConfigError(f"compress={compress}: 'zstd' is the only compression")
    return Link(compress is not None, None if max_bandwidth is None else parse_bandwidth(max_bandwidth))


def parse_bandwidth(value: str | int) -> int:
    """Return bytes per second; a text has a unit, as in '2Mbit/s' or '250kB/s'.

    Raises
    ------
    ConfigError
        It has none, or is not from 8 kB/s to 1 GB/s.
    """
    shown = repr(value) if isinstance(value, str) else f"{value} bytes/s"
    if isinstance(value, str):
        match = _BANDWIDTH.fullmatch(value)
        if match is None:
            raise ConfigError(f"max_bandwidth: {shown} is not a bandwidth: write '2Mbit/s' or '250kB/s'")
        number, unit = float(match[1]), match[2]
        value = int(number * _BITS[unit] / 8 if unit in _BITS else number * _BYTES[unit])
    if isinstance(value, bool) or not MIN_BANDWIDTH <= value <= MAX_BANDWIDTH:
        raise ConfigError(f"max_bandwidth: {shown} is not from 8kB/s (64kbit/s) to 1GB/s (8Gbit/s)")
    return value


def check_installed() -> None:
    """Raise `ConfigError` with what to install if there is no zstd here."""
    if not installed():
        raise ConfigError(f"compress=zstd needs the Python package zstandard: {INSTALL}")


def installed() -> bool:
    """Return whether there is zstd here."""
    return importlib.util.find_spec("zstandard") is not None  # without the time that it takes to import it


def compress(payload: bytes | memoryview) -> bytes:
    """Return a zstd frame that says how large its content is."""
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdCompressor(level=_LEVEL).compress(payload)


def decompress(frame: bytes, limit: int = MAX_PLAIN) -> bytes:
    """Return the content of a zstd frame.

    Raises
    ------
    WireError
        It is none, it does not say how large its content is, or that is more than `limit` bytes: memory is
        taken only once that is known.
    """
    import zstandard  # noqa: PLC0415

    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if size > limit:  # also where the frame does not say
            raise WireError(f"a compressed payload of more than {limit} bytes, or of unknown size")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise WireError(f"a payload that is not zstd: {error}") from None


class Part(NamedTuple):
    """Which numbers a thinned message stands for, and which of them it brings."""

    stride: int
    covered: int

    def kept(self, sequence: int) -> range:
        """Return the numbers that it brings, if it stands for those from `sequence` on."""
        return range(sequence + -sequence % self.stride, sequence + self.covered, self.stride)


def parse_part(header: bytes) -> Part:
    """Return what follows the 56 bytes of a thinned message's header.

    Raises
    ------
    WireError
        It is too short, or contradicts the header's `count`.
    """
    if len(header) < wire.MESSAGE_HEADER.size + THINNED.size:
        raise WireError("the header of a thinned message that ends too early", offset=len(header))
    part = Part(*THINNED.unpack_from(header, wire.MESSAGE_HEADER.size))
    _, count, _, sequence = wire.parse_numbers(header)
    if part.stride == 0 or len(part.kept(sequence)) != count:
        raise WireError(f"a thinned message of {count} readouts, one in {part.stride} of {part.covered}")
    return part


class LinkMessage(NamedTuple):
    """A message with its payload unpacked; what it stands for, if the link thins.

    Without readouts, it tells a new subscriber with which number its readouts begin.
    """

    message: wire.DataMessage
    part: Part | None


def parse_message(topic: bytes, header: bytes, payload: bytes) -> LinkMessage:
    """Return a link's message.

    Raises
    ------
    WireError
        It is none.
    """
    found = parse_topic(topic)
    if found is None:
        raise WireError("a topic of no link")
    stream, link = found
    head = wire.parse_message_header(header)
    part = parse_part(header) if link.thinned else None
    if head.flags & COMPRESSED:
        if not link.compressed:
            raise WireError("a compressed payload that was not asked for")
        payload = decompress(payload)
    return LinkMessage(wire.DataMessage(stream, head, payload), part)
