"""What a connection may send, and which addresses are refused for a while. Pure.

libzmq limits a message, never a connection: it keeps the frames of an unfinished message, and every topic
that is subscribed to, without end. So each connection has an allowance of bytes. `guard` ends those that
exceed it, and `gate` refuses an address whose connections were ended that way again and again.
"""

import ipaddress
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CUTS, CUTS_WITHIN_S = 3, 60.0  # so many connections cut in so long make a ban
FIRST_BAN_S = 60.0
LONGEST_BAN_S = 3600.0
_FORGET_S = 600.0  # after the end of a ban: the next one is a first one again
_MAX_ADDRESSES = 10_000  # remembered at a time, some 10 MB; beyond, the longest silent is forgotten
# Topics that no stream of the relay has, for each connection. Sixty clients with so many of 74 random bytes,
# who leave together, take the loop some 40 ms; with 48 they took 100.
STRANGE_TOPICS = 16
# Where all connections together have more of them, each may have two: sixty with 16 took a busy machine up to
# 120 ms.
STRANGE_IN_ALL, STRANGE_THEN = 8 * STRANGE_TOPICS, STRANGE_TOPICS // 8
# Clients at once, as after a restart of the relay, and then each second; more where more may be in.
_PACE_MOST, _PACE_PER_S = 64, 16
_PACE_OF_A_CUT = 16  # a cut connection counts as so many clients
FLOOD_PER_S = 200  # refusals of one host in a second; beyond, the kernel drops its attempts
SHUT_OUT_S = 10.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Allowance(NamedTuple):
    """The bytes that a connection may send."""

    start: int
    """At once, the handshake included."""
    per_s: float
    """More for each second of its age."""
    most: int
    """However old it is; what it earns comes on top."""

    def bytes_at(self, age_s: float, earned: int = 0) -> float:
        """Return how many bytes the connection may have sent at this age."""
        return min(self.start + self.per_s * age_s, self.most) + earned


class Candidate(NamedTuple):
    """A connection that may still be in its handshake."""

    fd: int
    sent: int
    """Bytes that came."""
    beside: int
    """Connections of the same host."""


def to_cut(candidates: Sequence[Candidate], count: int, more: int, handshake_bytes: int) -> list[int]:
    """Return which connections have to go for newer ones; `candidates` begin with the oldest.

    Those that have said less than a handshake in their time, and `more` of them than have to; where these are
    too few, those of the hosts with the most connections: a flood is not to push out another host's only one.
    """
    silent = [one.fd for one in candidates if one.sent < handshake_bytes][: count + more]
    others = sorted((one for one in candidates if one.sent >= handshake_bytes), key=lambda one: -one.beside)
    return silent + [one.fd for one in others[: max(0, count - len(silent))]]


def strange_topics(in_all: int) -> int:
    """Return how many topics that no stream has a connection may have, where all have so many together."""
    return STRANGE_TOPICS if in_all <= STRANGE_IN_ALL else STRANGE_THEN


def host_of(address: str) -> str:
    """Return what counts as one client's host: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def network_of(host: str) -> Network:
    """Return what `host_of` returned as a network."""
    return ipaddress.ip_network(host)


class _Record:
    """What is known of one host."""

    def __init__(self) -> None:
        self.cuts: deque[float] = deque(maxlen=CUTS)
        self.until_s = float("-inf")
        self.length_s = 0.0
        self.second_s, self.refused = float("-inf"), 0
        self.shut_out_until_s = float("-inf")


class Bans:
    """The hosts whose new connections are refused for a while.

    Parameters
    ----------
    never
        Addresses and networks that are never refused.
    """

    def __init__(self, never: Iterable[str] = ()) -> None:
        self._never: list[Network] = [ipaddress.ip_network(text) for text in never]
        self._hosts: dict[str, _Record] = {}  # the one that was told of last is the last
        self._shut_out: dict[str, float] = {}

    def cut(self, address: str, now_s: float) -> float | None:
        """Note that a connection was cut; return for how many seconds its host is refused from now on."""
        host = host_of(address)
        record = self._record(host)
        record.cuts.append(now_s)
        is_often = len(record.cuts) == CUTS and now_s - record.cuts[0] < CUTS_WITHIN_S
        if not is_often or now_s < record.until_s or self._is_exempt(host):
            return None
        again = now_s < record.until_s + _FORGET_S
        record.length_s = min(LONGEST_BAN_S, 2 * record.length_s) if again else FIRST_BAN_S
        record.until_s = now_s + record.length_s
        record.cuts.clear()
        return record.length_s

    def is_banned(self, address: str, now_s: float) -> bool:
        """Return whether a new connection from this address is refused."""
        record = self._hosts.get(host_of(address))
        return record is not None and now_s < record.until_s

    def refused(self, address: str, now_s: float) -> None:
        """Note that a client of this address was refused, for whatever cause."""
        host = host_of(address)
        record = self._record(host)
        if now_s - record.second_s >= 1:
            record.second_s, record.refused = now_s, 0
        record.refused += 1
        if record.refused > FLOOD_PER_S and not self._is_exempt(host):
            record.shut_out_until_s = max(record.until_s, now_s + SHUT_OUT_S)
            self._shut_out[host] = record.shut_out_until_s

    def shut_out(self, now_s: float) -> list[Network]:
        """Return the hosts whose attempts come too fast to be answered one by one."""
        for host in [host for host, until_s in self._shut_out.items() if now_s >= until_s]:
            del self._shut_out[host]
        return [network_of(host) for host in self._shut_out]

    def count(self, now_s: float) -> int:
        """Return how many hosts are refused now."""
        return sum(now_s < record.until_s for record in self._hosts.values())

    def _record(self, host: str) -> _Record:
        record = self._hosts.pop(host, None) or _Record()
        self._hosts[host] = record
        while len(self._hosts) > _MAX_ADDRESSES:
            del self._hosts[next(iter(self._hosts))]
        return record

    def _is_exempt(self, host: str) -> bool:
        network = network_of(host)
        return any(network.version == n.version and network.overlaps(n) for n in self._never)


class Pace:
    """How fast clients are let in: slower after connections were cut, whatever their addresses.

    Each client that is let in is a walk through all topics when it leaves. So clients that each bring topics
    must come slowly, even if each comes from another address. All that may be in come in at once after a
    restart of the relay: who waits tries again ten times a second, and some dozens of one host that do so
    would be taken for a flood.

    Parameters
    ----------
    max_clients
        How many may be in.
    """

    def __init__(self, max_clients: int = 0) -> None:
        self._most = max(_PACE_MOST, max_clients)
        self._per_s = self._most / _PACE_MOST * _PACE_PER_S
        self._credit = float(self._most)
        self._at_s = float("-inf")

    def cut(self) -> None:
        """Note that a connection was cut."""
        self._credit = max(0.0, self._credit - _PACE_OF_A_CUT)

    def lets_in(self, now_s: float) -> bool:
        """Return whether one more client may come in now, and note it if so."""
        self._credit = min(self._most, self._credit + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._credit < 1:
            return False
        self._credit -= 1
        return True
