"""What happens to a multicast network in a year, and a stream that outlives it."""

import contextlib
import socket
import struct
import sys
import time

import pytest

from astropix_relay.configuration.model import StreamConfig
from astropix_relay.inlet import Inlet
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.multicast.rejoining import Cause
from astropix_stream.receiving.readiness import wait_readable
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from network.hosts import wait_until

PORT = 5007
READOUT = AstroPix4Readout(b"\xbc\x01", 1).to_bytes()


@pytest.fixture
def hosts(lab):
    return lab.hosts("daq", "relay")


@pytest.fixture
def lan(lab, hosts):
    return lab.lan(*hosts)


@contextlib.contextmanager
def inlet_on(host, *, start=True, **keys):
    """An inlet in `host`, checked once, at the time 0."""
    with host.inside():
        inlet = Inlet(StreamConfig(**{"group": "239.1.1.1", "interface": "eth0", **keys}))
        try:
            if start:
                inlet.check(0.0, starting=True)
            yield inlet
        finally:
            inlet.close()


def send(host, group="239.1.1.1", interface="eth0", port=PORT):
    with host.inside(), MulticastSender(group, port, interface=interface) as sender:
        assert sender.send_data(READOUT)


def receive(inlet, timeout=0.5):
    """What the inlet gets within `timeout`, as (bytes, address)."""
    if inlet.fileno() is None or not wait_readable(inlet.fileno(), timeout):
        return []
    drained = inlet.read()
    return [(d, s.address) for d, s in zip(drained.datagrams(), drained.sources, strict=True)]


def gets(inlet, host, **options):
    """Whether what `host` sends arrives; once, and as it was sent."""
    send(host, **options)
    return [data for data, _ in receive(inlet)] == [READOUT]


@pytest.mark.parametrize("group", ["239.1.1.1", "ff15::1", "ff12::1"])
class TestFaultsOfAnInterface:
    def test_link_down_and_up(self, hosts, lan, group):
        daq, relay = hosts
        with inlet_on(relay, group=group) as inlet:
            lan[relay].down()
            inlet.check(1.0)
            assert not inlet.joined
            assert inlet.membership == "joined on eth0, whose link is down"
            lan[relay].up()
            inlet.check(2.0)
            assert inlet.joined
            assert gets(inlet, daq, group=group)
            assert not inlet.rejoins

    def test_another_address(self, hosts, lan, group):
        daq, relay = hosts
        with inlet_on(relay, group=group) as inlet:
            lan[relay].address = "10.0.1.77"
            inlet.check(1.0)
            assert gets(inlet, daq, group=group)
            assert not inlet.rejoins

    def test_deleted_and_made_again(self, hosts, lan, group):
        daq, relay = hosts
        with inlet_on(relay, group=group) as inlet:
            lan[relay].delete()
            inlet.check(1.0)
            assert not inlet.joined
            assert "no interface is called 'eth0'" in inlet.membership
            lan[relay].create()
            assert not gets(inlet, daq, group=group), "the kernel keeps no membership of a deleted interface"
            inlet.check(2.0)
            assert inlet.joined
            assert gets(inlet, daq, group=group)
            assert inlet.rejoins == {Cause.INTERFACE: 1}

    def test_deleted_and_made_again_between_two_looks(self, hosts, lan, group):
        daq, relay = hosts
        with inlet_on(relay, group=group) as inlet:
            lan[relay].delete()
            lan[relay].create()
            inlet.check(1.0)
            assert gets(inlet, daq, group=group)
            assert inlet.rejoins == {Cause.INTERFACE: 1}

    def test_late(self, lab, hosts, group):
        daq, relay = hosts
        lan = lab.lan(daq)
        nic = lan.connect(relay, create=False)
        with inlet_on(relay, group=group) as inlet:
            assert not inlet.joined
            nic.create()
            inlet.check(1.0)
            assert inlet.joined
            assert gets(inlet, daq, group=group)
            assert not inlet.rejoins

    def test_moved_away_and_back_with_its_index(self, lab, hosts, lan, group):
        """The one case in which the index does not tell: the kernel itself is asked what is joined."""
        daq, relay = hosts
        with inlet_on(relay, group=group) as inlet:
            index, away = lan[relay].index, lab.host("away")
            relay.ip(f"link set eth0 netns {away.namespace}")
            away.ip(f"link set eth0 netns {relay.namespace}")
            assert lan[relay].index == index
            lan[relay].up()
            assert not gets(inlet, daq, group=group)
            inlet.check(1.0)
            assert gets(inlet, daq, group=group)
            assert inlet.rejoins == {Cause.FORGOTTEN: 1}

    def test_foreign_group_on_the_same_port(self, hosts, lan, group):
        daq, relay = hosts
        foreign = group[:-1] + "2"
        with inlet_on(relay, group=group) as inlet, inlet_on(relay, group=foreign) as other:
            send(daq, group=foreign)
            assert len(receive(other)) == 1
            assert receive(inlet, 0.0) == []

    def test_two_streams_on_two_interfaces_stay_apart(self, lab, hosts, lan, group):
        daq, relay = hosts
        if group == "ff15::1":
            return  # Linux gives both sockets both; such a configuration is refused
        lab.lan(daq, relay)
        with inlet_on(relay, group=group) as first, inlet_on(relay, group=group, interface="eth1") as second:
            send(daq, group=group, interface="eth1")
            assert len(receive(second)) == 1
            assert receive(first, 0.0) == []
            send(daq, group=group, interface="eth0")
            assert len(receive(first)) == 1
            assert receive(second, 0.0) == []


class TestSources:
    def test_the_kernel_drops_what_others_send(self, lab):
        daq, other, relay = lab.hosts("daq", "other", "relay")
        lab.lan(daq, other, relay)
        with inlet_on(relay, sources=[daq.address]) as inlet:
            send(other)
            send(daq)
            assert receive(inlet) == [(READOUT, daq.address)]

    def test_they_are_joined_again_too(self, hosts, lan):
        daq, relay = hosts
        with inlet_on(relay, sources=[daq.address, "10.0.1.50"]) as inlet:
            lan[relay].delete()
            lan[relay].create()
            inlet.check(1.0)
            assert gets(inlet, daq)


GENERAL_QUERY = struct.pack(
    "!BBH4xBBH", 0x11, 1, 0xFFFF - 0x1101 - 0x0201, 0x02, 1, 0
)  # IGMPv3, 0.1 s to answer


def test_a_switch_without_a_querier_forgets_us_until_silence_makes_us_join_again(lab):
    """A snooping switch learns a member from its report, and nobody asks for another one."""
    daq, relay = lab.hosts("daq", "relay")
    lan = lab.lan(daq, relay)
    # It forgets after 2 s, real ones after 260. A Linux bridge floods what it does not know, unlike other
    # switches, except while it believes that there is a querier: one query of ours, and then no more.
    lan.switch.ip("link set br0 type bridge mcast_membership_interval 200 mcast_querier_interval 360000")

    def knows_member():
        return "239.1.1.1" in lan.switch.run("bridge mdb show")

    with inlet_on(relay, silence=5.0) as inlet:
        with daq.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as querier:
            querier.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(daq.address))
            querier.sendto(GENERAL_QUERY, ("224.0.0.1", 0))
        wait_until(knows_member)
        assert gets(inlet, daq)
        wait_until(lambda: not knows_member())
        assert not gets(inlet, daq)
        inlet.check(1.0)
        inlet.check(5.9)
        assert not inlet.rejoins
        inlet.check(6.0)
        assert inlet.rejoins == {Cause.SILENCE: 1}
        wait_until(knows_member)
        assert gets(inlet, daq)


def test_a_relay_is_ready_without_its_interface_and_joins_again_within_3_seconds(lab):
    daq, relay, monitor = lab.hosts("daq", "relay", "monitor")
    front = lab.lan(daq)
    lab.lan(relay, monitor)
    nic = front.connect(relay, create=False)
    options = ("--interface", nic.name, "--publish", "tcp://*:5556")
    with (
        relay.start(sys.executable, "-m", "astropix_relay", "run", *options) as program,
        monitor.inside(),
        RelayReceiver(AstroPix4Readout, f"tcp://{relay.address}:5556", timeout=0.1) as receiver,
    ):
        program.wait_for("publishing on")
        receiver.wait_ready(5)
        report = receiver._subscription.report
        assert report["state"] == "no network"
        assert "no interface is called 'eth1'" in report["membership"]
        nic.create()
        assert seconds_until_received(daq, receiver) < 3
        nic.delete()
        wait_until(lambda: state(receiver) == "no network")
        nic.create()
        assert seconds_until_received(daq, receiver) < 3
        program.wait_for("joined 239.1.1.1:5007 again on eth1: the interface is back")
        assert program.stop() == 0


def state(receiver):
    """The stream's state in the relay's latest beat."""
    with contextlib.suppress(ReceiveTimeout):
        receiver.receive()
    return receiver._subscription.report["state"]


def seconds_until_received(daq, receiver):
    began_s = time.monotonic()
    with daq.inside(), MulticastSender(interface="eth0") as sender:
        while time.monotonic() < began_s + 10:
            sender.send_data(READOUT)
            with contextlib.suppress(ReceiveTimeout):
                receiver.receive()
                break
    return time.monotonic() - began_s
