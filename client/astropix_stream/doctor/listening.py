"""Listen for a while: on every interface for the group, and as root for what comes before the sockets."""

import contextlib
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from astropix_stream import clock
from astropix_stream.batch import Source
from astropix_stream.doctor.arrivals import Heard, Sighting, parse_ipv4, parse_ipv6
from astropix_stream.doctor.path import Link, WayIn
from astropix_stream.fmt import ASTROPIX4, Kind
from astropix_stream.multicast import interfaces, memberships, sockets
from astropix_stream.url import SourceUrl

_MAX_READS = 100  # of one socket before the others have their turn
_SIZE, _CONTROL_SIZE = 65536, 256
_IP_RECVTTL, _IP_TTL = 12, 2  # <linux/in.h>
_SO_BINDTODEVICE = 25
_OUTGOING = 4  # PACKET_OUTGOING: what this host itself sends
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_IGMP_QUERY, _MLD_QUERY = 0x11, 130
_ICMP6_FILTER = 1
_INT = struct.Struct("=i")
_DROPS = struct.Struct("=I")


@dataclass(slots=True)
class Listening:
    """What was found out by listening.

    Attributes
    ----------
    heard
        What arrived, by interface ('' for an address that is no group).
    error
        Why the examined interface could not be listened to.
    joined_before
        Indexes of the interfaces on which other programs had joined; None where it is not told.
    is_listed
        Whether the kernel listed our own membership afterwards.
    granted
        Bytes of receive buffer that the kernel gave; 0 without a socket.
    seen
        What reached the interface before any filter; None where we may not see it.
    queriers
        Addresses that asked for memberships; None where we may not hear them.
    """

    heard: dict[str, Heard] = field(default_factory=dict)
    error: OSError | None = None
    joined_before: set[int] | None = None
    is_listed: bool | None = None
    granted: int = 0
    seen: Counter[Sighting] | None = None
    queriers: list[str] | None = None


def listen(source: SourceUrl, path: WayIn | None, seconds: float, kind: Kind = ASTROPIX4) -> Listening:
    """Listen for so long, for readouts of a kind; `path` is None for an address that is no group."""
    found = Listening(joined_before=memberships.memberships(source.host))
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for link in _links(path):
            name = link.name if link is not None else ""
            try:
                sock = opened.enter_context(_open(source, link))
            except OSError as error:
                if link is None or path is None or link == path.chosen:
                    found.error = error
                continue
            found.heard[name] = Heard(kind=kind)
            found.granted = found.granted or sockets.buffer_size(sock, socket.SO_RCVBUF)
            selector.register(sock, selectors.EVENT_READ, _to_heard(sock, found.heard[name]))
        if path is not None and path.chosen is not None:
            _watch(found, source.host, path.chosen, opened, selector)
        _run(selector, seconds)
        if path is not None and path.chosen is not None:
            found.is_listed = memberships.is_member(source.host, path.chosen.index)
    return found


def _links(path: WayIn | None) -> Sequence[Link | None]:
    """Return where to listen: on the examined interface, and on all others that may have the group."""
    if path is None:
        return [None]
    others = [link for link in path.links if link.is_usable and link != path.chosen]
    return [path.chosen, *others] if path.chosen is not None else others


def _open(source: SourceUrl, link: Link | None) -> socket.socket:
    """Open a socket that receives the group on one interface, from anyone."""
    interface = interfaces.Interface() if link is None else interfaces.Interface(link.name, link.index)
    sock = sockets.open_receiving(source.host, source.port, interface=interface)
    try:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sockets.join(sock, source.host, interface)
    except BaseException:
        sock.close()
        raise
    return sock


def _to_heard(sock: socket.socket, heard: Heard) -> Callable[[], None]:
    def read() -> None:
        data, controls, _, address = sock.recvmsg(_SIZE, _CONTROL_SIZE)
        ttl = None
        for level, kind, value in controls:
            if (level, kind) in ((socket.IPPROTO_IP, _IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
                ttl = _INT.unpack(value)[0]
            elif (level, kind) == (socket.SOL_SOCKET, sockets.SO_RXQ_OVFL):
                heard.dropped = _DROPS.unpack(value)[0]
        heard.note(data, Source(address[0].partition("%")[0], address[1]), ttl, clock.now())

    return read


def _watch(
    found: Listening, group: str, link: Link, opened: contextlib.ExitStack, selector: selectors.BaseSelector
) -> None:
    """Watch what comes before the sockets; the kernel lets root only."""
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: not on Linux
        sock = opened.enter_context(_open_packets(group, link))
        found.seen = Counter()
        selector.register(sock, selectors.EVENT_READ, _to_seen(sock, found.seen, group))
    with contextlib.suppress(OSError, AttributeError):
        sock = opened.enter_context(_open_queries(group, link))
        found.queriers = []
        selector.register(sock, selectors.EVENT_READ, _to_queriers(sock, found.queriers))


def _open_packets(group: str, link: Link) -> socket.socket:
    protocol = _ETH_P_IPV6 if ":" in group else _ETH_P_IP
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # 0: nothing, until it is bound
    return _bound(sock, lambda: sock.bind((link.name, protocol)))


def _open_queries(group: str, link: Link) -> socket.socket:
    if ":" not in group:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    else:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        kinds = bytearray(b"\xff" * 32)  # a bit each, set for those that are kept away
        kinds[_MLD_QUERY // 8] &= ~(1 << _MLD_QUERY % 8) & 0xFF
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, kinds)
    device = link.name.encode()
    return _bound(sock, lambda: sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTODEVICE, device))


def _bound(sock: socket.socket, bind: Callable[[], Any]) -> socket.socket:
    try:
        sock.setblocking(False)
        bind()
    except BaseException:
        sock.close()
        raise
    return sock


def _to_seen(sock: socket.socket, seen: Counter[Sighting], group: str) -> Callable[[], None]:
    parse = parse_ipv6 if ":" in group else parse_ipv4

    def read() -> None:
        packet, address = sock.recvfrom(_SIZE)
        sighting = parse(packet) if address[2] != _OUTGOING else None
        if sighting is not None:
            seen[sighting] += 1

    return read


def _to_queriers(sock: socket.socket, queriers: list[str]) -> Callable[[], None]:
    def read() -> None:
        packet, address = sock.recvfrom(_SIZE)
        begin = (packet[0] & 0x0F) * 4 if sock.family == socket.AF_INET else 0
        if packet[begin : begin + 1] in (bytes([_IGMP_QUERY]), bytes([_MLD_QUERY])):
            querier = address[0].partition("%")[0]
            if querier not in queriers:
                queriers.append(querier)

    return read


def _run(selector: selectors.BaseSelector, seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while (left_s := deadline_s - time.monotonic()) > 0:
        if not selector.get_map():
            return
        for key, _ in selector.select(left_s):
            with contextlib.suppress(OSError):  # nothing more waits; or the interface is down
                for _ in range(_MAX_READS):
                    key.data()
