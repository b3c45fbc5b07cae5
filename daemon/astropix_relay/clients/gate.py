"""Who is let in: as many clients as `max_clients`, with encryption only those whose key is on the list.

And who is not: a host whose connections were cut again and again (`limits`), for a while.

ZeroMQ asks before each handshake ends (ZAP, RFC 27). The relay's loop answers, like everything else that it
does: a handler in a thread of its own would have to be watched, and could let in or keep out when the loop
cannot. When nobody answers, nobody is let in.
"""

import logging
import resource
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import zmq
from zmq.utils import z85

from astropix_relay.clients.admitted import Connections
from astropix_relay.clients.guard import Cut, Guard
from astropix_relay.clients.handover import Listener
from astropix_relay.clients.limits import FLOOD_PER_S, Allowance, Bans, Network, Pace, to_cut
from astropix_stream.addresses import unmapped
from astropix_stream.keys import KeyPair

_log = logging.getLogger(__name__)

# In one turn of the loop: a flood of connections must not stop readouts.
_MAX_ANSWERS, _MAX_ANSWERS_S = 1000, 0.008
_MAX_LET_IN = 2  # each may bring topics, and leave at once: that takes libzmq a walk through all topics
_MAX_ENDED = 1  # of those with too many topics: each is such a walk, too
_MAX_EVENTS, _MAX_EVENTS_S = 1000, 0.008
_MAX_CUTS = 1000
_EVENT = struct.Struct("=HI")  # of a monitor: the event and its value

# Connections in their handshake, at each door: some 20 MiB. At 5000 connections/s each has 0.8 s for it.
_MAX_IN_HANDSHAKE = 4096
_RESERVED_FDS = 160  # descriptors for all else that the relay opens
_MORE, _LOOKED_AT = (
    64,
    256,
)  # connections that are ended at once besides those that are too many, or looked at
# Who has sent less has not finished a handshake: greeting and READY; for CURVE greeting, HELLO and INITIATE.
_HANDSHAKE_BYTES, _HANDSHAKE_BYTES_CURVE = 64 + 27, 64 + 202 + 278
_ZAP = "inproc://zeromq.zap.01"

Provider = Callable[[bytes], str | None]
"""Returns the name of the client with this public key (32 bytes), or None to refuse it."""
OnEnd = Callable[[int | None], None]
"""Takes the descriptor of a connection that has ended; None for all."""

_PROTOCOL_ERRORS: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "wrong server key",
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "other security",
}
FAILURES = (
    *("timeout", "aborted", "protocol", "wrong server key", "other security"),
    *("full", "unknown key", "provider", "refused address", "pace"),
)
"""Why clients do not come in; docs/operating.md explains each."""
TOO_MUCH, CROWDED = "too much sent", "too many connections"
CUT_CAUSES = (TOO_MUCH, CROWDED)
"""Why connections are cut; the same."""


class Admission(NamedTuple):
    """An answer to ZeroMQ: its status code, and who the client is or why it is refused.

    400 will not pass by itself: a key that is not on the list. 500 may. 300 is for floods, and tells nothing.
    """

    status: bytes
    who: str = ""
    cause: str = ""


class DoorSample(NamedTuple):
    """An endpoint: who is in, and who did not come in."""

    name: str
    clients: int
    connections: int
    accepted: int
    failed: Mapping[str, int]
    cut: Mapping[str, int] = MappingProxyType({})


class Door:
    """One guarded socket: its connections, and the handshakes that failed there, by cause."""

    def __init__(
        self,
        name: str,
        monitor: "zmq.Socket[bytes]",
        listener: Listener,
        allowance: Allowance,
        on_end: OnEnd,
    ) -> None:
        self.name = name
        self.on_end = on_end
        self.monitor = monitor
        self.listener = listener
        self.allowance = allowance
        self.connections = Connections()
        self.accepted = 0
        self.failed: Counter[str] = Counter(dict.fromkeys(FAILURES, 0))
        """Handshakes that failed, by cause."""
        self.cut: Counter[str] = Counter(dict.fromkeys(CUT_CAUSES, 0))
        """Connections that were cut, by cause."""

    def sample(self, now_s: float) -> DoorSample:
        """Return what there is to watch."""
        in_, open_ = self.connections.clients(now_s), self.connections.open
        return DoorSample(self.name, in_, open_, self.accepted, dict(self.failed), dict(self.cut))


# Not EVENT_ACCEPT_FAILED: out of descriptors there would be a million of them.
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class Gate:
    """Answers ZeroMQ's question for each client; the loop calls `attend` in every turn.

    Parameters
    ----------
    context
        ZeroMQ context of the sockets to guard; one gate for each.
    max_clients
        Connections let in at each guarded socket.
    pair
        The relay's keys: connections are encrypted. None: they are not.
    provider
        Knows the clients that may come in; without encryption it is not asked.
    never_refuse
        Addresses and networks that are let in whatever was cut before.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        *,
        max_clients: int,
        pair: KeyPair | None = None,
        provider: Provider = lambda _: None,
        never_refuse: Iterable[str] = (),
    ) -> None:
        self.provider = provider
        self.doors: dict[str, Door] = {}
        self.pending = False
        self.ended = 0
        """Connections that have ended."""
        self._context = context
        self._max_clients = max_clients
        self._pair = pair
        self._handshake_bytes = _HANDSHAKE_BYTES if pair is None else _HANDSHAKE_BYTES_CURVE
        self.bans = Bans(never_refuse)
        self._pace = Pace(max_clients)
        self._are_shut_out: list[Network] = []
        fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The guard has a copy of each, and as many may have been accepted before we hear of them.
        at_once = max(fds // 4, 2 * max_clients)
        self._max_connections = min(at_once, (fds - _RESERVED_FDS) // 2)
        if 2 * max_clients > self._max_connections:
            needed = 4 * max_clients + _RESERVED_FDS
            _log.warning(
                "publish.max_clients: %d need %d descriptors; the limit is %d", max_clients, needed, fds
            )
        self.guard = Guard()
        self._zap = context.socket(zmq.ROUTER)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(_ZAP)

    def open_door(
        self,
        sock: "zmq.Socket[bytes]",
        name: str,
        listener: Listener,
        allowance: Allowance,
        on_end: OnEnd = lambda _: None,
    ) -> Door:
        """Guard a socket that is not yet bound.

        Parameters
        ----------
        sock
            The socket.
        name
            For logs and metrics.
        listener
            What binds it.
        allowance
            What each connection may send.
        on_end
            Is told which connections have ended.
        """
        sock.setsockopt_string(zmq.ZAP_DOMAIN, name)
        # Without this a relay whose handler is gone would let in everyone.
        sock.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        if self._pair is not None:
            sock.setsockopt(zmq.CURVE_SERVER, 1)
            sock.setsockopt(zmq.CURVE_SECRETKEY, self._pair.secret)
        address = f"inproc://monitor-{name}"
        sock.monitor(address, _EVENTS)
        monitor = self._context.socket(zmq.PAIR)
        # A full queue would block ZeroMQ's own thread; the events of a flood are small, and soon read.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(address)
        self.doors[name] = Door(name, monitor, listener, allowance, on_end)
        return self.doors[name]

    def filenos(self) -> list[int]:
        """Return ZeroMQ's descriptors: they tell that `attend` should be called, and only once."""
        sockets = [self._zap, *(door.monitor for door in self.doors.values())]
        return [int(sock.getsockopt(zmq.FD)) for sock in sockets]

    def attend(self, now_s: float) -> None:
        """Answer those who want to come in, within reason; where some were left, `pending` is true."""
        self._take_cuts(now_s)
        more = self.guard.end_silenced(_MAX_ENDED)
        # First the events: a connection is accepted before ZeroMQ asks for it, and watched before it is in.
        more_events = not self._take_events(now_s)
        self.pending = more or more_events
        self._make_room(now_s)
        self._shut_out(now_s)
        if more_events:
            return
        until_s, let_in = time.monotonic() + _MAX_ANSWERS_S, 0
        for _ in range(_MAX_ANSWERS):
            if let_in == _MAX_LET_IN or time.monotonic() > until_s:
                break
            try:
                frames = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return  # `pending` stays as it is
            let_in += self._answer(frames, now_s)
        self.pending = True

    def close(self) -> None:
        """Close; a second call does nothing. The guarded sockets are closed before: they tell of it here."""
        self.guard.close()
        self._zap.close()
        for door in self.doors.values():
            door.monitor.close()

    def _take_events(self, now_s: float) -> bool:
        """Note what ZeroMQ tells of connections; return whether that was all."""
        until_s, left = time.monotonic() + _MAX_EVENTS_S, _MAX_EVENTS
        for door in self.doors.values():
            while left and time.monotonic() < until_s:
                left -= 1
                try:
                    told = door.monitor.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                event, value = _EVENT.unpack(told[0])
                self._note(door, event, value, now_s)
            else:
                return False
        return True

    def _note(self, door: Door, event: int, value: int, now_s: float) -> None:
        match event:
            case zmq.EVENT_ACCEPTED:
                self._accepted(door, value, now_s)
            case zmq.EVENT_DISCONNECTED:
                door.connections.ended(value)
                door.on_end(value)
                self.guard.forget(value)
                self.ended += 1
            case zmq.EVENT_CLOSED:  # the socket is no longer bound, which says nothing of each connection
                door.connections.all_ended()
                door.on_end(None)
                self.guard.forget_all(door.name)
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                door.failed["timeout" if value == zmq.EAGAIN else "aborted"] += 1
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                door.failed[_PROTOCOL_ERRORS.get(value, "protocol")] += 1

    def _accepted(self, door: Door, fd: int, now_s: float) -> None:
        door.accepted += 1
        door.on_end(fd)  # the one that had this descriptor
        door.connections.accepted(fd, now_s)
        if not door.listener.port:  # `ipc://`: the kernel does not count the bytes of a Unix socket
            return
        address = self.guard.watch(fd, door.name, door.listener.port, door.allowance, now_s)
        if address is None:  # it has ended already, or there is no descriptor to watch it by
            door.connections.ending(fd)

    def _make_room(self, now_s: float) -> None:
        """End connections in their handshake where there are too many, for newcomers and our own files."""
        crowded = max(self.doors.values(), key=lambda door: door.connections.staying)
        crowd = crowded.connections.staying - self._max_clients - _MAX_IN_HANDSHAKE
        in_all = sum(door.connections.staying for door in self.doors.values())
        too_many = max(crowd, in_all - self._max_connections)
        if too_many <= 0:
            return
        candidates = self.guard.candidates(crowded.connections.oldest_young(now_s, _LOOKED_AT + too_many))
        for fd in to_cut(candidates, too_many, _MORE, self._handshake_bytes):
            self.guard.end(fd)
            crowded.connections.ending(fd)
            crowded.cut[CROWDED] += 1

    def _shut_out(self, now_s: float) -> None:
        """Have the kernel drop the attempts of hosts that come too fast to be answered."""
        hosts = self.bans.shut_out(now_s)
        if hosts == self._are_shut_out:
            return
        new = [str(host) for host in hosts if host not in self._are_shut_out]
        self._are_shut_out = hosts
        for door in self.doors.values():
            door.listener.drop_from(hosts)
        for host in new:
            _log.warning("%s: tries to connect more than %d times a second: not answered", host, FLOOD_PER_S)

    def _take_cuts(self, now_s: float) -> None:
        """Note which connections the guard has cut, and refuse whose connections are cut too often."""
        for _ in range(min(_MAX_CUTS, len(self.guard.cuts))):
            cut: Cut = self.guard.cuts.popleft()
            self.doors[cut.door].cut[TOO_MUCH] += 1
            _log.warning("%s: cut a connection from %s that %s", *cut)
            self._pace.cut()
            ban_s = self.bans.cut(cut.address, now_s)
            if ban_s is not None:
                _log.warning(
                    "new connections from %s are refused for %.0f s: several sent more than is allowed "
                    "(see docs/security.md; publish.never_refuse exempts an address)",
                    cut.address,
                    ban_s,
                )

    def _answer(self, frames: list[bytes], now_s: float) -> bool:
        """Answer ZeroMQ's question for one client; return whether it is let in."""
        # identity, empty, version, request, domain, address, client's identity, mechanism, credentials
        request, domain, address, mechanism = (
            frames[3],
            frames[4].decode(),
            unmapped(frames[5].decode()),
            frames[7],
        )
        door = self.doors[domain]
        if self.bans.is_banned(address, now_s):
            verdict = Admission(b"500", "its address is refused for a while", "refused address")
        else:
            verdict = self._judge(door, mechanism, frames[8:], now_s)
        if not verdict.cause and not self._pace.lets_in(now_s) and not self.guard.knows(address, now_s):
            verdict = Admission(b"300", "too many come at once; it may try again", "pace")
        if verdict.cause:
            door.failed[verdict.cause] += 1
            self.bans.refused(address, now_s)
            _log.warning("%s: refused a client from %s: %s", domain, address, verdict.who)
        else:
            door.connections.let_in(now_s)
            _log.debug("%s: let in %s from %s", domain, verdict.who or "a client", address)
        user = verdict.who.encode() if not verdict.cause else b""
        self._zap.send_multipart([*frames[:2], b"1.0", request, verdict.status, b"", user, b""])
        return not verdict.cause

    def _judge(self, door: Door, mechanism: bytes, credentials: list[bytes], now_s: float) -> Admission:
        verdict = self._judge_key(credentials[0]) if mechanism == b"CURVE" else Admission(b"200")
        if (self._pair is not None) != (mechanism == b"CURVE"):
            verdict = Admission(b"400", f"it speaks {mechanism.decode()}", "other security")
        if not verdict.cause and door.connections.clients(now_s) >= self._max_clients:
            return Admission(b"500", f"{self._max_clients} clients are in (publish.max_clients)", "full")
        return verdict

    def _judge_key(self, key: bytes) -> Admission:
        try:
            name = self.provider(key)
        except Exception:
            _log.exception("cannot look up whether a client is allowed; it is refused")
            return Admission(b"500", "the list of clients cannot be asked", "provider")
        if name is None:
            return Admission(b"400", f"its key {z85.encode(key).decode()} is not in the list", "unknown key")
        return Admission(b"200", name)
