"""The relay's configuration: YAML text -> a checked `Config`, or every mistake in it at once.

Pure: no file is opened and no socket touched; `astropix_relay.checks` asks the host. config/relay.yaml is the
same for operators, with the reason for each default.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from astropix_relay.configuration.consistency import contradictions
from astropix_relay.configuration.model import SECTIONS, Config, StreamConfig
from astropix_stream.checking.rules import Rules, changed_keys

# The section and key that each command-line option sets; with `streams`, those of the only stream.
FLAGS = {
    "name": ("streams", "name"),
    "group": ("streams", "group"),
    "port": ("streams", "port"),
    "interface": ("streams", "interface"),
    "publish": ("publish", "endpoint"),
}
_RULES = Rules(Config, SECTIONS, FLAGS, contradictions, list_section="streams", whole=("security", "outputs"))


def load_config(
    text: str, *, file: str = "<config>", overrides: Mapping[str, object] | None = None
) -> Config:
    """Check a configuration file's text as a whole; the parameters are those of `checking.rules.Rules.load`.

    Raises
    ------
    ConfigMistakes
        A `ConfigError` with all mistakes at once, each with its line and column.
    """
    return _RULES.load(text, file=file, overrides=overrides)


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
        restart=tuple(key for key in changed_keys(old, new) if key not in ("streams", "outputs")),
    )
