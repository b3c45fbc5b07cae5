"""How many clients are in, as far as ZeroMQ tells of their connections. Pure."""

from collections import deque
from itertools import islice

from astropix_relay.clients.connections import HANDSHAKE_MS

# An open connection that is older has finished it; half a second for ZeroMQ to close those that did not.
_PROVEN_S = HANDSHAKE_MS / 1000 + 0.5


class Connections:
    """How many clients are in. Pure.

    ZeroMQ tells of each connection when it is accepted and when it has ended, and of the end of a handshake
    without saying whose. So one counts as let in when it is older than a handshake may take, or by the
    answers given while it was younger: never fewer than there are, and silent connections keep nobody out.
    """

    def __init__(self) -> None:
        self._since: dict[int, float] = {}  # by descriptor, in order of time
        self._let_in: deque[float] = deque()
        self._ending: set[int] = set()

    def accepted(self, fd: int, now_s: float) -> None:
        """Note a new connection; a descriptor that was known has been closed unnoticed."""
        self.ended(fd)
        self._since[fd] = now_s

    def ended(self, fd: int) -> None:
        """Note that a connection has ended."""
        self._since.pop(fd, None)
        self._ending.discard(fd)

    def let_in(self, now_s: float) -> None:
        """Note that a client was let in."""
        self._let_in.append(now_s)

    def is_open(self, fd: int) -> bool:
        """Return whether there is a connection with this descriptor."""
        return fd in self._since

    def descriptors(self) -> set[int]:
        """Return the descriptors of the open connections; one is among them before it is let in."""
        return set(self._since)

    def all_ended(self) -> None:
        """Note that all connections were closed together."""
        self._since.clear()
        self._let_in.clear()
        self._ending.clear()

    def oldest_young(self, now_s: float, count: int) -> list[int]:
        """Return those that may be in their handshake still and are not ending, the oldest first."""
        proven_before_s = now_s - _PROVEN_S
        young = (
            fd for fd, since_s in self._since.items() if since_s >= proven_before_s and fd not in self._ending
        )
        return list(islice(young, count))

    def ending(self, fd: int) -> None:
        """Note that we end a connection; ZeroMQ will tell when it has ended."""
        self._ending.add(fd)

    @property
    def staying(self) -> int:
        """Open connections without those that we end."""
        return len(self._since) - len(self._ending)

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
