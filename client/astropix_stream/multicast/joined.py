"""A socket that stays joined to a group, whatever happens to its interface.

The relay's inlet and `sock.MulticastReceiver` look after theirs with it, about once a second.
"""

import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from astropix_stream import addresses, errors
from astropix_stream.batch import Source
from astropix_stream.multicast import memberships, rejoining, sockets
from astropix_stream.multicast.datagrams import Reader, open_reader
from astropix_stream.multicast.interfaces import Interface
from astropix_stream.multicast.rejoining import Cause
from astropix_stream.multicast.survey import Survey

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a socket is to be joined to.

    Attributes
    ----------
    group, port
        A unicast address is bound and not joined.
    interface
        Name or address of the interface; None for the one that the route to the group takes.
    sources
        Addresses to receive from; none for anyone.
    receive_buffer
        Bytes asked of the kernel for datagrams that wait.
    silence_s
        Seconds without a datagram after which to join again; 0 for never.
    """

    group: str
    port: int
    interface: str | None = None
    sources: tuple[str, ...] = ()
    receive_buffer: int = sockets.RECEIVE_BUFFER
    silence_s: float = 0.0

    @property
    def is_group(self) -> bool:
        """Whether there is a membership to keep."""
        return addresses.is_multicast(self.group)

    def __str__(self) -> str:
        return str(Source(self.group, self.port))


class JoinedSocket:
    """The socket of one group, and its membership.

    An interface that is deleted and made again has another index, and no membership any more; then the group
    is joined on the new one. An IPv6 socket is bound to its interface, so that another socket takes its
    place. An interface that was renamed is followed while nothing else has its old name.

    Parameters
    ----------
    wanted
        What to join.
    who
        What lines of the log begin with: whose socket it is.
    open_socket
        Opens a socket for `wanted` on an interface; by default `sockets.open_receiving`.
    opened, closing
        Called with each socket that was opened, and with each that is about to be closed.
    buffer
        Where datagrams are read to, from `datagrams.make_buffer`; by default memory of its own.
    """

    def __init__(
        self,
        wanted: Wanted,
        *,
        who: str = "",
        open_socket: Callable[[Interface], socket.socket] | None = None,
        opened: Callable[[socket.socket], None] = lambda _: None,
        closing: Callable[[socket.socket], None] = lambda _: None,
        buffer: memoryview | None = None,
    ) -> None:
        self.wanted = wanted
        self.rejoins: Counter[str] = Counter()
        """Times that the group was joined again, by cause."""
        self.opened = 0
        """Sockets opened so far."""
        self.socket: socket.socket | None = None
        self.reader: Reader | None = None
        self.heard = False
        """Set this when a datagram has come; `look` takes it back."""
        self._who = who
        self._open_socket = open_socket or self._open_receiving
        self._opened, self._closing = opened, closing
        self._buffer = buffer
        self._joined_on: Interface | None = None
        self._has_joined = False
        self._has_link = True
        self._trouble: str | None = None
        self._heard_s = 0.0
        self._silence_told = False
        self._namespace = Survey().namespace

    @property
    def is_joined(self) -> bool:
        """Whether at the last look the group was joined, the interface there and its link up."""
        return self._is_member and self._has_link

    @property
    def can_hear(self) -> bool:
        """Whether this is so at this moment, by asking the kernel."""
        return (
            self._is_member
            and self._joined_on is not None
            and memberships.can_hear(self.wanted.group, self._joined_on)
        )

    @property
    def _is_member(self) -> bool:
        return self._joined_on is not None and self._trouble is None

    @property
    def words(self) -> str:
        """The membership in words: where the group is joined, or why it is not."""
        if self._trouble or self._joined_on is None:
            return self._trouble or "not yet joined"
        if not self.wanted.is_group:
            return f"receives at {self.wanted}"
        return f"joined on {self._joined_on}" + ("" if self._has_link else ", whose link is down")

    @property
    def interface(self) -> Interface:
        """The interface that the group is joined on, or was last."""
        return self._joined_on or Interface()

    def look(self, now_s: float, survey: Survey | None = None) -> None:
        """Join if that is still to do, and again if the membership is gone, or may be; never raises.

        Who looks after several sockets gives each the same `survey` of this moment.
        """
        survey = survey or Survey()
        if self._namespace != survey.namespace:
            return  # this thread has entered another network; what it sees there is not of this socket
        if not survey.can_look:
            return
        try:
            self.join(now_s, survey)
        except OSError as error:
            if Survey().can_look:
                self.note_trouble(error)

    def join(self, now_s: float, survey: Survey | None = None) -> None:
        """Do what `look` does; for the first time, to be told why not.

        Raises
        ------
        OSError
            The interface is not there, or the kernel refuses the socket or the membership.
        ConfigError
            What is wanted cannot be.
        """
        if self.heard:
            self.heard, self._heard_s, self._silence_told = False, now_s, False
        survey = survey or Survey()
        interface = self._find_interface(survey)
        has_link = survey.has_link(interface)
        cause = self._why_rejoin(interface, now_s, survey) if self._is_member else None
        if self._has_joined and (cause or not has_link) and not Survey().can_look:
            return
        self._note_link(interface, has_link)
        if cause or not self._is_member:
            self._join(interface, cause, now_s)

    def want(self, wanted: Wanted) -> None:
        """Take up other wishes; where they need another socket, the next look opens it."""
        needs_another = replace(wanted, silence_s=self.wanted.silence_s) != self.wanted
        self.wanted = wanted
        if needs_another:
            self.close_socket()
            self._trouble, self._has_joined = None, False

    def fail(self, error: OSError) -> None:
        """Give up a socket that cannot be read; the next look opens another."""
        self.note_trouble(error)
        self.close_socket()
        self._has_joined = False

    def let_go(self) -> None:
        """Close this copy of the socket; where another process has one, it stays joined."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self.reader = self._joined_on = None

    def close_socket(self) -> None:
        """Close the socket, which also leaves the group."""
        if self.socket is not None:
            self._closing(self.socket)
        self.let_go()

    def note_trouble(self, error: OSError) -> None:
        """Note why the group is not joined, and log it, once."""
        trouble = errors.explain(error)
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%snot joined to %s: %s", self._who, self.wanted, trouble)

    def _find_interface(self, survey: Survey) -> Interface:
        """Return the interface to join on, with the name and index that it has now."""
        wanted = self.wanted
        try:
            return survey.find_to_join(wanted.interface, wanted.group, wanted.port)
        except OSError:
            followed = self._find_renamed()
            if followed is None:
                raise
            return followed

    def _find_renamed(self) -> Interface | None:
        """Return the interface that is joined on under its new name, if that is all that has changed."""
        joined_on, named = self._joined_on, self.wanted.interface
        if joined_on is None or not joined_on.index or named is None or addresses.is_address(named):
            return None
        with suppress(OSError):
            name = socket.if_indextoname(joined_on.index)
            if memberships.is_member(self.wanted.group, joined_on.index):
                return replace(joined_on, name=name)
        return None

    def _note_link(self, interface: Interface, has_link: bool) -> None:
        had_link, self._has_link = self._has_link, has_link
        if had_link and not self._has_link:
            _log.warning("%sthe link of %s is down", self._who, interface)
        elif self._has_link and not had_link:
            _log.info("%sthe link of %s is up", self._who, interface)

    def _why_rejoin(self, interface: Interface, now_s: float, survey: Survey) -> Cause | None:
        group, listed = self.wanted.group, None
        if self.wanted.is_group and interface.index:
            listed = survey.is_member(group, interface.index)
        limit_s = self.wanted.silence_s if self.wanted.is_group else 0.0
        return rejoining.why_rejoin(
            self._joined_on, interface, listed=listed, silent_s=now_s - self._heard_s, limit_s=limit_s
        )

    def _join(self, interface: Interface, cause: Cause | None, now_s: float) -> None:
        sock = self._socket_for(interface)
        if sock is None:
            return
        self._leave(sock)
        for source in self.wanted.sources or [None]:
            sockets.join(sock, self.wanted.group, interface, source)
        again, self._has_joined = self._has_joined, True
        self._joined_on, self._trouble, self._heard_s = interface, None, now_s
        if again:
            cause = cause or Cause.INTERFACE
            self.rejoins[cause] += 1
            self._tell_again(interface, cause)
        else:
            used = interface if self.wanted.is_group else "this host's address"
            _log.info("%sreceiving %s on %s", self._who, self.wanted, used)

    def _socket_for(self, interface: Interface) -> socket.socket | None:
        """Return the socket to join with; None while the one to be replaced still holds datagrams."""
        if self.socket is not None and ":" in self.wanted.group and self.interface.index != interface.index:
            if _holds_datagrams(self.socket):
                return None
            self.close_socket()
        if self.socket is None:
            self.socket = self._open_socket(interface)
            self.opened += 1
            self.reader = open_reader(self.socket, self._buffer)
            self._opened(self.socket)
        return self.socket

    def _open_receiving(self, interface: Interface) -> socket.socket:
        wanted = self.wanted
        return sockets.open_receiving(
            wanted.group, wanted.port, interface=interface, receive_buffer=wanted.receive_buffer
        )

    def _leave(self, sock: socket.socket) -> None:
        """Leave where we were a member; the kernel counts a membership even after its interface is gone."""
        if self._joined_on is not None:
            for source in self.wanted.sources or [None]:
                sockets.leave(sock, self.wanted.group, self._joined_on, source)

    def _tell_again(self, interface: Interface, cause: Cause) -> None:
        # A night without beam is one line, not one every two minutes.
        level = logging.DEBUG if cause == Cause.SILENCE and self._silence_told else logging.INFO
        self._silence_told = cause == Cause.SILENCE
        words = rejoining.WORDS[cause]
        _log.log(level, "%sjoined %s again on %s: %s", self._who, self.wanted, interface, words)


def _holds_datagrams(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except OSError as error:
        return error.errno == errno.EMSGSIZE  # Windows, of a datagram that is larger
    return True
