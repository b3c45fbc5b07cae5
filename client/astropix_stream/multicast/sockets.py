"""The kernel's side of multicast: interfaces, memberships, socket options, batched reads, drop counts.

Everything that a platform may lack is a constant of this module that is None there (binding to a group's
address, IP_MULTICAST_ALL, SO_RXQ_OVFL, recvmmsg); whoever uses it falls back. Numbers that Python's `socket`
does not name are from Linux's headers <linux/in.h>, <linux/in6.h> and <asm-generic/socket.h>.
"""

import contextlib
import errno
import os
import socket
import struct
import sys
from typing import NamedTuple

from astropix_stream.addresses import check_address, is_multicast, is_of_one_link
from astropix_stream.arguments import check_whole
from astropix_stream.errors import ConfigError
from astropix_stream.multicast.interfaces import _LINUX, FAMILIES, Interface, _index_of

# On Windows a socket cannot be bound to a group's address; other groups and unicast then arrive too.
BIND_TO_GROUP = sys.platform != "win32"
# Without these a socket also receives every group that any other program on the host has joined.
IP_MULTICAST_ALL: int | None = 49 if _LINUX else None
IPV6_MULTICAST_ALL: int | None = 29 if _LINUX else None
# Receives from one interface only. IPv6 needs it: there a member of a group on one interface also receives
# what arrives for the group on another, once any other program on the host has joined it there.
SO_BINDTOIFINDEX: int | None = 62 if _LINUX else None
# With each datagram, the number that the kernel has dropped on this socket so far.
SO_RXQ_OVFL: int | None = 40 if _LINUX else None
# Makes send() report what a full queueing discipline throws away (ENOBUFS) instead of success. Set for groups
# only: to a unicast address it would also report that nothing listened to an earlier datagram (ECONNREFUSED),
# and not send the present one.
IP_RECVERR: int | None = 11 if _LINUX else None
IPV6_RECVERR: int | None = 25 if _LINUX else None
# Joins one source of a group, by interface index, for both address families (RFC 3678).
MCAST_JOIN_SOURCE_GROUP: int | None = 46 if _LINUX else None
MCAST_LEAVE_SOURCE_GROUP: int | None = 47 if _LINUX else None

# How full a socket's queue is: nine u32, named SK_MEMINFO_* in <linux/sock_diag.h>.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")

RECEIVE_BUFFER = 8 << 20  # bytes asked of the kernel: about 10 000 small datagrams, 0.2 s at 50 000/s
SEND_BUFFER = 1 << 20  # bytes asked of the kernel, so that a burst of large readouts waits instead of failing


def open_sending(group: str, port: int, *, interface: Interface, ttl: int, loop: bool) -> socket.socket:
    """Open a non-blocking socket that sends to `group` through `interface`."""
    ttl = check_whole("ttl", ttl, 0, 255)
    sock = socket.socket(checked_family(group, port, interface), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        ask_buffer(sock, socket.SO_SNDBUF, SEND_BUFFER)
        if is_multicast(group):
            _set_multicast_sender(sock, ttl, loop)
            choose_interface(sock, interface)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_multicast_sender(sock: socket.socket, ttl: int, loop: bool) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, loop)
        if IP_RECVERR is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, loop)
        if IPV6_RECVERR is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)


def choose_interface(sock: socket.socket, interface: Interface) -> None:
    """Send multicast through `interface`; without one, the kernel takes that of the route."""
    if sock.family == socket.AF_INET6 and interface.index:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, interface.index)
    elif sock.family == socket.AF_INET and (interface.index or interface.address):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _ipv4_interface(interface))


def socket_address(
    group: str, port: int, interface: Interface
) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address to bind or send to as `socket` takes it: with the link that it is on, for IPv6."""
    return (group, port, 0, interface.index) if ":" in group else (group, port)


def checked_family(group: str, port: int, interface: Interface) -> socket.AddressFamily:
    """Return the address family of a group.

    Raises
    ------
    ConfigError
        As `check_address`; or it is a group of one link, and the interface is not known.
    """
    family = FAMILIES[check_address(group, port)]
    if is_of_one_link(group) and not interface.index:
        raise ConfigError(f"{group} is valid on one link only: name the interface, as in interface=eth1")
    return family


def _ipv4_interface(interface: Interface, group: str = "0.0.0.0") -> bytes:
    """Return a struct ip_mreqn (or what Windows takes instead): the group, and the interface by its index."""
    if sys.platform == "win32":  # 0.x.x.x is an index there
        chosen = (
            socket.inet_aton(interface.address) if interface.address else struct.pack("!I", interface.index)
        )
        return socket.inet_aton(group) + chosen if group != "0.0.0.0" else chosen
    address = socket.inet_aton(interface.address or "0.0.0.0") if not interface.index else b"\0\0\0\0"
    return struct.pack("4s4si", socket.inet_aton(group), address, interface.index)


def open_receiving(
    group: str, port: int, *, interface: Interface, receive_buffer: int = RECEIVE_BUFFER
) -> socket.socket:
    """Open a non-blocking socket bound to `group`; it receives nothing of a group until `join`.

    Bound to the group's address, another group's or a unicast datagram on the port stays out. Where the
    platform cannot bind so, they arrive too, and only the check of their bytes keeps them out.
    For IPv6 it is bound to the interface too: once that is deleted, open another socket for the next one.
    """
    family = checked_family(group, port, interface)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        ask_buffer(sock, socket.SO_RCVBUF, receive_buffer)
        if SO_RXQ_OVFL is not None:
            sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        if is_multicast(group):
            _share_port(sock)
            _keep_others_out(sock, interface)
        if BIND_TO_GROUP or not is_multicast(group):
            sock.bind(socket_address(group, port, interface))
        else:
            sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(sock: socket.socket) -> None:
    """Let several receivers on a host each get every multicast datagram.

    Not for unicast addresses: there the kernel hands each datagram to one socket only, so that a second
    receiver would take the data away from the first without either noticing.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not _LINUX and hasattr(socket, "SO_REUSEPORT"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _keep_others_out(sock: socket.socket, interface: Interface) -> None:
    """Receive what the socket itself joins, and nothing that others on the host have joined."""
    if sock.family == socket.AF_INET and IP_MULTICAST_ALL is not None:
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    if sock.family == socket.AF_INET6 and IPV6_MULTICAST_ALL is not None:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
    if sock.family == socket.AF_INET6 and SO_BINDTOIFINDEX is not None:
        with contextlib.suppress(PermissionError):  # before Linux 5.7 it takes CAP_NET_RAW
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, interface.index)


def ask_buffer(sock: socket.socket, option: int, size: int) -> int:
    """Ask for a socket buffer of `size` bytes; return what the kernel gave."""
    with contextlib.suppress(OSError):  # macOS refuses too large a size; the default then stays
        sock.setsockopt(socket.SOL_SOCKET, option, size)
    return buffer_size(sock, option)


def buffer_size(sock: socket.socket, option: int) -> int:
    """Return the size of a socket buffer as its user may fill it (Linux counts twice, for its own needs)."""
    given = sock.getsockopt(socket.SOL_SOCKET, option)
    return given // 2 if _LINUX else given


class SocketMemory(NamedTuple):
    """How full a socket's receive queue is, and what it dropped so far; known without a further datagram.

    `queued` and `limit` are bytes as the kernel counts them, with its overhead.
    """

    queued: int
    limit: int
    dropped: int


def socket_memory(sock: socket.socket) -> SocketMemory | None:
    """Return the fill of a socket's receive queue and its drops (u32, wraps)."""
    try:
        numbers = _MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return None
    return SocketMemory(numbers[0], numbers[1], numbers[8])


def join(sock: socket.socket, group: str, interface: Interface, source: str | None = None) -> None:
    """Join `group` on `interface`, from anyone or from `source` only. A second join is not an error."""
    _change_membership(sock, group, interface, source, joining=True)


def leave(sock: socket.socket, group: str, interface: Interface, source: str | None = None) -> None:
    """Leave `group`; not having joined is not an error."""
    with contextlib.suppress(OSError):
        _change_membership(sock, group, interface, source, joining=False)


def _change_membership(
    sock: socket.socket, group: str, interface: Interface, source: str | None, *, joining: bool
) -> None:
    if not is_multicast(group):
        return
    try:
        if source is not None:
            _change_source(sock, group, interface, source, joining=joining)
        elif sock.family == socket.AF_INET:
            option = socket.IP_ADD_MEMBERSHIP if joining else socket.IP_DROP_MEMBERSHIP
            sock.setsockopt(socket.IPPROTO_IP, option, _ipv4_interface(interface, group))
        else:
            option = socket.IPV6_JOIN_GROUP if joining else socket.IPV6_LEAVE_GROUP
            packed = socket.inet_pton(socket.AF_INET6, group.partition("%")[0])
            sock.setsockopt(socket.IPPROTO_IPV6, option, struct.pack("16sI", packed, interface.index))
    except OSError as error:
        # What the kernel says of a group that is joined already; and of a source.
        if error.errno != (errno.EADDRINUSE if source is None else errno.EADDRNOTAVAIL):
            raise


def _change_source(
    sock: socket.socket, group: str, interface: Interface, source: str, *, joining: bool
) -> None:
    if FAMILIES[check_address(source, 1)] != sock.family:
        raise ConfigError(f"source {source!r} is not of the same address family as the group {group}")
    option = MCAST_JOIN_SOURCE_GROUP if joining else MCAST_LEAVE_SOURCE_GROUP
    if option is None:
        raise OSError(errno.EOPNOTSUPP, "joining a single source is supported on Linux only")
    level = socket.IPPROTO_IP if sock.family == socket.AF_INET else socket.IPPROTO_IPV6
    index = interface.index or (_index_of(interface.name) if interface.name else 0)
    # struct group_source_req: the interface's index and two sockaddr_storage
    request = struct.pack("I4x128s128s", index, _sockaddr(group), _sockaddr(source))
    sock.setsockopt(level, option, request)


def _sockaddr(address: str) -> bytes:
    address = address.partition("%")[0]
    if ":" in address:
        return struct.pack("HHI", socket.AF_INET6, 0, 0) + socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("HH", socket.AF_INET, 0) + socket.inet_aton(address)


def enlarge_hint(asked: int) -> str:
    """Return the command that lets programs have receive buffers of `asked` bytes."""
    return f"sudo sysctl -w net.core.rmem_max={asked}" if os.name == "posix" else ""
