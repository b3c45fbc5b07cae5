"""The firewall's rules, walked with the packets that have to pass. Pure.

`nft` and `iptables` parse what their tools print into the chains here. Where a test cannot be decided (a
rate limit, a mark), the rule may apply or not, and so the verdict may be 'perhaps'.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine, unknown

# Who keeps the rules, and is to be told.
FIREWALLD, UFW = "where firewalld keeps the rules", "where ufw does"
IPTABLES, NFT = "where iptables does", "elsewhere"

FIREWALL = Fault(
    "firewall",
    "the firewall drops what is sent to {group}:{port}: {rule}",
    "A rule of this host's firewall, or a chain that drops what no rule accepts, keeps the readouts from "
    "every program. The kernel has received them by then: tcpdump shows them.",
    "let them pass; put the same rule where the firewall's rules are kept, or it is gone after a restart",
    {
        FIREWALLD: "sudo firewall-cmd --add-port={port}/udp",
        UFW: "sudo ufw allow in proto udp to {group} port {port}",
        IPTABLES: "{insert} -d {group} -p udp --dport {port} -j ACCEPT",
        NFT: "{insert} {ip} daddr {group} udp dport {port} accept",
    },
    blocks=True,
)
FIREWALL_IGMP = Fault(
    "firewall-igmp",
    "the firewall drops IGMP: {rule}",
    "With IGMP a host tells the switch which groups it wants, and is asked every two minutes whether it "
    "still does. On a network whose switches listen to that (IGMP snooping) readouts stop after some four "
    "minutes, or never begin.",
    "let IGMP pass",
    {IPTABLES: "{insert} -p igmp -j ACCEPT", NFT: "{insert} ip protocol igmp accept"},
)

FAULTS = (FIREWALL, FIREWALL_IGMP)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as rules look at it; what is not known is absent, and leaves a test undecided.

    Attributes
    ----------
    version
        4 or 6.
    values
        Values by the names that nft gives them: 'iifname', 'l4proto', 'ip daddr', 'udp dport', …
    """

    version: int
    values: Mapping[str, str | int]


#: A test of a packet: whether it matches; None if that cannot be told.
Test = Callable[[Packet], bool | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """Some tests, and what happens to a packet that passes all of them.

    `verdict` is 'accept', 'drop', 'return', or 'jump NAME', 'goto NAME'; empty where the walk goes on.
    """

    tests: Sequence[Test]
    verdict: str
    where: str


@dataclass(slots=True)
class Chain:
    """Rules in their order; a chain with a `hook` is one that the kernel calls."""

    name: str
    hook: str = ""
    policy: str = "accept"
    version: int | None = None
    """4 or 6, if it sees packets of one kind only."""
    device: str | None = None
    """The interface whose packets it sees; None: all."""
    rules: list[Rule] = field(default_factory=list)
    insert: str = ""
    """The command that puts a rule in front, less the rule."""
    table: str = ""
    """Family and name of its table."""


class Fate(Enum):
    """What may become of a packet."""

    PASSES = "passes"
    DROPPED = "dropped"
    GOES_ON = "goes on"
    """To what follows the chain."""


#: All that may become of a packet: more than one where a test cannot be decided. With the rule that does it.
Fates = dict[Fate, str]

_MAX_DEPTH = 16  # jumps within jumps, as nft itself allows


def walk(chain: Chain, chains: Mapping[str, Chain], packet: Packet) -> Fates:
    """Walk a chain that the kernel calls with a packet; `chains` are those of its table, by name."""
    fates = _walk_rules(chain, chains, packet, 0)
    if Fate.GOES_ON in fates:
        del fates[Fate.GOES_ON]
        by_policy = Fate.PASSES if chain.policy == "accept" else Fate.DROPPED
        fates.setdefault(by_policy, f"{chain.table} {chain.name}, which drops what no rule accepts")
    return fates


def _walk_rules(chain: Chain, chains: Mapping[str, Chain], packet: Packet, depth: int) -> Fates:
    fates: Fates = {}
    for rule in chain.rules:
        applies = _all([test(packet) for test in rule.tests])
        if applies is False:
            continue
        further = _follow(rule, chains, packet, depth)
        goes_on = further.pop(Fate.GOES_ON, None) is not None
        fates = further | fates
        if goes_on and rule.verdict.startswith(("return", "goto")):  # the rest of this chain is skipped
            fates[Fate.GOES_ON] = ""
            goes_on = False
        if applies and not goes_on:
            return fates
    fates[Fate.GOES_ON] = ""
    return fates


def _all(answers: Sequence[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def _follow(rule: Rule, chains: Mapping[str, Chain], packet: Packet, depth: int) -> Fates:
    kind, _, target = rule.verdict.partition(" ")
    if kind in ("jump", "goto"):
        if target not in chains or depth >= _MAX_DEPTH:
            return {Fate.GOES_ON: ""}
        return _walk_rules(chains[target], chains, packet, depth + 1)
    return {{"accept": Fate.PASSES, "drop": Fate.DROPPED}.get(kind, Fate.GOES_ON): rule.where}


@dataclass(frozen=True, slots=True)
class Drop:
    """A chain that drops a packet, or perhaps does, and by which rule."""

    chain: Chain
    where: str
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All tables: each a mapping of its chains by name."""

    tables: Sequence[Mapping[str, Chain]]

    def find_drop(self, packet: Packet, hooks: Sequence[str]) -> Drop | None:
        """Return what drops a packet at some hooks; what perhaps does only if nothing surely does."""
        drops = [
            Drop(chain, fates[Fate.DROPPED], len(fates) == 1)
            for chains in self.tables
            for chain in chains.values()
            if chain.hook in hooks and _sees(chain, packet)
            if Fate.DROPPED in (fates := walk(chain, chains, packet))
        ]
        return min(drops, key=lambda drop: not drop.is_certain, default=None)


def _sees(chain: Chain, packet: Packet) -> bool:
    interface = packet.values.get("iifname", packet.values.get("oifname"))
    return chain.version in (None, packet.version) and chain.device in (None, interface)


INPUT = ("ingress", "prerouting", "input")
OUTPUT = ("output", "postrouting", "egress")


def readout_packet(group: str, port: int, interface: str, source: str | None) -> Packet:
    """Return a readout on its way in, as far as it is known."""
    version = 6 if ":" in group else 4
    ip = "ip6" if version == 6 else "ip"
    values: dict[str, str | int] = {
        "iifname": interface, "iif": interface, "pkttype": "multicast",
        "nfproto": f"ipv{version}", "protocol": ip,
        "l4proto": "udp", "ip protocol": "udp", "ip6 nexthdr": "udp",
        "udp dport": port, "th dport": port, f"{ip} daddr": group,
        "ct state": "new",  # nobody ever answers a DAQ, so that it stays so
    }  # fmt: skip
    if source is not None:
        values[f"{ip} saddr"] = source
    return Packet(version, values)


def igmp_packets(group: str, interface: str) -> list[tuple[Packet, Sequence[str]]]:
    """Return a querier's question and our report, with the hooks that they pass; nothing for IPv6."""
    if ":" in group:
        return []
    common: dict[str, str | int] = {
        "pkttype": "multicast", "nfproto": "ipv4", "protocol": "ip", "l4proto": "igmp",
        "ip protocol": "igmp", "ct state": "new",
    }  # fmt: skip
    query = common | {"iifname": interface, "iif": interface, "ip daddr": "224.0.0.1"}
    report = common | {"oifname": interface, "oif": interface, "ip daddr": "224.0.0.22"}
    return [(Packet(4, query), INPUT), (Packet(4, report), OUTPUT)]


def judge_readouts(rules: Ruleset | None, packet: Packet, group: str, port: int, *, hears: bool) -> Verdict:
    """Judge whether the firewall lets readouts pass; `hears`: they arrive, whatever the rules are."""
    if hears:
        return fine("firewall", f"lets {group}:{port} pass")
    if rules is None:
        return unknown("firewall", "its rules cannot be read", needs_root=True)
    drop = rules.find_drop(packet, INPUT)
    if drop is None:
        return fine("firewall", f"no rule drops {group}:{port}")
    return FIREWALL.found(
        "firewall",
        mark=Mark.WRONG if drop.is_certain else Mark.UNKNOWN,
        case=_keeper(drop.chain),
        group=group,
        port=port,
        rule=drop.where if drop.is_certain else f"perhaps, {drop.where}",
        insert=drop.chain.insert,
        ip="ip6" if packet.version == 6 else "ip",
    )


def judge_igmp(rules: Ruleset | None, packets: Sequence[tuple[Packet, Sequence[str]]]) -> Verdict | None:
    """Judge whether the firewall lets IGMP pass; silent where it does.

    That it does not is no more than suspicious: it does harm on networks that listen to IGMP only.
    """
    if rules is None:
        return None
    for packet, hooks in packets:
        drop = rules.find_drop(packet, hooks)
        if drop is not None and drop.is_certain:
            case = IPTABLES if "iptables" in drop.chain.insert else NFT
            return FIREWALL_IGMP.found(
                "firewall", mark=Mark.UNKNOWN, case=case, rule=drop.where, insert=drop.chain.insert
            )
    return None


def _keeper(chain: Chain) -> str:
    """Return which program keeps the rules: what another one inserts is gone when it writes them again."""
    if "firewalld" in chain.table:
        return FIREWALLD
    if any("ufw" in rule.verdict for rule in chain.rules):
        return UFW
    return IPTABLES if "iptables" in chain.insert else NFT
