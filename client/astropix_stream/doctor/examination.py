"""Examine a source: read what there is to read, then judge it, check by check."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from astropix_stream import addresses, distributions
from astropix_stream.doctor import (
    arrivals,
    environment,
    firewall,
    host,
    joining,
    log,
    log_probe,
    path,
    probe,
    querier,
    relay,
    settings,
)
from astropix_stream.doctor.listening import Listening, listen
from astropix_stream.doctor.verdict import Verdict
from astropix_stream.fmt import ASTROPIX4, Kind
from astropix_stream.multicast import interfaces, sockets
from astropix_stream.url import SourceUrl


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read for one group.

    Attributes
    ----------
    source
        What is examined.
    way
        How a program comes to its interface; None for an address that is no group.
    listening
        What listening brought.
    listened_s
        For how long.
    owners
        Other sockets on the port.
    reverse_path
        The reverse-path filter of the interface.
    rules
        The firewall's rules; None if they cannot be read.
    container
        The kind of container that this is.
    """

    source: SourceUrl
    way: path.WayIn | None
    listening: Listening
    listened_s: float
    owners: Sequence[joining.Owner]
    reverse_path: settings.ReversePath
    rules: firewall.Ruleset | None
    container: str | None

    @property
    def interface(self) -> str:
        """Name of the examined interface; '' if there is none."""
        return self.way.chosen.name if self.way is not None and self.way.chosen is not None else ""

    @property
    def heard(self) -> arrivals.Heard | None:
        """What arrived on the examined interface."""
        return self.listening.heard.get(self.interface)

    @property
    def heard_on(self) -> list[str]:
        """The interfaces on which readouts arrived."""
        return [name for name, heard in self.listening.heard.items() if heard.readouts]

    @property
    def listened(self) -> str:
        """For how long it was listened, in words."""
        return f"{self.listened_s:g} s"


def examine_environment() -> list[Verdict]:
    """Examine what holds of every source."""
    return [environment.judge_packages(distributions.conflict(), distributions.imported_as())]


def examine_log(source: SourceUrl) -> list[Verdict]:
    """Examine a log.

    Raises
    ------
    ConfigError
        A file that the source names cannot be read, or no client for NATS is installed.
    """
    return log.judge(log_probe.ask(source))


def examine_relay(source: SourceUrl, kind: Kind | None = None) -> list[Verdict]:
    """Examine a relay, and whether its stream is of the kind that is expected; None expects none.

    Raises
    ------
    ConfigError
        The keys that the source names cannot be read.
    """
    return relay.judge(probe.ask(source), kind)


def examine_group(source: SourceUrl, listen_s: float, kind: Kind = ASTROPIX4) -> list[Verdict]:
    """Examine what keeps a group's readouts, of a kind, from this host, listening for so many seconds.

    Raises
    ------
    ConfigError, OSError
        The interface that the source names is not there.
    """
    return judge_group(read_group(source, listen_s, kind))


def read_group(source: SourceUrl, listen_s: float, kind: Kind = ASTROPIX4) -> Facts:
    """Read all that the checks of a group judge."""
    way = _find_way(source) if addresses.is_multicast(source.host) else None
    owners = host.read_owners(source.host, source.port)  # before our own sockets are among them
    dropped_before = host.read_rp_dropped()
    listening = listen(source, way, listen_s, kind)
    dropped_after = host.read_rp_dropped()
    chosen = way.chosen.name if way is not None and way.chosen is not None else ""
    suspects = sorted(suspected_sources(source, listening, chosen))
    return Facts(
        source=source,
        way=way,
        listening=listening,
        listened_s=listen_s,
        owners=owners,
        reverse_path=settings.ReversePath(
            mode=host.read_rp_filter(chosen) if chosen and ":" not in source.host else None,
            dropped=None
            if dropped_before is None or dropped_after is None
            else dropped_after - dropped_before,
            back={address: host.interface_towards(address) for address in suspects},
        ),
        rules=host.read_rules(source.host),
        container=host.container_kind(),
    )


def _find_way(source: SourceUrl) -> path.WayIn:
    """Find the interface that a program would join on."""
    named = source.options.get("interface")
    found = interfaces.find_interface(named, addresses.check_address(source.host, source.port))
    sockets.checked_family(source.host, source.port, found)
    if named is not None and found.name is None:
        raise OSError(errno.ENODEV, f"no interface has the address {named} (see `ip address`)")
    links, routed = host.read_links(source.host), host.interface_towards(source.host)
    return path.choose(source.host, links, found.name, routed)


def suspected_sources(source: SourceUrl, listening: Listening, interface: str) -> set[str]:
    """Return the addresses that send, or are said to, and are not heard."""
    wanted = source.options.get("source")
    sending = {
        one.source for one in listening.seen or () if (one.group, one.port) == (source.host, source.port)
    }
    heard = listening.heard.get(interface, arrivals.Heard())
    heard_from = {one.address for one in (*heard.readouts, *heard.strays)}
    return (sending | ({wanted} if wanted else set())) - heard_from


def judge_group(facts: Facts) -> list[Verdict]:
    """Judge a group, in the order of the readouts' way. Pure."""
    found = [*_judge_path(facts), *_judge_joining(facts), *_judge_kernel(facts)]
    found.append(_judge_container(facts, explained=_is_explained(found)))
    found += _judge_arrivals(facts, explained=_is_explained(found))
    return [verdict for verdict in found if verdict is not None]


def _is_explained(found: Sequence[Verdict | None]) -> bool:
    """Return whether something was found for which no readout can arrive."""
    return any(verdict is not None and verdict.is_wrong and verdict.blocks for verdict in found)


def _judge_path(facts: Facts) -> list[Verdict | None]:
    way = facts.way
    if way is None:
        return []
    return [
        path.judge_route(way, facts.heard_on, facts.source),
        path.judge_other_interfaces(way, facts.heard_on, facts.source),
        path.judge_link(way, facts.heard_on),
    ]


def _judge_joining(facts: Facts) -> list[Verdict | None]:
    group, listening = facts.source.host, facts.listening
    verdicts = [joining.judge_port(listening.error, facts.owners, facts.source.port)]
    if facts.way is not None and facts.way.chosen is not None:
        names = {link.index: link.name for link in facts.way.links}
        others = [names[index] for index in sorted(listening.joined_before or ()) if index in names]
        verdicts += [
            joining.judge_membership(group, facts.interface, listening.error, listening.is_listed),
            joining.judge_other_members(group, facts.interface, others),
        ]
    return verdicts


def _judge_kernel(facts: Facts) -> list[Verdict | None]:
    source, interface, hears = facts.source, facts.interface, _hears(facts)
    verdicts: list[Verdict | None] = []
    if facts.heard is not None:
        asked, dropped = sockets.RECEIVE_BUFFER, facts.heard.dropped
        verdicts.append(settings.judge_buffer(asked, facts.listening.granted, dropped))
    if interface:
        suspects = suspected_sources(source, facts.listening, interface)
        packet = firewall.readout_packet(
            source.host, source.port, interface, next(iter(suspects)) if len(suspects) == 1 else None
        )
        verdicts += [
            settings.judge_reverse_path(facts.reverse_path, interface, hears=hears),
            firewall.judge_readouts(facts.rules, packet, source.host, source.port, hears=hears),
            firewall.judge_igmp(facts.rules, firewall.igmp_packets(source.host, interface)),
        ]
    return verdicts


def _judge_container(facts: Facts, *, explained: bool) -> Verdict | None:
    chosen = facts.way.chosen if facts.way is not None else None
    is_suspect = not (explained or _hears(facts) or facts.listening.seen)
    return environment.judge_container(facts.container, chosen, is_suspect=is_suspect)


def _judge_arrivals(facts: Facts, *, explained: bool) -> list[Verdict | None]:
    source, listened = facts.source, facts.listened
    verdicts = [
        arrivals.judge_arrivals(
            source, facts.interface or None, facts.heard, facts.listening.seen, listened, explained=explained
        ),
        arrivals.judge_content(source, facts.heard),
    ]
    if facts.way is not None and facts.way.chosen is not None and not facts.way.chosen.is_loopback:
        queriers = facts.listening.queriers
        verdicts.append(
            querier.judge_querier(source.host, facts.interface, queriers, facts.listened_s, listened)
        )
    return verdicts


def _hears(facts: Facts) -> bool:
    return facts.heard is not None and bool(facts.heard.readouts or facts.heard.strays)
