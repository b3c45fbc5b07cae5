"""Where the page is served, and under which names."""

import pytest
from bokeh.server.util import match_host

from astropix_stream.errors import ConfigError
from astropix_stream.monitor.server import Site


@pytest.mark.parametrize(
    ("listen", "origins", "host", "ours"),
    [
        ("127.0.0.1:5006", [], "127.0.0.1:5006", True),
        ("127.0.0.1:5006", [], "localhost:5006", True),
        ("127.0.0.1:5006", [], "[::1]:5006", True),
        ("127.0.0.1:5006", [], "127.0.0.1:5007", False),
        ("127.0.0.1:5006", [], "127.0.0.1", False),
        ("127.0.0.2:5006", [], "127.0.0.2:5006", True),  # as it is announced
        ("[::1]:5006", [], "[::1]:5006", True),
        ("127.0.0.1:80", [], "127.0.0.1", True),
        ("127.0.0.1:80", [], "[::1]", True),
        ("127.0.0.1:80", [], "evil.example", False),
        ("192.0.2.7:5006", ["daq.lab.example"], "192.0.2.7:5006", True),
        ("[2001:db8::7]:5006", ["daq.lab.example"], "[2001:db8::7]:5006", True),
        ("0.0.0.0:5006", ["daq.lab.example:5006"], "0.0.0.0:5006", False),
        ("[::]:5006", ["daq.lab.example:5006"], "daq.lab.example:5006", True),
        ("0.0.0.0:5006", ["https://daq.lab.example/"], "daq.lab.example", True),
        ("0.0.0.0:5006", ["daq.lab.example"], "daq.lab.example:5006", True),
        ("0.0.0.0:5006", ["[2001:db8::7]"], "[2001:db8::7]:5006", True),
        ("0.0.0.0:5006", ["[2001:db8::7]"], "[2001:db8::7]", True),
        ("0.0.0.0:5006", ["[2001:db8::7]"], "[2001:db8::8]:5006", False),
        ("0.0.0.0:5006", ["daq.lab.example"], "evil.example", False),
    ],
)
def test_names_of_the_page(listen, origins, host, ours):
    site = Site.parse(listen, origins)
    assert any(match_host(host, one) for one in site.hosts(site.listen.port)) == ours


@pytest.mark.parametrize("listen", ["0.0.0.0:5006", "[::]:5006", "192.0.2.7:5006", "daq.lab.example:5006"])
def test_others_see_it_only_under_a_name_that_was_said(listen):
    with pytest.raises(ConfigError, match="say under which address with --allow-origin"):
        Site.parse(listen)


@pytest.mark.parametrize(
    "listen", ["5006", ":5006", "127.0.0.1", "127.0.0.1:99999", "::1:5006", "[::1]", "a:b:c", ""]
)
def test_a_wrong_address(listen):
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:5006"):
        Site.parse(listen)


@pytest.mark.parametrize("origin", ["no host", "http://", "ftp://x", "x:y", "x/y", ""])
def test_a_wrong_origin(origin):
    with pytest.raises(ConfigError, match=r"monitor\.example\.org"):
        Site.parse("127.0.0.1:5006", [origin])
