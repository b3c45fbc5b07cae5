"""Who is let in: as many clients as `max_clients`, with encryption only those whose key is on the list.

ZeroMQ asks before each handshake ends (ZAP, RFC 27). The relay's loop answers, like everything else that it
does: a handler in a thread of its own would have to be watched, and could let in or keep out when the loop
cannot. When nobody answers, nobody is let in.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from astropix_relay.clients.connections import HANDSHAKE_MS
from astropix_stream.addresses import unmapped
from astropix_stream.keys import KeyPair

_log = logging.getLogger(__name__)

# An open connection that is older has finished it; half a second for ZeroMQ to close those that did not.
_PROVEN_S = HANDSHAKE_MS / 1000 + 0.5
_MAX_ANSWERS = 100  # in one turn of the loop, 5 ms: a flood of handshakes must not stop readouts
_ZAP = "inproc://zeromq.zap.01"

Provider = Callable[[bytes], str | None]
"""Returns the name of the client with this public key (32 bytes), or None to refuse it."""

_PROTOCOL_ERRORS: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "wrong server key",
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "other security",
}


class Admission(NamedTuple):
    """An answer to ZeroMQ: its status code, and who the client is or why it is refused."""

    status: bytes
    who: str = ""
    cause: str = ""


class Connections:
    """How many clients are in. Pure.

    ZeroMQ tells of each connection when it is accepted and when it has ended, and of the end of a handshake
    without saying whose. So one counts as let in when it is older than a handshake may take, or by the
    answers given while it was younger: never fewer than there are, and silent connections keep nobody out.
    """

    def __init__(self) -> None:
        self._since: dict[int, float] = {}  # by descriptor, in order of time
        self._let_in: deque[float] = deque()

    def accepted(self, fd: int, now_s: float) -> None:
        """Note a new connection; a descriptor that was known has been closed unnoticed."""
        self._since.pop(fd, None)
        self._since[fd] = now_s

    def ended(self, fd: int) -> None:
        """Note that a connection has ended."""
        self._since.pop(fd, None)

    def let_in(self, now_s: float) -> None:
        """Note that a client was let in."""
        self._let_in.append(now_s)

    def all_ended(self) -> None:
        """Note that all connections were closed together."""
        self._since.clear()
        self._let_in.clear()

    @property
    def open(self) -> int:
        """Open connections, those that are still in their handshake included."""
        return len(self._since)

    def clients(self, now_s: float) -> int:
        """Return how many of the open connections are clients that were let in."""
        proven_before_s = now_s - _PROVEN_S
        while self._let_in and self._let_in[0] < proven_before_s:
            self._let_in.popleft()
        young = 0
        for since_s in reversed(self._since.values()):
            if since_s < proven_before_s:
                break
            young += 1
        return len(self._since) - young + min(young, len(self._let_in))


class DoorSample(NamedTuple):
    """An endpoint: who is in, and who did not come in."""

    name: str
    clients: int
    connections: int
    accepted: int
    failed: Mapping[str, int]


class Door:
    """One guarded socket: its connections, and the handshakes that failed there, by cause."""

    def __init__(self, name: str, monitor: "zmq.Socket[bytes]") -> None:
        self.name = name
        self.monitor = monitor
        self.connections = Connections()
        self.accepted = 0
        self.failed: Counter[str] = Counter()
        """Handshakes that failed, by cause; docs/operating.md explains each."""

    def sample(self, now_s: float) -> DoorSample:
        """Return what there is to watch."""
        in_, open_ = self.connections.clients(now_s), self.connections.open
        return DoorSample(self.name, in_, open_, self.accepted, dict(self.failed))

    def take_events(self, now_s: float) -> None:
        """Note what ZeroMQ tells of the socket's connections."""
        while True:
            try:
                event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            self._note(event["event"], event["value"], now_s)

    def _note(self, event: int, value: int, now_s: float) -> None:
        match event:
            case zmq.EVENT_ACCEPTED:
                self.accepted += 1
                self.connections.accepted(value, now_s)
            case zmq.EVENT_DISCONNECTED:
                self.connections.ended(value)
            case zmq.EVENT_CLOSED:  # the socket is no longer bound, which says nothing of each connection
                self.connections.all_ended()
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self.failed["timeout" if value == zmq.EAGAIN else "aborted"] += 1
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self.failed[_PROTOCOL_ERRORS.get(value, "protocol")] += 1
            case zmq.EVENT_ACCEPT_FAILED:
                self.failed["accept"] += 1
                _log.error("%s: cannot accept a connection: %s", self.name, zmq.strerror(value))


_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_ACCEPT_FAILED
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
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        *,
        max_clients: int,
        pair: KeyPair | None = None,
        provider: Provider = lambda _: None,
    ) -> None:
        self.provider = provider
        self.doors: dict[str, Door] = {}
        self.pending = False
        self._context = context
        self._max_clients = max_clients
        self._pair = pair
        self._zap = context.socket(zmq.ROUTER)
        self._zap.setsockopt(zmq.LINGER, 0)
        self._zap.bind(_ZAP)

    def guard(self, sock: "zmq.Socket[bytes]", name: str) -> Door:
        """Guard a socket that is not yet bound; `name` is for logs and metrics."""
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
        self.doors[name] = Door(name, monitor)
        return self.doors[name]

    def filenos(self) -> list[int]:
        """Return ZeroMQ's descriptors: they tell that `attend` should be called, and only once."""
        sockets = [self._zap, *(door.monitor for door in self.doors.values())]
        return [int(sock.getsockopt(zmq.FD)) for sock in sockets]

    def attend(self, now_s: float) -> None:
        """Answer those who want to come in, within reason; where some were left, `pending` is true."""
        # First the events: a connection is accepted before ZeroMQ asks for it.
        for door in self.doors.values():
            door.take_events(now_s)
        for _ in range(_MAX_ANSWERS):
            try:
                frames = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                self.pending = False
                return
            self._answer(frames, now_s)
        self.pending = True

    def close(self) -> None:
        """Close; a second call does nothing. The guarded sockets are closed before: they tell of it here."""
        self._zap.close()
        for door in self.doors.values():
            door.monitor.close()

    def _answer(self, frames: list[bytes], now_s: float) -> None:
        # identity, empty, version, request, domain, address, client's identity, mechanism, credentials
        request, domain, address, mechanism = (
            frames[3],
            frames[4].decode(),
            unmapped(frames[5].decode()),
            frames[7],
        )
        door = self.doors[domain]
        verdict = self._judge(door, mechanism, frames[8:], now_s)
        if verdict.cause:
            door.failed[verdict.cause] += 1
            _log.warning("%s: refused a client from %s: %s", domain, address, verdict.who)
        else:
            door.connections.let_in(now_s)
            _log.debug("%s: let in %s from %s", domain, verdict.who or "a client", address)
        user = verdict.who.encode() if not verdict.cause else b""
        self._zap.send_multipart([*frames[:2], b"1.0", request, verdict.status, b"", user, b""])

    def _judge(self, door: Door, mechanism: bytes, credentials: list[bytes], now_s: float) -> Admission:
        verdict = self._judge_key(credentials[0]) if mechanism == b"CURVE" else Admission(b"200")
        if (self._pair is not None) != (mechanism == b"CURVE"):
            verdict = Admission(b"400", f"it speaks {mechanism.decode()}", "other security")
        if not verdict.cause and door.connections.clients(now_s) >= self._max_clients:
            return Admission(b"400", f"{self._max_clients} clients are in (publish.max_clients)", "full")
        return verdict

    def _judge_key(self, key: bytes) -> Admission:
        try:
            name = self.provider(key)
        except Exception:
            _log.exception("cannot tell whether a client may come in; it may not")
            return Admission(b"500", "the list of clients cannot be asked", "provider")
        if name is None:
            return Admission(b"400", f"its key {z85.encode(key).decode()} is not in the list", "unknown key")
        return Admission(b"200", name)
