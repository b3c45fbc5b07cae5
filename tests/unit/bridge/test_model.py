"""The bridge's configuration: every mistake at once, and config/bridge.yaml as the model has it."""

import json
from pathlib import Path

import pytest
import yaml

from astropix_bridge.model import BridgeConfig, load_config, schema
from astropix_stream.errors import ConfigError

FILE = Path(__file__).parents[3] / "config/bridge.yaml"


def test_the_file_explains_every_key_with_its_default():
    text = FILE.read_text()
    assert load_config(text) == BridgeConfig()
    written = yaml.safe_load(text)
    assert set(written) == set(BridgeConfig.model_fields)
    for section in ("nats", "keep", "metrics", "log"):
        assert set(written[section]) == set(BridgeConfig.model_fields[section].annotation.model_fields)


def test_nothing_is_the_default():
    assert load_config("") == BridgeConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sources: [http://x]", "a source begins with"),
        ("sources: ['nats://x']", "is not a source: write tcp://RELAY:PORT or udp://GROUP:PORT"),
        ("sources: []", "an empty list"),
        ("sources: ['tcp://x:1?max_bandwidth=2Mbit/s']", "a log has every one of them"),
        ("sources: ['tcp://x:1?compress=gzip']", "'zstd' is the only compression"),
        ("nats: {creds: ' '}", "is not a path"),
        ("nats: {cert_key: a}", "it is the key of cert, which is missing"),
        ("key_file: a", "server_key and key_file go together"),
        ("sources: ['udp://239.1.1.1:5007']", "a multicast group has no name: give exactly one"),
        ("streams: [a.b]", "cannot be a stream's name"),
        ("streams: [a, a]", "a name is there twice"),
        ("site: a.b", "cannot be a site's name"),
        ("nats: {servers: ['nats://u:secret@h']}", "credentials are keys of their own"),
        ("nats: {servers: ['tcp://h:1']}", "is not a server: write nats://HOST:PORT"),
        ("nats: {user: u}", "user and password_file go together"),
        ("nats: {creds: a, nkey: b}", "give one of creds and nkey"),
        ("keep: {replicas: 2}", "is not one of 1, 3 or 5"),
        ("keep: {age: 1}", "is not from 1min to 87600h, or 0"),
        ("batch: 2s", "is not from 0s to 1s"),
        ("mirror: a.b", "'a.b' cannot be a domain's name"),
        ("{mirror: cave, sources: ['tcp://r:1']}", "from the beam line's log: leave sources out"),
        ("bach: 2ms", "did you mean 'batch'?"),
        ("replicas: 3", "it belongs under 'keep'"),
        ("nats: {server: x}", "did you mean 'servers'?"),
        ("nats: 7", "is not a mapping"),
    ],
)
def test_a_mistake_is_told(text, words):
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as caught:
        load_config(text, file="bridge.yaml")
    assert str(caught.value).startswith("bridge.yaml:1:")
    assert "secret" not in str(caught.value)


def test_all_mistakes_at_once():
    with pytest.raises(ConfigError) as caught:
        load_config("batch: 9h\nsite: '*'\nkeep:\n  storage: tape\n")
    assert len(str(caught.value).splitlines()) == 3


def test_options_win():
    given = {"from": ["tcp://a:1", "tcp://b:1"], "nats": ["nats://c:4222"], "replicas": 3, "stream": None}
    config = load_config("sources: ['tcp://x:1']\nbatch: 5ms", overrides=given)
    assert config.sources == ("tcp://a:1", "tcp://b:1")
    assert config.nats.servers == ("nats://c:4222",)
    assert (config.keep.replicas, config.batch) == (3, 0.005)
    with pytest.raises(ConfigError, match=r"^--from: 'ftp://x': a source begins with"):
        load_config("", overrides={"from": ["ftp://x"]})


def test_the_schema_is_json():
    assert json.loads(json.dumps(schema()))["properties"]["batch"]["default"] == "20ms"
