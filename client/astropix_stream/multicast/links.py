"""What Linux's rtnetlink tells of interfaces: their long alternative names, and each change of one.

Answers are None where there is no rtnetlink; then names have at most 15 characters, and changes are noticed
by looking. Numbers are from <linux/netlink.h>, <linux/rtnetlink.h> and <linux/if_link.h>.
"""

import contextlib
import errno
import socket
import struct

_ALTNAME_SIZE = 128  # ALTIFNAMSIZ, with the NUL at the end
_RTM_GETLINK, _RTM_NEWLINK = 18, 16
_NLM_F_REQUEST = 1
_IFLA_ALT_IFNAME = 53
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400  # RTMGRP_*
_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_INTERFACE = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_TIMEOUT_S = 1.0  # the kernel answers within the call


def find_by_altname(name: str) -> int | None:
    """Return the index of the interface with this alternative name; None if there is none.

    The C library finds those of up to 15 bytes by itself.
    """
    text = name.encode(errors="surrogateescape") + b"\0"
    if not name or "\0" in name or len(text) > _ALTNAME_SIZE:
        return None
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), _IFLA_ALT_IFNAME) + text
    body = _INTERFACE.pack(0, 0, 0, 0, 0) + attribute + bytes(-len(attribute) % 4)
    request = _MESSAGE.pack(_MESSAGE.size + len(body), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + body
    sock = _open()
    if sock is None:
        return None
    with sock:
        sock.settimeout(_TIMEOUT_S)
        with contextlib.suppress(OSError, struct.error):
            sock.send(request)
            answer = sock.recv(1 << 16)
            if _MESSAGE.unpack_from(answer)[1] == _RTM_NEWLINK:
                return int(_INTERFACE.unpack_from(answer, _MESSAGE.size)[2])
    return None


def open_changes() -> socket.socket | None:
    """Return a non-blocking socket that is readable once a link, an address or a route has changed."""
    sock = _open(_LINK | _IPV4_ADDRESS | _IPV6_ADDRESS | _IPV4_ROUTE | _IPV6_ROUTE)
    if sock is not None:
        sock.setblocking(False)
    return sock


def take_changes(sock: socket.socket) -> bool:
    """Forget what is told in a socket of `open_changes`; return whether it was anything."""
    changed = False
    while True:
        try:
            sock.recv(1)  # of each message the rest is dropped
        except BlockingIOError:
            return changed
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # that one: more has changed than found room
                return changed
        changed = True


def _open(groups: int = 0) -> socket.socket | None:
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
    except OSError:  # a sandbox may forbid it
        return None
    try:
        sock.bind((0, groups))
    except OSError:
        sock.close()
        return None
    return sock
