"""What the frames of the protocol have in common: how they begin, JSON, and how an error shows what came."""

import json
from typing import Any

from astropix_stream.errors import WireError

PROTOCOL = 1
MAX_SHOWN = 80  # bytes of what came, in the text of an error
_VERSION_AT = 4  # in a header, a request or an answer

_encode_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes one in each call


def check_start(magic: bytes, expected: bytes, version: int) -> None:
    """Raise `WireError` unless a frame begins with its magic and this version of the protocol."""
    if magic != expected:
        told = f"a frame that begins with {magic.hex(' ')}, not with {expected.decode('ascii')}"
        raise WireError(told, offset=0)
    if version != PROTOCOL:
        told = f"protocol version {version}; this program speaks version {PROTOCOL}"
        raise WireError(told, offset=_VERSION_AT)


def show(data: bytes) -> str:
    """Return the beginning of bytes from outside, as any programmer reads it: text, or else hexadecimal."""
    data, more = data[:MAX_SHOWN], "…" if len(data) > MAX_SHOWN else ""
    readable = data.isascii() and data.decode("ascii").isprintable()
    return (data.decode("ascii") if readable else data.hex(" ")) + more


def pack_json(value: dict[str, Any]) -> bytes:
    """Return compact JSON, as it stands in heartbeats and hellos."""
    return _encode_json(value).encode()


def parse_json_object(text: bytes, at: int = 0) -> dict[str, Any]:
    """Return the JSON that stands at byte `at` of a frame."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a payload that is not JSON: {error}", offset=at) from None
    if not isinstance(value, dict):
        raise WireError("a payload whose JSON is not an object", offset=at)
    return value
