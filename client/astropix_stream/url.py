"""Where readouts come from, as a person writes it: ``udp://GROUP:PORT``, ``tcp://HOST:PORT``, ``nats://…``.

=======================================================  ==================================================
``udp://239.1.1.1:5007``                                 a multicast group
``udp://239.1.1.1:5007?interface=eth1&source=10.0.0.2``  joined on one interface, from one DAQ only
``udp://[ff15::1]:5007?interface=eth1``                  an IPv6 group
``tcp://relay:5556``                                     a relay with one stream
``tcp://relay:5556?stream=astropix``                     one stream of a relay
``…?server_key=relay.key&key_file=me.key_secret``        a relay with encryption: its key, and ours
``…?compress=zstd``, ``…?max_bandwidth=2Mbit/s``         over a slow line: compressed, or thinned to fit
``nats://host:4222?stream=astropix&start=oldest``        a log, from its first readout on
``nats://one:4222,two:4222,three:4222``                  the same log, by several servers
``nats://host?creds=me.creds&ca=ca.pem``                 with credentials, over TLS; see `log.access.Access`
``run.apx``, ``/data/run.bin``, ``-``                    a file, by its path; standard input
=======================================================  ==================================================
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from astropix_stream import addresses
from astropix_stream.errors import ConfigError


class Scheme(NamedTuple):
    """A kind of source."""

    opener: str
    """What opens one, as ``module:name``, imported when it is needed; see `opening.Opener`."""
    options: tuple[str, ...]
    """What may stand behind the question mark."""
    says_kind: bool = False
    """Whether it says of which kind the readouts are."""


#: Every kind of source that there is.
SCHEMES = {
    "udp": Scheme("astropix_stream.sock:MulticastReceiver.from_url", ("interface", "source")),
    "tcp": Scheme(
        "astropix_stream.relay.receiver:RelayReceiver.from_url",
        ("stream", "server_key", "key_file", "compress", "max_bandwidth"),
        says_kind=True,
    ),
    "nats": Scheme(
        "astropix_stream.log.receiver:NatsReceiver.from_url",
        (
            "stream",
            "site",
            "start",
            "domain",
            "creds",
            "nkey",
            "user",
            "password_file",
            "ca",
            "cert",
            "cert_key",
        ),
        says_kind=True,
    ),
    "file": Scheme("astropix_stream.file_receiver:FileReceiver.from_url", ("follow",), says_kind=True),
}
_EXAMPLE = "write udp://239.1.1.1:5007, tcp://relay:5556?stream=astropix or nats://host:4222?stream=astropix"
_SCHEME = "://"  # what has none is a path
NATS_PORT = 4222


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A checked source: its scheme, `host` and `port`, and the options that were given.

    `user` and `password` are those of a log's server.
    """

    scheme: str
    host: str
    port: int
    options: dict[str, Any] = field(default_factory=dict)
    others: tuple[tuple[str, int], ...] = ()
    """Further hosts and ports of the same log."""
    user: str = ""
    password: str = field(default="", repr=False)
    path: str = ""
    """Of a file; ``-`` is standard input."""

    @property
    def endpoint(self) -> str:
        """The address as ZeroMQ writes it: tcp://HOST:PORT."""
        return f"{self.scheme}://{','.join(addresses.joined(*server) for server in self.servers)}"

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Every host and port."""
        return ((self.host, self.port), *self.others)

    def __str__(self) -> str:  # never with user and password
        from urllib.parse import urlencode  # noqa: PLC0415  (`sock` imports this module: a DAQ does not pay)

        if self.scheme == "file":
            return self.path
        options = urlencode(self.options, safe=":/")
        return self.endpoint + (f"?{options}" if options else "")


def parse_url(url: str) -> SourceUrl:
    """Check a source's URL, or take a path: anything without ``://``.

    Raises
    ------
    ConfigError
        One line that says what is wrong and what would be right.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415

    if _SCHEME not in url:
        if not url.strip() or "\0" in url or "\n" in url:
            raise ConfigError(f"{url!r}: a source is a file, or a URL; {_EXAMPLE}")
        return SourceUrl("file", "", 0, path=url)
    full, url = url, _without_password(url)  # as it is told to people
    if not url.isprintable():
        raise ConfigError(f"{url!a}: a URL has printable characters only; {_EXAMPLE}")
    try:
        parts = urlsplit(full)
        if parts.scheme == "nats":
            return _parse_log(url, parts.netloc, parts.path, parts.fragment, parts.query)
        host, port = parts.hostname, parts.port
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError(f"{url!r}: {_wrong_address(url)}; {_EXAMPLE}") from None
    if parts.scheme == "file" or parts.scheme not in SCHEMES:
        *schemes, last = (f"{scheme}://" for scheme in SCHEMES if scheme != "file")
        known = f"{', '.join(schemes)} or {last}"
        raise ConfigError(f"{url!r}: a source begins with {known}, or is the path of a file; {_EXAMPLE}")
    if port == 0:
        raise ConfigError(f"{url!r}: {_wrong_address(url)}; {_EXAMPLE}")
    if not host or not port or parts.path or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{url!r}: a source is {parts.scheme}://HOST:PORT; {_EXAMPLE}")
    options = _parse_options(url, parts.scheme, parts.query)
    if parts.scheme == "udp":
        addresses.check_address(host, port)
        host = addresses.canonical(host)
        if "source" in options and addresses.is_address(options["source"]):
            options["source"] = addresses.canonical(options["source"])
    return SourceUrl(parts.scheme, host, port, options)


def _wrong_address(url: str) -> str:
    """Say what is wrong with a host and port that cannot be read."""
    import re  # noqa: PLC0415

    address = re.sub(r"^[^/]*//|[/?#].*$", "", url)
    if address.count(":") > 1 and not re.match(r"\[[^\[\]]*\](:|$)", address):
        return "an IPv6 address stands in brackets, as in [ff15::1]:5007"
    host, _, port = address.rpartition(":")
    if port.isascii() and port.isdecimal() and 0 < int(port) < 65536:
        return f"{host} is not an IPv6 address"
    return f"port must be from 1 to 65535, not {port!r}"


def _without_password(url: str) -> str:
    import re  # noqa: PLC0415

    return re.sub(r"//[^/?#]*@", "//", url)


def _parse_log(url: str, netloc: str, path: str, fragment: str, query: str) -> SourceUrl:
    """Check the URL of a log, which may name several servers, a user and a password."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415

    userinfo, at, hosts = netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    if (at and not (user and colon and password)) or path.strip("/") or fragment:
        raise ConfigError(f"{url!r}: a log is nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]; {_EXAMPLE}")
    servers = []
    for one in hosts.split(","):
        try:
            parts = urlsplit(f"nats://{one}")
            port = NATS_PORT if parts.port is None else parts.port
        except ValueError:
            raise ConfigError(f"{url!r}: {_wrong_address(f'nats://{one}')}; {_EXAMPLE}") from None
        if not parts.hostname or not port:
            raise ConfigError(f"{url!r}: a log is nats://HOST:PORT[,HOST:PORT]; {_EXAMPLE}")
        servers.append((parts.hostname, port))
    (host, port), *others = servers
    options = _parse_options(url, "nats", query)
    return SourceUrl("nats", host, port, options, tuple(others), unquote(user), unquote(password))


def _parse_options(url: str, scheme: str, query: str) -> dict[str, Any]:
    import difflib  # noqa: PLC0415
    from urllib.parse import parse_qsl  # noqa: PLC0415

    options: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        allowed = SCHEMES[scheme].options
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            *others, last = allowed
            known = f"{', '.join(others)} and {last}"
            hint = f"did you mean {close[0]!r}?" if close else f"{scheme}:// takes {known}"
            raise ConfigError(f"{url!r}: unknown option {key!r}; {hint}")
        if key in options or not value:
            raise ConfigError(f"{url!r}: give {key} once, with a value")
        options[key] = value
    return options
