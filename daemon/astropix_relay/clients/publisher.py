"""The relay's XPUB socket: what it sends, who subscribes, and the limits that keep it standing.

From outside come only subscriptions, so that everything incoming is kept small and drained in every turn of
the loop by the thread that owns the socket.
"""

import time

import zmq

from astropix_relay.clients import connections
from astropix_relay.clients.gate import Gate
from astropix_relay.clients.handover import Listener
from astropix_relay.clients.limits import Allowance
from astropix_relay.clients.subscriptions import Subscriptions
from astropix_relay.core import Message
from astropix_stream import wire

# As plain numbers: the arithmetic of pyzmq's enumerations costs a microsecond each time.
_SNDMORE, _POLLIN = int(zmq.SNDMORE), int(zmq.POLLIN)
_MAX_INCOMING = 320  # bytes of a subscription, or of a command in the handshake; the longest topic has 74
_INCOMING_MESSAGES = 16  # subscriptions that wait to be read, per connection
# Subscriptions read in one turn of the loop: a flood of them must not stop readouts.
_MAX_TAKEN, _MAX_TAKEN_S = 1000, 0.005
# What a client may send. A RelayReceiver sends 137 bytes without encryption, 663 with it. Each topic is
# remembered, at some 40 times its size if it is random; and the end of a connection takes libzmq a walk
# through all topics of all clients, so that a total matters more than a rate.
_ALLOWANCE = Allowance(start=4 << 10, per_s=64, most=16 << 10)


class Publisher:
    """Publishes messages to any number of subscribers; none can stop it or another.

    Parameters
    ----------
    context
        ZeroMQ context; stays open on `close`.
    listener
        Where to listen.
    hello
        What each new connection is told.
    queue_bytes
        How much may wait for one subscriber; what exceeds it is lost for that subscriber.
    gate
        Decides who is let in.

    Raises
    ------
    OSError
        The endpoint cannot be bound.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        listener: Listener,
        hello: bytes,
        queue_bytes: int,
        gate: Gate,
    ) -> None:
        self._listener = listener
        self._socket = context.socket(zmq.XPUB)
        for option, value in {
            **connections.options(listener.endpoint),
            zmq.SNDHWM: max(1, queue_bytes // wire.MAX_PAYLOAD),
            zmq.RCVHWM: _INCOMING_MESSAGES,
            zmq.MAXMSGSIZE: _MAX_INCOMING,
            zmq.AFFINITY: connections.LIVE_THREAD,
            zmq.XPUB_VERBOSER: 1,
        }.items():
            self._socket.setsockopt(option, value)
        self._guard = gate.guard
        self._welcomed_before: set[int] = set()  # connections that may have been told the hello of before
        self._greet_again = False  # one of them subscribed to it
        self.topics: tuple[bytes, ...] = ()
        """What is published besides the hello; a client has few subscriptions to anything else."""
        self.door = gate.open_door(self._socket, "publish", listener, _ALLOWANCE, self._left)
        self.greet(hello)
        self._subscriptions = Subscriptions()
        self._ended: list[bytes] = []  # subscriptions of connections that are gone
        self.pending = False
        self.ignored = 0
        """Messages from outside that were neither a subscription nor its end."""
        try:
            listener.bind(self._socket)
        except OSError:
            self._socket.close()
            raise
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        """The address in use; with port 0 in the configuration, the one that the kernel chose."""

    @property
    def subscriptions(self) -> int:
        """Topics subscribed to, by all clients together."""
        return self._subscriptions.count

    def greet(self, hello: bytes) -> None:
        """Set what each new connection is told, and tell it to those that are there and listen for it.

        A connection that was told the hello of before, and whose subscription is still on its way, hears
        nothing of this one; once it has subscribed, all are told again. That is once for a connection, so
        that none can make us tell all others again and again.
        """
        self._hello = hello
        self._socket.setsockopt(zmq.XPUB_WELCOME_MSG, hello)
        self._socket.send(hello)
        self._welcomed_before, self._greet_again = self.door.connections.descriptors(), False

    def drop_clients(self) -> None:
        """Close every connection; those that may will be back at once."""
        connections.rebind(self._socket, self.endpoint, self._listener.bind)

    def fileno(self) -> int:
        """Return ZeroMQ's descriptor: it tells that `take_subscriptions` should be called, and only once."""
        return int(self._socket.getsockopt(zmq.FD))

    def publish(self, message: Message) -> None:
        """Send a message to whoever subscribes; never blocks."""
        topic, header, payload = message
        self._socket.send(topic, _SNDMORE)
        self._socket.send(header, _SNDMORE)
        self._socket.send(payload)

    def take_subscriptions(self) -> list[tuple[bool, bytes]]:
        """Read what subscribers sent, within reason; return each prefix with whether it begins or ends.

        Where something was left, `pending` is true: the descriptor does not tell a second time.
        """
        prefixes = [(False, prefix) for prefix in self._ended]
        self._ended = []
        self.pending = not self._take_all(prefixes)
        if self._greet_again:
            self._greet_again = False
            self._socket.send(self._hello)
        return prefixes

    def _take_all(self, prefixes: list[tuple[bool, bytes]]) -> bool:
        """Read what subscribers sent, within reason; return whether that was all."""
        until_s = time.monotonic() + _MAX_TAKEN_S
        for _ in range(_MAX_TAKEN):
            if time.monotonic() > until_s:
                break
            if not int(self._socket.getsockopt(zmq.EVENTS)) & _POLLIN:
                return True
            frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            body = frames[0].bytes
            if len(frames) != 1 or body[:1] not in (b"\x00", b"\x01"):
                self.ignored += 1
            elif self._take(frames[0], begins=body[:1] == b"\x01", prefix=body[1:]):
                prefixes.append((body[:1] == b"\x01", body[1:]))
        return False

    def _take(self, frame: "zmq.Frame", *, begins: bool, prefix: bytes) -> bool:
        """Note that a connection begins or ends a subscription; return whether that changes anything."""
        try:
            fd = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:  # of a connection that has ended: `_left` knows of it
            return False
        if not self.door.connections.is_open(fd):
            return False
        if not begins:
            return self._subscriptions.end(fd, prefix)
        if not any(topic.startswith(prefix) for topic in (self._hello, *self.topics)):
            self._guard.note_strange_topic(fd)
        begun = self._subscriptions.begin(fd, prefix)
        if begun and self._hello.startswith(prefix) and fd in self._welcomed_before:
            self._welcomed_before.discard(fd)
            self._greet_again = True
        return begun

    def _left(self, fd: int | None) -> None:
        """Note that a connection has ended, or all."""
        self._ended += self._subscriptions.leave(fd)
        self._welcomed_before -= self._welcomed_before if fd is None else {fd}

    def flush(self, seconds: float) -> None:
        """Give what is queued at most so long to leave, once `close` is called."""
        self._socket.setsockopt(zmq.LINGER, int(seconds * 1000))

    def close(self) -> None:
        """Close; a second call does nothing."""
        self._socket.close()
