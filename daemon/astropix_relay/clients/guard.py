"""Ends connections that send more than they may, from a thread of its own.

The loop may be inside libzmq, busy with what such a client sent; so a thread watches. It sleeps until a
client sends something, which honest ones hardly do, and asks the kernel how many bytes came (TCP_INFO). Where
that is too much it shuts the connection down; libzmq then finds that its peer has left.

Connections are known by libzmq's descriptors. The guard has a copy of each, which the gate has it close when
ZeroMQ tells that the connection has ended: until then the peer sees no end of it.
"""

import errno
import os
import select
import socket
import struct
import threading
from collections import Counter, deque
from contextlib import suppress
from typing import NamedTuple

from astropix_relay.clients.limits import Allowance, Candidate, host_of, strange_topics
from astropix_relay.host import packet_filter
from astropix_stream import clock
from astropix_stream.addresses import unmapped

_BYTES_RECEIVED = struct.Struct(
    "=128xQ"
)  # tcpi_bytes_received, of struct tcp_info in <linux/tcp.h>; Linux 4.1
_EVENTS = (
    select.EPOLLIN | select.EPOLLET
)  # once for each arrival, also while libzmq has not read the last one
_KNOWN_S = 60.0  # an attacker would have been cut
_MAX_READY = 64  # connections looked at before new arrivals are taken in


class Cut(NamedTuple):
    """A connection that was ended, and why."""

    door: str
    address: str
    why: str
    """What it did, in words that complete *a connection that …*."""


class _Watched:
    """One connection."""

    def __init__(
        self, sock: socket.socket, door: str, address: str, allowance: Allowance, now_s: float
    ) -> None:
        self.sock = sock
        self.door = door
        self.address = address
        self.host = host_of(address)
        self.allowance = allowance
        self.since_s = now_s
        self.earned = 0
        self.strange_topics = 0
        self.is_cut = False

    def sent(self) -> int:
        """Return how many bytes the peer has sent."""
        info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        return int(_BYTES_RECEIVED.unpack(info)[0]) if len(info) == _BYTES_RECEIVED.size else 0

    def silence(self) -> None:
        """Take nothing more from the peer."""
        self.is_cut = True
        with suppress(OSError):
            packet_filter.drop_all(self.sock)

    def shut_down(self) -> None:
        self.is_cut = True
        with suppress(OSError):  # it has just ended by itself
            packet_filter.drop_from_none(self.sock)  # the end has to be acknowledged
            self.sock.shutdown(socket.SHUT_RDWR)


class Guard:
    """Watches connections; `close` ends the thread."""

    def __init__(self) -> None:
        self.cuts: deque[Cut] = deque(maxlen=10_000)
        """Connections that were ended, for the loop to take."""
        self._watched: dict[int, _Watched] = {}  # by libzmq's descriptor
        self._by_copy: dict[int, _Watched] = {}  # by ours
        self._of_host: Counter[str] = Counter()
        self._strange_topics = 0  # of all
        self._silenced: deque[_Watched] = deque()
        self._lock = (
            threading.Lock()
        )  # held for microseconds: a copy must not be closed while it is looked at
        self._epoll = select.epoll()
        self._wake, self._waker = os.pipe()
        self._epoll.register(self._wake, select.EPOLLIN)
        # A daemon: whatever happens to it, it does not keep the process.
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
        self._thread.start()

    def watch(self, fd: int, door: str, port: int, allowance: Allowance, now_s: float) -> str | None:
        """Watch a connection that libzmq has accepted; return its peer's address.

        None if the descriptor is no TCP connection to this port: the connection has ended before, or is one
        of `ipc://`.
        """
        self.forget(fd)
        if fd in self._by_copy:  # closed by libzmq since, and ours now: the connection has ended
            return None
        try:
            copy = os.dup(fd)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                _shut_down_unwatched(fd)
            return None
        try:
            sock = socket.socket(fileno=copy)
        except OSError:  # closed by libzmq since, and some file of ours now
            os.close(copy)
            return None
        try:
            is_ours = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == port
            address = unmapped(str(sock.getpeername()[0])) if is_ours else ""
        except OSError:
            address = ""
        if not address:
            sock.close()
            return None
        watched = _Watched(sock, door, address, allowance, now_s)
        self._of_host[watched.host] += 1
        with self._lock:
            self._watched[fd] = self._by_copy[sock.fileno()] = watched
        with suppress(OSError):
            self._epoll.register(sock.fileno(), _EVENTS)
        return address

    def earn(self, fd: int, size: int) -> None:
        """Let a connection send more."""
        watched = self._watched.get(fd)
        if watched is not None:
            watched.earned += size

    def note_strange_topic(self, fd: int) -> None:
        """Note that a connection has subscribed to what nobody publishes; the one too many ends it."""
        watched = self._watched.get(fd)
        if watched is None or watched.is_cut:
            return
        watched.strange_topics += 1
        self._strange_topics += 1
        most = strange_topics(self._strange_topics)
        if watched.strange_topics > most:
            why = f"subscribed to more than {most} topics that no stream has"
            self.cuts.append(Cut(watched.door, watched.address, why))
            watched.silence()
            self._silenced.append(watched)

    def end_silenced(self, most: int) -> bool:
        """End some connections with too many topics; return whether there are more.

        The end of each is a walk through all topics, and libzmq has no bound of its own for how many it works
        off at once. So they go a few at a time, and until then nothing more is taken from them.
        """
        for _ in range(min(most, len(self._silenced))):
            self._silenced.popleft().shut_down()
        return bool(self._silenced)

    def end(self, fd: int) -> None:
        """End a connection; ZeroMQ will tell of it."""
        watched = self._watched.get(fd)
        if watched is not None:
            watched.shut_down()

    def knows(self, address: str, now_s: float) -> bool:
        """Return whether a connection of this host has been in for a while."""
        host = host_of(address)
        if not self._of_host[host]:
            return False
        return any(one.host == host and now_s - one.since_s > _KNOWN_S for one in self._watched.values())

    def candidates(self, fds: list[int]) -> list[Candidate]:
        """Return what these connections have sent; without those that have been ended already."""
        watched = [(fd, self._watched[fd]) for fd in fds if fd in self._watched]
        found = []
        for fd, one in watched:
            with suppress(OSError):
                if not one.is_cut:
                    found.append(Candidate(fd, one.sent(), self._of_host[one.host]))
        return found

    def forget(self, fd: int) -> None:
        """Close our copy of a connection that has ended."""
        with self._lock:
            watched = self._watched.pop(fd, None)
            if watched is None:
                return
            self._by_copy.pop(watched.sock.fileno(), None)
            with suppress(OSError):  # libzmq's copy may be open still, and would go on to tell
                self._epoll.unregister(watched.sock.fileno())
            watched.sock.close()
        self._strange_topics -= watched.strange_topics
        self._of_host[watched.host] -= 1
        if not self._of_host[watched.host]:
            del self._of_host[watched.host]

    def forget_all(self, door: str) -> None:
        """Close our copies of all connections of one door."""
        for fd in [fd for fd, watched in self._watched.items() if watched.door == door]:
            self.forget(fd)

    def close(self) -> None:
        """End the thread and close all copies; a second call does nothing."""
        if self._thread.is_alive():
            os.write(self._waker, b"!")
            self._thread.join()
        if not self._epoll.closed:
            for fd in list(self._watched):
                self.forget(fd)
            self._epoll.close()
            os.close(self._wake)
            os.close(self._waker)

    def _run(self) -> None:
        while True:
            for copy, _ in self._epoll.poll(maxevents=_MAX_READY):
                if copy == self._wake:
                    return
                with self._lock:
                    watched = self._by_copy.get(copy)
                    if watched is not None and not watched.is_cut:
                        with suppress(OSError):
                            self._check(watched, clock.now().s)

    def _check(self, watched: _Watched, now_s: float) -> None:
        sent = watched.sent()
        allowed = watched.allowance.bytes_at(now_s - watched.since_s, watched.earned)
        if sent > allowed:
            why = f"sent {sent} bytes where {allowed:.0f} are allowed"
            self.cuts.append(Cut(watched.door, watched.address, why))
            watched.shut_down()


def _shut_down_unwatched(fd: int) -> None:
    """End a connection that cannot be watched for want of a descriptor."""
    with suppress(OSError):
        sock = socket.socket(fileno=fd)
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.shutdown(socket.SHUT_RDWR)
        finally:
            sock.detach()  # it is libzmq's
