"""IP addresses, groups and ports as a person writes them. Pure."""

import ipaddress
from functools import lru_cache

from astropix_stream.errors import ConfigError

# Where a DAQ multicasts, unless somebody says otherwise.
DEFAULT_GROUP = "239.1.1.1"
DEFAULT_PORT = 5007
_LINK_SCOPE = 2  # scope, in the second byte of an IPv6 group (RFC 4291), up to which it is of one link


def check_address(address: str, port: int) -> int:
    """Return the IP version of a group's or host's address, 4 or 6.

    Raises
    ------
    ConfigError
        `address` is not an IP address, or `port` is not a port.
    """
    try:
        parsed = ipaddress.ip_address(str(address))  # a number would do for it, and for nothing else
    except ValueError:
        raise ConfigError(
            f"{address!r} is not an IP address; a group is one from 224.0.0.0 to 239.255.255.255, or ff00::/8"
        ) from None
    if getattr(parsed, "scope_id", None):
        raise ConfigError(f"{address!r}: name the interface separately, not after a %")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError(f"port must be from 1 to 65535, not {port!r}")
    return parsed.version


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def is_multicast(address: str) -> bool:
    """Return whether an IP address is that of a group."""
    return ipaddress.ip_address(address).is_multicast


def is_of_one_link(address: str) -> bool:
    """Return whether an IPv6 address means something only together with an interface."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 4:
        return False
    return parsed.is_link_local or (parsed.is_multicast and parsed.packed[1] & 0x0F <= _LINK_SCOPE)


@lru_cache(maxsize=1024)
def canonical(address: str) -> str:
    """Return the one spelling of an address: ``FF02::1`` and ``ff02:0::1`` are ``ff02::1``."""
    return str(ipaddress.ip_address(address))


def unmapped(address: str) -> str:
    """Return an IPv4 address as such, where IPv6 has it mapped into its own: ``::ffff:10.0.0.2``."""
    head, _, ipv4 = address.rpartition(":")
    return ipv4 if head.lower() == "::ffff" and is_address(ipv4) else address


def joined(host: str, port: int) -> str:
    """Write a host and a port as one text, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
