"""What a bridge's configuration holds: keys, defaults, their bounds, what does not go together. Pure.

config/bridge.yaml is the same for operators, with the reason for each default.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from astropix_daemon.addresses import ListenAddress
from astropix_stream.checking.quantities import Duration, Size, show
from astropix_stream.checking.rules import Finding, Rules
from astropix_stream.errors import WireError
from astropix_stream.links import parse_link
from astropix_stream.log.messages import check_site
from astropix_stream.url import parse_url
from astropix_stream.wire import check_stream_name

MiB = 1 << 20


def _check_source(text: str) -> str:
    source = parse_url(text)
    if source.scheme not in ("tcp", "udp"):
        raise ValueError(f"{show(text)} is not a source: write tcp://RELAY:PORT or udp://GROUP:PORT")
    if parse_link(source.options.get("compress"), source.options.get("max_bandwidth")).thinned:
        raise ValueError("max_bandwidth leaves readouts out; a log has every one of them")
    return text


def _check_server(text: str) -> str:
    source = parse_url(text)
    if source.scheme != "nats" or source.options or source.user:
        shown = show(str(source))  # without the password
        raise ValueError(
            f"{shown} is not a server: write nats://HOST:PORT (credentials are keys of their own)"
        )
    return text


def _check_domain(text: str) -> str:
    try:
        return check_site(text)
    except WireError as error:
        raise ValueError(str(error).replace("a site's name", "a domain's name")) from None


def _check_path(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{show(text)} is not a path")
    return text


def _not_empty(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("an empty list: leave it out for the default")
    return items


Absent = BeforeValidator(lambda value: {} if value is None else value)
PathText = Annotated[str, AfterValidator(_check_path)]
SourceUrlText = Annotated[str, AfterValidator(_check_source)]
ServerUrlText = Annotated[str, AfterValidator(_check_server)]
StreamName = Annotated[str, AfterValidator(check_stream_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NatsConfig(_Section):
    """The log's servers, and what they ask for."""

    servers: Annotated[tuple[ServerUrlText, ...], AfterValidator(_not_empty)] = ("nats://127.0.0.1:4222",)
    """Servers of one cluster."""
    domain: str | None = None
    """JetStream domain that the log is in, where it is not that of the server."""
    creds: PathText | None = None
    """File with credentials (.creds)."""
    nkey: PathText | None = None
    """File with the seed of an nkey."""
    user: str | None = None
    """User, for servers that ask for a password."""
    password_file: PathText | None = None
    """File with the password."""
    ca: PathText | None = None
    """File with the authority that signed the servers' certificates."""
    cert: PathText | None = None
    """File with our certificate, for servers that ask for one."""
    cert_key: PathText | None = None
    """File with the key of our certificate."""


class KeepConfig(_Section):
    """What the log keeps: a stream of JetStream's that the bridge makes if it is missing."""

    age: Annotated[float, Duration("1min", "87600h", or_zero=True)] = 0.0
    """Oldest readouts that are kept; 0: of any age."""
    size: Annotated[int, Size("1MiB", "1024TiB", or_zero=True)] = 0
    """Most bytes of a stream; 0: what the server allows."""
    replicas: Literal[1, 3, 5] = 1
    """Servers that hold a copy."""
    storage: Literal["file", "memory"] = "file"
    """Where."""


class MetricsConfig(_Section):
    """Prometheus metrics, over HTTP."""

    listen: ListenAddress | None = "127.0.0.1:9109"
    """ADDRESS:PORT, `*` for all addresses; null: off."""


class LogConfig(_Section):
    """What the bridge says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written."""


class BridgeConfig(_Section):
    """A checked configuration; immutable. Sizes are bytes (int), durations seconds (float)."""

    sources: Annotated[tuple[SourceUrlText, ...], AfterValidator(_not_empty)] = ("tcp://127.0.0.1:5556",)
    """Where readouts come from; several are paths to the same ones."""
    streams: tuple[StreamName, ...] = ()
    """Streams to store; none: every one that the relay has."""
    readout_uid: Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)] = 4000
    """Kind of the readouts, where no relay tells it."""
    stride: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    """The DAQ multicasts one readout in so many."""
    server_key: PathText | None = None
    """The relay's public key, for a relay with encryption."""
    key_file: PathText | None = None
    """Our NAME.key_secret for it."""
    site: Annotated[str, AfterValidator(check_site)] = "local"
    """Name of this place, in the subjects."""
    batch: Annotated[float, Duration("0s", "1s")] = 0.02
    """Longest time that a readout waits to share a message; 0: one message for each of the relay's."""
    buffer: Annotated[int, Size("1MiB", "1TiB")] = 64 * MiB
    """Memory for what the log does not take, for each stream."""
    mirror: Annotated[str, AfterValidator(_check_domain)] | None = None
    """JetStream domain of a beam line: mirror its streams in the log, instead of storing from sources."""
    nats: Annotated[NatsConfig, Absent] = NatsConfig()
    keep: Annotated[KeepConfig, Absent] = KeepConfig()
    metrics: Annotated[MetricsConfig, Absent] = MetricsConfig()
    log: Annotated[LogConfig, Absent] = LogConfig()


def contradictions(config: BridgeConfig) -> Iterator[Finding]:
    """Yield what is wrong between keys that are each right."""
    relays = [url for url in config.sources if parse_url(url).scheme == "tcp"]
    if config.mirror is not None and config.sources != BridgeConfig.model_fields["sources"].default:
        yield [("mirror",), ("sources",)], "a mirror comes from the beam line's log: leave sources out"
    if not relays and len(config.streams) != 1:
        yield [("streams",), ("sources",)], "a multicast group has no name: give exactly one"
    if len(set(config.streams)) != len(config.streams):
        yield [("streams",)], "a name is there twice"
    nats = config.nats
    given = [name for name in ("creds", "nkey", "user") if getattr(nats, name) is not None]
    if len(given) > 1:
        yield [("nats", given[-1]), ("nats", given[0])], f"give one of {' and '.join(given)}"
    if (nats.user is None) != (nats.password_file is None):
        yield [("nats", "password_file"), ("nats", "user")], "user and password_file go together"
    if nats.cert_key is not None and nats.cert is None:
        yield [("nats", "cert_key")], "it is the key of cert, which is missing"
    if (config.server_key is None) != (config.key_file is None):
        yield [("key_file",), ("server_key",)], "server_key and key_file go together"


SECTIONS: dict[str, type[BaseModel]] = {
    "nats": NatsConfig,
    "keep": KeepConfig,
    "metrics": MetricsConfig,
    "log": LogConfig,
}
FLAGS = {
    "from": ("", "sources"),
    "nats": ("nats", "servers"),
    "stream": ("", "streams"),
    "site": ("", "site"),
    "replicas": ("keep", "replicas"),
    "batch": ("", "batch"),
    "mirror": ("", "mirror"),
}
_RULES = Rules(BridgeConfig, SECTIONS, FLAGS, contradictions)


def load_config(
    text: str, *, file: str = "<config>", overrides: Mapping[str, object] | None = None
) -> BridgeConfig:
    """Check a configuration file's text as a whole; the parameters are those of `checking.rules.Rules.load`.

    Raises
    ------
    ConfigMistakes
        A `ConfigError` with all mistakes at once, each with its line and column.
    """
    return _RULES.load(text, file=file, overrides=overrides)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, for editors."""
    body = BridgeConfig.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}
