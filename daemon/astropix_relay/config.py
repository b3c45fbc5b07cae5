"""The relay's configuration: YAML text -> a checked `Config`, or every mistake in it at once.

Pure: no file is opened and no socket touched; `astropix_relay.checks` asks the host. config/relay.yaml is the
same for operators, with the reason for each default.
"""

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from astropix_analysis.wire import check_stream_name
from astropix_relay.addresses import (
    Address,
    Endpoint,
    Group,
    InterfaceName,
    Listen,
    Port,
    SourceAddress,
    tcp_address,
)
from astropix_relay.consistency import contradictions, doubts
from astropix_relay.mistakes import Report, dotted, explain
from astropix_relay.quantities import Duration, Size, show
from astropix_relay.yaml_marks import Path, parse

MiB = 1 << 20

# The section and key that each command-line option sets; with `streams`, those of the only stream.
FLAGS = {
    "name": ("streams", "name"),
    "group": ("streams", "group"),
    "port": ("streams", "port"),
    "interface": ("streams", "interface"),
    "publish": ("publish", "endpoint"),
}


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
Sources = Annotated[tuple[SourceAddress, ...], AfterValidator(lambda sources: tuple(dict.fromkeys(sources)))]
# `log:` with every key below it commented out is null in YAML, and means the defaults.
Absent = BeforeValidator(lambda value: {} if value is None else value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Stream(_Section):
    """One multicast group, relayed under a name of its own."""

    name: StreamName = "astropix"
    """What subscribers ask for: 1 to 64 of a-z, 0-9, '_' and '-', not beginning with 'hello'."""
    group: Group = "239.1.1.1"
    """Address that the DAQ sends to, IPv4 or IPv6. A unicast address is allowed, with a warning."""
    port: Port = 5007
    """UDP port that the DAQ sends to."""
    interface: InterfaceName | None = None
    """Interface to join on, by name or address; null: the one of the host's route to the group."""
    sources: Sources = ()
    """Addresses of DAQ hosts; with any, the kernel drops datagrams from all others. Empty: anyone."""
    readout_uid: Annotated[int, Field(strict=True, ge=0, le=0xFFFF_FFFF)] = 4000
    """Kind of the readouts, told to subscribers; 4000 is AstroPix 4."""
    stride: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1
    """The DAQ multicasts one readout in so many; the others are not counted as lost."""
    silence: Annotated[float, Duration("1s", "24h", or_zero=True)] = 120.0
    """After so long without a datagram, leave the group and join again; 0: never."""
    receive_buffer: Annotated[int, Size("128KiB", "1GiB")] = 8 * MiB
    """Bytes asked of the kernel for datagrams that wait to be read."""


class Publish(_Section):
    """The ZeroMQ side, for subscribers."""

    endpoint: Endpoint = "tcp://127.0.0.1:5556"
    """Where subscribers connect: tcp://ADDRESS:PORT, `*` for all addresses, or ipc://PATH."""
    subscriber_queue: Annotated[int, Size("256KiB", "1GiB")] = 8 * MiB
    """Most bytes that wait for one slow subscriber; what exceeds them, that subscriber loses."""
    max_clients: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 64
    """Connections that are let in; the next one is refused."""
    max_delay: Annotated[float, Duration("0s", "100ms")] = 0.001
    """Longest time that a readout may wait to be sent together with others."""


class History(_Section):
    """Recent readouts, for subscribers that missed some."""

    size: Annotated[int, Size("1MiB", "1TiB", or_zero=True)] = 64 * MiB
    """Memory for the recent readouts of each stream; 0: no history."""
    endpoint: Endpoint | None = None
    """Where it is asked for; null: the publisher's address, on the next port."""


class Metrics(_Section):
    """Prometheus metrics, over HTTP."""

    listen: Listen | None = "127.0.0.1:9108"
    """ADDRESS:PORT, `*` for all addresses; null: off."""


class Security(_Section):
    """Encryption and an allow-list of clients, for publisher and history; without it anyone may subscribe."""

    client_keys: PathText
    """Directory with the public key of each client that is let in."""
    secret_key: PathText | None = None
    """File with the relay's secret key; null: the one in systemd's credentials directory."""


class Log(_Section):
    """What the relay says of itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written."""


def _not_empty(streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
    if not streams:
        raise ValueError("an empty list: leave it out for the default, or name a stream")
    return streams


# pydantic's own min_length counts the items that are right, and so tells of a broken one a second time.
Streams = Annotated[
    tuple[Stream, ...],
    BeforeValidator(lambda value: [{}] if value is None else value),
    AfterValidator(_not_empty),
    Field(json_schema_extra={"minItems": 1}),
]


class Config(_Section):
    """A checked configuration; immutable. Sizes are bytes (int), durations seconds (float)."""

    streams: Streams = (Stream(),)
    """Groups to relay."""
    publish: Annotated[Publish, Absent] = Publish()
    history: Annotated[History, Absent] = History()
    memory_budget: Annotated[int, Size("1MiB", "1TiB")] = 1024 * MiB
    """Bound of max_clients x (subscriber_queue + 2 MiB of answers) + streams x history.size."""
    metrics: Annotated[Metrics, Absent] = Metrics()
    security: Annotated[Security | None, Absent] = None
    log: Annotated[Log, Absent] = Log()

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

    def warnings(self) -> list[str]:
        """Return what is allowed but seldom meant, a line each, such as `streams[0].group: …`."""
        return [f"{dotted(path)}: {message}" for path, message in doubts(self)]


_SECTIONS: dict[str, type[_Section]] = {
    "streams": Stream,
    "publish": Publish,
    "history": History,
    "metrics": Metrics,
    "security": Security,
    "log": Log,
}


def load_config(
    text: str, *, file: str = "<config>", overrides: Mapping[str, object] | None = None
) -> Config:
    """Check a configuration file's text as a whole.

    Parameters
    ----------
    text
        YAML; an empty text gives the defaults.
    file
        Its name, for the messages.
    overrides
        Values of command-line options, by the names in `FLAGS`; they win over the file. None: not given.

    Raises
    ------
    ConfigMistakes
        A `ConfigError` with all mistakes at once, each with its line and column.
    """
    document = parse(text)
    report = Report(file, document)
    tree = {} if document.value is None else document.value
    if not isinstance(tree, dict):
        report.add([()], f"{show(tree)} is not a mapping of keys to values")
        tree = {}
    _override(tree, overrides or {}, report)
    config, broken = _validate(tree, report)
    for paths, message in contradictions(config):
        if not any(path[: len(part)] == part for path in paths for part in broken):
            report.add(paths, message)
    report.check()
    return config


def default_config(**overrides: object) -> Config:
    """Return the configuration of a relay that was given options but no file; see `load_config`."""
    return load_config("", overrides=overrides)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration file, for editors."""
    # Only this mode writes the defaults of quantities with their units.
    body = Config.model_json_schema(mode="serialization")
    # `security: null` is refused, so that keys commented out do not turn encryption off unnoticed.
    body["properties"]["security"] = {"$ref": "#/$defs/Security"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


class Changes(NamedTuple):
    """What a reload does to the streams, and the keys whose change waits for a restart."""

    added: tuple[Stream, ...]
    removed: tuple[Stream, ...]
    changed: tuple[Stream, ...]
    restart: tuple[str, ...]


def differences(old: Config, new: Config) -> Changes:
    """Compare two configurations; streams are the same where their names are."""
    before = {stream.name: stream for stream in old.streams}
    after = {stream.name: stream for stream in new.streams}
    return Changes(
        added=tuple(stream for name, stream in after.items() if name not in before),
        removed=tuple(stream for name, stream in before.items() if name not in after),
        changed=tuple(s for name, s in after.items() if name in before and s != before[name]),
        restart=tuple(key for key in _changed_keys(old, new) if key != "streams"),
    )


def _changed_keys(old: BaseModel, new: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(old).model_fields:
        was, now = getattr(old, name), getattr(new, name)
        if isinstance(was, BaseModel) and isinstance(now, BaseModel):
            yield from _changed_keys(was, now, f"{prefix}{name}.")
        elif was != now:
            yield prefix + name


def _override(tree: dict[str, Any], overrides: Mapping[str, object], report: Report) -> None:
    """Put the values of options into `tree`, as if they stood in the file."""
    if unknown := overrides.keys() - FLAGS.keys():
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}; there are: {', '.join(FLAGS)}")
    given = [name for name, value in overrides.items() if value is not None]
    streams = tree.get("streams")
    count = len(streams) if isinstance(streams, list) else 1
    unclear = [name for name in given if FLAGS[name][0] == "streams" and count > 1]
    if unclear:
        report.add_option(*unclear, message=f"{report.file} has {count} streams: change the one meant there")
    for name in given:
        if name not in unclear:
            _set_option(tree, name, overrides[name], report)


def _set_option(tree: dict[str, Any], name: str, value: object, report: Report) -> None:
    section, key = FLAGS[name]
    of_stream = section == "streams"
    if tree.get(section) is None:
        tree[section] = [{}] if of_stream else {}
    with contextlib.suppress(LookupError, TypeError):  # nonsense in the file, which is reported anyway
        (tree[section][0] if of_stream else tree[section])[key] = value
        report.options[(section, 0, key) if of_stream else (section, key)] = name


def _validate(tree: dict[str, Any], report: Report) -> tuple[Config, set[Path]]:
    """Return a configuration with defaults in the place of broken parts, and the paths of those.

    So contradictions among the parts that are right are found in the same pass.
    """
    try:
        return Config.model_validate(tree), set()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
    broken = set()
    for details in mistakes:
        path = details["loc"]
        unknown = details["type"] == "extra_forbidden"
        report.add([path], _unknown_key(path) if unknown else explain(details), at_key=unknown)
        # `security` is the one section with a key that has no default, so it goes as a whole.
        broken.add(_prune(tree, path[:1] if path[0] == "security" else path))
    return Config.model_validate(tree), broken


def _prune(tree: Any, path: Path) -> Path:
    """Take the innermost key of `path` out of `tree`; return the path of what is gone."""
    end = max(index for index, step in enumerate(path) if isinstance(step, str))
    with contextlib.suppress(LookupError):  # gone already, with what held it
        for step in path[:end]:
            tree = tree[step]
        del tree[path[end]]
    return path[: end + 1]


def _unknown_key(path: Path) -> str:
    key, section = str(path[-1]), str(path[0])
    known = list((Config if len(path) == 1 else _SECTIONS[section]).model_fields)
    homes = [home for home, model in _SECTIONS.items() if key in model.model_fields]
    if near := difflib.get_close_matches(key, known, n=1):
        return f"unknown key; did you mean {near[0]!r}?"
    if homes:
        return f"unknown key; it belongs under {' or '.join(map(repr, homes))}"
    return f"unknown key; known are {', '.join(known)}"
