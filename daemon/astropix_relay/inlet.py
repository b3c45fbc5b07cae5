"""One stream's way in: its multicast socket, joined when the interface is there, and drained in batches."""

import errno
import logging
import socket
from dataclasses import replace

from astropix_analysis import multicast
from astropix_analysis.datagrams import NOTHING, Drained, Reader, open_reader

from astropix_relay.config import Stream

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
    """

    def __init__(self, config: Stream) -> None:
        self.config = config
        self.joins = 0
        """Times that the group was joined."""
        self._socket: socket.socket | None = None
        self._reader: Reader | None = None
        self._member_on: multicast.Interface | None = None
        self._trouble: str | None = None

    @property
    def joined(self) -> bool:
        """Whether the group is joined and the interface still there."""
        return self._member_on is not None and self._trouble is None

    @property
    def membership(self) -> str:
        """The membership in words: where the group is joined, or why it is not."""
        return self._trouble or (f"joined on {self._member_on}" if self._member_on else "not yet joined")

    def fileno(self) -> int | None:
        """Return the socket's descriptor; None while there is no socket."""
        return None if self._socket is None else self._socket.fileno()

    def read(self) -> Drained:
        """Return what waits in the socket, at most one batch."""
        return NOTHING if self._reader is None else self._reader.read()

    def check(self) -> None:
        """Join if that is still to do; join again if the interface was deleted and made anew.

        Raises
        ------
        OSError
            What will not pass by itself: the port is taken, or not allowed.
        """
        try:
            interface = self._find_interface()
            if self.joined and self._member_on == interface:
                return
            sock = self._socket or self._open(interface)
            self._leave(sock)
            for source in self.config.sources or [None]:
                multicast.join(sock, self.config.group, interface, source)
        except OSError as error:
            if error.errno not in _TRANSIENT:
                raise multicast.with_context(error, f"stream {self.config.name}: {self._address}") from None
            self._note_trouble(error)
            return
        self.joins += 1
        self._member_on, self._trouble = interface, None
        _log.info("stream %s: joined %s on %s", self.config.name, self._address, interface)

    def close(self) -> None:
        """Close the socket, which also leaves the group."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._reader = self._member_on = None

    @property
    def _address(self) -> str:
        return f"{self.config.group}:{self.config.port}"

    def _find_interface(self) -> multicast.Interface:
        """Return the interface to join on, with the index that it has now."""
        group, name = self.config.group, self.config.interface
        family = multicast.check_address(group, self.config.port)
        if name is None and multicast.is_multicast(group):
            name = multicast.local_address(group, self.config.port)
            if name is None:
                raise OSError(errno.ENETUNREACH, "no interface is named and there is no route to the group")
        found = multicast.find_interface(name, family)
        if found.name is not None and not found.index:  # an address: watch the interface that has it
            found = replace(found, index=socket.if_nametoindex(found.name))
        return found

    def _open(self, interface: multicast.Interface) -> socket.socket:
        config = self.config
        self._socket = multicast.open_receiver(
            config.group, config.port, interface=interface, receive_buffer=config.receive_buffer
        )
        self._reader = open_reader(self._socket)
        granted = multicast.buffer_size(self._socket, socket.SO_RCVBUF)
        if granted < config.receive_buffer:
            _log.warning(
                "stream %s: the kernel gave a receive buffer of %d bytes where %d were asked; "
                "bursts may be lost. Allow more with: %s",
                config.name,
                granted,
                config.receive_buffer,
                multicast.enlarge_hint(config.receive_buffer),
            )
        return self._socket

    def _leave(self, sock: socket.socket) -> None:
        """Leave where we were a member; the kernel counts a membership even after its interface is gone."""
        if self._member_on is not None:
            for source in self.config.sources or [None]:
                multicast.leave(sock, self.config.group, self._member_on, source)
        self._member_on = None

    def _note_trouble(self, error: OSError) -> None:
        trouble = multicast.explain(error)
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("stream %s: cannot join %s: %s", self.config.name, self._address, trouble)
