"""The relay protocol, version 1: topics, headers, heartbeats, hellos and history, as bytes and as values.

Pure: no socket, no clock. docs/protocol.md is the reference for people who write a subscriber in another
language; the tests hold this module against the bytes printed there.
"""

import ipaddress
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from astropix_stream import fmt, headers
from astropix_stream.batch import Source
from astropix_stream.errors import WireError

PROTOCOL = 1
MESSAGE_MAGIC = b"APXR"
REPLAYED = 0x01  # flag: this message comes from the relay's history
MAX_PAYLOAD = 64 << 10  # bytes in a message, unless a single readout is larger
MAX_NOTES, MAX_NOTES_SIZE = 50, 2000  # of a stream's setup: names, and characters in all
MAX_WAITING_WORDS = 300  # characters, of what a stream that is not there yet waits for
MAX_STRIDE = 1_000_000  # readouts of the DAQ for each that it multicasts
HELLO_TOPIC = b"apx/hello"
NO_SOURCE = Source("::", 0)

# magic, version, flags, count, relay_id, sequence, received_ns, source address, source port, zero
MESSAGE_HEADER = struct.Struct("<4sBBHQQQ16sH6x")
FLAGS_OFFSET = 5
SOURCE_BYTES = slice(32, 50)
"""Where in a header the source stands."""

REQUEST_MAGIC = b"APXQ"
ANSWER_MAGIC = b"APXA"
MAX_PAGE = 1 << 20  # bytes of records in an answer, unless a single one is larger
WITHOUT_END = (1 << 64) - 1
ZSTD = 0x01  # flag of a request: the page may be compressed; of an answer: it is
# magic, version, kind, request_id, relay_id, a, b; the stream's name follows
REQUEST = struct.Struct("<4sBB2xQQQQ")
# magic, version, status, request_id, relay_id, oldest, next, begin, end
ANSWER = struct.Struct("<4sBB2xQQQQQQ")
_LINK_FLAGS_AT = 6  # in a request or an answer
_VERSION_AT, _KIND_AT, _COUNT_AT = 4, 5, 6  # in a header, a request or an answer; status stands as kind
RECORD_SIZE = struct.Struct("<I")  # bytes of the payload; the header and the payload follow

_MAX_SHOWN = 80  # bytes of what came, in the text of an error
_STREAM = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


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


class Waiting(NamedTuple):
    """What a relay waits for that does not have a stream yet: in words, and the relays on the way to it.

    `hops` are as in a heartbeat, for `counting.hops`; the `fed_by` of one whose relay above is not heard has
    a 0 for it.
    """

    words: str
    hops: tuple[Any, ...] = ()


class Hello(NamedTuple):
    """What a relay says of itself to each new connection.

    By the streams' names: `streams` are the kinds of their readouts, `strides` the steps in which their ids
    grow, `relay_ids` who numbered them (an older relay tells neither), `notes` what the operator says of the
    setup, by names; a text alone has the name ''. `offers` are the names of what the relay can do for slow
    lines: ``zstd``, ``thinned``. `waiting` are the streams that it does not have yet, since relays above it
    have not told them.
    """

    relay_id: int
    version: str
    streams: dict[str, int]
    history_port: int | None
    strides: Mapping[str, int] = MappingProxyType({})
    relay_ids: Mapping[str, int] = MappingProxyType({})
    notes: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    offers: frozenset[str] = frozenset()
    waiting: Mapping[str, Waiting] = MappingProxyType({})


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


def check_stream_name(name: str) -> str:
    """Return `name`, or raise `WireError` with what a stream may be called."""
    if not _STREAM.fullmatch(name) or name.startswith("hello"):
        shown = name[:_MAX_SHOWN] + "…" * (len(name) > _MAX_SHOWN)
        if not shown.isprintable():
            shown = _shown(name.encode(errors="surrogateescape"))
        raise WireError(
            f"'{shown}' cannot be a stream's name: 1 to 64 of a-z 0-9 _ -, not beginning with 'hello'"
        )
    return name


@lru_cache(maxsize=1024)
def data_topic(stream: str) -> bytes:
    """Topic of a stream's readouts."""
    return stream_prefix(stream) + b"data"


def stream_prefix(stream: str) -> bytes:
    """Return what to subscribe to for all that is told of a stream."""
    return f"apx/{stream}/".encode("ascii")


def beat_topic(stream: str) -> bytes:
    """Topic of a stream's heartbeats."""
    return stream_prefix(stream) + b"beat"


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
    _check_start(magic, MESSAGE_MAGIC, version)
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
        _check_start(magic, MESSAGE_MAGIC, version)
    return flags, count, relay_id, sequence


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


@lru_cache(maxsize=1024)
def parse_topic(topic: bytes) -> tuple[str, str]:
    """Return (stream, 'data' or 'beat')."""
    parts = topic.split(b"/")
    if len(parts) != 3 or parts[0] != b"apx" or parts[2] not in (b"data", b"beat"):
        told = f"a topic that is not apx/<stream>/data or apx/<stream>/beat: {_shown(topic)}"
        raise WireError(told, offset=0)
    return _parse_stream_name(parts[1]), parts[2].decode("ascii")


def _parse_stream_name(name: bytes) -> str:
    if not name.isascii():
        raise WireError(f"a stream's name that is not ASCII: {_shown(name)}")
    return check_stream_name(name[: _MAX_SHOWN + 1].decode("ascii"))


def _shown(data: bytes) -> str:
    """Return the beginning of bytes from outside, as any programmer reads it: text, or else hexadecimal."""
    data, more = data[:_MAX_SHOWN], "…" if len(data) > _MAX_SHOWN else ""
    readable = data.isascii() and data.decode("ascii").isprintable()
    return (data.decode("ascii") if readable else data.hex(" ")) + more


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
    _check_start(magic, REQUEST_MAGIC, version)
    if kind not in _KINDS:
        told = f"a request of kind {kind}; the protocol's are {min(_KINDS)} to {max(_KINDS)}"
        raise WireError(told, offset=_KIND_AT)
    asked = Ask(kind)
    stream = _parse_stream_name(frame[REQUEST.size :])
    return Request(asked, request_id, relay_id, a, b, check_stream_name(stream), frame[_LINK_FLAGS_AT])


def _with_link_flags(packed: bytes, flags: int) -> bytes:
    """Return a request or an answer with its byte of flags, which a plain link leaves at 0."""
    return packed[:_LINK_FLAGS_AT] + bytes((flags,)) + packed[_LINK_FLAGS_AT + 1 :] if flags else packed


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
    _check_start(magic, ANSWER_MAGIC, version)
    try:
        return Answer(AnswerStatus(status), *numbers)._replace(flags=frame[_LINK_FLAGS_AT])
    except ValueError:
        raise WireError(f"an answer with the unknown status {status}", offset=_KIND_AT) from None


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


def _check_start(magic: bytes, expected: bytes, version: int) -> None:
    if magic != expected:
        told = f"a frame that begins with {magic.hex(' ')}, not with {expected.decode('ascii')}"
        raise WireError(told, offset=0)
    if version != PROTOCOL:
        told = f"protocol version {version}; this program speaks version {PROTOCOL}"
        raise WireError(told, offset=_VERSION_AT)


_encode_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes one in each call


def pack_json(value: dict[str, Any]) -> bytes:
    """Return compact JSON, as it stands in heartbeats and hellos."""
    return _encode_json(value).encode()


def pack_hello(hello: Hello) -> bytes:
    """Return the one frame that a relay sends to each new connection."""
    return (
        HELLO_TOPIC
        + b"\0"
        + pack_json(
            {
                "protocol": PROTOCOL,
                "version": hello.version,
                "relay_id": hello.relay_id,
                "streams": {name: _about(hello, name) for name in hello.streams},
                "history_port": hello.history_port,
                **({"offers": sorted(hello.offers)} if hello.offers else {}),
                **({"waiting": _waiting_to_json(hello.waiting)} if hello.waiting else {}),
            }
        )
    )


def _about(hello: Hello, stream: str) -> dict[str, Any]:
    about: dict[str, Any] = {"readout_uid": hello.streams[stream]}
    for key, values in (("stride", hello.strides), ("relay_id", hello.relay_ids)):
        if stream in values:
            about[key] = values[stream]
    if notes := hello.notes.get(stream):
        about["notes"] = notes_to_json(notes)
    return about


def notes_to_json(notes: Mapping[str, str]) -> str | dict[str, str]:
    """Return what `parse_notes` reads: a text alone, or texts by name."""
    return notes[""] if list(notes) == [""] else dict(notes)


def parse_hello(frame: bytes) -> Hello:
    """Parse a relay's welcome; unknown keys are ignored.

    Raises
    ------
    WireError
        Not a hello, or one whose fields have other types.
    """
    topic, _, text = frame.partition(b"\0")
    if topic != HELLO_TOPIC:
        raise WireError(f"a single frame that is not a hello: {_shown(frame)}", offset=0)
    value = _parse_json_object(text, len(HELLO_TOPIC) + 1)
    try:
        if value["protocol"] != PROTOCOL:
            told = json.dumps(value["protocol"])[:_MAX_SHOWN]
            raise WireError(f"protocol version {told}; this program speaks version {PROTOCOL}")
        streams = {str(name): int(about["readout_uid"]) for name, about in value["streams"].items()}
        strides = {str(name): parse_stride(about.get("stride")) for name, about in value["streams"].items()}
        relay_ids = {str(name): parse_relay_id(about) for name, about in value["streams"].items()}
        port = value.get("history_port")
        if port is not None and not 0 < port < 1 << 16:
            raise WireError(f"a history port of {port}")
        return Hello(
            relay_id=int(value["relay_id"]),
            version=str(value.get("version", "")),
            streams=streams,
            history_port=None if port is None else int(port),
            strides={name: stride for name, stride in strides.items() if stride is not None},
            relay_ids={name: relay_id for name, relay_id in relay_ids.items() if relay_id is not None},
            notes={str(name): said for name, one in value["streams"].items() if (said := parse_notes(one))},
            offers=frozenset(offer for offer in value.get("offers", []) if isinstance(offer, str)),
            waiting=_parse_waiting(value.get("waiting")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, WireError):
            raise
        raise WireError("a hello whose fields are missing or of other types") from error


def _waiting_to_json(waiting: Mapping[str, Waiting]) -> dict[str, Any]:
    return {name: {"for": one.words, "hops": list(one.hops)} for name, one in waiting.items()}


def _parse_waiting(value: Any) -> dict[str, Waiting]:
    """Return what a hello says of the streams that are not there yet; what is odd is left out."""
    found = {}
    for name, told in value.items() if isinstance(value, dict) else ():
        if isinstance(told, dict) and isinstance(told.get("for"), str):
            hops = told.get("hops")
            found[name] = Waiting(
                told["for"][:MAX_WAITING_WORDS], tuple(hops) if isinstance(hops, list) else ()
            )
    return found


def parse_relay_id(about: dict[str, Any]) -> int | None:
    """Return who numbered a stream, as a hello tells it; None where it does not tell.

    Raises
    ------
    WireError
        Not a number that a relay can have.
    """
    value = about.get("relay_id")
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64
    ):
        raise WireError(f"a relay_id of {value!r}"[:_MAX_SHOWN])
    return value


def parse_notes(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what a hello says of a stream's setup: empty where it says nothing, or nothing that we can show.

    A heartbeat in a log says it, too. Notes are for people alone; so there is no reason to refuse a relay
    whose notes are odd.
    """
    value = about.get("notes")
    if isinstance(value, str):
        value = {"": value}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return {}
    if len(value) > MAX_NOTES or sum(len(name) + len(text) for name, text in value.items()) > MAX_NOTES_SIZE:
        return {}
    return dict(value)


def parse_stride(value: Any) -> int | None:
    """Return a stream's stride as a hello or a heartbeat tells it; None from a relay that does not tell.

    Raises
    ------
    WireError
        Not a number that a stride can be.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_STRIDE:
        raise WireError(f"a stride of {value!r}")
    return value


def parse_report(text: bytes) -> dict[str, Any]:
    """Return what a beat's payload says; a `WireError` if it is no JSON object."""
    return _parse_json_object(text)


def _parse_json_object(text: bytes, at: int = 0) -> dict[str, Any]:
    """Return the JSON that stands at byte `at` of a frame."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a payload that is not JSON: {error}", offset=at) from None
    if not isinstance(value, dict):
        raise WireError("a payload whose JSON is not an object", offset=at)
    return value
