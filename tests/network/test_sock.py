"""MulticastSender and MulticastReceiver on LANs: real errors, other hosts, IPv6, changes of the network."""

import contextlib
import errno
import json
import logging
import socket
import time

import pytest

from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import MAX_DATA, AstroPix4Readout
from astropix_stream.multicast import interfaces, sockets
from astropix_stream.sock import MulticastReceiver, MulticastSender
from astropix_stream.sock import sender as sender_module
from network.hosts import wait_until

WAIT = 5  # seconds for what must arrive; passes only in a test that fails


def readout(readout_id, size=16):
    return AstroPix4Readout(b"\xbc" * size, readout_id, 1000 + readout_id)


@pytest.fixture
def both(group, group6):
    """A group of each address family."""
    return {4: group, 6: group6}


@pytest.fixture
def send_from(port):
    """Open a sender in a host."""
    with contextlib.ExitStack() as opened:

        def send_from(host, group, ttl=2, **options):
            with host.inside():
                return opened.enter_context(MulticastSender(group, port, ttl, **options))

        yield send_from


@pytest.fixture
def receive_in(port):
    """Open a receiver in a host."""
    with contextlib.ExitStack() as opened:

        def receive_in(host, group, **options):
            with host.inside():
                receiver = MulticastReceiver(AstroPix4Readout, group, port, **{"timeout": WAIT, **options})
                return opened.enter_context(receiver)

        yield receive_in


@pytest.fixture
def two(lab):
    one, other = lab.hosts("one", "other")
    lab.lan(one, other)
    return one, other


def warnings_in(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def source_of(receiver):
    return receiver.receive_batch().source.address


def expect_nothing_but(receiver, *readout_ids):
    assert [receiver.receive().readout_id for _ in readout_ids] == list(readout_ids)
    with pytest.raises(ReceiveTimeout):
        receiver.receive(timeout=0)


# --- what the network answers to a sender --------------------------------------------------------------


def test_no_route_and_then_a_route(two, both, send_from, receive_in, caplog, monkeypatch):
    monkeypatch.setattr(sender_module, "_CALM_S", 0.0)
    caplog.set_level(logging.INFO, "astropix_stream")
    one, other = two
    receiver = receive_in(other, both[4], interface="eth0")
    sender = send_from(one, both[4])
    assert f"sending to {sender} from no interface yet: there is no route" in caplog.text
    for i in range(3):
        assert sender.send_readout(readout(i)) == 0
    one.route_multicast()
    for i in range(3, 6):
        assert sender.send_readout(readout(i)) > 0
    expect_nothing_but(receiver, 3, 4, 5)
    assert sender.not_sent == {errno.ENETUNREACH: 3}
    assert len(warnings_in(caplog)) == 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_link_goes_down_and_up(two, both, version, send_from, receive_in):
    one, other = two
    receiver = receive_in(other, both[version], interface="eth0")
    sender = send_from(one, both[version], interface="eth0")
    sender.send_readout(readout(0))
    one.nics[0].down()
    assert sender.send_readout(readout(1)) == 0
    one.nics[0].up()
    sender.send_readout(readout(2))
    expect_nothing_but(receiver, 0, 2)
    assert sender.not_sent == {errno.ENETUNREACH: 1}


@pytest.mark.parametrize("version", [4, 6])
def test_a_firewall_forbids_it(two, both, version, send_from, caplog):
    one, _ = two
    sender = send_from(one, both[version], interface="eth0")
    one.nft("table inet t { chain output { type filter hook output priority 0; meta l4proto udp drop; }; }")
    assert sender.send_readout(readout(0)) == 0
    assert sender.not_sent == {errno.EPERM: 1}
    assert "a firewall rule on this host forbids it" in caplog.text
    one.nft("delete table inet t")
    assert sender.send_readout(readout(1)) > 0


def dropped_by_queue(host):
    return json.loads(host.tc("-s -j qdisc show dev eth0"))[0]["drops"]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [100, 20_000])
def test_a_full_queue_is_told(two, both, version, size, send_from):
    """Without IP_RECVERR the kernel reports success for what the queueing discipline throws away."""
    one, _ = two
    sender = send_from(one, both[version], interface="eth0")
    one.tc("qdisc add dev eth0 root tbf rate 8kbit burst 3000 limit 3000")
    for i in range(200):
        sender.send_readout(readout(i, size))
    assert sender.not_sent[errno.ENOBUFS] > 100
    assert sender.sent + sender.not_sent[errno.ENOBUFS] == 200
    if size == 100:
        of_the_kernel = dropped_by_queue(one) - sender.not_sent[errno.ENOBUFS]
        assert 0 <= of_the_kernel < 10  # it sends too, to say which groups it is a member of


@pytest.mark.parametrize("version", [4, 6])
def test_without_recverr_a_full_queue_is_not_told(two, both, version, send_from, monkeypatch):
    monkeypatch.setattr(sockets, "IP_RECVERR", None)
    monkeypatch.setattr(sockets, "IPV6_RECVERR", None)
    one, _ = two
    sender = send_from(one, both[version], interface="eth0")
    one.tc("qdisc add dev eth0 root tbf rate 8kbit burst 3000 limit 3000")
    for i in range(200):
        sender.send_readout(readout(i))
    assert (sender.sent, sender.not_sent) == (200, {})
    assert dropped_by_queue(one) > 100


def test_a_stalled_network_does_not_stall_the_sender(two, both, send_from):
    """The queue is long and all but stands: the send buffer fills, where a blocking socket would wait."""
    one, _ = two
    sender = send_from(one, both[4], interface="eth0")
    one.tc("qdisc add dev eth0 root tbf rate 8kbit burst 3000 limit 1000000000")
    longest = 0.0
    for i in range(3000):
        begin = time.perf_counter()
        sender.send_readout(readout(i, 1000))
        longest = max(longest, time.perf_counter() - begin)
    assert sender.not_sent[errno.EAGAIN] > 1000
    assert sender.sent + sender.not_sent[errno.EAGAIN] == 3000
    assert longest < 0.3  # a blocking socket waits for good; a busy machine takes the processor away


def test_a_cable_that_is_pulled_is_not_seen_by_the_kernel(lab, both, send_from):
    """As the documentation of `not_sent` says."""
    one, other = lab.hosts("one", "other")
    lan = lab.lan(one, other)
    sender = send_from(one, both[4], interface="eth0")
    lan.switch.ip(f"link set {lan[one].port} down")
    wait_until(lambda: "NO-CARRIER" in one.ip("link show eth0"))
    assert sender.send_readout(readout(0)) > 0


# --- groups, interfaces, hosts -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, MAX_DATA])
@pytest.mark.parametrize("version", [4, 6])
def test_every_receiver_on_every_host_gets_everything(lab, both, version, size, send_from, receive_in):
    hosts = lab.hosts("one", "two", "three")
    lab.lan(*hosts)
    receivers = [receive_in(host, both[version], interface="eth0") for host in (*hosts, hosts[0])]
    sender = send_from(hosts[0], both[version], interface="eth0")
    sent = [readout(i, size) for i in range(20)]
    for one in sent:
        assert sender.send_readout(one) > 0
    for receiver in receivers:
        assert [receiver.receive().to_bytes() for _ in sent] == [one.to_bytes() for one in sent]


@pytest.mark.parametrize(("version", "attribute"), [(4, "address"), (6, "address6")])
def test_one_group_on_two_lans_is_two_groups(lab, both, version, attribute, send_from, receive_in):
    """With the interface named or given by its address; and while others on this host have joined both."""
    one, other = lab.hosts("one", "other")
    lab.lan(one, other)
    lab.lan(one, other)
    group = both[version]
    receivers = [
        (place, receive_in(other, group, interface=interface))
        for place, nic in enumerate(other.nics)
        for interface in (nic.name, getattr(nic, attribute))
    ]
    for place, nic in enumerate(one.nics):
        for interface in (nic.name, getattr(nic, attribute)):
            send_from(one, group, interface=interface).send_readout(readout(place))
    for place, receiver in receivers:
        expect_nothing_but(receiver, place, place)


def test_a_further_address_names_its_interface_too(lab, both, send_from, receive_in):
    one, other = lab.hosts("one", "other")
    lab.lan(one, other)
    lab.lan(one, other)
    other.ip("address add 10.0.2.77/24 dev eth1 label eth1:1")
    with other.inside():
        found = interfaces.find_interface("10.0.2.77", 4)
    assert found == interfaces.Interface("eth1", 0, "10.0.2.77")
    receiver = receive_in(other, both[4], interface="10.0.2.77", source=one.nics[1].address)
    for place in (0, 1):
        send_from(one, both[4], interface=f"eth{place}").send_readout(readout(place))
    expect_nothing_but(receiver, 1)


@pytest.mark.parametrize("scope", ["ff12", "ff15", "ff18"])
def test_groups_of_one_link_and_wider(two, group6, scope, send_from, receive_in):
    one, other = two
    group6 = scope + group6[4:]
    receiver = receive_in(other, group6, interface="eth0")
    sender = send_from(one, group6, interface="eth0")
    sender.send_readout(readout(1))
    expect_nothing_but(receiver, 1)


def test_an_ipv6_link_local_address_will_do(two, port, send_from, receive_in):
    one, other = two
    other.ip("address add fe80::77/64 dev eth0 nodad")
    receiver = receive_in(other, "fe80::77", interface="eth0")
    send_from(one, "fe80::77", interface="eth0").send_readout(readout(1))
    expect_nothing_but(receiver, 1)


@pytest.mark.parametrize("version", [4, 6])
def test_a_source_keeps_all_others_out(lab, both, version, send_from, receive_in):
    daq, stranger, monitor = lab.hosts("daq", "stranger", "monitor")
    lab.lan(daq, stranger, monitor)
    attribute = {4: "address", 6: "address6"}[version]
    group = both[version]
    choosy = receive_in(monitor, group, interface="eth0", source=getattr(daq, attribute))
    everything = receive_in(monitor, group, interface=getattr(monitor, attribute))
    by_address = receive_in(
        monitor, group, interface=getattr(monitor, attribute), source=getattr(stranger, attribute)
    )
    for i, host in enumerate((stranger, daq, stranger, daq)):
        send_from(host, group, interface="eth0").send_readout(readout(i))
    expect_nothing_but(everything, 0, 1, 2, 3)
    expect_nothing_but(choosy, 1, 3)
    expect_nothing_but(by_address, 0, 2)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("bound", [True, False])
def test_another_programs_group_does_not_arrive(lab, both, port, version, bound, send_from, monkeypatch):
    """IP_MULTICAST_ALL, which is all that keeps it out where a socket is not bound to the group."""
    daq, monitor = lab.hosts("daq", "monitor")
    lab.lan(daq, monitor)
    group = both[version]
    foreign_group = "239.255.77.77" if version == 4 else "ff15::77:77"
    monkeypatch.setattr(sockets, "BIND_TO_GROUP", bound)
    with (
        monitor.inside(),
        MulticastReceiver(AstroPix4Readout, group, port, interface="eth0", timeout=WAIT) as receiver,
        MulticastReceiver(AstroPix4Readout, foreign_group, port, interface="eth0", timeout=WAIT) as foreign,
    ):
        send_from(daq, foreign_group, interface="eth0").send_readout(readout(77))
        send_from(daq, group, interface="eth0").send_readout(readout(1))
        expect_nothing_but(receiver, 1)
        expect_nothing_but(foreign, 77)


def test_a_unicast_datagram_does_not_arrive(two, both, port, send_from, receive_in):
    one, other = two
    for version, address in ((4, other.address), (6, other.address6)):
        receiver = receive_in(other, both[version], interface="eth0")
        send_from(one, address).send_readout(readout(77))
        send_from(one, both[version], interface="eth0").send_readout(readout(1))
        expect_nothing_but(receiver, 1)


@pytest.mark.parametrize("version", [4, 6])
def test_without_loop_receivers_on_this_host_get_nothing(two, both, version, send_from, receive_in):
    one = two[0]
    here, there = (receive_in(host, both[version], interface="eth0") for host in two)
    send_from(one, both[version], interface="eth0", loop=False).send_readout(readout(0))
    send_from(one, both[version], interface="eth0").send_readout(readout(1))
    expect_nothing_but(there, 0, 1)
    expect_nothing_but(here, 1)


@pytest.mark.parametrize("version", [4, 6])
def test_the_ttl_is_that_which_was_asked(two, both, port, version, send_from):
    one, other = two
    level, receive_ttl, ttl_kind = {
        4: (socket.IPPROTO_IP, 12, socket.IP_TTL),  # IP_RECVTTL
        6: (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, socket.IPV6_HOPLIMIT),
    }[version]
    with other.inside():
        interface = interfaces.find_interface("eth0", 4)
        receiver = sockets.open_receiving(both[version], port, interface=interface)
        sockets.join(receiver, both[version], interface)
    with receiver:
        receiver.setsockopt(level, receive_ttl, 1)
        receiver.settimeout(WAIT)
        seen = []
        for options in ({"ttl": 1}, {}, {"ttl": 255}):
            send_from(one, both[version], interface="eth0", **options).send_readout(readout(0))
            _, [(_, kind, value)], _, _ = receiver.recvmsg(100, 100)
            assert kind == ttl_kind
            seen.append(int.from_bytes(value, "little"))
    assert seen == [1, 2, 255]


@pytest.mark.parametrize("version", [4, 6])
def test_a_ttl_of_0_stays_on_the_host_only_where_somebody_there_listens(
    two, both, version, send_from, receive_in
):
    """Linux looks at it in making the copy for the host's own receivers, and nowhere else."""
    one, other = two
    there = receive_in(other, both[version], interface="eth0")
    sender = send_from(one, both[version], 0, interface="eth0")
    sender.send_readout(readout(0))
    here = receive_in(one, both[version], interface="eth0")
    sender.send_readout(readout(1))
    send_from(one, both[version], interface="eth0").send_readout(readout(2))
    expect_nothing_but(here, 1, 2)
    expect_nothing_but(there, 0, 2)


def test_the_interface_in_use_is_logged(two, both, send_from, receive_in, caplog):
    caplog.set_level(logging.INFO, "astropix_stream")
    one = two[0]
    for host in two:
        host.route_multicast()
        receiver, sender = receive_in(host, both[4]), send_from(host, both[4])
        assert f"receiving {receiver} on {host.address} (eth0)" in caplog.text
        assert f"sending to {sender} from {host.address} (eth0)" in caplog.text
    send_from(one, both[6], interface=one.address6)
    assert f"from {one.address6} (eth0)" in caplog.text


# --- the network changes -------------------------------------------------------------------------------


def test_a_named_interface_survives_a_change_of_address(two, both, send_from, receive_in):
    one, other = two
    sender = send_from(one, both[4], interface="eth0")
    receiver = receive_in(other, both[4], interface="eth0")
    sender.send_readout(readout(0))
    assert source_of(receiver) == "10.0.1.1"
    one.nics[0].address = "10.0.1.77"
    other.nics[0].address = "10.0.1.78"
    sender.send_readout(readout(1))
    assert source_of(receiver) == "10.0.1.77"
    assert sender.not_sent == {}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("by", ["name", "address"])
def test_a_sender_goes_on_through_an_interface_made_anew(two, both, version, by, send_from, receive_in):
    one, other = two
    nic = one.nics[0]
    interface = "eth0" if by == "name" else {4: nic.address, 6: nic.address6}[version]
    sender = send_from(one, both[version], interface=interface)
    receiver = receive_in(other, both[version], interface="eth0")
    with one.inside():  # where names and addresses are looked up again
        sender.send_readout(readout(0))
        nic.delete()
        assert sender.send_readout(readout(1)) == 0
        nic.create()
        assert sender.send_readout(readout(2)) == 0  # this one shows that the interface is another
        assert sender.send_readout(readout(3)) > 0
    expect_nothing_but(receiver, 0, 3)
    assert sender.not_sent.total() == 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_receiver_survives_its_link_going_down_and_up(two, both, version, send_from, receive_in):
    one, other = two
    sender = send_from(one, both[version], interface="eth0")
    receiver = receive_in(other, both[version], interface="eth0")
    other.nics[0].down()
    other.nics[0].up()
    sender.send_readout(readout(1))
    expect_nothing_but(receiver, 1)
