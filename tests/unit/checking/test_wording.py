"""What is said of a wrong value, for each key of the relay's and the bridge's configuration."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from astropix_bridge import model as bridge
from astropix_relay.configuration import loading as relay
from astropix_relay.configuration.model import SECTIONS, Config
from astropix_stream.checking.mistakes import ConfigMistakes
from astropix_stream.monitor import settings as monitor

WRONG = (
    "abc", "", " ", "\0", "1e999", "\ud800", [], {}, [1], ["abc"], [None], [[]], [{}], {"a": 1}, True, None,
    -1, 0, 1.5, 10**12, float("nan"), float("inf"),
)  # fmt: skip
# Of pydantic's own sentences, and of what it writes around them.
FOREIGN = re.compile(
    r"[Ii]nput should|[Ii]nput|Extra inputs|Field required|[Vv]alue error|validation|pydantic|type=|"
    r"unable to parse|valid (string|integer|number|list|tuple|dictionary)|instance of",
)


def keys(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def documents(model: Any, sections: Any, lists: Any) -> Iterator[dict[str, Any]]:
    """Yield a configuration for each key and each wrong value, and for unknown keys."""
    for key in (*keys(model), "foo"):
        yield from ({key: value} for value in WRONG)
        for inner in (*keys(sections[key]), "foo") if key in sections else ():
            for value in WRONG:
                yield {key: [{inner: value}] if key in lists else {inner: value}}


DAEMONS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "relay": (relay.load_config, [*documents(Config, SECTIONS, ("streams", "outputs"))]),
    "bridge": (bridge.load_config, [*documents(bridge.BridgeConfig, bridge.SECTIONS, ())]),
    "monitor": (monitor.load_settings, [*documents(monitor.Settings, monitor.SECTIONS, ("alarms",))]),
}


@pytest.mark.parametrize("daemon", DAEMONS)
def test_each_wrong_value_is_told_in_our_own_words(daemon):
    load, configurations = DAEMONS[daemon]
    refused = 0
    for configuration in configurations:
        try:
            load(json.dumps(configuration))
        except ConfigMistakes as error:
            refused += 1
            for mistake in error.mistakes:
                assert not FOREIGN.search(mistake.message), f"{configuration}: {mistake}"
                assert mistake.path or "mapping" in mistake.message, configuration
                assert "\n" not in str(mistake)
    assert refused > len(configurations) / 2


@pytest.mark.parametrize("daemon", DAEMONS)
def test_an_unknown_key_is_named_with_those_that_are_known(daemon):
    load, _ = DAEMONS[daemon]
    with pytest.raises(ConfigMistakes, match=r"foo: unknown key; known are \w+, \w+") as caught:
        load("foo: 1")
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize("daemon", DAEMONS)
@pytest.mark.parametrize("text", ["abc", "[]", "- a", "1", "null: 1", "a: b: c", "a: *b", "!!python/x a: 1"])
def test_what_is_no_mapping_is_told_in_our_own_words(daemon, text):
    load, _ = DAEMONS[daemon]
    with pytest.raises(ConfigMistakes) as caught:
        load(text)
    assert not FOREIGN.search(str(caught.value))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("streams: [{port: 70000}]", "streams[0].port: 70000 is too large: at most 65535"),
        (
            "streams: [{port: '5007'}]",
            "streams[0].port: '5007' is not a whole number (written without quotes)",
        ),
        ("publish: {max_clients: null}", "publish.max_clients: null is not a whole number"),
        ("publish: {subscriber_queue: 1}", "publish.subscriber_queue: 1 is not from 256KiB to 1GiB"),
        ("streams: {name: astropix}", "streams: a mapping is not a list"),
        ("streams: []", "streams: an empty list: leave it out for the default, or name a stream"),
        ("security: {}", "security.client_keys: missing; it has no default"),
        ("log: {level: loud}", "log.level: 'loud' is not one of 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_what_would_be_right_is_said(text, told):
    with pytest.raises(ConfigMistakes) as caught:
        relay.load_config(text)
    assert told in str(caught.value)
