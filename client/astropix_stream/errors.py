"""Every exception of the project.

::

    AstropixError
    ├── FormatError(ValueError)       bytes that are not a readout or an .apx file
    ├── WireError(ValueError)         frames that are not the relay protocol's
    ├── ConfigError(ValueError)       a configuration, URL or option that a person got wrong
    ├── ReceiveTimeout(TimeoutError)  nothing arrived in the time that the caller allowed
    ├── RefusedError(ConnectionRefusedError)  a relay that does not let this client in
    └── ClosedError(ValueError)       a sender or receiver used after close()

Bytes from outside raise the first two and nothing else. An `OSError` passes through, with the group, port
and interface in its text.
"""

import errno
import os


class AstropixError(Exception):
    """Base of every exception that this project raises itself."""


class FormatError(AstropixError, ValueError):
    """Bytes that are not a readout, or not an .apx file."""


class WireError(AstropixError, ValueError):
    """Frames that do not follow the relay protocol."""


class ConfigError(AstropixError, ValueError):
    """A configuration, URL or option that is wrong; the text says what would be right."""


class ReceiveTimeout(AstropixError, TimeoutError):
    """No readout arrived within the caller's timeout."""


class RefusedError(AstropixError, ConnectionRefusedError):
    """The relay does not let this client in; the text says why, as far as it tells."""


class ClosedError(AstropixError, ValueError):
    """A sender or receiver was used after it was closed."""


# One sentence for the operator at each errno.
ADVICE = {
    errno.ENODEV: "the interface does not exist, or does not have this address (see `ip address`)",
    errno.EADDRNOTAVAIL: "no interface of this host has this address (see `ip address`)",
    errno.EADDRINUSE: "another program holds this port without sharing it (see `ss -ulnp`)",
    errno.ENETUNREACH: "the interface is down, or there is no route to the group: name the interface, "
    "or `ip route add 224.0.0.0/4 dev …`",
    errno.EHOSTUNREACH: "the network does not reach this address",
    errno.ENETDOWN: "the interface is down (`ip link set … up`)",
    errno.EPERM: "a firewall rule on this host forbids it (`nft list ruleset`)",
    errno.EACCES: "this user may not use the port: take one from 1024 on",
    errno.ENOBUFS: "the interface's queue is full, or too many groups are joined (igmp_max_memberships)",
    errno.EAGAIN: "the send buffer is full: the interface is slower than the sender",
    errno.EMSGSIZE: "larger than a datagram can be",
    errno.ECONNREFUSED: "nothing listens at this address",
}


def explain(error: OSError) -> str:
    """Return what an operator can do about `error`, in one sentence."""
    number = error.errno or 0
    text = error.strerror or str(error)
    if number in ADVICE and text == os.strerror(number):  # else somebody has explained it already
        return f"{text}: {ADVICE[number]}"
    return text


def with_context(error: OSError, what: str) -> OSError:
    """Return an error of the same errno whose text says `what` was tried, and what helps."""
    return type(error)(error.errno, f"{what}: {explain(error)}")
