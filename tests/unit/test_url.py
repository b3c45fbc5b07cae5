"""Sources as a person writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.errors import ConfigError
from astropix_stream.url import SourceUrl, parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("udp://239.1.1.1:5007", SourceUrl("udp", "239.1.1.1", 5007)),
        ("UDP://239.1.1.1:5007", SourceUrl("udp", "239.1.1.1", 5007)),
        (
            "udp://239.1.1.1:5007?interface=eth1&source=10.0.0.2",
            SourceUrl("udp", "239.1.1.1", 5007, {"interface": "eth1", "source": "10.0.0.2"}),
        ),
        ("udp://[ff15::1]:5007?interface=eth1", SourceUrl("udp", "ff15::1", 5007, {"interface": "eth1"})),
        ("tcp://relay:5556", SourceUrl("tcp", "relay", 5556)),
        ("tcp://relay:5556?stream=astropix", SourceUrl("tcp", "relay", 5556, {"stream": "astropix"})),
        (
            "tcp://relay:5556?server_key=relay.key&key_file=me.key_secret",
            SourceUrl("tcp", "relay", 5556, {"server_key": "relay.key", "key_file": "me.key_secret"}),
        ),
        ("tcp://[::1]:5556", SourceUrl("tcp", "::1", 5556)),
        (
            "udp://[ff15::1]:5007?interface=a%26b%3D1&source=fd00::1",  # Linux allows such names
            SourceUrl("udp", "ff15::1", 5007, {"interface": "a&b=1", "source": "fd00::1"}),
        ),
        ("run.apx", SourceUrl("file", "", 0, path="run.apx")),
        ("-", SourceUrl("file", "", 0, path="-")),
        ("nats://log", SourceUrl("nats", "log", 4222)),
        ("nats://log:4223?stream=astropix", SourceUrl("nats", "log", 4223, {"stream": "astropix"})),
        (
            "nats://a,b:4223,[::1]?start=oldest",
            SourceUrl("nats", "a", 4222, {"start": "oldest"}, (("b", 4223), ("::1", 4222))),
        ),
        ("/data/what? #1%41&a=b:5007", SourceUrl("file", "", 0, path="/data/what? #1%41&a=b:5007")),
    ],
)
def test_right_ones(url, expected):
    source = parse_url(url)
    assert source == expected
    assert parse_url(str(source)) == source
    if source.scheme != "nats":  # which has a port of its own, that is told where it was left out
        assert str(source).lower() == url.lower()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "a source is a file, or a URL"),
        ("file:///run.apx", "or is the path of a file"),
        ("ucp://239.1.1.1:5007", "begins with udp://, tcp:// or nats://"),
        ("udp://239.1.1.1", "udp://HOST:PORT"),
        ("udp://:5007", "udp://HOST:PORT"),
        ("udp://239.1.1.1:5007/x", "udp://HOST:PORT"),
        ("udp://user@239.1.1.1:5007", "udp://HOST:PORT"),
        ("tcp://relay:5556?stream=\udcc2", "a URL has printable characters only"),
        ("udp://239.1.1.1:5007?interface=\x1b[2J", "a URL has printable characters only"),
        ("udp://239.1.1.1:0", "port must be from 1 to 65535, not '0'"),
        ("udp://239.1.1.1:99999", "port must be from 1 to 65535, not '99999'"),
        ("udp://239.1.1.1:port?interface=lo", "port must be from 1 to 65535, not 'port'"),
        ("udp://[ff15::1]:port", "port must be from 1 to 65535, not 'port'"),
        ("udp://ff15::1:5007", "an IPv6 address stands in brackets, as in [ff15::1]:5007"),
        ("udp://[ff15::1:5007", "an IPv6 address stands in brackets"),
        ("udp://[ff15::x]:5007", "[ff15::x] is not an IPv6 address"),
        ("udp://239.1.1:5007", "not an IP address"),
        ("udp://daq:5007", "not an IP address"),
        ("udp://[ff15::1:5007", "udp://239.1.1.1:5007"),
        ("udp://239.1.1.1:5007?iface=eth1", "did you mean 'interface'?"),
        ("udp://239.1.1.1:5007?stream=a", "interface and source"),
        ("tcp://relay:5556?steam=a", "did you mean 'stream'?"),
        ("tcp://relay:5556?stream=", "with a value"),
        ("tcp://relay:5556?stream=a&stream=b", "once"),
        ("nats://", "nats://HOST:PORT"),
        ("nats://a,,b", "nats://HOST:PORT"),
        ("nats://a:0", "nats://HOST:PORT"),
        ("nats://u:p@a:99999,b", "port must be from 1 to 65535, not '99999'"),
        ("nats://a,b:x", "port must be from 1 to 65535, not 'x'"),
        ("nats://user@a", "USER:PASSWORD"),
        ("nats://user:@a", "USER:PASSWORD"),
        ("nats://a/subject", "USER:PASSWORD"),
        ("nats://a#x", "USER:PASSWORD"),
        ("nats://a?sream=b", "did you mean 'stream'?"),
    ],
)
def test_wrong_ones_are_told_in_one_line(url, complaint):
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text() | st.text().map("udp://{}".format) | st.text().map("tcp://relay:5556?{}".format))
def test_any_text_is_a_source_or_a_config_error(text):
    try:
        parse_url(text)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017  (any text may also be right)


def test_a_password_is_told_to_nobody():
    source = parse_url("nats://crew:p%40ss@log:4222")
    assert (source.user, source.password) == ("crew", "p@ss")
    assert "ss@" not in str(source) + repr(source)
    with pytest.raises(ConfigError) as caught:
        parse_url("nats://crew:secret@log:4222?sream=a")
    assert "secret" not in str(caught.value)


def test_all_servers_of_a_log_are_named():
    source = parse_url("nats://a,[::1]:4223")
    assert source.servers == (("a", 4222), ("::1", 4223))
    assert source.endpoint == "nats://a:4222,[::1]:4223"
