"""Open the receiver that a URL stands for."""

import functools
import pkgutil
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from astropix_stream.errors import ConfigError
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SCHEMES, SourceUrl, parse_url

R = TypeVar("R")


def open_receiver(
    readout_class: type[R],
    url: str | SourceUrl | Sequence[str | SourceUrl],
    *,
    timeout: float | None = None,
    stride: int | None = None,
    any_kind: bool = False,
    **options: Any,
) -> Receiver[R]:
    """Open the receiver that a URL stands for, or one that merges those of several.

    Parameters
    ----------
    readout_class
        Class of the readouts to return.
    url
        ``udp://GROUP:PORT[?interface=…&source=…]``, ``tcp://HOST:PORT[?stream=…]``, or the path of a file,
        ``-`` for standard input. A sequence of URLs is paths to the same readouts, each of which is then
        delivered once; a file is read alone.
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.
    stride
        The DAQ multicasts one readout in `stride`; by default one in one, or what a relay says of its stream.
    any_kind
        Take readouts even if a relay says that they are of another kind than `readout_class`. Without it,
        `receive` raises `ConfigError` then. Of multicast nobody says the kind.
    options
        Passed on to `sock.MulticastReceiver` or `relay.RelayReceiver`.

    Raises
    ------
    ConfigError, OSError
        As those classes do.
    """
    if stride is not None:
        options["stride"] = stride
    if isinstance(url, str | SourceUrl):
        return _open_one(readout_class, url, any_kind=any_kind, timeout=timeout, **options)
    from astropix_stream.receiving.merged import open_merged  # noqa: PLC0415

    checked = [parse_url(one) if isinstance(one, str) else one for one in url]
    if file := next((one for one in checked if one.scheme == "file"), None):
        raise ConfigError(f"{file}: a file is read alone, not as one of several paths to the same readouts")
    if thinned := next((one for one in checked if "max_bandwidth" in one.options), None):
        raise ConfigError(
            f"{thinned}: what max_bandwidth leaves out would look lost beside another path: open it alone"
        )
    opening = (functools.partial(_open_one, readout_class, one, any_kind=any_kind) for one in checked)
    return open_merged(readout_class, opening, timeout=timeout, **options)


def _open_one(readout_class: type[R], url: str | SourceUrl, *, any_kind: bool, **options: Any) -> Receiver[R]:
    source = parse_url(url) if isinstance(url, str) else url
    if SCHEMES[source.scheme].says_kind:
        options["any_kind"] = any_kind
    opener: Opener[R] = pkgutil.resolve_name(SCHEMES[source.scheme].opener)
    return opener(readout_class, source, **options)


class Opener(Protocol[R]):
    """Opens the source of a URL."""

    def __call__(self, readout_class: type[R], source: SourceUrl, /, **options: Any) -> Receiver[R]:
        """Return its receiver; `options` are those of the receiver's class."""
