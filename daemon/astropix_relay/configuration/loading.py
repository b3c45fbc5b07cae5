"""The relay's configuration: YAML text -> a checked `Config`, or every mistake in it at once.

Pure: no file is opened and no socket touched; `astropix_relay.checks` asks the host. config/relay.yaml is the
same for operators, with the reason for each default.
"""

import contextlib
import difflib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from astropix_relay.configuration.consistency import contradictions
from astropix_relay.configuration.marks import KeyPath, parse
from astropix_relay.configuration.mistakes import Report, describe
from astropix_relay.configuration.model import SECTIONS, Config, StreamConfig
from astropix_relay.configuration.quantities import show

# The section and key that each command-line option sets; with `streams`, those of the only stream.
FLAGS = {
    "name": ("streams", "name"),
    "group": ("streams", "group"),
    "port": ("streams", "port"),
    "interface": ("streams", "interface"),
    "publish": ("publish", "endpoint"),
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
    body["properties"]["security"] = {"$ref": "#/$defs/SecurityConfig"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


class Changes(NamedTuple):
    """What a reload does to the streams, and the keys whose change waits for a restart."""

    added: tuple[StreamConfig, ...]
    removed: tuple[StreamConfig, ...]
    changed: tuple[StreamConfig, ...]
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


def _validate(tree: dict[str, Any], report: Report) -> tuple[Config, set[KeyPath]]:
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
        report.add([path], _unknown_key(path) if unknown else describe(details), at_key=unknown)
        # `security` is the one section with a key that has no default, so it goes as a whole.
        broken.add(_prune(tree, path[:1] if path[0] == "security" else path))
    return Config.model_validate(tree), broken


def _prune(tree: Any, path: KeyPath) -> KeyPath:
    """Take the innermost key of `path` out of `tree`; return the path of what is gone."""
    end = max(index for index, step in enumerate(path) if isinstance(step, str))
    with contextlib.suppress(LookupError):  # gone already, with what held it
        for step in path[:end]:
            tree = tree[step]
        del tree[path[end]]
    return path[: end + 1]


def _unknown_key(path: KeyPath) -> str:
    key, section = str(path[-1]), str(path[0])
    known = list((Config if len(path) == 1 else SECTIONS[section]).model_fields)
    homes = [home for home, model in SECTIONS.items() if key in model.model_fields]
    if near := difflib.get_close_matches(key, known, n=1):
        return f"unknown key; did you mean {near[0]!r}?"
    if homes:
        return f"unknown key; it belongs under {' or '.join(map(repr, homes))}"
    return f"unknown key; known are {', '.join(known)}"
