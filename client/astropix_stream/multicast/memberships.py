"""What the kernel tells of multicast besides the datagrams: memberships and links.

Each question has a pure half that parses, and a thin one that reads. All answers are None where the kernel
does not tell, so that a receiver never depends on them.
"""

import socket
import sys

from astropix_stream import addresses
from astropix_stream.multicast import interfaces

# Not /proc/net: that is the network namespace of the process's first thread.
PROC_NET = "/proc/thread-self/net"


def can_hear(group: str, interface: interfaces.Interface) -> bool:
    """Return whether datagrams of a joined group would arrive: the membership and the link are there.

    An interface that was deleted and made again has another index, and no membership any more.
    """
    if not interfaces.has_link(interface):
        return False
    if interface.name is None or not addresses.is_multicast(group):
        return True
    return is_member(group, interface.index or socket.if_nametoindex(interface.name)) is not False


def is_member(group: str, index: int) -> bool | None:
    """Return whether the kernel lists `group` as joined on the interface of this index, by anyone.

    It forgets a membership that a socket still believes in when the interface loses its protocol for a while:
    moved to another namespace and back, or an MTU below 1280 for IPv6.
    """
    joined = memberships(group)
    return None if joined is None else index in joined


def memberships(group: str) -> set[int] | None:
    """Return the indexes of the interfaces on which anyone has joined `group`."""
    group = addresses.canonical(group)
    everything = all_memberships(6 if ":" in group else 4)
    return None if everything is None else {index for index, joined in everything if joined == group}


def all_memberships(version: int) -> set[tuple[int, str]] | None:
    """Return the groups that anyone has joined, each with the index of the interface, by IP version."""
    text = read_proc_net("igmp6" if version == 6 else "igmp")
    if text is None:
        return None
    return parse_igmp6(text) if version == 6 else parse_igmp(text)


def parse_igmp(text: str) -> set[tuple[int, str]]:
    """Parse /proc/net/igmp: a line for each interface, then one, indented, for each group on it."""
    found, index = set(), 0
    for line in text.splitlines()[1:]:
        fields = line.split()
        if not line.startswith("\t"):
            index = int(fields[0])
        else:  # the address as a number of the host's byte order
            found.add((index, socket.inet_ntoa(int(fields[0], 16).to_bytes(4, sys.byteorder))))
    return found


def parse_igmp6(text: str) -> set[tuple[int, str]]:
    """Parse /proc/net/igmp6: a line for each interface and group."""
    lines = [line.split() for line in text.splitlines()]
    return {(int(f[0]), socket.inet_ntop(socket.AF_INET6, bytes.fromhex(f[2]))) for f in lines}


def read_proc_net(name: str) -> str | None:
    """Read a file of /proc/net, in the network namespace of this thread."""
    try:
        with open(f"{PROC_NET}/{name}") as file:
            return file.read()
    except OSError:
        return None
