"""The configuration: a table of broken files with every line reported, any text, options, reload, schema."""

# ruff: noqa: E501  (lines of messages, whole)

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astropix_relay.configuration.consistency import warnings
from astropix_relay.configuration.loading import FLAGS, default_config, differences, load_config, schema
from astropix_relay.configuration.model import Config, OutputConfig, SecurityConfig, StreamConfig
from astropix_stream.checking.marks import parse
from astropix_stream.checking.mistakes import ConfigMistakes
from astropix_stream.errors import ConfigError, WireError
from astropix_stream.wire import check_stream_name

RELAY_YAML = Path(__file__).parents[3] / "config" / "relay.yaml"
MiB = 1 << 20


def mistakes(text, **overrides):
    """Return the lines of the error, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(text, file="relay.yaml", overrides=overrides)
    return [line.removeprefix("relay.yaml:") for line in str(caught.value).split("\n")]


# Each file with every line that is reported, in order. An … at the end: the sentence is another module's.
# fmt: off
BROKEN = {
    "unclosed list": (
        "streams: [\n",
        ["2:1: while parsing a flow node, expected the node content, but found '<stream end>'"],
    ),
    "tab": (
        "streams:\n\t- name: a\n",
        ["2:1: while scanning for the next token, found character '\\t' that cannot start any token (indent with spaces, not tabs)"],
    ),
    "bad indentation": (
        "streams:\n  - name: a\n   port: 5007\n",
        ["3:4: while parsing a block collection, expected <block end>, but found '<block mapping start>'"],
    ),
    "two documents": (
        "log: {}\n---\nlog: {}\n",
        ["2:1: expected a single document in the stream, but found another document"],
    ),
    "control character": (
        "log:\n  level: \u0007\n",
        ["2:10: the character '\\x07' is not allowed in YAML"],
    ),
    "escape beyond unicode": (
        'log:\n  level: "\\UFFFFFFFF"\n',
        ["2:13: an escape or a number that is too large"],
    ),
    "alias": (
        "publish: &p {}\nhistory: *p\n",
        ["2:10: an alias (*name): write the value out"],
    ),
    "python tag": (
        "log:\n  level: !!python/object:os.system info\n",
        ["2:10: log.level: the tag 'tag:yaml.org,2002:python/object:os.system' has no meaning here"],
    ),
    "false tag": (
        "publish:\n  max_clients: !!int many\n",
        ["2:16: publish.max_clients: not of the type int"],
    ),
    "deep": (
        "log: " + "[" * 20,
        ["1:21: nested too deeply"],
    ),
    "no mapping": (
        "just text\n",
        ["1:1: 'just text' is not a mapping of keys to values"],
    ),
    "a list": (
        "- streams\n",
        ["1:1: a list is not a mapping of keys to values"],
    ),
    "key that is a list": (
        "? [a, b]\n: 1\n",
        ["1:3: a key must be a word"],
    ),
    "duplicate section": (
        "log: {level: info}\npublish: {}\nlog: {level: debug}\n",
        ["3:1: log: duplicate key; the first is on line 1"],
    ),
    "duplicate key": (
        "streams:\n  - port: 5007\n    group: 239.1.1.2\n    port: 5008\n",
        ["4:5: streams[0].port: duplicate key; the first is on line 2"],
    ),
    "misspelt key": (
        "streams:\n  - prot: 5007\n",
        ["2:5: streams[0].prot: unknown key; did you mean 'port'?"],
    ),
    "misspelt section": (
        "strems: []\n",
        ["1:1: strems: unknown key; did you mean 'streams'?"],
    ),
    "key of another section": (
        "max_clients: 3\n",
        ["1:1: max_clients: unknown key; it belongs under 'publish'"],
    ),
    "key of two other sections": (
        "log:\n  endpoint: tcp://*:5556\n",
        ["2:3: log.endpoint: unknown key; it belongs under 'publish' or 'history'"],
    ),
    "unheard-of key": (
        "publish:\n  zzz: 1\n",
        ["2:3: publish.zzz: unknown key; known are endpoint, subscriber_queue, max_clients, never_refuse, max_delay"],
    ),
    "merge key": (
        "log:\n  <<: {level: info}\n",
        ["2:3: log.'<<': unknown key; known are level"],
    ),
    "a key that could forge a line": (
        'log:\n  "a\\nb": 1\n',
        ["2:3: log.'a\\nb': unknown key; known are level"],
    ),
    "section is a number": (
        "publish: 5556\n",
        ["1:10: publish: 5556 is not a mapping of keys to values"],
    ),
    "streams is a mapping": (
        "streams:\n  name: a\n",
        ["2:3: streams: a mapping is not a list"],
    ),
    "no streams": (
        "streams: []\n",
        ["1:10: streams: an empty list: leave it out for the default, or name a stream"],
    ),
    "stream is text": (
        "streams:\n  - astropix\n",
        ["2:5: streams[0]: 'astropix' is not a mapping of keys to values"],
    ),
    "name in capitals": (
        "streams:\n  - name: AstroPix\n",
        ["2:11: streams[0].name: 'AstroPix' cannot be a stream's name…"],
    ),
    "name of the hello": (
        "streams:\n  - name: hello-world\n",
        ["2:11: streams[0].name: 'hello-world' cannot be a stream's name…"],
    ),
    "name is a number": (
        "streams:\n  - name: 2025\n",
        ["2:11: streams[0].name: 2025 is not text (a number needs quotes)"],
    ),
    "group is a name": (
        "streams:\n  - group: daq.local\n",
        ["2:12: streams[0].group: 'daq.local' is not an IP address…"],
    ),
    "group with a typing error": (
        "streams:\n  - group: 239.1.1.256\n",
        ["2:12: streams[0].group: '239.1.1.256' is not an IP address…"],
    ),
    "group is any": (
        "streams:\n  - group: 0.0.0.0\n",
        ["2:12: streams[0].group: 0.0.0.0 would take in every datagram on the port"],
    ),
    "group with a scope": (
        "streams:\n  - group: ff02::1%eth0\n",
        ["2:12: streams[0].group: 'ff02::1%eth0': name the interface separately, not after a %"],
    ),
    "port of root": (
        "streams:\n  - port: 80\n",
        ["2:11: streams[0].port: 80 is too small: at least 1024"],
    ),
    "port too large": (
        "streams:\n  - port: 70000\n",
        ["2:11: streams[0].port: 70000 is too large: at most 65535"],
    ),
    "port in quotes": (
        'streams:\n  - port: "5007"\n',
        ["2:11: streams[0].port: '5007' is not a whole number (written without quotes)"],
    ),
    "port left out": (
        "streams:\n  - port:\n",
        ["2:10: streams[0].port: null is not a whole number (written without quotes)"],
    ),
    "port is true": (
        "streams:\n  - port: true\n",
        ["2:11: streams[0].port: true is not a whole number (written without quotes)"],
    ),
    "port with a fraction": (
        "streams:\n  - port: 5007.5\n",
        ["2:11: streams[0].port: 5007.5 is not a whole number (written without quotes)"],
    ),
    "interface is a mistyped address": (
        "streams:\n  - interface: 10.0.0.300\n",
        ["2:16: streams[0].interface: '10.0.0.300' is neither an address nor the name of an interface"],
    ),
    "interface with a space": (
        "streams:\n  - interface: eth 1\n",
        ["2:16: streams[0].interface: 'eth 1' is neither an address nor the name of an interface"],
    ),
    "interface of another family": (
        "streams:\n  - group: ff15::1\n    interface: 10.0.0.1\n",
        ["3:16: streams[0].interface: an IPv4 address, the group is IPv6: name the interface"],
    ),
    "source is a group": (
        "streams:\n  - sources: [239.1.1.1]\n",
        ["2:15: streams[0].sources[0]: '239.1.1.1' is not the IP address of a sender"],
    ),
    "sources is one": (
        "streams:\n  - sources: 10.0.0.1\n",
        ["2:14: streams[0].sources: '10.0.0.1' is not a list"],
    ),
    "source of another family": (
        "streams:\n  - sources: [10.0.0.1, 'fe80::1']\n",
        ["2:25: streams[0].sources[1]: an IPv6 address, the group is IPv4"],
    ),
    "sources without a group": (
        "streams:\n  - group: 127.0.0.1\n    sources: [127.0.0.1]\n",
        ["3:14: streams[0].sources: only a multicast group can be joined by source; 127.0.0.1 is none"],
    ),
    "stride of none": (
        "streams:\n  - stride: 0\n",
        ["2:13: streams[0].stride: 0 is too small: at least 1"],
    ),
    "silence in words": (
        "streams:\n  - silence: 2 sec\n",
        ["2:14: streams[0].silence: '2 sec' is not a duration: write '2s', '2ms' or '1min'"],
    ),
    "silence too short": (
        "streams:\n  - silence: 5ms\n",
        ["2:14: streams[0].silence: 5ms is not from 1s to 24h, or 0"],
    ),
    "receive buffer of nothing": (
        "streams:\n  - receive_buffer: 0\n",
        ["2:21: streams[0].receive_buffer: 0 is not from 128KiB to 1GiB"],
    ),
    "size in bits": (
        "publish:\n  subscriber_queue: 8Mib\n",
        ["2:21: publish.subscriber_queue: '8Mib' is not a size: write '64MiB', '8 KiB' or '10MB'"],
    ),
    "size too large": (
        "publish:\n  subscriber_queue: 2GiB\n",
        ["2:21: publish.subscriber_queue: 2GiB is not from 256KiB to 1GiB"],
    ),
    "size of half a byte": (
        "history:\n  size: 1.5B\n",
        ["2:9: history.size: 1.5B is not a whole number of bytes"],
    ),
    "size is negative": (
        "history:\n  size: -1\n",
        ["2:9: history.size: -1 is not from 1MiB to 1TiB, or 0"],
    ),
    "size with endless digits": (
        "history:\n  size: " + "9" * 5000,
        ["2:9: history.size: not of the type int"],
    ),
    "delay too long": (
        "publish:\n  max_delay: 1s\n",
        ["2:14: publish.max_delay: 1s is not from 0s to 100ms"],
    ),
    "delay is infinite": (
        "publish:\n  max_delay: 1e999\n",
        ["2:14: publish.max_delay: inf is not from 0s to 100ms"],
    ),
    "no clients": (
        "publish:\n  max_clients: 0\n",
        ["2:16: publish.max_clients: 0 is too small: at least 1"],
    ),
    "endpoint without a scheme": (
        "publish:\n  endpoint: 127.0.0.1:5556\n",
        ["2:13: publish.endpoint: '127.0.0.1:5556' is not an endpoint, such as tcp://127.0.0.1:5556 or tcp://*:5556"],
    ),
    "endpoint with a name": (
        "publish:\n  endpoint: tcp://localhost:5556\n",
        ["2:13: publish.endpoint: 'localhost' is not an address: write 127.0.0.1, [::1] or * (all addresses)"],
    ),
    "endpoint without a port": (
        "publish:\n  endpoint: tcp://127.0.0.1\n",
        ["2:13: publish.endpoint: '127.0.0.1' is not ADDRESS:PORT, such as 127.0.0.1:5556, [::1]:5556 or *:5556"],
    ),
    "endpoint on a port of root": (
        "publish:\n  endpoint: tcp://*:443\n",
        ["2:13: publish.endpoint: port 443 is not from 1024 to 65535 (those below are root's)"],
    ),
    "bare IPv6 endpoint": (
        "publish:\n  endpoint: tcp://::1:5556\n",
        ["2:13: publish.endpoint: '::1:5556' is not ADDRESS:PORT, such as 127.0.0.1:5556, [::1]:5556 or *:5556"],
    ),
    "no port for history": (
        "publish:\n  endpoint: tcp://*:65535\n",
        ["2:13: publish.endpoint: no port is left for history: take a lower one, or set history.endpoint"],
    ),
    "history on the publisher's port": (
        "history:\n  endpoint: tcp://*:5556\n",
        ["2:13: history.endpoint: publish.endpoint tcp://127.0.0.1:5556 and history.endpoint tcp://*:5556 overlap"],
    ),
    "publisher on the metrics' port": (
        "publish:\n  endpoint: tcp://127.0.0.1:9108\n",
        ["2:13: publish.endpoint: publish.endpoint tcp://127.0.0.1:9108 and metrics.listen tcp://127.0.0.1:9108 overlap"],
    ),
    "metrics without a port": (
        "metrics:\n  listen: 127.0.0.1\n",
        ["2:11: metrics.listen: '127.0.0.1' is not ADDRESS:PORT, such as 127.0.0.1:5556, [::1]:5556 or *:5556"],
    ),
    "metrics is text": (
        "metrics: off\n",
        ["1:10: metrics: 'off' is not a mapping of keys to values"],
    ),
    "security without keys": (
        "security:\n  secret_key: /etc/relay.key\n",
        ["2:3: security.client_keys: missing; it has no default"],
    ),
    "security commented out": (
        "security:\n#  client_keys: /etc/keys\n",
        ["1:10: security.client_keys: missing; it has no default"],
    ),
    "keys at no path": (
        'security:\n  client_keys: ""\n',
        ["2:16: security.client_keys: '' is not a path"],
    ),
    "unknown level": (
        "log:\n  level: verbose\n",
        ["2:10: log.level: 'verbose' is not one of 'debug', 'info', 'warning' or 'error'"],
    ),
    "level is on, which YAML 1.1 takes for true": (
        "log:\n  level: on\n",
        ["2:10: log.level: 'on' is not one of 'debug', 'info', 'warning' or 'error'"],
    ),
    "same name": (
        "streams:\n  - name: a\n  - {name: a, port: 5008}\n",
        ["3:12: streams[1].name: streams[0] is called 'a' too"],
    ),
    "same group and port": (
        """\
streams:
  - name: a
    group: ff15:0::1
  - name: b
    group: ff15::1
    port: 5007
""",
        ["6:11: streams[1].port: streams[0] already receives ff15::1 port 5007"],
    ),
    "same group and port by default": (
        "streams:\n  - name: a\n  - name: b\n",
        ["3:5: streams[1]: streams[0] already receives 239.1.1.1 port 5007"],
    ),
    "same unicast address on two interfaces": (
        "streams:\n  - {name: a, group: 127.0.0.1, interface: lo}\n  - {name: b, group: 127.0.0.1}\n",
        ["3:22: streams[1].group: streams[0] already receives 127.0.0.1 port 5007, whatever the interface"],
    ),
    "same IPv6 group on two interfaces": (
        "streams:\n  - {name: a, group: 'ff15::1', interface: eth0}\n  - {name: b, group: 'ff15::1', interface: eth1}\n",
        ["3:22: streams[1].group: streams[0] already receives ff15::1 port 5007, whatever the interface"],
    ),
    "same group, sources overlap": (
        "streams:\n  - {name: a, sources: [10.0.0.1, 10.0.0.2]}\n  - {name: b, sources: [10.0.0.2]}\n",
        ["3:24: streams[1].sources: streams[0] already receives 239.1.1.1 port 5007"],
    ),
    "too many clients for the memory": (
        "publish:\n  max_clients: 200\n",
        ["2:16: publish.max_clients: 200 clients x (8MiB + 2MiB of answers + 3MiB in the kernel) + 1 stream x 64MiB of history = 2664MiB, more than memory_budget: 1GiB"],
    ),
    "history too large for the memory": (
        "history: {size: 600MiB}\n",
        ["1:17: history.size: 64 clients x (8MiB + 2MiB of answers + 3MiB in the kernel) + 1 stream x 600MiB of history = 1432MiB, more than memory_budget: 1GiB"],
    ),
    "budget too small": (
        "memory_budget: 512MiB\n",
        ["1:16: memory_budget: 64 clients x (8MiB + 2MiB of answers + 3MiB in the kernel) + 1 stream x 64MiB of history = 896MiB, more than memory_budget: 512MiB"],
    ),
    "many at once": (
        """\
streams:
  - prot: 80
    port: 1
    stride: 0
  - name: a
    silence: 2 sec
  - name: a
    port: 5008
    interfaces: eth1
publish:
  endpoint: tcp://0.0.0.0:80
  max_clients: 1000
group: 239.1.1.1
log: {level: info, level: loud}
""",
        [
            "2:5: streams[0].prot: unknown key; did you mean 'port'?",
            "3:11: streams[0].port: 1 is too small: at least 1024",
            "4:13: streams[0].stride: 0 is too small: at least 1",
            "6:14: streams[1].silence: '2 sec' is not a duration: write '2s', '2ms' or '1min'",
            "7:11: streams[2].name: streams[1] is called 'a' too",
            "9:5: streams[2].interfaces: unknown key; did you mean 'interface'?",
            "11:13: publish.endpoint: port 80 is not from 1024 to 65535 (those below are root's)",
            "12:16: publish.max_clients: 1000 clients x (8MiB + 2MiB of answers + 3MiB in the kernel) + 3 streams x 64MiB of history = 13192MiB, more than memory_budget: 1GiB",
            "13:1: group: unknown key; it belongs under 'streams'",
            "14:20: log.level: duplicate key; the first is on line 14",
        ],
    ),
    "half a character": (
        'log:\n  level: "\\ud800"\n',
        ["2:10: log.level: not of the type str"],
    ),
    "key of half a character": (
        'log:\n  "\\ud800": 1\n',
        ["2:3: log: a key must be a word"],
    ),
    "misspelt stride": (
        "streams:\n  - strides: 2\n",
        ["2:5: streams[0].strides: unknown key; did you mean 'stride'?"],
    ),
}
# fmt: on


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file(text, expected):
    found = mistakes(text)
    assert len(found) == len(expected), found
    for line, wanted in zip(found, expected, strict=True):
        start, dots, _ = wanted.partition("…")
        assert line.startswith(start) if dots else line == wanted


def test_mistakes_are_values_too():
    with pytest.raises(ConfigMistakes) as caught:
        load_config("log:\n  level: loud\n", file="relay.yaml", overrides={"port": 80})
    option, mistake = caught.value.mistakes
    assert (option.file, option.line, option.path) == ("", 0, "--port")
    assert (mistake.file, mistake.line, mistake.column, mistake.path) == ("relay.yaml", 2, 10, "log.level")
    assert str(mistake) == f"relay.yaml:2:10: log.level: {mistake.message}"


def test_a_mistake_does_not_cause_others():
    """A broken port does not stand for the default one, which would be that of the other stream."""
    assert mistakes("streams:\n  - name: a\n    port: x\n  - name: b\n") == [
        "3:11: streams[0].port: 'x' is not a whole number (written without quotes)"
    ]


# Defaults


def test_shipped_file_is_the_defaults():
    assert load_config(RELAY_YAML.read_text()) == default_config()


def test_shipped_file_shows_every_key():
    shown = parse(RELAY_YAML.read_text()).keys
    about = schema()
    assert {path[0] for path in shown} == about["properties"].keys() - {"security"}
    for name, part in about["$defs"].items():
        if name not in ("SecurityConfig", "OutputConfig"):
            here = ("streams", 0) if name == "StreamConfig" else (name.removesuffix("Config").lower(),)
            assert {path[-1] for path in shown if path[:-1] == here} == part["properties"].keys()


def test_shipped_file_shows_outputs_as_they_are_written():
    commented = RELAY_YAML.read_text().partition("# outputs:")[2].partition("\noutputs: []")[0]
    text = "outputs:" + commented.replace("\n#", "\n")
    (shown,) = parse(text).value["outputs"]
    streams = "\nstreams: [{from: ['tcp://relay-a:5556']}]"
    (output,) = load_config(text + streams).outputs
    assert shown.keys() == OutputConfig.model_fields.keys()
    assert output == OutputConfig(multicast="239.1.1.1:5007")
    assert output.destination == ("239.1.1.1", 5007)


FED = "streams: [{name: a, from: ['tcp://relay:5556']}, {name: b, group: 239.1.1.2, interface: eth0}]\n"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("stream: a", "outputs[0].multicast: missing; it has no default"),
        ("multicast: 239.1.1.1, stream: a", "'239.1.1.1' is not GROUP:PORT, such as 239.1.1.1:5007"),
        ("multicast: '10.0.0.1:5007', stream: a", "is not a multicast group and its port"),
        ("multicast: '239.1.1.1:99999', stream: a", "99999"),
        ("multicast: '239.1.1.1:5007', stream: c", "there is no stream 'c'; there are: a, b"),
        (
            "multicast: '239.1.1.1:5007', stream: b",
            "'b' comes from a group: an output has a stream 'from' relays",
        ),
        (
            "multicast: '239.1.1.2:5007', stream: a",
            "streams[1] relays this group: the readouts would run in a circle",
        ),
        ("multicast: '239.1.1.2:5007', stream: a, interface: eth0", "the readouts would run in a circle"),
        (
            "multicast: '239.1.1.1:5007', stream: a}, {multicast: '239.1.1.1:5007', stream: a, ttl: 2",
            "outputs[1].multicast: outputs[0] sends there already",
        ),
    ],
)
def test_mistakes_in_outputs(output, message):
    (mistake,) = mistakes(f"{FED}outputs: [{{{output}}}]")
    assert message in mistake


def test_the_group_of_one_network_may_go_out_on_another():
    text = f"{FED}outputs: [{{multicast: '239.1.1.2:5007', stream: a, interface: eth1}}]"
    assert load_config(text).outputs[0].interface == "eth1"


def test_shipped_file_shows_security_as_it_is_written():
    commented = RELAY_YAML.read_text().partition("# security:")[2].partition("\nlog:")[0]
    text = "security:" + commented.replace("\n#", "\n")
    assert load_config(text).security == SecurityConfig(client_keys="/etc/astropix-relay/clients")


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "{}", "null", "---\n", "streams:\nlog:\npublish:\n"]
)
def test_nothing_is_the_defaults(text):
    assert load_config(text) == default_config() == Config()


def test_defaults_are_those_of_the_documentation():
    config = default_config()
    (stream,) = config.streams
    assert (stream.name, stream.group, stream.port, stream.interface) == ("astropix", "239.1.1.1", 5007, None)
    assert (stream.silence, stream.receive_buffer) == (120.0, 8 * MiB)
    assert config.publish.endpoint == "tcp://127.0.0.1:5556"
    assert (config.publish.subscriber_queue, config.publish.max_delay) == (8 * MiB, 0.005)
    assert config.history_endpoint() == "tcp://127.0.0.1:5557"
    assert config.metrics.listen == "127.0.0.1:9108"
    assert config.security is None
    assert warnings(config) == []


# Values


def test_quantities_and_spellings():
    config = load_config("""
streams:
  - {name: a, group: "FF15:0::1", interface: "fe80:0::1", silence: 2 min, receive_buffer: 1MB}
  - {name: b, port: 5008, silence: 0, sources: [10.0.0.1, 10.0.0.1]}
publish: {endpoint: "tcp://[::1]:6000", max_delay: 0.05}
history: {size: 0}
metrics: {listen: null}
""")
    a, b = config.streams
    assert (a.group, a.interface, a.silence, a.receive_buffer) == ("ff15::1", "fe80::1", 120.0, 1_000_000)
    assert (b.silence, b.sources) == (0.0, ("10.0.0.1",))
    assert config.publish.max_delay == 0.05
    assert config.history_endpoint() is None
    assert config.metrics.listen is None


@pytest.mark.parametrize(
    "name", ["eth0", "eth0.100", "enx001122334455", "the-network-of-the-detector", "eth0:1", "eth0:daq"]
)
def test_every_name_of_an_interface_is_taken(name):
    """Its own, an alternative one, the label of an address."""
    assert load_config(f"streams: [{{interface: '{name}'}}]").streams[0].interface == name


@pytest.mark.parametrize(
    "name",
    ["10.0.0.1:5007", "10.0.0", "fe80::zz", "eth0:", ":1", "a:b:c", "eth0:much-too-long", "x" * 128, "a/b"],
)
def test_what_is_no_name_of_an_interface(name):
    (mistake,) = mistakes(f"streams: [{{interface: '{name}'}}]")
    assert "is neither an address nor the name of an interface" in mistake


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("*:6000", "[::1]:6000", True),
        ("*:6000", "127.0.0.1:6000", True),
        ("[::]:6000", "127.0.0.1:6000", True),
        ("0.0.0.0:6000", "127.0.0.1:6000", True),
        ("0.0.0.0:6000", "[::1]:6000", False),
        ("[0::1]:6000", "[::1]:6000", True),
        ("127.0.0.1:6000", "[::1]:6000", False),
        ("*:6000", "127.0.0.1:6002", False),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_endpoints_overlap_where_one_takes_in_the_other(one, other, overlap, swapped):
    publish, listen = (other, one) if swapped else (one, other)
    text = (
        f"publish: {{endpoint: 'tcp://{publish}'}}\nmetrics: {{listen: '{listen}'}}\nhistory: {{size: 0}}\n"
    )
    if overlap:
        assert "overlap" in mistakes(text)[0]
    else:
        assert load_config(text).metrics.listen == listen


@pytest.mark.parametrize(
    ("publish", "history"),
    [
        ("tcp://*:6000", "tcp://*:6001"),
        ("tcp://[::1]:6000", "tcp://[::1]:6001"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("ipc:///run/relay", "ipc:///run/relay-history"),
    ],
)
def test_history_stands_beside_the_publisher(publish, history):
    assert default_config(publish=publish).history_endpoint() == history


def test_yaml_1_2_values():
    """What YAML 1.1 takes for 8, 90 and true."""
    assert load_config("streams: [{port: 05008, name: on}]").streams == (StreamConfig(port=5008, name="on"),)
    assert mistakes("streams: [{port: 84:00}]")[0].startswith(
        "1:18: streams[0].port: '84:00' is not a whole number"
    )


@pytest.mark.parametrize(
    "text",
    [
        "streams: [{name: a, interface: eth0}, {name: b, interface: eth1}]",
        "streams: [{name: a, group: 'ff02::9', interface: eth0}, {name: b, group: 'ff02::9', interface: eth1}]",
        "streams: [{name: a}, {name: b, port: 5008}]",
        "streams: [{name: a}, {name: b, group: 239.1.1.2}]",
        "streams: [{name: a, sources: [10.0.0.1]}, {name: b, sources: [10.0.0.2]}]",
        "publish: {endpoint: 'tcp://10.0.0.1:9108'}",
        "publish: {endpoint: 'ipc:///run/relay'}",
        "history: {size: 0, endpoint: 'tcp://127.0.0.1:5556'}",
    ],
)
def test_what_does_not_conflict(text):
    load_config(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("streams: [{group: 127.0.0.1}]", ["streams[0].group: 127.0.0.1 is no multicast group"]),
        ("streams: [{group: 'ff02::1'}]", ["streams[0].interface: ff02::1 is valid on one link only"]),
        ("streams: [{group: 'ff02::1', interface: eth0}]", []),
        ("streams: [{group: 'ff15::1'}]", []),
        (
            "streams: [{name: a}, {name: b, interface: eth1}]",
            ["streams[1].interface: receives everything twice if"],
        ),
        (
            "publish: {endpoint: 'tcp://*:5556'}",
            ["security: anyone who reaches tcp://*:5556 and tcp://*:5557 can read"],
        ),
        (
            "history: {endpoint: 'tcp://10.0.0.1:5557'}",
            ["security: anyone who reaches tcp://10.0.0.1:5557 can"],
        ),
        ("publish: {endpoint: 'tcp://*:5556'}\nsecurity: {client_keys: keys}", []),
        ("publish: {endpoint: 'tcp://[::1]:5556'}", []),
    ],
)
def test_warnings(text, expected):
    found = warnings(load_config(text))
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


# Command-line options


def test_options_win_over_the_file():
    text = "streams: [{name: a, port: 80, stride: 2}]\npublish: {max_clients: 3}"
    options = {"group": "239.1.1.9", "port": 5009, "interface": "lo", "publish": "tcp://*:6000", "name": None}
    config = load_config(text, overrides=options)
    assert config.streams == (StreamConfig(name="a", group="239.1.1.9", port=5009, interface="lo", stride=2),)
    assert (config.publish.endpoint, config.publish.max_clients) == ("tcp://*:6000", 3)


def test_options_without_a_file():
    assert default_config(port=5009).streams == (StreamConfig(port=5009),)
    assert default_config(**dict.fromkeys(FLAGS)) == default_config()


def test_options_are_checked_as_the_file_is():
    assert mistakes("log: {level: loud}", port=80, publish="5556") == [
        "--port: 80 is too small: at least 1024",
        "--publish: '5556' is not an endpoint, such as tcp://127.0.0.1:5556 or tcp://*:5556",
        "1:14: log.level: 'loud' is not one of 'debug', 'info', 'warning' or 'error'",
    ]
    assert mistakes("", group="ff15::1", interface="10.0.0.1") == [
        "--interface: an IPv4 address, the group is IPv6: name the interface"
    ]


def test_options_for_one_stream_do_not_fit_two():
    text = "streams: [{name: a}, {name: b, port: 5008}]"
    assert mistakes(text, group="239.1.1.2", port=5009) == [
        "--group, --port: relay.yaml has 2 streams: change the one meant there"
    ]
    assert load_config(text, overrides={"publish": "tcp://*:6000"}).publish.endpoint == "tcp://*:6000"


@pytest.mark.parametrize("text", ["streams: 5", "streams: []", "streams: [text]", "publish: [1]", "text"])
def test_options_for_a_broken_file(text):
    assert mistakes(text, port=5009, publish="tcp://*:6000")


def test_unknown_option_is_the_programs_mistake():
    with pytest.raises(TypeError, match="no such option: prot"):
        default_config(prot=1)


# Reload


def test_differences():
    old = load_config("streams: [{name: a}, {name: b, port: 5008}, {name: c, port: 5009}]")
    new = load_config("""
streams: [{name: d, port: 5010}, {name: c, port: 5009}, {name: b, port: 5011}]
publish: {max_clients: 3}
memory_budget: 2GiB
metrics: {listen: null}
security: {client_keys: keys}
""")
    changes = differences(old, new)
    assert changes.added == (StreamConfig(name="d", port=5010),)
    assert changes.removed == (StreamConfig(name="a"),)
    assert changes.changed == (StreamConfig(name="b", port=5011),)
    assert changes.restart == ("publish.max_clients", "memory_budget", "metrics.listen", "security")
    assert not any(differences(old, old))


def test_order_of_streams_is_no_difference():
    one, two = "{name: a}", "{name: b, port: 5008}"
    assert not any(
        differences(load_config(f"streams: [{one}, {two}]"), load_config(f"streams: [{two}, {one}]"))
    )


# Schema


def test_schema_describes_every_key():
    about = schema()
    json.dumps(about)
    for part in (about, *about["$defs"].values()):
        assert part["additionalProperties"] is False
        for key, details in part["properties"].items():
            assert "description" in details or "$ref" in details, key
    assert about["$defs"]["PublishConfig"]["properties"]["subscriber_queue"]["default"] == "8MiB"
    assert about["$defs"]["SecurityConfig"]["required"] == ["client_keys"]


def test_schema_is_as_strict_as_the_check():
    """`security:` with nothing below must not look right in an editor: it would not start."""
    assert schema()["properties"]["security"] == {"$ref": "#/$defs/SecurityConfig"}


@given(st.text(alphabet="helo_-09az AZ\n", max_size=8) | st.text(max_size=70))
def test_schema_knows_names_as_the_protocol_does(name):
    pattern = schema()["$defs"]["StreamConfig"]["properties"]["name"]["pattern"]
    try:
        check_stream_name(name)
    except WireError:
        assert not re.search(pattern.replace("$", r"\Z"), name)
    else:
        assert re.search(pattern, name)


def test_a_stream_from_relays():
    text = "streams: [{name: a, from: ['tcp://relay-a:5556?stream=b', 'tcp://[::1]:5556']}, {name: c}]"
    config = load_config(text)
    assert config.streams[0].upstreams == ("tcp://relay-a:5556?stream=b", "tcp://[::1]:5556")
    assert config.streams[1].upstreams == ()
    assert warnings(config) == []


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("from: ['udp://239.1.1.1:5007']", "'udp://239.1.1.1:5007' is not a relay: write tcp://relay:5556"),
        ("from: ['relay:5556']", "'relay:5556' is not a relay: write tcp://relay:5556"),
        ("from: ['tcp://relay:5556?steam=a']", "did you mean 'stream'?"),
        ("from: ['tcp://relay:5556', 'tcp://relay:5556']", "names a relay twice"),
        ("from: ['tcp://relay:5556?stream=A b']", "'A b'"),
        (f"from: {[f'tcp://relay:{port}' for port in range(5000, 5009)]}", "9 relays; at most 8"),
        ("from: tcp://relay:5556", "'tcp://relay:5556' is not a list"),
        (
            "from: ['tcp://relay:5556'], group: 239.1.1.1",
            "streams[0].group: this is a group's; a stream has either 'from' or a group",
        ),
        ("form: []", "unknown key; did you mean 'from'?"),
        ("from: ['tcp://relay:5556?max_bandwidth=2Mb']", "write '2Mbit/s' or '250kB/s'"),
        ("from: ['tcp://relay:5556?compress=gzip']", "'zstd' is the only compression"),
        (
            "from: ['tcp://a:5556?max_bandwidth=2Mbit/s', 'tcp://b:5556']",
            "streams[0].from: with max_bandwidth there can be only one relay",
        ),
    ],
)
def test_mistakes_in_from(stream, message):
    (mistake,) = mistakes(f"streams: [{{{stream}}}]")
    assert message in mistake


def test_a_dump_can_be_loaded():
    config = load_config("streams: [{silence: 90, sources: [10.0.0.1]}]\nhistory: {size: 0}")
    dump = config.model_dump(mode="json", exclude_none=True, by_alias=True, exclude_defaults=True)
    assert dump["streams"][0]["silence"] == "90s"
    assert load_config(json.dumps(dump)) == config


# Any text

SECTIONS = {name: list(part["properties"]) for name, part in schema()["$defs"].items()}
KEYS = sorted({key for keys in SECTIONS.values() for key in keys} | set(schema()["properties"]) | {"x", ""})
VALUES = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    st.sampled_from(
        ["a", "239.1.1.1", "ff15::1", "127.0.0.1", "eth0", "tcp://*:5556", 5007, "8MiB", "1ms", 0, 1000]
    ),
)
TREES = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)


def section(name):
    return VALUES | st.dictionaries(st.sampled_from([*SECTIONS[name], "x"]), TREES, max_size=4)


# The keys in their places, so that what stands in them is reached.
FILES = st.fixed_dictionaries(
    {},
    optional={
        "streams": st.lists(section("StreamConfig"), max_size=3),
        "memory_budget": VALUES,
        **{name.lower(): section(name) for name in SECTIONS if name != "StreamConfig"},
    },
)
OPTIONS = st.fixed_dictionaries({}, optional=dict.fromkeys(FLAGS, TREES))


def assert_config_or_mistakes(text, options=None):
    result = load_or_error(text, options)
    if isinstance(result, Config):
        warnings(result)
        result.history_endpoint()
    else:
        assert str(result).split("\n") == [str(mistake) for mistake in result.mistakes]
        end = len(text.splitlines()) + 2  # YAML too ends lines with more than newlines
        assert all(mistake.line < end or mistake.path.startswith("--") for mistake in result.mistakes)


def load_or_error(text, options):
    try:
        return load_config(text, overrides=options)
    except ConfigError as error:
        return error


@given(st.text(), OPTIONS)
@example("%YAML 1." + "9" * 5000 + "\n---\n{}", {})
@example('log: {"\\ud800": 1}', {})
@example("streams:", {"name": "\udcff"})
def test_any_text(text, options):
    assert_config_or_mistakes(text, options)


@given((TREES | FILES).map(json.dumps), OPTIONS)
def test_any_tree(text, options):
    assert_config_or_mistakes(text, options)


SHIPPED = "\n".join(line for line in RELAY_YAML.read_text().splitlines() if not re.match(r"\s*(#|$)", line))
EDITS = st.tuples(
    st.integers(0, len(SHIPPED)),
    st.integers(0, 6),
    st.text(max_size=4) | st.sampled_from([*"[]{}:,&*!|>'\"%@`#?-\n\t \\"]),
)


@given(st.lists(EDITS, max_size=4))
def test_shipped_file_with_any_edits(edits):
    text = SHIPPED
    for at, length, put in edits:
        text = text[:at] + put + text[at + length :]
    assert_config_or_mistakes(text)


@pytest.mark.parametrize(
    ("written", "notes"),
    [
        ("'cosmics, no beam'", {"": "cosmics, no beam"}),
        ("''", {}),
        ("{threshold: 200 mV, injection: false, vinj: 250, gain: 1.5}",
         {"threshold": "200 mV", "injection": "false", "vinj": "250", "gain": "1.5"}),
    ],
)  # fmt: skip
def test_notes_on_the_setup(written, notes):
    config = load_config(f"streams: [{{notes: {written}}}]")
    assert config.streams[0].notes == notes
    dumped = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert load_config(json.dumps(dumped)) == config


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("7", "7 is neither text nor names with texts, such as threshold: 200 mV"),
        ("[a]", "a list is neither text nor names with texts"),
        ("{a: [1]}", "'a': a list is not a name with a text"),
        ("{a: null}", "'a': null is not a name with a text"),
        ("x" * 2001, "too long: at most 50 names, and 2000 characters in all"),
        ("{" + ", ".join(f"k{i}: 1" for i in range(51)) + "}", "too long"),
    ],
)
def test_mistakes_in_notes(written, said):
    with pytest.raises(ConfigMistakes) as caught:
        load_config(f"streams: [{{notes: {written}}}]", file="relay.yaml")
    (mistake,) = caught.value.mistakes
    assert said in str(mistake)
    assert str(mistake).startswith("relay.yaml:1:19: streams[0].notes: ")
