"""One stream's way in: its multicast socket, joined when the interface is there, and drained in batches."""

import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable

from astropix_relay.clients.handover import Handover
from astropix_relay.configuration.model import StreamConfig
from astropix_stream import errors
from astropix_stream.batch import NOTHING, Drained, One
from astropix_stream.multicast import sockets
from astropix_stream.multicast.interfaces import Interface
from astropix_stream.multicast.joined import JoinedSocket, Wanted
from astropix_stream.multicast.sockets import SocketMemory, socket_memory
from astropix_stream.multicast.survey import Survey

_log = logging.getLogger(__name__)

# What may pass while the relay waits: an interface that is absent, down or without an address.
_TRANSIENT = {errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}


class Inlet:
    """The socket of one stream and its membership.

    An interface that is missing is waited for: the relay is ready all the same, and joins when it appears.
    Call `check` each second.

    Parameters
    ----------
    config
        The stream's part of the configuration.
    handover
        Where its socket is kept over a restart of the relay; by default nowhere.
    closed
        Called with the kernel's drop count of each socket that another one replaces.
    buffer
        Where to read to, shared with other inlets of the same thread; by default its own.
    """

    def __init__(
        self,
        config: StreamConfig,
        handover: Handover | None = None,
        closed: Callable[[int], None] = lambda _: None,
        buffer: memoryview | None = None,
    ) -> None:
        self.config = config
        self._handover = handover or Handover()
        self._closed = closed
        self._made_of: tuple[object, ...] = ()
        self.granted_buffer = 0
        """Bytes of the receive buffer that the kernel gave."""
        self._dropped_before = 0  # by the kernel, on sockets that are closed
        self._joined = JoinedSocket(
            _wanted(config),
            who=f"{self._name}: ",
            open_socket=self._open,
            closing=self._forget_socket,
            buffer=buffer,
        )

    @property
    def joined(self) -> bool:
        """Whether the group is joined, the interface still there and its link up."""
        return self._joined.is_joined

    @property
    def membership(self) -> str:
        """The membership in words: where the group is joined, or why it is not."""
        return self._joined.words

    @property
    def rejoins(self) -> Counter[str]:
        """Times that the group was joined again, by cause."""
        return self._joined.rejoins

    @property
    def opened(self) -> int:
        """How many sockets it has had: another one may have the same descriptor."""
        return self._joined.opened

    def fileno(self) -> int | None:
        """Return the socket's descriptor; None while there is no socket."""
        return None if self._joined.socket is None else self._joined.socket.fileno()

    def read(self) -> Drained:
        """Return what waits in the socket, at most one batch. Never raises: `check` mends what is broken."""
        reader = self._joined.reader
        if reader is None:
            return NOTHING
        try:
            drained = reader.read()
        except OSError as error:  # an administrator closed it (`ss -K`), or there is no memory
            self._joined.fail(error)
            return NOTHING
        if drained.sizes:
            self._joined.heard = True
        return drained

    def read_one(self) -> One | None:
        """Return the first datagram that waits, if one does; as `read`, it never raises."""
        reader = self._joined.reader
        if reader is None:
            return None
        try:
            one = reader.read_one()
        except OSError as error:
            self._joined.fail(error)
            return None
        if one is not None:
            self._joined.heard = True
        return one

    def memory(self) -> SocketMemory:
        """Return the fill of the receive queue, and what the kernel dropped of this stream so far."""
        memory = None if self._joined.socket is None else socket_memory(self._joined.socket)
        queued, limit, dropped = memory or (0, 0, 0)
        return SocketMemory(queued, limit, self._dropped_before + dropped)

    def check(self, now_s: float, survey: Survey | None = None, *, starting: bool = False) -> None:
        """Join if that is still to do; join again if the membership is gone, or may be.

        Parameters
        ----------
        now_s
            Monotonic time.
        survey
            What the network is at this moment, where several streams are checked.
        starting
            Raise what will not pass by itself; a relay that runs notes it and tries again.

        Raises
        ------
        OSError
            While starting: the port is taken, or not allowed.
        """
        if not starting:
            self._joined.look(now_s, survey)
            return
        try:
            self._joined.join(now_s, survey)
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise errors.with_context(error, f"{self._name}: {self._joined.wanted}") from None
            self._joined.note_trouble(error)

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up another configuration; where that needs another socket, `check` opens it."""
        self.config = config
        self._joined.want(_wanted(config))

    def close(self) -> None:
        """Close the socket for good, which also leaves the group."""
        self._joined.close_socket()

    def let_go(self) -> None:
        """Close our copy of the socket; one that is kept for the next process stays joined."""
        self._joined.let_go()

    @property
    def _name(self) -> str:
        return f"stream {self.config.name}"

    def _open(self, interface: Interface) -> socket.socket:
        config = self.config
        self._made_of = (config.group, config.port, interface.index, config.sources, config.receive_buffer)
        sock = self._handover.take(self._name, *self._made_of) or sockets.open_receiving(
            config.group, config.port, interface=interface, receive_buffer=config.receive_buffer
        )
        self._handover.keep(sock, self._name, *self._made_of)
        self.granted_buffer = granted = sockets.buffer_size(sock, socket.SO_RCVBUF)
        if granted < config.receive_buffer:
            _log.warning(
                "%s: the kernel gave a receive buffer of %d bytes; %d were requested, and "
                "bursts may be lost. Allow more with: %s",
                self._name,
                granted,
                config.receive_buffer,
                sockets.enlarge_hint(config.receive_buffer),
            )
        return sock

    def _forget_socket(self, sock: socket.socket) -> None:
        """Keep the count of a socket that is about to be closed: the next one begins at 0."""
        memory = socket_memory(sock)
        dropped = 0 if memory is None else memory.dropped
        self._dropped_before += dropped
        self._closed(dropped)
        self._handover.forget(self._name, *self._made_of)


def _wanted(config: StreamConfig) -> Wanted:
    return Wanted(
        config.group,
        config.port,
        config.interface,
        config.sources,
        receive_buffer=config.receive_buffer,
        silence_s=config.silence,
    )
