"""Host names: every address that one stands for, in the order in which to try them."""

import contextlib
import socket
import threading

from astropix_stream.addresses import canonical, is_address

_ASK_AGAIN_S = 1.0


def resolve(host: str) -> tuple[str, ...]:
    """Return the addresses of a host's name, IPv6 and IPv4, in the system's order; none if it is unknown.

    An address stands for itself. This may take as long as the name service does; `Lookup` does not wait.
    """
    if is_address(host):
        return (canonical(host),)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[4][0]) for address in found))


class Lookup:
    """Resolves a name in a thread of its own: a name service that does not answer takes ten seconds and more.

    Parameters
    ----------
    host
        The name. While it is unknown, it is asked for again each second.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._addresses: tuple[str, ...] | None = None
        self._answered, self._closed = threading.Event(), threading.Event()
        self._told, self._teller = socket.socketpair()
        threading.Thread(target=self._run, name=f"lookup of {host}", daemon=True).start()

    def _run(self) -> None:
        with self._teller:
            while not (addresses := resolve(self._host)):
                self._answered.set()
                if self._closed.wait(_ASK_AGAIN_S):
                    return
            self._addresses = addresses
            self._answered.set()
            with contextlib.suppress(OSError):  # nobody waits any more
                self._teller.send(b"!")

    def fileno(self) -> int:
        """Return a descriptor that is readable once there are addresses."""
        return self._told.fileno()

    def wait(self, seconds: float) -> tuple[str, ...] | None:
        """Wait for an answer, at most so long; return the addresses, or None as long as none is known."""
        self._answered.wait(seconds)
        return self._addresses

    def close(self) -> None:
        """Stop asking; the thread ends when the name service has answered."""
        self._closed.set()
        self._told.close()
