"""Addresses, endpoints and interfaces as they stand in a configuration: pydantic types that check them.

Pure: no name is looked up, so that a configuration means the same on every host.
"""

import ipaddress
import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from astropix_stream.addresses import canonical, check_address, is_address, is_multicast, joined
from astropix_stream.checking.quantities import show
from astropix_stream.errors import ConfigError


class Address(NamedTuple):
    """Where a TCP server listens: a host of `*` is every address, a port of 0 any that is free."""

    host: str
    port: int

    def overlaps(self, other: "Address") -> bool:
        """Whether the two cannot both be bound."""
        if self.port != other.port or not self.port:
            return False
        return self.host == other.host or self._covers(other) or other._covers(self)

    def _covers(self, other: "Address") -> bool:
        """Whether this takes in every address of the other's kind: `*` and `::` those of IPv4 too."""
        return self.host in {"*", "::"} or (self.host == "0.0.0.0" and ":" not in other.host)

    def is_loopback(self) -> bool:
        """Whether only programs on this host can connect."""
        return self.host != "*" and ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return joined(self.host, self.port)


def parse_listen_address(text: str) -> Address:
    """Parse `ADDRESS:PORT`; an IPv6 address stands in brackets, and `*` is all addresses.

    Raises
    ------
    ConfigError
        It is not that, or the port is one of those below 1024, which only root may use.
    """
    match = re.fullmatch(r"(?:\[([^\[\]]*:[^\[\]]*)\]|([^\[\]:]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None:
        raise ConfigError(f"{show(text)} is not ADDRESS:PORT, such as 127.0.0.1:5556, [::1]:5556 or *:5556")
    host, port = match[1] or match[2], int(match[3])
    if host != "*" and not is_address(host):
        raise ConfigError(f"{show(host)} is not an address: write 127.0.0.1, [::1] or * (all addresses)")
    if port and not 1024 <= port <= 65535:
        raise ConfigError(f"port {port} is not from 1024 to 65535 (those below are root's)")
    return Address(host if host == "*" else canonical(host), port)


def tcp_address(endpoint: str) -> Address | None:
    """Return where a checked endpoint listens; None for one that is not TCP."""
    return parse_listen_address(endpoint.removeprefix("tcp://")) if endpoint.startswith("tcp://") else None


def _check_group(text: str) -> str:
    check_address(text, 1)
    address = ipaddress.ip_address(text)
    if address.is_unspecified:
        raise ValueError(f"{text} would take in every datagram on the port")
    return str(address)  # one spelling, so that equal groups are found equal


def _check_source(text: str) -> str:
    if not is_address(text) or is_multicast(text):
        raise ValueError(f"{show(text)} is not the IP address of a sender")
    return str(ipaddress.ip_address(text))


# The kernel's rule for a name, less what is surely a mistyped address. An alternative name may have 127
# characters, and the label of an address is the interface's name and more behind a colon, 15 in all.
_INTERFACE_NAME = re.compile(
    r"(?![0-9.]+(:|$))"
    r"([!-.0-9;-~]{1,127}|(?=.{3,15}$)[!-.0-9;-~]+:[!-.0-9;-~]+)"
)


def _check_interface(text: str) -> str:
    if is_address(text):
        return str(ipaddress.ip_address(text))
    if not _INTERFACE_NAME.fullmatch(text):
        raise ValueError(f"{show(text)} is neither an address nor the name of an interface")
    return text


def _check_endpoint(text: str) -> str:
    if re.fullmatch(r"ipc://[!-~]{1,100}", text):  # a Unix socket's path has at most 107 bytes
        return text
    if not text.startswith("tcp://"):
        raise ValueError(f"{show(text)} is not an endpoint, such as tcp://127.0.0.1:5556 or tcp://*:5556")
    return f"tcp://{parse_listen_address(text.removeprefix('tcp://'))}"


def _check_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(
            f"{show(text)} is neither an address nor a network, such as 192.0.2.7 or 192.0.2.0/24"
        ) from None


_ENDPOINT_PATTERN = {"pattern": r"^(tcp://(\*|[0-9.]+|\[[0-9a-fA-F:.]+\]):(0|[0-9]{4,5})|ipc://.+)$"}
_GROUP_EXAMPLES = {"examples": ["239.1.1.1", "ff15::1"]}

GroupAddress = Annotated[str, AfterValidator(_check_group), Field(json_schema_extra=_GROUP_EXAMPLES)]
PortNumber = Annotated[int, Field(strict=True, ge=1024, le=65535)]
SourceAddress = Annotated[str, AfterValidator(_check_source)]
NetworkAddress = Annotated[str, AfterValidator(_check_network)]
InterfaceName = Annotated[str, AfterValidator(_check_interface)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint), Field(json_schema_extra=_ENDPOINT_PATTERN)]
ListenAddress = Annotated[str, AfterValidator(lambda text: str(parse_listen_address(text)))]
