"""What arrived while we listened: from whom, with which TTL, and is it what a DAQ sends? Pure."""

import ipaddress
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from astropix_stream import fmt
from astropix_stream.batch import Drained, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.doctor.path import with_option
from astropix_stream.doctor.verdict import Fault, Mark, Verdict, fine, unknown
from astropix_stream.fitting import Doubt
from astropix_stream.fmt import Kind
from astropix_stream.multicast.intake import Intake
from astropix_stream.url import SourceUrl

ON_NETWORK, ON_THIS_HOST = "on the DAQ's host", "where DAQ and monitor are one host"

NOTHING_ARRIVES = Fault(
    "nothing-arrives",
    "nothing arrived on {group}:{port} in {listened}",
    "This host is ready, but no datagram of the group comes: the DAQ does not send, it sends to another "
    "group or port or with a TTL of 0, or a switch or router on the way does not forward the group.",
    "check whether the DAQ sends, and where to; or send simulated readouts from its host",
    {
        ON_NETWORK: "apx simulate --group {group} --port {port} --interface INTERFACE",
        ON_THIS_HOST: "apx simulate --group {group} --port {port} --interface {interface} --ttl 0",
    },
)
OTHER_ADDRESS = "if the readouts come from another address"

NOT_READOUTS = Fault(
    "not-readouts",
    "{count} of {total} datagrams are not readouts ({reasons}); they come from {sources}",
    "Another program sends to the same group and port, or the DAQ sends something other than AstroPix "
    "readouts. Receivers skip such datagrams and count them as rejected.",
    "give each program a group or a port of its own, or receive from the DAQ's address only",
    {OTHER_ADDRESS: "apx receive '{url}'"},
)
OTHER_KIND = Fault(
    "other-kind",
    "{doubt}",
    "The readouts are probably of another kind of chip, or damaged on the way. Programs that take them for "
    "this kind find hits that no pixel had, or none.",
    "ask whoever runs the DAQ which chip it reads; readouts of any kind can be recorded",
    "apx record '{url}' run.apx --kind astropix3",
)
OTHER_SOURCE = Fault(
    "other-source",
    "readouts come from {sources}, none from {wanted}",
    "The program asks for the readouts of one address only (`source`), and the DAQ has another one.",
    "ask for the address that sends",
    "apx receive '{url}'",
    blocks=True,
)
OTHER_GROUP = Fault(
    "other-group",
    "nothing for {group}:{port}, but readouts for {others} reach {interface}",
    "The DAQ and the program do not agree on group and port.",
    "use the group and port that the DAQ sends to",
    "apx receive '{url}'",
    blocks=True,
)
STOPPED_INSIDE = Fault(
    "stopped-inside",
    "readouts reach {interface}, but no program",
    "The network brings the readouts, and something in this host drops them before the socket: a firewall "
    "rule or setting that is not among those checked here.",
    "check the firewall's rules, and those of traffic control",
    "sudo nft list ruleset\ntc filter show dev {interface} ingress",
    blocks=True,
)

FAULTS = (NOTHING_ARRIVES, NOT_READOUTS, OTHER_KIND, OTHER_SOURCE, OTHER_GROUP, STOPPED_INSIDE)

_MOST_NAMED = 3  # sources in a line


@dataclass(slots=True)
class Heard:
    """What a socket received, by source."""

    readouts: Counter[Source] = field(default_factory=Counter)
    strays: Counter[Source] = field(default_factory=Counter)
    ttls: dict[Source, set[int]] = field(default_factory=dict)
    dropped: int = 0
    """Datagrams that the kernel dropped on this socket."""
    kind: Kind = fmt.ASTROPIX4
    """What the readouts are decoded as."""
    doubt: Doubt = field(default_factory=Doubt)
    """Whether they are of that kind."""
    _ledger: StreamLedger = field(default_factory=StreamLedger)
    _intake: Intake | None = None

    def note(self, datagram: bytes, source: Source, ttl: int | None, now: Moment) -> None:
        """Note a datagram."""
        if self._intake is None:
            self._intake = Intake(self._ledger)
        is_readout = bool(self._intake.take(Drained(datagram, (len(datagram),), (source,), (), False), now))
        (self.readouts if is_readout else self.strays)[source] += 1
        if is_readout and self.doubt.open:
            self.doubt.note(self.kind.readout_class.from_bytes(datagram))
        if ttl is not None:
            self.ttls.setdefault(source, set()).add(ttl)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Why datagrams were no readouts, with counts."""
        return self._ledger.rejected

    def addresses(self) -> set[str]:
        """Return the addresses that sent readouts."""
        return {source.address for source in self.readouts}


class Sighting(NamedTuple):
    """Somebody's datagrams to somewhere, as they reach an interface, before any filter."""

    source: str
    group: str
    port: int
    is_readout: bool


def parse_ipv4(packet: bytes) -> Sighting | None:
    """Read an IPv4 packet; None if it carries no UDP to a group, or is not the first fragment."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != 17:
        return None
    if int.from_bytes(packet[6:8], "big") & 0x1FFF or not 224 <= packet[16] <= 239:
        return None
    source, group = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
    return _parse_udp(source, group, packet[(packet[0] & 0x0F) * 4 :])


def parse_ipv6(packet: bytes) -> Sighting | None:
    """Read an IPv6 packet without extension headers; None if it carries no UDP to a group."""
    if len(packet) < 40 or packet[0] >> 4 != 6 or packet[6] != 17 or packet[24] != 0xFF:
        return None
    source, group = (str(ipaddress.IPv6Address(packet[at : at + 16])) for at in (8, 24))
    return _parse_udp(source, group, packet[40:])


def _parse_udp(source: str, group: str, udp: bytes) -> Sighting | None:
    if len(udp) < 8:
        return None
    return Sighting(source, group, int.from_bytes(udp[2:4], "big"), udp[8:11] == fmt.MAGIC)


def judge_arrivals(
    source: SourceUrl,
    interface: str | None,
    heard: Heard | None,
    seen: Counter[Sighting] | None,
    listened: str,
    *,
    explained: bool,
) -> Verdict:
    """Judge what arrived.

    Parameters
    ----------
    source
        What was listened for.
    interface
        Where; None if nowhere.
    heard
        What the socket received; None if it could not be opened.
    seen
        What reached the interface before any filter; None if that could not be seen.
    listened
        For how long, in words.
    explained
        Another check has found why nothing can arrive: whether the DAQ sends then cannot be told.
    """
    if heard is not None and heard.readouts:
        return _judge_sources(source, heard, listened)
    if heard is not None and heard.strays:
        return unknown("arrivals", f"no readouts from {_name(heard.strays)} in {listened}")
    if explained:
        return unknown("arrivals", f"nothing of {source.host}:{source.port} can arrive, for the reason above")
    for_us = [one for one in seen or () if (one.group, one.port) == (source.host, source.port)]
    if for_us:
        return STOPPED_INSIDE.found("arrivals", interface=interface)
    others = sorted({(one.group, one.port) for one in seen or () if one.is_readout})
    if others:
        url = str(replace(source, host=others[0][0], port=others[0][1]))
        names = ", ".join(f"{group}:{port}" for group, port in others[:_MOST_NAMED])
        return OTHER_GROUP.found(
            "arrivals", group=source.host, port=source.port, others=names, interface=interface, url=url
        )
    case = ON_THIS_HOST if interface == "lo" else ON_NETWORK
    return NOTHING_ARRIVES.found(
        "arrivals", case=case, listened=listened, group=source.host, port=source.port, interface=interface
    )


def _judge_sources(source: SourceUrl, heard: Heard, listened: str) -> Verdict:
    wanted = source.options.get("source")
    if wanted is not None and wanted not in heard.addresses():
        url = with_option(source, "source", next(iter(heard.readouts)).address)
        return OTHER_SOURCE.found("arrivals", sources=_name(heard.readouts), wanted=wanted, url=url)
    total = heard.readouts.total()
    return fine(
        "arrivals",
        f"{total} readout{'s' * (total != 1)} in {listened}, from {_name(heard.readouts, heard.ttls)}",
    )


def _name(sources: Counter[Source], ttls: Mapping[Source, set[int]] | None = None) -> str:
    names = [
        f"{source} (TTL {', '.join(map(str, sorted(ttls[source])))})"
        if ttls and source in ttls
        else str(source)
        for source, _ in sources.most_common(_MOST_NAMED)
    ]
    more = len(sources) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def judge_content(source: SourceUrl, heard: Heard | None) -> Verdict | None:
    """Judge whether what arrived are readouts; silent if nothing did."""
    if heard is None or not (heard.readouts or heard.strays):
        return None
    wanted = source.options.get("source")
    if not any(wanted in (None, stray.address) for stray in heard.strays):
        if heard.doubt.text:
            return OTHER_KIND.found("content", mark=Mark.UNKNOWN, doubt=heard.doubt.text, url=source)
        return fine("content", "everything that arrived is a readout")
    senders = {stray.address for stray in heard.strays}
    clean = sorted(heard.addresses() - senders)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in heard.reasons.items())
    count = heard.strays.total()
    return NOT_READOUTS.found(
        "content", count=count, total=count + heard.readouts.total(), reasons=reasons,
        sources=_name(heard.strays), case=OTHER_ADDRESS if clean else None,
        url=with_option(source, "source", clean[0]) if clean else "",
    )  # fmt: skip
