"""Requests of the relay's history, its answers, and the pages of messages in them."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from astropix_stream.errors import WireError
from astropix_stream.wire.frames import PROTOCOL, check_start
from astropix_stream.wire.messages import MESSAGE_HEADER, Header, parse_message_header
from astropix_stream.wire.topics import parse_stream_name

REQUEST_MAGIC = b"APXQ"
ANSWER_MAGIC = b"APXA"
MAX_PAGE = 1 << 20  # bytes of records in an answer, unless a single one is larger
WITHOUT_END = (1 << 64) - 1
ZSTD = 0x01  # flag of a request: the page may be compressed; of an answer: it is

# magic, version, kind, request_id, relay_id, a, b; the stream's name follows
REQUEST = struct.Struct("<4sBB2xQQQQ")
# magic, version, status, request_id, relay_id, oldest, next, begin, end
ANSWER = struct.Struct("<4sBB2xQQQQQQ")
_KIND_AT, _LINK_FLAGS_AT = 5, 6  # in both; an answer has its status where a request has its kind
RECORD_SIZE = struct.Struct("<I")  # bytes of the payload; the header and the payload follow


class Ask(IntEnum):
    """What a request asks of a stream's history, by its numbers `a` and `b`."""

    RANGE = 1
    """Sequences from `a` up to, not including, `b`."""
    LATEST = 2
    """The latest `a` readouts."""
    OLDEST = 3
    """All that are held."""
    SINCE = 4
    """All received at `a` or later, ns since the Unix epoch, clock of the relay."""


_KINDS = frozenset(map(int, Ask))


class AnswerStatus(IntEnum):
    """How a request was answered."""

    OK = 0
    UNKNOWN_STREAM = 1
    OTHER_RELAY = 2
    """The request is for another start of the relay, whose history is gone."""
    MALFORMED = 3


class Request(NamedTuple):
    """A subscriber's request of a page of history. `relay_id` 0 stands for the present one."""

    kind: Ask
    request_id: int
    relay_id: int
    a: int
    b: int
    stream: str
    flags: int = 0


class Answer(NamedTuple):
    """The header of the answer to a request, whose `request_id` it repeats.

    The relay holds the sequences from `oldest` up to `next`. Of what was asked for, everything before `begin`
    is gone, what is from there up to `end` is in this page, and the next request begins at `end`.
    """

    status: AnswerStatus
    request_id: int
    relay_id: int
    oldest: int = 0
    next: int = 0
    begin: int = 0
    end: int = 0
    flags: int = 0


def pack_request(request: Request) -> bytes:
    """Return the one frame of a request."""
    numbers = (request.request_id, request.relay_id, request.a, request.b)
    packed = REQUEST.pack(REQUEST_MAGIC, PROTOCOL, request.kind, *numbers)
    return _with_link_flags(packed, request.flags) + request.stream.encode("ascii")


def parse_request(frame: bytes) -> Request:
    """Parse a request.

    Raises
    ------
    WireError
        Not a request of this version and for something that a stream may be called.
    """
    if len(frame) < REQUEST.size:
        told = f"a request of {len(frame)} bytes; the protocol's has {REQUEST.size} and a name"
        raise WireError(told, offset=len(frame))
    magic, version, kind, request_id, relay_id, a, b = REQUEST.unpack_from(frame)
    check_start(magic, REQUEST_MAGIC, version)
    if kind not in _KINDS:
        told = f"a request of kind {kind}; the protocol's are {min(_KINDS)} to {max(_KINDS)}"
        raise WireError(told, offset=_KIND_AT)
    stream = parse_stream_name(frame[REQUEST.size :])
    return Request(Ask(kind), request_id, relay_id, a, b, stream, frame[_LINK_FLAGS_AT])


def pack_answer(answer: Answer) -> bytes:
    """Return the first frame of an answer."""
    status, *numbers, flags = answer
    return _with_link_flags(ANSWER.pack(ANSWER_MAGIC, PROTOCOL, status, *numbers), flags)


def parse_answer(frame: bytes) -> Answer:
    """Parse the first frame of an answer; further bytes are ignored.

    Raises
    ------
    WireError
        Not an answer of this version.
    """
    if len(frame) < ANSWER.size:
        told = f"an answer of {len(frame)} bytes; the protocol's has {ANSWER.size}"
        raise WireError(told, offset=len(frame))
    magic, version, status, *numbers = ANSWER.unpack_from(frame)
    check_start(magic, ANSWER_MAGIC, version)
    try:
        return Answer(AnswerStatus(status), *numbers)._replace(flags=frame[_LINK_FLAGS_AT])
    except ValueError:
        raise WireError(f"an answer with the unknown status {status}", offset=_KIND_AT) from None


def _with_link_flags(packed: bytes, flags: int) -> bytes:
    """Return a request or an answer with its byte of flags, which a plain link leaves at 0."""
    return packed[:_LINK_FLAGS_AT] + bytes((flags,)) + packed[_LINK_FLAGS_AT + 1 :] if flags else packed


def walk_page(page: bytes) -> Iterator[tuple[Header, bytes]]:
    """Iterate over the messages of a page: the header and the payload of each.

    Raises
    ------
    WireError
        The page is not whole messages back to back; those before the fault were given.
    """
    at = 0
    while at < len(page):
        begin = at + RECORD_SIZE.size + MESSAGE_HEADER.size
        if begin > len(page):
            raise WireError(f"a page of {len(page)} bytes that ends within a record", offset=at)
        try:
            header = parse_message_header(page[at + RECORD_SIZE.size : begin])
        except WireError as error:
            error.offset = at + RECORD_SIZE.size + (error.offset or 0)
            raise
        at = begin + RECORD_SIZE.unpack_from(page, at)[0]
        if at > len(page):
            raise WireError(f"a page of {len(page)} bytes that ends within a payload", offset=begin)
        yield header, page[begin:at]
