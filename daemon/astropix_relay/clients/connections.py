"""What every listening socket asks of its connections, so that no peer can hold one without end."""

import errno
import time
from collections.abc import Callable

import zmq

from astropix_daemon import listening
from astropix_stream import zeromq

HANDSHAKE_MS = 3000  # a connection that says nothing is closed
BACKLOG = 1024  # connections that wait to be accepted; in a flood a newcomer must not wait for seconds
# Bytes in the kernel, per connection: it takes twice as much, `consistency.KERNEL_BUFFER`. Left to itself
# Linux grows it to 4 MiB.
CLIENT_SEND_BUFFER = 768 << 10
# Bytes in the kernel that wait to be read, per connection: a flood is held back in the client's own host.
CLIENT_RECEIVE_BUFFER = 4 << 10
_REBIND_S = 2.0

# Threads of the context and which of them serve a socket (bit masks): pages of history, a megabyte each, must
# not keep the thread that sends what is live.
IO_THREADS = 2
LIVE_THREAD, HISTORY_THREAD = 1, 2


def options(endpoint: str) -> dict[int, int]:
    """Return the options for a socket that listens on `endpoint`."""
    return {
        **zeromq.OPTIONS,
        zmq.HANDSHAKE_IVL: HANDSHAKE_MS,
        zmq.BACKLOG: BACKLOG,
        zmq.SNDBUF: CLIENT_SEND_BUFFER,
        zmq.RCVBUF: CLIENT_RECEIVE_BUFFER,
        zmq.IPV6: int(needs_ipv6(endpoint)),
    }


def needs_ipv6(endpoint: str) -> bool:
    """Return whether ZeroMQ is to listen on IPv6: on such an address, or on all, and then on IPv4 too."""
    return zeromq.needs_ipv6(endpoint) or (endpoint.startswith("tcp://*:") and listening.has_ipv6())


def families(endpoint: str) -> str:
    """Return in words who can connect to the endpoint of a socket that listens on all addresses, else ''."""
    if endpoint.startswith("tcp://[::]:"):
        return " (all addresses, IPv6 and IPv4)"
    return " (all addresses of IPv4; none of IPv6)" if endpoint.startswith("tcp://0.0.0.0:") else ""


def rebind(sock: "zmq.Socket[bytes]", endpoint: str, bind: Callable[["zmq.Socket[bytes]"], None]) -> None:
    """Close every connection of a listening socket.

    ZeroMQ has no way to close one; but a socket that is no longer bound closes them all.

    Parameters
    ----------
    sock
        The socket.
    endpoint
        Where it listens.
    bind
        Binds it there again.

    Raises
    ------
    OSError
        Another program has taken the endpoint in between.
    """
    sock.unbind(endpoint)
    deadline_s = time.monotonic() + _REBIND_S
    while True:  # ZeroMQ's own thread closes the old listener, and tells nobody here
        try:
            bind(sock)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                raise
            time.sleep(0.001)
