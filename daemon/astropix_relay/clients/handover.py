"""Sockets that outlive the process: kept by systemd over a restart, so that nothing that arrives is lost.

A UDP socket that stays joined collects datagrams while no relay runs, and a listening socket lets clients
connect. The next process takes them over and reads at once what waited. Without systemd nothing is kept.
"""

import errno
import logging
import os
import socket
import zlib
from collections.abc import Iterable, Sequence

import zmq

from astropix_daemon import listening
from astropix_daemon.addresses import Address, tcp_address
from astropix_relay.clients import connections
from astropix_relay.host import holders, packet_filter, systemd

_log = logging.getLogger(__name__)

LISTENER = "listen"
"""The name under which listening sockets are kept; each is made of its endpoint."""
_BARRIER_S = 2.0  # for systemd to close its copies; it takes a millisecond


class Handover:
    """What systemd kept from the process before, and what it is to keep for the next one.

    Sockets are known by a name and what they are made of: one that the configuration would make otherwise now
    is not taken over. What the configuration no longer names is let go before anything is bound
    (`let_go_except`), and a start that fails lets go of everything (`let_go_all`), so that nothing that was
    kept contradicts a later configuration.
    """

    def __init__(self) -> None:
        self._inherited = systemd.listen_fds()
        self._kept: set[str] = set()
        """Labels in systemd's store, but for those in `_inherited`."""

    def take(self, name: str, *made_of: object) -> socket.socket | None:
        """Return the socket kept under this name, if it is made of the same."""
        label = _label(name, made_of)
        fds = self._inherited.pop(label, None)
        if not fds:
            return None
        self._kept.add(label)
        for surplus in fds[1:]:
            os.close(surplus)
        _log.info("%s: its socket was kept while no relay ran", name)
        return socket.socket(fileno=fds[0])

    def keep(self, sock: socket.socket, name: str, *made_of: object) -> None:
        """Have a copy of a socket kept for the next process."""
        label = _label(name, made_of)
        systemd.store_fds(label, sock.fileno())
        self._kept.add(label)

    def forget(self, name: str, *made_of: object) -> None:
        """Stop keeping a socket."""
        label = _label(name, made_of)
        systemd.remove_fds(label)
        self._kept.discard(label)

    def let_go_except(self, listeners: Iterable[str | None], streams: Iterable[str]) -> None:
        """Let go of the sockets of endpoints and streams that are not named here.

        To be called before anything is bound: a listening socket that is kept would hold its port.
        """
        endpoints = {_label(LISTENER, (endpoint,)) for endpoint in listeners if endpoint}
        names = {stream_name(stream) for stream in streams}
        self._close([
            label
            for label in self._inherited
            if label not in endpoints and label.rpartition("/")[0] not in names
        ])  # fmt: skip

    def close_rest(self) -> None:
        """Let go of what nobody took over, such as the socket of a stream whose group is another one now."""
        self._close(list(self._inherited))

    def let_go_all(self) -> None:
        """Let go of everything: this start failed, and the next one is to begin with nothing."""
        for label in self._kept:
            systemd.remove_fds(label)
        removed = bool(self._kept)
        self._kept.clear()
        if not self._close(list(self._inherited)) and removed:
            systemd.barrier(_BARRIER_S)

    def _close(self, labels: list[str]) -> bool:
        """Close inherited sockets, systemd's copies too; return when they are closed there."""
        for label in labels:
            systemd.remove_fds(label)
            for fd in self._inherited.pop(label):
                os.close(fd)
        if labels:
            systemd.barrier(_BARRIER_S)  # until then systemd's copy holds the port
        return bool(labels)


def stream_name(stream: str) -> str:
    """Return the name under which the socket of a stream is kept."""
    return f"stream {stream}"


def _label(name: str, made_of: tuple[object, ...]) -> str:
    return f"{name}/{zlib.crc32(repr(made_of).encode()):08x}"


class Listener:
    """Where a ZeroMQ socket listens; of TCP, by a socket of ours, which systemd keeps over a restart.

    libzmq closes the descriptor that it is given, so that it gets a copy, and sets no buffers on it.

    Parameters
    ----------
    endpoint
        As ZeroMQ writes it.
    handover
        Where the listening socket is kept.
    key
        The configuration's key of the endpoint, for messages.

    Raises
    ------
    OSError
        The endpoint cannot be bound; the text names it, and who holds it.

    Attributes
    ----------
    port : int
        The TCP port; 0 for an endpoint that is not TCP.
    """

    def __init__(self, endpoint: str, handover: Handover, key: str = "endpoint") -> None:
        self.endpoint = endpoint
        self._key = key
        self._socket: socket.socket | None = None
        self.port = 0
        address = tcp_address(endpoint)
        if address is None:
            return
        kept = handover.take(LISTENER, endpoint) if address.port else None
        try:
            self._socket = kept or _listen(address.host, address.port)
        except OSError as error:
            raise self._explained(error.errno or 0, error.strerror or str(error)) from None
        _set_buffers(self._socket)
        self.drop_from([])
        self.port = self._socket.getsockname()[1]
        self.endpoint = f"tcp://{Address(address.host, self.port)}"
        if address.port and systemd.is_manager_there():
            handover.keep(self._socket, LISTENER, endpoint)

    def bind(self, sock: "zmq.Socket[bytes]") -> None:
        """Bind a ZeroMQ socket, for the first time or again.

        Raises
        ------
        OSError
            The endpoint cannot be bound.
        """
        if self._socket is not None:
            sock.setsockopt(zmq.USE_FD, os.dup(self._socket.fileno()))
        try:
            sock.bind(self.endpoint)
        except zmq.ZMQError as error:
            number = error.errno or 0
            raise self._explained(number, zmq.strerror(number)) from None
        finally:
            sock.setsockopt(zmq.USE_FD, -1)  # a later bind would use it too

    def drop_from(self, hosts: Sequence[packet_filter.Network]) -> None:
        """Have the kernel drop what comes from these hosts, but for connections that exist."""
        if self._socket is None:
            return
        try:
            if hosts:
                packet_filter.drop_from(self._socket, hosts)
            else:
                packet_filter.drop_from_none(self._socket)
        except OSError as error:
            _log.warning("%s: the kernel cannot be told to drop floods: %s", self.endpoint, error.strerror)

    def _explained(self, number: int, text: str) -> OSError:
        address = tcp_address(self.endpoint)
        text = text.lower()
        if number == errno.EADDRINUSE and address is not None:
            holder = holders.find_holder(address.host, address.port)
            text += f", {holder}" if holder else " (see `sudo ss -tlnp`)"
        return OSError(number, f"{self._key}: cannot listen on {self.endpoint}: {text}")

    def close(self) -> None:
        """Close our copy; the one that systemd keeps goes on listening."""
        if self._socket is not None:
            self._socket.close()


def _listen(host: str, port: int) -> socket.socket:
    sock = listening.open_bound(host, port)
    try:
        sock.setblocking(False)
        _set_buffers(sock)
        sock.listen(connections.BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_buffers(sock: socket.socket) -> None:
    """Set what the connections of a listening socket inherit; one that was kept may be an older relay's."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, connections.CLIENT_SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, connections.CLIENT_RECEIVE_BUFFER)
