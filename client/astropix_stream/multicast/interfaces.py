"""The network interfaces of this host, and what an operator can do about an error of the network.

Numbers that Python's `socket` does not name are from Linux's headers; where the platform does not tell, the
constant is None and whoever asks falls back.
"""

import array
import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from dataclasses import dataclass, replace

from astropix_stream.addresses import check_address, is_multicast
from astropix_stream.errors import ConfigError
from astropix_stream.multicast import links

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
"""Address families by IP version."""

_LINUX = sys.platform == "linux"


# Lists the IPv4 addresses of all interfaces.
_SIOCGIFCONF: int | None = 0x8912 if _LINUX else None


_IPV6_ADDRESSES = "/proc/net/if_inet6"  # the same for IPv6, on Linux


# Tells whether an interface is up and its cable connected.
_SIOCGIFFLAGS: int | None = 0x8913 if _LINUX else None


IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_MULTICAST = 0x1, 0x8, 0x40, 0x1000


_IFREQ_SIZE = 40  # struct ifreq of 64-bit Linux: 16 bytes of name, then a sockaddr


_MAX_ADDRESSES = 1024


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface: its own name whichever one a person wrote, its index, or an IPv4 address of it.

    The index survives a change of address, so it is what the kernel is given where a name was written.
    """

    name: str | None = None
    index: int = 0
    address: str | None = None

    def __str__(self) -> str:
        if self.name and self.address:
            return f"{self.address} ({self.name})"
        return self.name or self.address or "the interface of the route"


def find_interface(interface: str | None, version: int) -> Interface:
    """Look up an interface by a name or an address of it, for groups of an IP version.

    A name is the interface's own, an alternative one (``ip link property add … altname``), or the label of
    one of its IPv4 addresses (``eth0:1``), which stands for that address.

    Raises
    ------
    OSError
        ENODEV: there is none of this name; the text lists those there are.
    ConfigError
        An IPv4 address for an IPv6 group, or the reverse.
    """
    if interface is None:
        return Interface()
    try:
        address = ipaddress.ip_address(interface)
    except ValueError:
        return _find_by_name(interface, version)
    if address.version != version:
        raise ConfigError(f"interface {interface!r} is an IPv{address.version} address, the group is not")
    if address.version == 4:
        return Interface(_name_of_ipv4(interface), 0, interface)
    scope = getattr(address, "scope_id", None)
    name = scope or _name_of_ipv6(ipaddress.IPv6Address(interface))
    if name is None:
        raise OSError(errno.ENODEV, f"no interface has the address {interface}; name the interface instead")
    index = _index_of(name)
    return Interface(_own_name(index, name), index, interface)


def find_to_join(interface: str | None, group: str, port: int) -> Interface:
    """Return the interface to join a group on, with the index that it has now.

    Without a name it is the one that the route to the group takes.

    Raises
    ------
    OSError, ConfigError
        As `find_interface`; ENETUNREACH where there is no name and no route.
    """
    version = check_address(group, port)
    if interface is None and is_multicast(group):
        interface = local_address(group, port)
        if interface is None:
            raise OSError(
                errno.ENETUNREACH,
                "no interface is named and there is no route to the group: name the interface, or "
                f"`ip route add {'ff00::/8' if version == 6 else '224.0.0.0/4'} dev …`",
            )
    found = find_interface(interface, version)
    if found.name is not None and not found.index:  # an address: watch the interface that has it
        found = replace(found, index=_index_of(found.name))
    return found


def _find_by_name(name: str, version: int) -> Interface:
    if ":" in name and _SIOCGIFCONF is not None:  # for IPv6, and by its index, the kernel takes any label
        address = next((has for label, has in _labelled_addresses() if label == name), None)
        if address is None:
            raise _no_interface(name)
        if version == 4:
            return Interface(name.partition(":")[0], 0, address)
        name = name.partition(":")[0]
    index = _index_of(name)
    return Interface(_own_name(index, name), index)


def _own_name(index: int, name: str) -> str:
    """Return what the interface itself is called, where `name` may be an alternative name."""
    try:
        return socket.if_indextoname(index)
    except OSError:  # gone at this very moment
        return name


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        index = links.find_by_altname(name)
        if index is None:
            raise _no_interface(name) from None
        return index


def _no_interface(name: str) -> OSError:
    there = ", ".join(known for _, known in socket.if_nameindex())
    return OSError(errno.ENODEV, f"no interface is called {name!r}; there are: {there}")


def _name_of_ipv4(address: str) -> str | None:
    """Return the interface that has this address; None if there is none, or the platform does not tell."""
    wanted = socket.inet_aton(address)  # also where a person wrote 127.1
    return next((name for name, has in _ipv4_addresses() if socket.inet_aton(has) == wanted), None)


def _name_of_ipv6(address: ipaddress.IPv6Address) -> str | None:
    return next((name for name, has in _ipv6_addresses() if has == str(address)), None)


def addresses(version: int) -> list[tuple[str, str]]:
    """Return name and address of every interface, by IP version; nothing where the platform does not tell."""
    return _ipv4_addresses() if version == 4 else _ipv6_addresses()


def _ipv4_addresses() -> list[tuple[str, str]]:
    return [(label.partition(":")[0], has) for label, has in _labelled_addresses()]


def _labelled_addresses() -> list[tuple[str, str]]:
    """Return the label and the IPv4 address of each; a further address may be labelled "eth0:1"."""
    if _SIOCGIFCONF is None:
        return []
    import fcntl  # noqa: PLC0415  (not on Windows)

    found = array.array("B", bytes(_IFREQ_SIZE * _MAX_ADDRESSES))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("iP", len(found), found.buffer_info()[0])
        size, _ = struct.unpack("iP", fcntl.ioctl(probe, _SIOCGIFCONF, request))
    entries = (struct.unpack_from("16s4x4s", found, at) for at in range(0, size, _IFREQ_SIZE))
    return [(name.partition(b"\0")[0].decode(), socket.inet_ntoa(has)) for name, has in entries]


def _ipv6_addresses() -> list[tuple[str, str]]:
    try:
        with open(_IPV6_ADDRESSES) as lines:
            fields = [line.split() for line in lines]
    except OSError:
        return []
    return [(field[5], str(ipaddress.IPv6Address(bytes.fromhex(field[0])))) for field in fields]


def in_use(chosen: Interface, group: str, port: int) -> Interface | str:
    """Return the interface that packets to or from `group` take, to tell a person."""
    if chosen != Interface():
        return chosen
    address = local_address(group, port)
    if address is None:
        return "no interface yet: there is no route"
    with contextlib.suppress(OSError):  # not every platform tells whose address it is
        return find_interface(address, check_address(group, port))
    return address


def has_link(interface: Interface) -> bool:
    """Return whether an interface is still there, up and its cable connected; if nobody tells, that it is."""
    if interface.name is None or _SIOCGIFFLAGS is None:
        return True
    try:
        if interface.index and socket.if_nametoindex(interface.name) != interface.index:
            return False
    except OSError:
        return False
    flags = interface_flags(interface.name)
    return flags is not None and is_running(flags)


def is_running(flags: int) -> bool:
    """Return whether an interface with these flags is up and its cable connected."""
    return bool(flags & IFF_UP and flags & IFF_RUNNING)


def interface_flags(name: str) -> int | None:
    """Return an interface's flags (IFF_…); None if there is no such interface, or nobody tells."""
    if _SIOCGIFFLAGS is None:
        return None
    import fcntl  # noqa: PLC0415  (not on Windows)

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
    except OSError:
        return None
    return int(struct.unpack_from("=16xH", answer)[0])


def local_address(group: str, port: int) -> str | None:
    """Return the address that the route to `group` sends from; None without a route. Sends nothing."""
    version = check_address(group, port)
    try:
        with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as probe:
            probe.connect((group, port))
            return str(probe.getsockname()[0])
    except OSError:
        return None
