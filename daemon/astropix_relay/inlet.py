"""One stream's way in: its multicast socket, joined when the interface is there, and drained in batches."""

import errno
import logging
import socket
from collections import Counter
from dataclasses import replace

from astropix_relay.clients.handover import Handover
from astropix_relay.configuration.model import StreamConfig
from astropix_relay.host import queues
from astropix_stream import addresses, errors
from astropix_stream.batch import NOTHING, Drained
from astropix_stream.multicast import interfaces, memberships, sockets
from astropix_stream.multicast.datagrams import Reader, open_reader

_log = logging.getLogger(__name__)

# What may pass while the relay waits: an interface that is absent, down or without an address.
_TRANSIENT = {errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}

# Why a group is joined again, and how that is said.
INTERFACE, FORGOTTEN, SILENCE = "interface", "forgotten", "silence"
REJOIN_CAUSES = {
    INTERFACE: "the interface is back, or another one now",
    FORGOTTEN: "the kernel had forgotten the membership",
    SILENCE: "no datagram came for so long that a switch may have forgotten us",
}
# What a socket is made of; the other keys of a stream change without a new one.
_SOCKET_KEYS = {"group", "port", "interface", "sources", "receive_buffer"}


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
    """

    def __init__(self, config: StreamConfig, handover: Handover | None = None) -> None:
        self.config = config
        self._handover = handover or Handover()
        self._made_of: tuple[object, ...] = ()
        self.rejoins: Counter[str] = Counter()
        """Times that the group was joined again, by cause; see `REJOIN_CAUSES`."""
        self._socket: socket.socket | None = None
        self._reader: Reader | None = None
        self._member_on: interfaces.Interface | None = None
        self._has_link = True
        self._trouble: str | None = None
        self._dropped_before = 0  # by the kernel, on sockets that are closed
        self._heard = False
        self._heard_s = 0.0
        self._silence_told = False

    @property
    def joined(self) -> bool:
        """Whether the group is joined, the interface still there and its link up."""
        return self._is_member and self._has_link

    @property
    def _is_member(self) -> bool:
        return self._member_on is not None and self._trouble is None

    @property
    def membership(self) -> str:
        """The membership in words: where the group is joined, or why it is not."""
        if self._trouble or self._member_on is None:
            return self._trouble or "not yet joined"
        return f"joined on {self._member_on}" + ("" if self._has_link else ", whose link is down")

    def fileno(self) -> int | None:
        """Return the socket's descriptor; None while there is no socket."""
        return None if self._socket is None else self._socket.fileno()

    def read(self) -> Drained:
        """Return what waits in the socket, at most one batch. Never raises: `check` mends what is broken."""
        if self._reader is None:
            return NOTHING
        try:
            drained = self._reader.read()
        except OSError as error:  # an administrator closed it (`ss -K`), or there is no memory
            self._note_trouble(error)
            self._close_socket()
            return NOTHING
        if drained.sizes:
            self._heard = True
        if self._dropped_before and drained.drops:  # a new socket counts from 0, the stream goes on
            return drained._replace(drops=[self._dropped_before + drops for drops in drained.drops])
        return drained

    def memory(self) -> queues.SocketMemory:
        """Return the fill of the receive queue, and what the kernel dropped of this stream so far."""
        memory = None if self._socket is None else queues.socket_memory(self._socket)
        queued, limit, dropped = memory or (0, 0, 0)
        return queues.SocketMemory(queued, limit, self._dropped_before + dropped)

    def check(self, now_s: float, *, starting: bool = False) -> None:
        """Join if that is still to do; join again if the membership is gone, or may be.

        Parameters
        ----------
        now_s
            Monotonic time.
        starting
            Raise what will not pass by itself; a relay that runs notes it and tries again.

        Raises
        ------
        OSError
            While starting: the port is taken, or not allowed.
        """
        if self._heard:
            self._heard, self._heard_s, self._silence_told = False, now_s, False
        try:
            interface = self._find_interface()
            self._note_link(interface)
            cause = self._why_rejoin(interface, now_s) if self._is_member else None
            if cause or not self._is_member:
                self._join(interface, cause, now_s)
        except OSError as error:
            if starting and error.errno not in _TRANSIENT:
                raise errors.with_context(error, f"stream {self.config.name}: {self._address}") from None
            self._note_trouble(error)

    def reconfigure(self, config: StreamConfig) -> None:
        """Take up another configuration; where that needs another socket, `check` opens it."""
        changed = {
            key for key in type(config).model_fields if getattr(config, key) != getattr(self.config, key)
        }
        self.config = config
        if changed & _SOCKET_KEYS:
            self._close_socket()
            self._trouble = None

    def close(self) -> None:
        """Close the socket for good, which also leaves the group."""
        self._close_socket()

    def let_go(self) -> None:
        """Close our copy of the socket; one that is kept for the next process stays joined."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._reader = self._member_on = None

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._dropped_before = self.memory().dropped
            self._handover.forget(self._name, *self._made_of)
            self._socket.close()
        self._socket = self._reader = self._member_on = None

    @property
    def _name(self) -> str:
        return f"stream {self.config.name}"

    @property
    def _address(self) -> str:
        return f"{self.config.group}:{self.config.port}"

    def _find_interface(self) -> interfaces.Interface:
        """Return the interface to join on, with the index that it has now."""
        group, name = self.config.group, self.config.interface
        version = addresses.check_address(group, self.config.port)
        if name is None and addresses.is_multicast(group):
            name = interfaces.local_address(group, self.config.port)
            if name is None:
                raise OSError(errno.ENETUNREACH, "no interface is named and there is no route to the group")
        found = interfaces.find_interface(name, version)
        if found.name is not None and not found.index:  # an address: watch the interface that has it
            found = replace(found, index=socket.if_nametoindex(found.name))
        return found

    def _note_link(self, interface: interfaces.Interface) -> None:
        had_link, self._has_link = self._has_link, interfaces.has_link(interface)
        if had_link and not self._has_link:
            _log.warning("stream %s: the link of %s is down", self.config.name, interface)
        elif self._has_link and not had_link:
            _log.info("stream %s: the link of %s is up", self.config.name, interface)

    def _why_rejoin(self, interface: interfaces.Interface, now_s: float) -> str | None:
        """Return the cause to join again, or None. Unicast addresses have no membership."""
        if interface != self._member_on:
            return INTERFACE
        if not addresses.is_multicast(self.config.group):
            return None
        if interface.index and memberships.is_member(self.config.group, interface.index) is False:
            return FORGOTTEN
        silence_s = self.config.silence
        return SILENCE if silence_s and now_s - self._heard_s >= silence_s else None

    def _join(self, interface: interfaces.Interface, cause: str | None, now_s: float) -> None:
        again = self._member_on is not None
        if again and self._member_on != interface and ":" in self.config.group:
            self._close_socket()  # a socket for a link-local group is bound to the old interface's index
        sock = self._socket or self._open(interface)
        self._leave(sock)
        for source in self.config.sources or [None]:
            sockets.join(sock, self.config.group, interface, source)
        self._member_on, self._trouble, self._heard_s = interface, None, now_s
        if again:
            cause = cause or INTERFACE
            self.rejoins[cause] += 1
            self._tell_again(interface, cause)
        else:
            _log.info("stream %s: joined %s on %s", self.config.name, self._address, interface)

    def _tell_again(self, interface: interfaces.Interface, cause: str) -> None:
        # A night without beam is one line, not one every two minutes.
        level = logging.DEBUG if cause == SILENCE and self._silence_told else logging.INFO
        self._silence_told = cause == SILENCE
        name, words = self.config.name, REJOIN_CAUSES[cause]
        _log.log(level, "stream %s: joined %s again on %s: %s", name, self._address, interface, words)

    def _open(self, interface: interfaces.Interface) -> socket.socket:
        config = self.config
        self._made_of = (config.group, config.port, interface.index, config.sources, config.receive_buffer)
        self._socket = self._handover.take(self._name, *self._made_of) or sockets.open_receiving(
            config.group, config.port, interface=interface, receive_buffer=config.receive_buffer
        )
        self._handover.keep(self._socket, self._name, *self._made_of)
        self._reader = open_reader(self._socket)
        granted = sockets.buffer_size(self._socket, socket.SO_RCVBUF)
        if granted < config.receive_buffer:
            _log.warning(
                "stream %s: the kernel gave a receive buffer of %d bytes where %d were asked; "
                "bursts may be lost. Allow more with: %s",
                config.name,
                granted,
                config.receive_buffer,
                sockets.enlarge_hint(config.receive_buffer),
            )
        return self._socket

    def _leave(self, sock: socket.socket) -> None:
        """Leave where we were a member; the kernel counts a membership even after its interface is gone."""
        if self._member_on is not None:
            for source in self.config.sources or [None]:
                sockets.leave(sock, self.config.group, self._member_on, source)

    def _note_trouble(self, error: OSError) -> None:
        trouble = errors.explain(error)
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("stream %s: not joined to %s: %s", self.config.name, self._address, trouble)
