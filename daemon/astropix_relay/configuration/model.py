"""What a relay's configuration holds: sections, keys, defaults and their bounds. Pure."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from astropix_daemon.addresses import (
    Address,
    Endpoint,
    GroupAddress,
    InterfaceName,
    ListenAddress,
    NetworkAddress,
    PortNumber,
    SourceAddress,
    tcp_address,
)
from astropix_stream.addresses import canonical, check_address, is_multicast, joined
from astropix_stream.checking.quantities import Duration, Size, show
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.links import parse_link
from astropix_stream.url import parse_url
from astropix_stream.wire import MAX_NOTES, MAX_NOTES_SIZE, check_stream_name

MiB = 1 << 20
MAX_UPSTREAMS = 8  # each has a thread of ZeroMQ's own


def _check_path(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{show(text)} is not a path")
    return text


StreamName = Annotated[
    str,
    AfterValidator(check_stream_name),
    Field(json_schema_extra={"pattern": "^(?!hello)[a-z0-9_-]{1,64}$"}),
]


PathText = Annotated[str, AfterValidator(_check_path)]


# A join of one source twice is an error of the kernel's.
SourceAddresses = Annotated[
    tuple[SourceAddress, ...], AfterValidator(lambda sources: tuple(dict.fromkeys(sources)))
]


# `log:` with every key below it commented out is null in YAML, and means the defaults.
Absent = BeforeValidator(lambda value: {} if value is None else value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _check_upstream(text: str) -> str:
    try:
        source = parse_url(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if source.scheme != "tcp":
        raise ValueError(f"{show(text)} is not a relay: write tcp://relay:5556")
    try:
        parse_link(source.options.get("compress"), source.options.get("max_bandwidth"))
        if "stream" in source.options:
            check_stream_name(source.options["stream"])
    except (ConfigError, WireError) as error:
        raise ValueError(str(error)) from None
    return str(source)  # one spelling, so that equal relays are found equal


def _check_upstreams(urls: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(urls)) < len(urls):
        raise ValueError("names a relay twice")
    if len(urls) > MAX_UPSTREAMS:
        raise ValueError(f"{len(urls)} relays; at most {MAX_UPSTREAMS}")
    return urls


UpstreamUrl = Annotated[str, AfterValidator(_check_upstream)]


def _read_notes(value: Any) -> dict[str, str]:
    """Read a text, or a mapping of names to texts and numbers."""
    if isinstance(value, str):
        value = {"": value} if value.strip() else {}
    if not isinstance(value, dict):
        raise ValueError(f"{show(value)} is neither text nor names with texts, such as threshold: 200 mV")
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str | int | float):
            raise ValueError(f"{show(name)}: {show(text)} is not a name with a text")
    notes = {name: str(text).lower() if isinstance(text, bool) else str(text) for name, text in value.items()}
    size = sum(len(name) + len(text) for name, text in notes.items())
    if len(notes) > MAX_NOTES or size > MAX_NOTES_SIZE:
        raise ValueError(f"too long: at most {MAX_NOTES} names, and {MAX_NOTES_SIZE} characters in all")
    return notes


Notes = Annotated[
    dict[str, str],
    BeforeValidator(_read_notes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
            ]
        }
    ),
]


class StreamConfig(_Section):
    """One multicast group, or the stream of other relays, relayed under a name of its own."""

    name: StreamName = "astropix"
    """What subscribers ask for: 1 to 64 of a-z, 0-9, '_' and '-', not beginning with 'hello'."""
    upstreams: Annotated[tuple[UpstreamUrl, ...], AfterValidator(_check_upstreams), Field(alias="from")] = ()
    """Relays to take the stream from instead of a group, tcp://HOST:PORT; several are paths to one stream.
    ?compress=zstd and ?max_bandwidth=2Mbit/s are for slow lines."""
    group: GroupAddress = "239.1.1.1"
    """Address that the DAQ sends to, IPv4 or IPv6. A unicast address is allowed, with a warning."""
    port: PortNumber = 5007
    """UDP port that the DAQ sends to."""
    interface: InterfaceName | None = None
    """Interface to join on, by name or address; null: the one of the host's route to the group."""
    sources: SourceAddresses = ()
    """Addresses of DAQ hosts; with any, the kernel drops datagrams from all others. Empty: anyone."""
    readout_uid: Annotated[int, Field(strict=True, ge=0, le=0xFFFF_FFFF)] = 4000
    """Kind of the readouts, told to subscribers; 4000 is AstroPix 4."""
    stride: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    """The DAQ multicasts one readout in so many; the others are not counted as lost."""
    notes: Notes = {}
    """What the setup is, told to subscribers: a text, or texts by names. Monitors show it."""
    silence: Annotated[float, Duration("1s", "24h", or_zero=True)] = 120.0
    """After so long without a datagram, leave the group and join again; 0: never."""
    receive_buffer: Annotated[int, Size("128KiB", "1GiB")] = 8 * MiB
    """Bytes asked of the kernel for datagrams that wait to be read."""

    @property
    def thinned(self) -> bool:
        """Whether only as many readouts come from the relay above as fit into a bandwidth."""
        return any("max_bandwidth" in parse_url(url).options for url in self.upstreams)


def _check_destination(text: str) -> str:
    host, port = split_destination(text)
    if not is_multicast(host):
        raise ValueError(f"{show(text)} is not a multicast group and its port, such as 239.1.1.1:5007")
    check_address(host, int(port))
    return joined(canonical(host), int(port))


def split_destination(text: str) -> tuple[str, str]:
    """Return the two parts of GROUP:PORT; an IPv6 group stands in brackets."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None:
        raise ValueError(f"{show(text)} is not GROUP:PORT, such as 239.1.1.1:5007 or [ff15::1]:5007")
    return match[1] or match[2], match[3]


class OutputConfig(_Section):
    """A multicast group that a stream from other relays is sent to, for programs that know only multicast."""

    multicast: Annotated[str, AfterValidator(_check_destination)]
    """GROUP:PORT to send to."""
    interface: InterfaceName | None = None
    """Interface to send through, by name or address; null: the one of the host's route to the group."""
    ttl: Annotated[int, Field(strict=True, ge=0, le=255)] = 1
    """1: the readouts stay on that network; each more lets them pass a router."""
    stream: StreamName = "astropix"
    """Which stream; it has `from`."""
    max_rate: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 5000
    """Readouts a second while recovered ones are sent; live ones go out as they come."""

    @property
    def destination(self) -> tuple[str, int]:
        """The group and its port."""
        host, port = split_destination(self.multicast)
        return host, int(port)


class PublishConfig(_Section):
    """The ZeroMQ side, for subscribers."""

    endpoint: Endpoint = "tcp://127.0.0.1:5556"
    """Where subscribers connect: tcp://ADDRESS:PORT, `*` for all addresses, or ipc://PATH."""
    subscriber_queue: Annotated[int, Size("256KiB", "1GiB")] = 8 * MiB
    """Most bytes that wait for one slow subscriber; what exceeds them, that subscriber loses."""
    max_clients: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 64
    """Connections that are let in; the next one is refused."""
    never_refuse: tuple[NetworkAddress, ...] = ()
    """Addresses and networks whose new connections are let in even after others of theirs were cut."""
    max_delay: Annotated[float, Duration("0s", "100ms")] = 0.005
    """Longest time that a readout may wait to be sent together with others."""


class HistoryConfig(_Section):
    """Recent readouts, for subscribers that missed some."""

    size: Annotated[int, Size("1MiB", "1TiB", or_zero=True)] = 64 * MiB
    """Memory for the recent readouts of each stream; 0: no history."""
    endpoint: Endpoint | None = None
    """Where it is asked for; null: the publisher's address, on the next port."""


class MetricsConfig(_Section):
    """Prometheus metrics, over HTTP."""

    listen: ListenAddress | None = "127.0.0.1:9108"
    """ADDRESS:PORT, `*` for all addresses; null: off."""


class SecurityConfig(_Section):
    """Encryption and an allow-list of clients, for publisher and history; without it anyone may subscribe."""

    client_keys: PathText
    """Directory with the public key of each client that is let in."""
    secret_key: PathText | None = None
    """File with the relay's secret key; null: the one in systemd's credentials directory."""


class LogConfig(_Section):
    """What the relay says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written."""


def _not_empty(streams: tuple[StreamConfig, ...]) -> tuple[StreamConfig, ...]:
    if not streams:
        raise ValueError("an empty list: leave it out for the default, or name a stream")
    return streams


# pydantic's own min_length counts the items that are right, and so tells of a broken one a second time.
Streams = Annotated[
    tuple[StreamConfig, ...],
    BeforeValidator(lambda value: [{}] if value is None else value),
    AfterValidator(_not_empty),
    Field(json_schema_extra={"minItems": 1}),
]


class Config(_Section):
    """A checked configuration; immutable. Sizes are bytes (int), durations seconds (float)."""

    streams: Streams = (StreamConfig(),)
    """Groups to relay."""
    outputs: Annotated[
        tuple[OutputConfig, ...], BeforeValidator(lambda value: () if value is None else value)
    ] = ()
    """Groups to send streams to."""
    publish: Annotated[PublishConfig, Absent] = PublishConfig()
    history: Annotated[HistoryConfig, Absent] = HistoryConfig()
    memory_budget: Annotated[int, Size("1MiB", "1TiB")] = 1024 * MiB
    """Bound of max_clients x (subscriber_queue + 5 MiB of answers and kernel) + streams x history.size."""
    metrics: Annotated[MetricsConfig, Absent] = MetricsConfig()
    security: Annotated[SecurityConfig | None, Absent] = None
    log: Annotated[LogConfig, Absent] = LogConfig()

    def history_endpoint(self) -> str | None:
        """Return where history is served, its default worked out; None without history."""
        if not self.history.size:
            return None
        if self.history.endpoint:
            return self.history.endpoint
        address = tcp_address(self.publish.endpoint)
        if address is None:
            return f"{self.publish.endpoint}-history"
        return f"tcp://{Address(address.host, address.port and address.port + 1)}"


SECTIONS: dict[str, type[_Section]] = {
    "streams": StreamConfig,
    "outputs": OutputConfig,
    "publish": PublishConfig,
    "history": HistoryConfig,
    "metrics": MetricsConfig,
    "security": SecurityConfig,
    "log": LogConfig,
}
