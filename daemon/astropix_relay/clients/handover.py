"""Sockets that outlive the process: kept by systemd over a restart, so that nothing that arrives is lost.

A UDP socket that stays joined collects datagrams while no relay runs, and a listening socket lets clients
connect. The next process takes them over and reads at once what waited. Without systemd nothing is kept.
"""

import logging
import os
import socket
import zlib

import zmq

from astropix_daemon import listening
from astropix_daemon.addresses import tcp_address
from astropix_relay.clients import connections
from astropix_relay.host import systemd

_log = logging.getLogger(__name__)


class Handover:
    """What systemd kept from the process before, and what it is to keep for the next one.

    Sockets are known by a name and what they are made of: one that the configuration would make otherwise now
    is not taken over.
    """

    def __init__(self) -> None:
        self._inherited = {name: fds[0] for name, fds in systemd.listen_fds().items()}

    def take(self, name: str, *made_of: object) -> socket.socket | None:
        """Return the socket kept under this name, if it is made of the same."""
        fd = self._inherited.pop(_label(name, made_of), None)
        if fd is None:
            return None
        _log.info("%s: went on while no relay ran", name)
        return socket.socket(fileno=fd)

    def keep(self, sock: socket.socket, name: str, *made_of: object) -> None:
        """Have a copy of a socket kept for the next process."""
        systemd.store_fds(_label(name, made_of), sock.fileno())

    def forget(self, name: str, *made_of: object) -> None:
        """Keep a socket no more."""
        systemd.remove_fds(_label(name, made_of))

    def close_rest(self) -> None:
        """Close what nobody took over: streams and endpoints that the configuration has no more."""
        for label, fd in self._inherited.items():
            systemd.remove_fds(label)
            os.close(fd)
        self._inherited.clear()


def _label(name: str, made_of: tuple[object, ...]) -> str:
    return f"{name}/{zlib.crc32(repr(made_of).encode()):08x}"


class Listener:
    """Where a ZeroMQ socket listens; under systemd, by a TCP socket that is kept over a restart.

    libzmq closes the descriptor that it is given, so that it gets a copy, and sets no send buffer on it.

    Parameters
    ----------
    endpoint
        As ZeroMQ writes it.
    handover
        Where the listening socket is kept.

    Raises
    ------
    OSError
        Under systemd: the endpoint cannot be bound.
    """

    def __init__(self, endpoint: str, handover: Handover) -> None:
        self.endpoint = endpoint
        address = tcp_address(endpoint)
        self._kept: socket.socket | None = None
        if address is None or not address.port or not systemd.is_manager_there():
            return
        self._kept = handover.take("listen", endpoint) or _listen(address.host, address.port)
        handover.keep(self._kept, "listen", endpoint)

    def bind(self, sock: "zmq.Socket[bytes]") -> None:
        """Bind a ZeroMQ socket, for the first time or again.

        Raises
        ------
        zmq.ZMQError
            The endpoint cannot be bound.
        """
        if self._kept is None:
            sock.bind(self.endpoint)
            # With port 0, to be bound there again
            self.endpoint = sock.getsockopt_string(zmq.LAST_ENDPOINT)
            return
        sock.setsockopt(zmq.USE_FD, os.dup(self._kept.fileno()))
        try:
            sock.bind(self.endpoint)
        finally:
            sock.setsockopt(zmq.USE_FD, -1)  # a later bind would use it too

    def close(self) -> None:
        """Close our copy; the one that systemd keeps goes on listening."""
        if self._kept is not None:
            self._kept.close()


def _listen(host: str, port: int) -> socket.socket:
    sock = listening.open_bound(host, port)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, connections.CLIENT_SEND_BUFFER)
        sock.listen(connections.BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
