"""Addresses of multicast groups, as a person writes them. Pure."""

import ipaddress
import socket

from astropix_stream.errors import ConfigError


def check_address(group: str, port: int) -> socket.AddressFamily:
    """Return the address family of a group.

    Raises
    ------
    ConfigError
        `group` is not an IP address, or `port` is not one.
    """
    try:
        address = ipaddress.ip_address(str(group))  # a number would do for it, and for nothing else
    except ValueError:
        raise ConfigError(
            f"{group!r} is not an IP address; a group is one from 224.0.0.0 to 239.255.255.255, or ff00::/8"
        ) from None
    if getattr(address, "scope_id", None):
        raise ConfigError(f"{group!r}: name the interface by itself, not behind a %")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError(f"port {port!r}: a port is a number from 1 to 65535")
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def is_multicast(address: str) -> bool:
    """Return whether an IP address is that of a group."""
    return ipaddress.ip_address(address).is_multicast
