"""Where readouts come from, as a person writes it: ``udp://GROUP:PORT`` or ``tcp://HOST:PORT``.

======================================================  ==================================================
``udp://239.1.1.1:5007``                                a multicast group
``udp://239.1.1.1:5007?interface=eth1&source=10.0.0.2`` joined on one interface, from one DAQ only
``udp://[ff15::1]:5007?interface=eth1``                 an IPv6 group
``tcp://relay:5556``                                    a relay with one stream
``tcp://relay:5556?stream=astropix``                    one stream of a relay
``…?server_key=relay.key&key_file=me.key_secret``       a relay with encryption: its key, and ours
======================================================  ==================================================
"""

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from astropix_analysis import multicast
from astropix_analysis.errors import ConfigError
from astropix_analysis.receiver import Receiver

R = TypeVar("R")

_OPTIONS = {"udp": ("interface", "source"), "tcp": ("stream", "server_key", "key_file")}
_EXAMPLE = "write udp://239.1.1.1:5007 or tcp://relay:5556?stream=astropix"


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A checked source: ``udp`` or ``tcp``, where, and the options that were given."""

    scheme: str
    host: str
    port: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The address as ZeroMQ writes it: tcp://HOST:PORT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        options = urlencode(self.options, safe=":")
        return self.endpoint + (f"?{options}" if options else "")


def parse_url(url: str) -> SourceUrl:
    """Check a source's URL.

    Raises
    ------
    ConfigError
        One line that says what is wrong and what would be right.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r}: {str(error).lower()}; {_EXAMPLE}") from None
    if parts.scheme not in _OPTIONS:
        raise ConfigError(f"{url!r}: a source begins with udp:// or tcp://; {_EXAMPLE}")
    if not host or not port or parts.path or parts.fragment or "@" in parts.netloc:
        raise ConfigError(f"{url!r}: a source is {parts.scheme}://HOST:PORT; {_EXAMPLE}")
    options = _parse_options(url, parts.scheme, parts.query)
    if parts.scheme == "udp":
        multicast.check_address(host, port)
    return SourceUrl(parts.scheme, host, port, options)


def _parse_options(url: str, scheme: str, query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _OPTIONS[scheme]:
            close = difflib.get_close_matches(key, _OPTIONS[scheme], n=1)
            *others, last = _OPTIONS[scheme]
            known = f"{', '.join(others)} and {last}"
            hint = f"did you mean {close[0]!r}?" if close else f"{scheme}:// takes {known}"
            raise ConfigError(f"{url!r}: unknown option {key!r}; {hint}")
        if key in options or not value:
            raise ConfigError(f"{url!r}: give {key} once, with a value")
        options[key] = value
    return options


def open_receiver(
    readout_class: type[R],
    url: str | SourceUrl | Sequence[str | SourceUrl],
    *,
    timeout: float | None = None,
    stride: int = 1,
    **options: Any,
) -> Receiver[R]:
    """Open the receiver that a URL stands for, or one that merges those of several.

    Parameters
    ----------
    readout_class
        Class of the readouts to return.
    url
        ``udp://GROUP:PORT[?interface=…&source=…]`` or ``tcp://HOST:PORT[?stream=…]``. A sequence of them is
        ways to the same readouts, each of which is then delivered once.
    timeout
        Seconds that `receive` and iteration wait for a readout; None for ever.
    stride
        The DAQ multicasts one readout in `stride`.
    options
        Passed on to `sock.MulticastReceiver` or `relay.RelayReceiver`.

    Raises
    ------
    ConfigError, OSError
        As those classes do.
    """
    if isinstance(url, str | SourceUrl):
        return _open_one(readout_class, url, timeout=timeout, stride=stride, **options)
    from astropix_analysis.merged import open_merged  # noqa: PLC0415

    opening = (functools.partial(_open_one, readout_class, one) for one in url)
    return open_merged(readout_class, opening, timeout=timeout, stride=stride, **options)


def _open_one(readout_class: type[R], url: str | SourceUrl, **options: Any) -> Receiver[R]:
    source = parse_url(url) if isinstance(url, str) else url
    if source.scheme == "udp":
        from astropix_analysis.sock import MulticastReceiver  # noqa: PLC0415

        return MulticastReceiver(readout_class, source.host, source.port, **source.options, **options)
    from astropix_analysis.relay import RelayReceiver  # noqa: PLC0415  (a DAQ host has no ZeroMQ)

    return RelayReceiver(readout_class, source.endpoint, **source.options, **options)
