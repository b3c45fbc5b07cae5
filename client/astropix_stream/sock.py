"""Send and receive readouts by UDP multicast: what a DAQ and a monitor on the same network import.

Standard library only. See docs/protocol.md for the datagrams, and `relay` for monitors on other networks.
"""

import contextlib
import errno
import logging
import os
import socket
import time
from collections import Counter
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from astropix_stream import clock, errors, fmt
from astropix_stream.addresses import canonical, check_address, is_address, is_multicast, is_of_one_link
from astropix_stream.arguments import check_whole
from astropix_stream.batch import NOTHING, Batch, Drained, Source, drained_one
from astropix_stream.counting.ledger import Ledger, direct_ledger
from astropix_stream.counting.stream import StreamLedger
from astropix_stream.errors import ClosedError, ConfigError
from astropix_stream.multicast import interfaces, links, sockets
from astropix_stream.multicast.datagrams import MIN_WAIT_S, MmsgReader, Reader, fill, safe_rest_s
from astropix_stream.multicast.intake import Intake
from astropix_stream.multicast.joined import JoinedSocket, Wanted
from astropix_stream.receiving.readiness import wait_readable
from astropix_stream.receiving.receiver import Receiver
from astropix_stream.url import SourceUrl

__all__ = [
    "DEFAULT_GROUP",
    "DEFAULT_PORT",
    "MulticastReceiver",
    "MulticastSender",
    "Packable",
]

_log = logging.getLogger(__name__)

R = TypeVar("R")

DEFAULT_GROUP = "239.1.1.1"
DEFAULT_PORT = 5007
_CALM_S = 1.0  # without a failure, before it is said to have ended
# What the kernel may say when the interface that it was told to use is gone, or is down.
_INTERFACE_GONE = {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH}
_CHECK_S = 1.0  # between looks at the membership, which take 0.1 ms
_FEW = 8  # readouts that are handed out first and counted later
_MAX_READS = 16  # drains before what was read is handed out, so that a flood cannot keep the caller waiting


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


class MulticastReceiver(Receiver[R]):
    """Receives the readouts that a DAQ multicasts; any number of receivers on a host each get everything.

    A datagram that is not a readout is counted and skipped. What was lost, duplicated or out of order is in
    `ledger`. While it is received from, the group is joined again within a second or two when its interface
    was deleted and made again, was renamed, or when the kernel has forgotten the membership; see `rejoins`.

    Parameters
    ----------
    readout_class
        Class of the readouts to return: `fmt.AstroPix4Readout`, or any with ``from_bytes(bytes)``.
    group, port
        Where the DAQ sends. A unicast address is accepted; then this is the only receiver on the port.
    interface
        Name or address of the interface to join on; by default the one of the route to the group.
    source
        Address of the one DAQ to receive from; the kernel keeps all others out (Linux).
    timeout
        Seconds that `receive` and iteration wait for a readout; None waits without limit.
    receive_buffer
        Bytes asked of the kernel for datagrams that wait. `granted_buffer` is what it gave.
    stride
        The DAQ multicasts one readout in `stride`: ids that grow by this are no loss.

    Raises
    ------
    ConfigError
        `group`, `port`, `interface` or `source` is not one.
    OSError
        The group cannot be joined; the text says what would help.
    """

    def __init__(
        self,
        readout_class: type[R],
        group: str = DEFAULT_GROUP,
        port: int = DEFAULT_PORT,
        *,
        interface: str | None = None,
        source: str | None = None,
        timeout: float | None = None,
        receive_buffer: int = sockets.RECEIVE_BUFFER,
        stride: int = 1,
    ) -> None:
        super().__init__(readout_class, timeout=timeout)
        self._address = _checked(group, port, interface, source)
        self.granted_buffer = 0
        self._ledger = StreamLedger(stride=stride)
        self._intake = Intake(self._ledger)
        self._check_at_s = 0.0
        self._first: Drained | None = None  # read already, when the next drain begins
        self._changes: socket.socket | None = None  # told of by the kernel, for who waits on `fileno`
        sources = () if source is None else (source,)
        self._joined = JoinedSocket(
            Wanted(
                *self._address,
                interface,
                sources,
                check_whole("receive_buffer", receive_buffer, 1, 2**31 - 1),
            ),
            opened=self._note_opened,
            closing=self._note_closing,
        )
        self._join(interface)

    @classmethod
    def from_url(cls, readout_class: type[R], source: SourceUrl, /, **options: Any) -> Self:
        """Open the source of a URL ``udp://…``."""
        return cls(readout_class, source.host, source.port, **source.options, **options)

    def address(self) -> tuple[str, int]:
        """Return (group, port)."""
        return self._address

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many, as given."""
        return self._ledger.stride

    @property
    def connected(self) -> bool:
        """Whether readouts can arrive: the group is joined still, and its interface there with a link."""
        return self._joined.can_hear

    @property
    def trouble(self) -> str:
        """Why readouts cannot arrive: the group is not joined, or the link is down; empty if they can."""
        return "" if self.connected else self._joined.words

    @property
    def rejoins(self) -> Counter[str]:
        """Times that the group was joined again, by cause: the interface came back, or the kernel forgot."""
        return self._joined.rejoins

    @property
    def ledger(self) -> Ledger:
        """What was delivered so far, and what was lost where."""
        self._settle()
        self._ledger.tick(clock.now())
        return direct_ledger(self._ledger)

    @property
    def rejected(self) -> Counter[str]:
        """Datagrams that were not readouts, by reason (see `intake`)."""
        self._settle()
        return self._ledger.rejected

    def _watched_fds(self) -> list[int]:
        if self._changes is None:
            self._changes = links.open_changes()
        return [sock.fileno() for sock in (self._joined.socket, self._changes) if sock is not None]

    def _close(self) -> None:
        self._joined.let_go()
        if self._changes is not None:
            self._changes.close()

    def _join(self, interface: str | None) -> None:
        try:
            self._joined.join(time.monotonic())
        except BaseException as error:
            self._joined.let_go()
            if isinstance(error, OSError):
                if error.errno == errno.EADDRNOTAVAIL and not is_multicast(self._address.address):
                    what = "neither a multicast group nor an address of this host"
                    raise type(error)(error.errno, f"cannot receive {self}: {what}") from None
                where = f" on {interface}" if interface else ""
                raise errors.with_context(error, f"cannot receive {self}{where}") from None
            raise

    def _note_opened(self, sock: socket.socket) -> None:
        self.granted_buffer = sockets.buffer_size(sock, socket.SO_RCVBUF)
        self._gathering.safe_s = safe_rest_s(self.granted_buffer)
        if self._readiness is not None:
            self._readiness.watch(sock.fileno())

    def _note_closing(self, sock: socket.socket) -> None:
        if self._readiness is not None:
            self._readiness.forget(sock.fileno())
        self._settle()
        memory = sockets.socket_memory(sock)
        self._intake.replace_socket(0 if memory is None else memory.dropped)

    def _receive_batches(self, timeout_s: float | None) -> list[Batch]:
        wait_s = _CHECK_S if timeout_s is None else min(timeout_s, _CHECK_S)
        reader = self._joined.reader
        if reader is None:  # until the next look opens a socket
            self._check_if_due(clock.now().s)
            time.sleep(wait_s if self._joined.reader is None else 0.0)
            return []
        self._settle()
        if self._first is None:
            self._rest(wait_s)
        return self._drain(reader, wait_s)

    def _take_few(self, deadline: float | None) -> list[R]:
        """Wait for readouts; return them if they are few and valid, and leave it to `_settle` to count them.

        One by one and with cold caches, to count a readout costs more than to receive it, and each call of a
        function some microseconds. What runs begin is of no concern here: who wants to be told of them does
        not come this way.
        """
        reader, now_s, one, fields = self._joined.reader, time.monotonic(), None, None
        wait_s = _CHECK_S if deadline is None else min(_CHECK_S, deadline - now_s)
        if not isinstance(reader, MmsgReader) or wait_s < MIN_WAIT_S or self._closed or self._first:
            return []
        try:
            if not self._gathering.one_by_one:
                return self._take_several(reader, now_s, wait_s)
            one = reader.wait_one(wait_s)
        except OSError as error:  # an administrator closed it (`ss -K`), or there is no memory
            self._joined.fail(error)
            return []
        s = time.monotonic()
        if one is not None and s < self._check_at_s:
            fields = self._intake.take_one(one, s, time.time_ns())
        if one is None or fields is None:
            self._first = NOTHING if one is None else drained_one(*one)
            return []
        self._gathering.note(s, 1, more=True)  # as far as is known
        if self._from_fields is not None:
            return [self._from_fields(one[0][fmt.HEADER_SIZE :], *fields)]
        return self._make((one[0],))

    def _take_several(self, reader: MmsgReader, now_s: float, wait_s: float) -> list[R]:
        """Do what `_take_few` does, where readouts come so fast that some gather."""
        left_s = self._gathering.until_s - now_s
        if left_s > 0:
            time.sleep(min(left_s, wait_s))
        drained = reader.wait(wait_s)
        s, ns, count = time.monotonic(), time.time_ns(), len(drained.sizes)
        if not 0 < count <= _FEW or s >= self._check_at_s or not self._intake.take_few(drained, s, ns):
            self._first = drained
            return []
        self._gathering.note(s, count, fill(drained, self.granted_buffer))
        if drained.even and self._from_payload is not None:
            size, payload = drained.sizes[0], drained.payload
            return self._from_payload(payload, range(size, len(payload) + 1, size), (), ())
        return self._make(drained.datagrams())

    def _settle(self) -> None:
        """Count what `_take_few` has handed out."""
        for source, timestamp, now in self._intake.tell():
            self._tracker.received(source, timestamp, now)

    def _drain(self, reader: Reader, wait_s: float) -> list[Batch]:
        batches: list[Batch] = []
        count, full = 0, 0.0
        for _ in range(_MAX_READS if reader.slots > 1 else 1):
            try:
                drained = reader.read() if count else self._first or self._wait(reader, wait_s)
            except OSError as error:  # an administrator closed it (`ss -K`), or there is no memory
                self._joined.fail(error)
                return batches
            self._first = None
            now = clock.now()
            if drained.sizes:
                batches += self._intake.take(drained, now)
                count, full = count + len(drained.sizes), full + fill(drained, self.granted_buffer)
            if drained.exhausted:
                break
        if count:  # never rest while the socket holds datagrams: its buffer would overflow
            self._gathering.note(now.s, count, full, more=not drained.exhausted and reader.slots > 1)
        if not count or now.s >= self._check_at_s:
            self._check_if_due(now.s)
        self._ledger.tick(now)
        return batches

    def _wait(self, reader: Reader, wait_s: float) -> Drained:
        """Return what waits, or what comes first."""
        if isinstance(reader, MmsgReader) and wait_s >= MIN_WAIT_S:
            return reader.wait(wait_s)
        drained = reader.read()
        if drained.sizes or wait_s == 0.0:
            return drained
        assert self._joined.socket is not None
        return reader.read() if wait_readable(self._joined.socket.fileno(), wait_s) else drained

    def _check_if_due(self, now_s: float) -> None:
        """Look after the membership each second, and when the kernel tells that the network has changed."""
        changed = self._changes is not None and links.take_changes(self._changes)
        if changed or now_s >= self._check_at_s:
            self._check_at_s = now_s + _CHECK_S
            self._joined.look(now_s)

    def __str__(self) -> str:
        return str(self._address)


def _checked(group: str, port: int, interface: str | None, source: str | None) -> Source:
    """Return the address of a group in its one spelling."""
    check_address(group, port)
    if source is not None and not is_address(source):
        raise ConfigError(f"source must be the IP address of the DAQ host, not {source!r}")
    if source is not None and not is_multicast(group):
        raise ConfigError(
            f"source {source!r}: only a multicast group can be joined by source, and {group} is not one"
        )
    if interface is None and is_of_one_link(group):
        raise ConfigError(f"{group} is valid on one link only: name the interface, as in interface=eth1")
    return Source(canonical(group), port)
