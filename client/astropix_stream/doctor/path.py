"""The interface that a program joins on: is there one, and does it carry multicast? Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine
from astropix_stream.url import SourceUrl

IPV4, IPV6 = "IPv4", "IPv6"

NO_ROUTE = Fault(
    "no-route",
    "no route to {group}",
    "A program that names no interface joins on the one that the route to the group takes. Without a route "
    "it joins nowhere.",
    "give the group a route, or name the interface in the program: '{url}'",
    {
        IPV4: "sudo ip route add 224.0.0.0/4 dev {interface}",
        IPV6: "sudo ip -6 route add ff00::/8 dev {interface} table local",
    },
    blocks=True,
)
NO_INTERFACE = Fault(
    "no-interface",
    "no interface of this host is up, except the loopback interface",
    "No network is connected to this host, or none is set up.",
    "plug the cable in, or bring up the interface of the detector's network; this lists all interfaces",
    "ip address",
    blocks=True,
)
INTERFACE_DOWN = Fault(
    "interface-down",
    "{interface} is down",
    "The interface is switched off, and its routes with it.",
    "switch it on",
    "sudo ip link set {interface} up",
    blocks=True,
)
NO_LINK = Fault(
    "no-link",
    "{interface} has no link",
    "The interface is on, but nothing answers at the other end of its cable.",
    "plug the cable in at both ends, and check that the switch is on",
    blocks=True,
)
NO_MULTICAST = Fault(
    "no-multicast",
    "{interface} does not carry multicast",
    "The interface's MULTICAST flag is off, as it is by default on some tunnels: the network card does not "
    "let the group pass.",
    "turn multicast on",
    "sudo ip link set {interface} multicast on",
    blocks=True,
)
NO_ADDRESS = Fault(
    "no-address",
    "{interface} has no {family} address",
    "Without an address the kernel may refuse what arrives, and its request to join has no source address.",
    "give it one of the detector's network",
    "sudo ip address add ADDRESS/24 dev {interface}",
    blocks=True,
)
OTHER_INTERFACE = Fault(
    "other-interface",
    "readouts arrive on {other}, but {interface} is joined",
    "The host has several interfaces, and the program joins on one that is not the detector's: it names "
    "the wrong one, or none and the route to the group leads elsewhere.",
    "name the interface in the program",
    "apx receive '{url}'",
    blocks=True,
)

FAULTS = (NO_ROUTE, NO_INTERFACE, INTERFACE_DOWN, NO_LINK, NO_MULTICAST, NO_ADDRESS, OTHER_INTERFACE)


@dataclass(frozen=True, slots=True)
class Link:
    """An interface as the kernel describes it; `addresses` are those of the group's family."""

    name: str
    index: int
    is_up: bool = True
    has_link: bool = True
    has_multicast: bool = True
    is_loopback: bool = False
    addresses: tuple[str, ...] = ()
    driver: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether multicast of another host can arrive on it."""
        return self.is_up and self.has_link and not self.is_loopback


@dataclass(frozen=True, slots=True)
class WayIn:
    """How a program comes to the interface that it joins on.

    Attributes
    ----------
    group
        The group.
    links
        All interfaces.
    chosen
        The interface that is examined; None if there is none to examine.
    by
        'name', if a person named it; 'route', if the route to the group takes it; '' if neither does, and it
        is the one that would probably be meant.
    """

    group: str
    links: Sequence[Link]
    chosen: Link | None
    by: str


def choose(group: str, links: Sequence[Link], named: str | None, routed: str | None) -> WayIn:
    """Find the interface to examine: the one named, or that of the route, or the one that may be to blame.

    When an interface goes down its routes go too, so that one which has an address and is down is the cause
    of a missing route rather than its victim.
    """
    by_name = {link.name: link for link in links}
    if named is not None:
        return WayIn(group, links, by_name.get(named), "name")
    if routed is not None:
        return WayIn(group, links, by_name.get(routed), "route")
    down = [link for link in links if not link.is_loopback and not link.is_up and link.addresses]
    return WayIn(group, links, down[0] if down else None, "")


def judge_route(path: WayIn, heard_on: Sequence[str], source: SourceUrl) -> Verdict | None:
    """Judge whether a program finds an interface to join on; `heard_on` has the group's readouts."""
    link = path.chosen
    if link is not None:
        if not path.by:
            return None  # the interface is down: the next check says it
        way = "as named" if path.by == "name" else f"the route to {path.group} takes it"
        only = "; nothing leaves or enters this machine there" if link.is_loopback else ""
        return fine("route", f"{link.name} ({way}{only})")
    usable = [found for found in path.links if found.is_usable]
    if not usable:
        return NO_INTERFACE.found("interface")
    interface = min(usable, key=lambda found: (found.name not in heard_on, not found.has_multicast)).name
    url = with_option(source, "interface", interface)
    return NO_ROUTE.found("route", case=_family(path), group=path.group, interface=interface, url=url)


def _family(path: WayIn) -> str:
    return IPV6 if ":" in path.group else IPV4


def judge_link(path: WayIn, heard_on: Sequence[str]) -> Verdict | None:
    """Judge the interface that is examined."""
    link = path.chosen
    if link is None:
        return None
    if not link.is_up:
        return INTERFACE_DOWN.found("interface", interface=link.name)
    if not link.has_link:
        return NO_LINK.found("interface", interface=link.name)
    if not link.has_multicast and not link.is_loopback:
        return NO_MULTICAST.found("interface", interface=link.name)
    if not link.addresses and link.name not in heard_on:
        return NO_ADDRESS.found("interface", interface=link.name, family=_family(path))
    addresses = ", ".join(link.addresses) or "none"
    return fine("interface", f"{link.name} is up and carries multicast (address: {addresses})")


def judge_other_interfaces(path: WayIn, heard_on: Sequence[str], source: SourceUrl) -> Verdict | None:
    """Judge whether readouts arrive on an interface that is not joined; silent where all is well."""
    link = path.chosen
    if link is None or not heard_on or link.name in heard_on:
        return None
    other = heard_on[0]
    mark = Mark.WRONG if link.is_up else Mark.UNKNOWN
    url = with_option(source, "interface", other)
    return OTHER_INTERFACE.found("route", mark=mark, other=other, interface=link.name, url=url)


def with_option(source: SourceUrl, key: str, value: str) -> str:
    """Return a source's URL with an option that mends it."""
    return str(replace(source, options=source.options | {key: value}))
