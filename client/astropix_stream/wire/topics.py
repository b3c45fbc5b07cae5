"""What a stream may be called, and the topics under which a relay publishes it."""

import re
from functools import lru_cache

from astropix_stream.errors import WireError
from astropix_stream.wire.frames import MAX_SHOWN, show

HELLO_TOPIC = b"apx/hello"
_STREAM = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


def check_stream_name(name: str) -> str:
    """Return `name`, or raise `WireError` with what a stream may be called."""
    if not _STREAM.fullmatch(name) or name.startswith("hello"):
        shown = name[:MAX_SHOWN] + "…" * (len(name) > MAX_SHOWN)
        if not shown.isprintable():
            shown = show(name.encode(errors="surrogateescape"))
        raise WireError(
            f"'{shown}' cannot be a stream's name: 1 to 64 of a-z 0-9 _ -, not beginning with 'hello'"
        )
    return name


def parse_stream_name(name: bytes) -> str:
    """Return the name of a stream that came from outside, or raise `WireError`."""
    if not name.isascii():
        raise WireError(f"a stream's name that is not ASCII: {show(name)}")
    return check_stream_name(name[: MAX_SHOWN + 1].decode("ascii"))


def stream_prefix(stream: str) -> bytes:
    """Return what to subscribe to for all that is told of a stream."""
    return f"apx/{stream}/".encode("ascii")


@lru_cache(maxsize=1024)
def data_topic(stream: str) -> bytes:
    """Topic of a stream's readouts."""
    return stream_prefix(stream) + b"data"


def beat_topic(stream: str) -> bytes:
    """Topic of a stream's heartbeats."""
    return stream_prefix(stream) + b"beat"


@lru_cache(maxsize=1024)
def parse_topic(topic: bytes) -> tuple[str, str]:
    """Return (stream, 'data' or 'beat')."""
    parts = topic.split(b"/")
    if len(parts) != 3 or parts[0] != b"apx" or parts[2] not in (b"data", b"beat"):
        told = f"a topic that is not apx/<stream>/data or apx/<stream>/beat: {show(topic)}"
        raise WireError(told, offset=0)
    return parse_stream_name(parts[1]), parts[2].decode("ascii")
