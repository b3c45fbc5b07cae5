"""TCP sockets that listen on every address of this host, of IPv6 and IPv4, with one socket for both."""

import contextlib
import socket
from functools import lru_cache

EVERYWHERE = "*"
"""Stands for every address of this host."""


@lru_cache(maxsize=1)
def has_ipv6() -> bool:
    """Return whether this host has IPv6: a kernel may be without, or have it turned off."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return True
    return False


def address_to_bind(host: str) -> tuple[socket.AddressFamily, str]:
    """Return family and address of a host: ``*`` is ``::``, or ``0.0.0.0`` where there is no IPv6."""
    if host == EVERYWHERE:
        host = "::" if has_ipv6() else "0.0.0.0"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), host


def open_bound(host: str, port: int) -> socket.socket:
    """Return a TCP socket bound to an address, or to ``*``; old connections of the port do not count.

    Raises
    ------
    OSError
        It cannot be bound.
    """
    family, host = address_to_bind(host)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
