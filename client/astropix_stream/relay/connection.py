"""The sockets to a relay: they connect, show why a relay does not let us in, and connect again."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable

import zmq

from astropix_stream import clock, zeromq
from astropix_stream.errors import ConfigError
from astropix_stream.keys import ClientKeys
from astropix_stream.relay.patience import Patience
from astropix_stream.relay.refusals import HandshakeEnd, Handshakes
from astropix_stream.relay.way import Way

ABSENT_AFTER_S = 3.0  # without a message, where a heartbeat is due each second: it is told
LOST_AFTER_S = 5.0  # the same: the connection is given up
_FIRST_LOOK_S = 0.1  # longest wait until the relay was heard: a refusal is to be told soon
_QUEUE_MESSAGES = 1000  # that wait here for the program; at most 64 KiB each
_RECONNECT_MS, _RECONNECT_MAX_MS = 100, 500  # so that little is to be recovered when a relay is back
_CONNECT_MS = 2000  # for an address to answer, where there is another one to try
_HANDSHAKES = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): HandshakeEnd.SUCCEEDED,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): HandshakeEnd.FAILED_AUTH,
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): HandshakeEnd.FAILED_PROTOCOL,
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): HandshakeEnd.BROKEN_OFF,
}
_numbers = itertools.count()  # of the sockets made here, to name what watches them


class Connection:
    """Connects to a relay, to each address of its name in turn, and asks its history beside that.

    Its owner reads `socket`, and says with `note_heard` that a message came. While none comes, it calls
    `look` and `check_heard`.

    Parameters
    ----------
    endpoint
        The relay's address: ``tcp://HOST:PORT``.
    client_keys
        For a relay with encryption.
    topics
        What to subscribe to from the start.
    opened, closing
        Called with the descriptor of each socket that was opened, and of each that is about to be closed
        while the connection goes on.

    Raises
    ------
    ConfigError
        The endpoint is not an address.
    """

    def __init__(
        self,
        endpoint: str,
        client_keys: ClientKeys | None,
        topics: Iterable[bytes],
        *,
        opened: Callable[[int], None],
        closing: Callable[[int], None],
    ) -> None:
        self.way = Way(endpoint)
        self.connected = False
        """Whether a message has come since it was connected."""
        self.absent = False
        """Whether none has come for 3 s, at the last look."""
        self.history: zmq.Socket[bytes] | None = None
        """What asks the relay's history; None until something was missing."""
        self._endpoint = endpoint
        self._keys = client_keys
        self._topics = [*topics]
        self._opened, self._closing = opened, closing
        self._handshakes = Handshakes(encrypted=client_keys is not None)
        self._absence, self._silence = Patience(ABSENT_AFTER_S), Patience(LOST_AFTER_S)
        self._absence.renew(clock.now().s)
        self._silence.renew(clock.now().s)
        self._connected_to: str | None = None
        self._awaiting = False  # an answer of the history
        self._receive_timeout_ms = -1
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self.socket, self._monitor = self._open_sockets()
        except BaseException:
            self._context.destroy()
            raise
        self.way.begin(clock.now().s, prompt=True)
        try:
            self._go()
        except BaseException:
            self.close()
            raise

    def subscribe(self, topics: Iterable[bytes]) -> None:
        """Subscribe to more topics."""
        for topic in topics:
            self._topics.append(topic)
            self.socket.setsockopt(zmq.SUBSCRIBE, topic)

    def receive(self, timeout_ms: int) -> list[bytes]:
        """Return the next message, in one call: to poll first costs as much again.

        Raises
        ------
        zmq.Again
            None came in time.
        """
        if timeout_ms != self._receive_timeout_ms:
            self._receive_timeout_ms = timeout_ms
            self.socket.setsockopt(zmq.RCVTIMEO, timeout_ms)
        return zeromq.receive(self.socket)

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something comes, but not longer than until the clock is to be looked at again."""
        # Between two looks only half of a limit counts as waited for.
        look_s = min(self._silence.next_look_s(), ABSENT_AFTER_S / 2 if self.connected else _FIRST_LOOK_S)
        wait_s = look_s if timeout_s is None else min(timeout_s, look_s)
        poller = zmq.Poller()
        for sock in self._data_sockets():
            poller.register(sock, zmq.POLLIN)
        if self.way.several:  # where one fails, the next is not to wait
            poller.register(self._monitor, zmq.POLLIN)
        poller.poll(math.ceil(wait_s * 1000))

    def ask(self, request: bytes, port: int) -> None:
        """Send a request to the relay's history, which listens at this port."""
        if self.history is None or self._awaiting:  # the answer may have been lost with its connection
            if self.history is not None:
                self._drop(self.history)
            self.history = self._open_socket(zmq.DEALER)
            self._connect(self.history, self.way.beside(port))
            self._opened(_fd(self.history))
        self.history.send(request, zmq.NOBLOCK)
        self._awaiting = True

    def take_answer(self) -> list[bytes] | None:
        """Return an answer of the history; None if none has come."""
        if self.history is None:
            return None
        try:
            frames = self.history.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._awaiting = False
        return frames

    def note_heard(self, now_s: float) -> bool:
        """Note that a message came; return whether it is the first one since this was connected."""
        self.absent = False
        self._absence.renew(now_s)
        self._silence.renew(now_s)
        if self.connected:
            return False
        self.connected = True
        self.way.worked(now_s)
        return True

    def look(self, now_s: float) -> str | None:
        """Take up what is told of connections, and go to the next address where one leads nowhere.

        Returns
        -------
        str or None
            Why the relay refuses us, once for each refusal.
        """
        if self.way.look(now_s):
            self._go()
        while zeromq.has_message(self._monitor):
            kind, value, endpoint = zeromq.parse_event(self._monitor.recv_multipart(zmq.NOBLOCK))
            succeeded = kind == zmq.EVENT_HANDSHAKE_SUCCEEDED
            # Of a connection given up for another one, the end is told, too.
            of_this_one = endpoint == self._connected_to
            if kind != zmq.EVENT_CLOSED and (succeeded or self.way.is_last or not of_this_one):
                self._handshakes.note(_handshake(kind, value), value, now_s)
            if not succeeded and of_this_one and self.way.failed(now_s):
                self._go()
        return self._handshakes.take_refusal(now_s)

    def check_heard(self, now_s: float) -> bool:
        """Connect again to a relay that was not heard for 5 s: a dead peer may look like a silent one.

        Return whether this ended a connection through which messages had come.
        """
        self.absent = self._absence.spent(now_s)
        if not self._silence.spent(now_s):
            return False
        was_connected, self.connected = self.connected, False
        self._silence.renew(now_s)
        self._stop_monitor()
        for sock in self._sockets():
            self._drop(sock)
        self.history = None
        self.socket, self._monitor = self._open_sockets()
        if not self.way.failed(now_s):
            self._begin_lookup(now_s)
        self._go()
        return was_connected

    def filenos(self) -> list[int]:
        """Return the descriptors that are readable when something comes."""
        fds = [_fd(sock) for sock in self._sockets()]
        return fds if self.way.lookup is None else [*fds, self.way.lookup.fileno()]

    def close(self) -> None:
        """Close all sockets."""
        self._stop_monitor()
        for sock in self._sockets():
            sock.close()
        self.way.close()
        self._context.term()

    def _open_sockets(self) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
        """Return the socket that is to be connected, and what tells of its connections."""
        sock = self._open_socket(zmq.SUB)
        monitor = self._open_monitor(sock)
        for topic in self._topics:
            sock.setsockopt(zmq.SUBSCRIBE, topic)
        self._connected_to = None
        self._receive_timeout_ms = -1
        for one in (sock, monitor):
            self._opened(_fd(one))
        return sock, monitor

    def _open_socket(self, kind: int) -> "zmq.Socket[bytes]":
        sock = self._context.socket(kind)
        for option, value in {
            **zeromq.OPTIONS,
            zmq.RCVHWM: _QUEUE_MESSAGES,
            zmq.MAXMSGSIZE: zeromq.MAX_MESSAGE,
            zmq.RECONNECT_IVL: _RECONNECT_MS,
            zmq.RECONNECT_IVL_MAX: _RECONNECT_MAX_MS,
        }.items():
            sock.setsockopt(option, value)
        if self._keys is not None:
            self._keys.set_on(sock)
        return sock

    def _open_monitor(self, sock: "zmq.Socket[bytes]") -> "zmq.Socket[bytes]":
        """Return a socket that tells of the handshakes of `sock`."""
        address = f"inproc://handshakes-{next(_numbers)}"
        sock.monitor(address, sum(_HANDSHAKES) | zmq.EVENT_CLOSED)
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.RCVHWM, 0)  # a full queue would block ZeroMQ's own thread
        monitor.connect(address)
        return monitor

    def _stop_monitor(self) -> None:
        """Let ZeroMQ tell nothing more; its own thread would wait without end for somebody to read it."""
        self.socket.monitor(None, 0)

    def _go(self) -> None:
        """Connect to the address that is to be tried, if one is known, and to no other."""
        address = self.way.address
        if address is None or address == self._connected_to:
            return
        if self._connected_to is not None:
            with contextlib.suppress(zmq.ZMQError):
                self.socket.disconnect(self._connected_to)
        self._connect(self.socket, address)
        self._connected_to = address

    def _connect(self, sock: "zmq.Socket[bytes]", address: str) -> None:
        sock.setsockopt(zmq.IPV6, int(zeromq.needs_ipv6(address)))
        sock.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_MS if self.way.several else 0)
        try:
            sock.connect(address)
        except zmq.ZMQError as error:
            raise ConfigError(f"{self._endpoint!r} is not tcp://HOST:PORT: {error}") from None

    def _begin_lookup(self, now_s: float) -> None:
        """Look the name up again: the relay may have moved."""
        self.way.begin(now_s)
        if self.way.lookup is not None:
            self._opened(self.way.lookup.fileno())

    def _data_sockets(self) -> "list[zmq.Socket[bytes]]":
        return [self.socket] if self.history is None else [self.socket, self.history]

    def _sockets(self) -> "list[zmq.Socket[bytes]]":
        return [*self._data_sockets(), self._monitor]

    def _drop(self, sock: "zmq.Socket[bytes]") -> None:
        self._closing(_fd(sock))
        sock.close()


def _fd(sock: "zmq.Socket[bytes]") -> int:
    return int(sock.getsockopt(zmq.FD))


def _handshake(event: int, value: int) -> HandshakeEnd:
    """Return how a handshake ended, from an event of ZeroMQ's monitor."""
    if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH and event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return HandshakeEnd.OTHER_SECURITY
    return _HANDSHAKES[event]
