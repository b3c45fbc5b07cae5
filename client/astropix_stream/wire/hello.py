"""What a relay says of itself and of its streams when a client connects, and again in heartbeats."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from astropix_stream.errors import WireError
from astropix_stream.wire.frames import MAX_SHOWN, PROTOCOL, pack_json, parse_json_object, show
from astropix_stream.wire.topics import HELLO_TOPIC

MAX_NOTES, MAX_NOTES_SIZE = 50, 2000  # of a stream's setup: names, and characters in all
MAX_WAITING_WORDS = 300  # characters, of what a stream that is not there yet waits for
MAX_STRIDE = 1_000_000  # readouts of the DAQ for each that it multicasts


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
        raise WireError(f"a single frame that is not a hello: {show(frame)}", offset=0)
    value = parse_json_object(text, len(HELLO_TOPIC) + 1)
    try:
        if value["protocol"] != PROTOCOL:
            told = json.dumps(value["protocol"])[:MAX_SHOWN]
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
        raise WireError(f"a relay_id of {value!r}"[:MAX_SHOWN])
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
