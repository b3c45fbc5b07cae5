"""Every exception of the project.

::

    AstropixError
    ├── FormatError(ValueError)       bytes that are not a readout or an .apx file
    ├── WireError(ValueError)         frames that are not the relay protocol's
    ├── ConfigError(ValueError)       a configuration, URL or option that a person got wrong
    ├── ReceiveTimeout(TimeoutError)  nothing arrived in the time that the caller allowed
    ├── RefusedError(ConnectionRefusedError)  a relay that does not let this client in
    └── ClosedError(ValueError)       a sender or receiver used after close()

Bytes from outside raise the first two and nothing else. These have an `offset` and a `reason`, for programs::

    try:
        readouts = list(apx_open("run.apx"))
    except FormatError as error:
        print(error.offset, error.reason)  # 4127 begins with 00 fe dc, not with the magic fe dc ba

An `OSError` passes through, with the group, port
and interface in its text.
"""

import errno
import os


class AstropixError(Exception):
    """Base of every exception that this project raises itself."""


class _WrongBytes(AstropixError, ValueError):
    """What the errors about bytes have in common: where the bytes are wrong, and why.

    Parameters
    ----------
    text : str
        The message for a person.
    offset : int, optional
        See the attribute.
    reason : str, optional
        See the attribute; by default the text, if there is an offset.

    Attributes
    ----------
    offset : int or None
        Bytes before the item that is wrong (a readout, a field, a record), counted from the beginning of
        what was parsed: a file, a datagram, a frame. Where the bytes end too early, it is their number or
        where the incomplete item begins. None where no byte is wrong (a kind without a class), or where the
        place is not known (a pipe, JSON of other types).
    reason : str or None
        What is wrong there, without the name of the file and the place; None where no byte is wrong.
    """

    def __init__(self, text: str = "", *, offset: int | None = None, reason: str | None = None) -> None:
        super().__init__(text)
        self.offset = offset
        self.reason = text if reason is None and offset is not None else reason


class FormatError(_WrongBytes):
    """Bytes that are not a readout, or not an .apx file; `offset` and `reason` say where and why."""


class WireError(_WrongBytes):
    """Frames that do not follow the relay protocol; `offset` and `reason` say where and why."""


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
    errno.ENETUNREACH: "the interface is down, or no route leads there: name the interface, or add a route "
    "(`ip route add … dev …`)",
    errno.EHOSTUNREACH: "the network does not reach this address",
    errno.ENETDOWN: "the interface is down (`ip link set … up`)",
    errno.EPERM: "a firewall rule on this host forbids it (`nft list ruleset`)",
    errno.EACCES: "this user may not use the port: take one from 1024 on",
    errno.ENOBUFS: "the interface's queue is full, or too many groups are joined (igmp_max_memberships)",
    errno.EAGAIN: "the send buffer is full: the interface is slower than the sender",
    errno.EMSGSIZE: "larger than a datagram can be",
    errno.ECONNREFUSED: "nothing listens at this address",
}


# Where they are another thing of TCP than of UDP.
_ADVICE_TCP = {errno.EADDRINUSE: "another program listens on this port (see `ss -tlnp`)"}


def explain(error: OSError, *, tcp: bool = False) -> str:
    """Return what an operator can do about `error`, of a UDP socket or a TCP one, in one sentence."""
    number = error.errno or 0
    text = error.strerror or str(error)
    advice = (_ADVICE_TCP if tcp else {}).get(number) or ADVICE.get(number)
    if advice and text == os.strerror(number):  # else somebody has explained it already
        return f"{text}: {advice}"
    return text


def with_context(error: OSError, what: str, *, tcp: bool = False) -> OSError:
    """Return an error of the same errno whose text says `what` was tried; `tcp` as in `explain`."""
    return type(error)(error.errno, f"{what}: {explain(error, tcp=tcp)}")
