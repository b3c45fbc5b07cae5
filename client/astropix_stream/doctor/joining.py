"""Joining: may this program have the port, and does the kernel keep the membership? Pure."""

import errno
import ipaddress
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from astropix_stream import errors
from astropix_stream.addresses import canonical
from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine, unknown

PROGRAM_KNOWN, PROGRAM_UNKNOWN = "to end it", "to see which it is"

PORT_TAKEN = Fault(
    "port-taken",
    "{owner} holds port {port} and does not share it",
    "A port of UDP belongs to one program, unless all of them share it (SO_REUSEADDR), as receivers of "
    "multicast have to. This one does not, and keeps everybody else out.",
    "stop it, or let it share the port",
    {PROGRAM_KNOWN: "kill {pid}", PROGRAM_UNKNOWN: "sudo ss -ulnp 'sport = :{port}'"},
    blocks=True,
)
TOO_MANY_GROUPS = Fault(
    "too-many-groups",
    "{group} cannot be joined: a program may not join so many groups",
    "The kernel limits how many groups a socket may join.",
    "raise the limit",
    "sudo sysctl -w net.ipv4.igmp_max_memberships=200",
    blocks=True,
)
CANNOT_JOIN = Fault(
    "cannot-join",
    "{group} cannot be joined: {reason}",
    "The kernel refuses the membership, for the reason given after the colon.",
    "follow the reason given",
    blocks=True,
)
NOT_A_MEMBER = Fault(
    "not-a-member",
    "the kernel has forgotten that {group} was joined on {interface}",
    "The socket joined, but /proc/net/igmp does not list the group: the interface lost its protocol for a "
    "moment (moved to another namespace, its MTU changed).",
    "switch the interface off and on; receivers and the relay then join again by themselves",
    "sudo ip link set {interface} down\nsudo ip link set {interface} up",
    blocks=True,
)
JOINED_ELSEWHERE = Fault(
    "joined-elsewhere",
    "programs of this host have joined {group} on {others}, and none on {interface}",
    "A monitor runs already, but has joined on another interface than the one that is examined here.",
    "name the interface in that program: interface='{interface}'",
)

FAULTS = (PORT_TAKEN, TOO_MANY_GROUPS, CANNOT_JOIN, NOT_A_MEMBER, JOINED_ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Owner:
    """A socket on the port: its local address, and the program, if we may see it."""

    address: str
    port: int
    inode: int
    dropped: int
    pid: int | None = None
    program: str = ""

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid})" if self.pid is not None else "another program"


def parse_udp(text: str, group: str, port: int) -> list[Owner]:
    """Find the sockets in /proc/net/udp or udp6 that may take in a group's datagrams.

    They are bound to the group or to any address. The last column is what the kernel dropped on each.
    """
    found = []
    group = canonical(group)
    for line in text.splitlines()[1:]:
        fields = line.split()
        packed, _, number = fields[1].partition(":")
        address = _parse_address(packed)
        if int(number, 16) == port and address in (group, "0.0.0.0", "::"):
            found.append(Owner(address, port, int(fields[9]), int(fields[12])))
    return found


def _parse_address(text: str) -> str:
    """Parse an address whose 32-bit words stand as numbers of the host's byte order."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(packed))


def judge_port(error: OSError | None, owners: Sequence[Owner], port: int) -> Verdict | None:
    """Judge whether the port could be had; silent where another check has to tell."""
    if error is None:
        others = ", ".join(sorted({str(owner) for owner in owners}))
        return fine("port", f"{port} is shared with {others}" if others else f"{port} is free")
    if error.errno != errno.EADDRINUSE:
        return None
    owner = next((owner for owner in owners if owner.pid is not None), None)
    if owner is None:
        return PORT_TAKEN.found("port", case=PROGRAM_UNKNOWN, owner="another program", port=port)
    return PORT_TAKEN.found("port", case=PROGRAM_KNOWN, owner=owner, port=port, pid=owner.pid)


def judge_membership(
    group: str, interface: str, error: OSError | None, listed: bool | None
) -> Verdict | None:
    """Judge whether the group is really joined, once we did so; silent where the port was refused."""
    if error is not None:
        if error.errno == errno.EADDRINUSE:
            return None
        if error.errno == errno.ENOBUFS:
            return TOO_MANY_GROUPS.found("membership", group=group)
        return CANNOT_JOIN.found("membership", group=group, reason=errors.explain(error))
    if listed is False:
        return NOT_A_MEMBER.found("membership", group=group, interface=interface)
    if listed is None:
        return unknown("membership", "this system does not tell which groups are joined")
    return fine("membership", f"the kernel lists {group} as joined on {interface}")


def judge_other_members(group: str, interface: str, others: Sequence[str]) -> Verdict | None:
    """Judge where other programs had joined before we did; silent if they did as we do."""
    if not others or interface in others:
        return None
    return JOINED_ELSEWHERE.found(
        "membership", mark=Mark.UNKNOWN, group=group, interface=interface, others=", ".join(others)
    )
