"""Beside the public package: its plain sockets and ours on one group, readouts of its class.

Their package is not installed here. Sockets that name no interface stand for theirs, and a class of
its own with from_bytes and to_bytes, which knows nothing of ours, for their readouts.
"""

import contextlib
import random
import socket
import struct

import pytest

from astropix_relay.configuration.loading import default_config
from astropix_stream.opening import open_receiver
from astropix_stream.relay import RelayReceiver
from astropix_stream.sock import MulticastReceiver, MulticastSender
from relays import running

WAIT = 10
HEADER = struct.Struct("<3sIQI")
SIZES = (0, 1, 16, 300, 1453, 1454, 9000, 65000)  # one frame of Ethernet, and several


class TheirReadout:
    """A readout of another package: slots, no base of ours, each byte kept, the padding at the end too."""

    __slots__ = ("_data", "readout_id", "timestamp")

    def __init__(self, data, readout_id, timestamp):
        self._data, self.readout_id, self.timestamp = data, readout_id, timestamp

    def to_bytes(self):
        return HEADER.pack(b"\xfe\xdc\xba", self.readout_id, self.timestamp, len(self._data)) + self._data

    @classmethod
    def from_bytes(cls, data):
        _, readout_id, timestamp, length = HEADER.unpack_from(data)
        if length != len(data) - HEADER.size:
            raise ValueError("cut off")
        return cls(data[HEADER.size :], readout_id, timestamp)

    def __eq__(self, other):
        return type(other) is TheirReadout and self.to_bytes() == other.to_bytes()

    __hash__ = None


READOUTS = [
    TheirReadout(random.Random(size).randbytes(size) + b"\xff" * (size and 3), i, 1_000_000 + i)
    for i, size in enumerate(SIZES)
]


@pytest.fixture
def hosts(lab):
    """A DAQ's host and a monitor's, with a route to groups, since their sockets name no interface."""
    daq, monitor = lab.hosts("daq", "monitor")
    lab.lan(daq, monitor)
    for host in (daq, monitor):
        host.route_multicast()
    return daq, monitor


@contextlib.contextmanager
def their_receiver(host, group, port):
    """The receiver of every tutorial: bound to the port, joined on whichever interface the kernel takes."""
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        request = struct.pack("4sl", socket.inet_aton(group), socket.INADDR_ANY)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        sock.settimeout(WAIT)
        yield sock


@contextlib.contextmanager
def their_sender(host, ttl=2):
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        yield sock


def test_our_sender_to_their_receiver(hosts, group, port):
    daq, monitor = hosts
    with their_receiver(monitor, group, port) as theirs, daq.inside(), MulticastSender(group, port) as ours:
        for readout in READOUTS:
            assert ours.send_readout(readout) == len(readout.to_bytes())
        received = [theirs.recv(65536) for _ in READOUTS]
    assert received == [readout.to_bytes() for readout in READOUTS]
    assert [TheirReadout.from_bytes(data) for data in received] == READOUTS


def test_their_sender_to_our_receiver_beside_theirs_on_one_host(hosts, group, port):
    daq, monitor = hosts
    with (
        their_receiver(monitor, group, port) as theirs,
        monitor.inside(),
        MulticastReceiver(TheirReadout, group, port, timeout=WAIT) as ours,
        their_receiver(monitor, group, port) as later,
        their_sender(daq) as sender,
    ):
        for readout in READOUTS:
            sender.sendto(readout.to_bytes(), (group, port))
        assert [ours.receive() for _ in READOUTS] == READOUTS
        for sock in (theirs, later):
            assert [sock.recv(65536) for _ in READOUTS] == [readout.to_bytes() for readout in READOUTS]
        assert (ours.ledger.delivered, ours.ledger.lost, ours.undecodable) == (len(READOUTS), 0, 0)


def test_our_sender_to_our_receiver_with_their_class(hosts, group, port):
    daq, monitor = hosts
    with (
        monitor.inside(),
        MulticastReceiver(TheirReadout, group, port, timeout=WAIT) as receiver,
        daq.inside(),
        MulticastSender(group, port) as sender,
    ):
        for readout in READOUTS:
            sender.send_readout(readout)
        assert [receiver.receive() for _ in READOUTS] == READOUTS


@pytest.mark.parametrize("kind", ["theirs", "ours"])
def test_through_a_relay_with_their_class(hosts, group, port, kind):
    """The relay runs beside the DAQ; monitors get each byte, by one endpoint or by two ways merged."""
    daq, monitor = hosts
    with contextlib.ExitStack() as opened:
        with daq.inside():
            config = default_config(group=group, port=port, publish=f"tcp://{daq.address}:5556")
            relay = opened.enter_context(running(config))
        with monitor.inside():
            url = f"tcp://{daq.address}:5556"
            one = opened.enter_context(RelayReceiver(TheirReadout, url, timeout=WAIT))
            both = opened.enter_context(
                open_receiver(TheirReadout, [url, f"udp://{group}:{port}"], timeout=WAIT)
            )
        for receiver in (one, both):
            receiver.wait_ready(WAIT)
        if kind == "theirs":
            sock = opened.enter_context(their_sender(daq))
            for readout in READOUTS:
                sock.sendto(readout.to_bytes(), (group, port))
        else:
            with daq.inside(), MulticastSender(group, port) as sender:
                for readout in READOUTS:
                    sender.send_readout(readout)
        for receiver in (one, both):
            assert [receiver.receive() for _ in READOUTS] == READOUTS
            assert (receiver.ledger.lost, receiver.undecodable) == (0, 0)
        assert relay.streams[0].core.sequence == len(READOUTS)


def test_what_their_class_refuses_is_counted(hosts, group, port):
    """What is no readout does not reach their class; what it refuses itself is skipped and counted."""

    class Picky(TheirReadout):
        __slots__ = ()

        @classmethod
        def from_bytes(cls, data):
            readout = TheirReadout.from_bytes(data)
            if readout.readout_id == 1:
                raise RuntimeError("not this one")
            return readout

    daq, monitor = hosts
    with (
        monitor.inside(),
        MulticastReceiver(Picky, group, port, timeout=WAIT) as receiver,
        their_sender(daq) as sender,
    ):
        for data in (READOUTS[0].to_bytes(), READOUTS[1].to_bytes(), b"junk", READOUTS[2].to_bytes()):
            sender.sendto(data, (group, port))
        assert [receiver.receive().readout_id for _ in range(2)] == [0, 2]
        assert receiver.undecodable == 1
        assert receiver.ledger.delivered == 3
