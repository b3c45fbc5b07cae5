"""Multicast readouts: two lines in a DAQ, which is never stalled or ended by them. Standard library alone."""

import contextlib
import errno
import logging
import os
import time
from collections import Counter
from types import TracebackType
from typing import Protocol, Self

from astropix_stream import errors, fmt
from astropix_stream.addresses import DEFAULT_GROUP, DEFAULT_PORT, canonical, check_address
from astropix_stream.batch import Source
from astropix_stream.errors import ClosedError
from astropix_stream.multicast import interfaces, sockets

_log = logging.getLogger(__name__)

_CALM_S = 1.0  # without a failure, before it is said to have ended
# What the kernel may say when the interface that it was told to use is gone, or is down.
_INTERFACE_GONE = {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH}


class Packable(Protocol):
    """Any readout that knows its bytes."""

    def to_bytes(self) -> bytes:
        """Return the readout as it stands in a datagram."""


class MulticastSender:
    """Multicasts readouts, without ever stalling or ending a DAQ loop for the network's sake.

    Nothing that the network answers is raised: a readout that could not be sent is counted in `not_sent`, by
    errno, and logged once when that begins and once when it has ended.

    Parameters
    ----------
    group, port
        Where to send. A unicast address is accepted, for programs on one machine ('127.0.0.1').
    ttl
        With 1 a readout stays on its network; each more lets it pass a router. 0 is for the loopback
        interface: through another it stays on this host only if a receiver here has joined (Linux).
    interface
        Name or address of the interface to send through; by default the one of the route to the group.
        A name survives a change of the address.
    loop
        Whether receivers on this host get the readouts too; on its loopback interface they always do.

    Raises
    ------
    ConfigError
        `group`, `port` or `ttl` is not one, or the interface is of the other address family.
    OSError
        The interface does not exist; the text lists those there are.

    Attributes
    ----------
    sent : int
        Readouts that the kernel took.
    not_sent : collections.Counter
        Readouts that it did not take, by errno. With the cable unplugged it takes them, and drops them.
    """

    def __init__(
        self,
        group: str = DEFAULT_GROUP,
        port: int = DEFAULT_PORT,
        ttl: int = 2,
        *,
        interface: str | None = None,
        loop: bool = True,
    ) -> None:
        version = check_address(group, port)
        group = canonical(group)
        self._address = Source(group, port)
        self._interface = interface
        self._closed = False
        self._failing: Counter[int] = Counter()
        self._last_failure_s = 0.0
        self.sent = 0
        self.not_sent: Counter[int] = Counter()
        try:
            chosen = interfaces.find_interface(interface, version)
            self._socket = sockets.open_sending(group, port, interface=chosen, ttl=ttl, loop=loop)
        except OSError as error:
            where = f" from {interface}" if interface else ""
            raise errors.with_context(error, f"cannot multicast to {self}{where}") from None
        # Python parses the group again in every call, but resolves no name: the address is checked above.
        self._destination = sockets.socket_address(group, port, chosen)
        self._sendto = self._socket.sendto
        _log.info("sending to %s from %s", self, interfaces.in_use(chosen, group, port))

    def address(self) -> tuple[str, int]:
        """Return (group, port)."""
        return self._address

    @property
    def source_port(self) -> int:
        """The UDP port that it sends from, as receivers see it; 0 before the first readout."""
        return 0 if self._closed else int(self._socket.getsockname()[1])

    def send_readout(self, readout: Packable) -> int:
        """Send a readout; return the number of bytes sent, 0 if the network did not take it.

        Raises
        ------
        TypeError
            `readout` has no `to_bytes()`.
        ClosedError
            The sender is closed.
        """
        try:
            data = readout.to_bytes()
        except AttributeError:
            if hasattr(readout, "to_bytes"):
                raise
            raise TypeError(f"{type(readout).__name__} is not a readout: it has no to_bytes()") from None
        return self.send_data(data)

    def send_data(self, data: bytes) -> int:
        """Send the bytes of a readout; return their number, 0 if the network did not take them.

        Raises
        ------
        TypeError
            `data` is not bytes.
        ClosedError
            The sender is closed.
        """
        try:
            size = self._sendto(data, self._destination)
        except OSError as error:
            self._note_failure(error, len(data))
            return 0
        self.sent += 1
        if self._failing:
            self._note_success()
        return size

    def _note_failure(self, error: OSError, size: int) -> None:
        if self._closed:
            raise ClosedError(f"this sender to {self} is closed") from None
        number = error.errno or 0
        self._last_failure_s = time.monotonic()
        if number not in self._failing:
            what = (
                f"a readout of {size} bytes (the limit is {fmt.MAX_DATAGRAM}) is"
                if number == errno.EMSGSIZE
                else "readouts are"
            )
            _log.warning("%s not sent to %s: %s", what, self, errors.explain(error))
        self._failing[number] += 1
        self.not_sent[number] += 1
        if number in _INTERFACE_GONE:
            self._find_interface_again()

    def _find_interface_again(self) -> None:
        """Take the interface of the same name that was plugged in instead, if there is one by now."""
        with contextlib.suppress(OSError):
            chosen = interfaces.find_interface(self._interface, check_address(*self._address))
            sockets.choose_interface(self._socket, chosen)
            self._destination = sockets.socket_address(*self._address, chosen)

    def _note_success(self) -> None:
        """Report the end of a failure, once it stays away for a second: a flapping one fills no log."""
        if time.monotonic() - self._last_failure_s >= _CALM_S:
            self._report_end("works again")

    def _report_end(self, what: str) -> None:
        counts = ", ".join(f"{n} ({os.strerror(number)})" for number, n in self._failing.items())
        _log.warning("sending to %s %s; not sent meanwhile: %s", self, what, counts)
        self._failing.clear()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self}{', closed' if self._closed else ''}>"

    def __str__(self) -> str:
        return str(self._address)

    def close(self) -> None:
        """Close the sender; a second call does nothing."""
        self._closed = True
        self._socket.close()
        if self._failing:
            self._report_end("ends")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
