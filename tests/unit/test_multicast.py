"""The kernel's side of multicast: interfaces, options."""

import errno
import socket
import sys
from pathlib import Path

import pytest

from astropix_stream.errors import ConfigError
from astropix_stream.multicast import interfaces, sockets
from astropix_stream.multicast.interfaces import Interface

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names and numbers of Linux")

LO = Interface("lo", socket.if_nametoindex("lo")) if sys.platform == "linux" else Interface()


@pytest.fixture
def receiver(group, port):
    with sockets.open_receiving(group, port, interface=LO) as sock:
        yield sock


def test_a_link_is_there_up_and_the_same(monkeypatch):
    assert interfaces.has_link(LO)
    assert not interfaces.has_link(Interface("lo", LO.index + 1000))  # deleted and made anew
    assert not interfaces.has_link(Interface("nosuch0"))
    assert interfaces.has_link(Interface())  # that of the route, which is not known
    monkeypatch.setattr(interfaces, "_SIOCGIFFLAGS", None)
    assert interfaces.has_link(Interface("nosuch0"))  # a platform that does not tell


def test_an_interface_is_found_by_name_and_by_address():
    assert interfaces.find_interface(None, 4) == Interface()
    assert interfaces.find_interface("lo", 4) == LO
    assert interfaces.find_interface("lo", 6) == LO
    assert interfaces.find_interface("127.0.0.1", 4) == Interface("lo", 0, "127.0.0.1")
    assert interfaces.find_interface("::1", 6) == Interface("lo", LO.index, "::1")


def test_an_interface_that_is_missing_is_named_with_those_there_are():
    with pytest.raises(OSError, match=r"no interface is called 'eth99'; there are: .*lo") as raised:
        interfaces.find_interface("eth99", 4)
    assert raised.value.errno == errno.ENODEV
    with pytest.raises(OSError, match="no interface has the address fd00::77"):
        interfaces.find_interface("fd00::77", 6)


@pytest.mark.parametrize("name", ["", "a" * 100, "../lo", "lo\0", "löschen"])
def test_an_impossible_name_is_a_missing_interface(name):
    with pytest.raises(OSError, match="no interface is called"):
        interfaces.find_interface(name, 4)


@pytest.mark.parametrize(("interface", "family"), [("::1", 4), ("127.0.0.1", 6)])
def test_an_address_of_the_other_family_is_refused(interface, family):
    with pytest.raises(ConfigError, match="the group is not"):
        interfaces.find_interface(interface, family)


def test_interfaces_print_as_people_write_them():
    assert str(Interface("eth1", 3)) == "eth1"
    assert str(Interface("eth1", 3, "10.0.0.1")) == "10.0.0.1 (eth1)"
    assert str(Interface(None, 0, "10.0.0.1")) == "10.0.0.1"
    assert str(Interface()) == "the interface of the route"


def test_the_interface_in_use_is_told():
    assert str(interfaces.in_use(LO, "239.1.1.1", 5007)) == "lo"
    assert str(interfaces.in_use(Interface(), "127.0.0.1", 5007)) == "127.0.0.1 (lo)"


@pytest.mark.parametrize("group", ["ff12::1", "ff02::1", "ff11::1", "fe80::1"])
def test_an_address_of_one_link_needs_the_interface(group, port):
    for opened in (
        lambda: sockets.open_sending(group, port, interface=Interface(), ttl=0, loop=True),
        lambda: sockets.open_receiving(group, port, interface=Interface()),
    ):
        with pytest.raises(ConfigError, match="name the interface"):
            opened()


def test_sockets_do_not_block_and_have_their_options(group, port):
    with sockets.open_sending(group, port, interface=LO, ttl=3, loop=False) as sender:
        assert sender.gettimeout() == 0.0
        assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 3
        assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        assert sender.getsockopt(socket.IPPROTO_IP, sockets.IP_RECVERR) == 1
    with sockets.open_receiving(group, port, interface=LO) as receiver:
        assert receiver.gettimeout() == 0.0
        assert receiver.getsockname() == (group, port)
        assert receiver.getsockopt(socket.IPPROTO_IP, sockets.IP_MULTICAST_ALL) == 0
        assert receiver.getsockopt(socket.SOL_SOCKET, sockets.SO_RXQ_OVFL) == 1


def test_sockets_for_ipv6_have_their_options(group6, port):
    with sockets.open_sending(group6, port, interface=LO, ttl=3, loop=False) as sender:
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 3
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == LO.index
        assert sender.getsockopt(socket.IPPROTO_IPV6, sockets.IPV6_RECVERR) == 1
    with sockets.open_receiving(group6, port, interface=LO) as receiver:
        assert receiver.getsockname()[:2] == (group6, port)
        assert receiver.getsockopt(socket.IPPROTO_IPV6, sockets.IPV6_MULTICAST_ALL) == 0


def test_a_platform_without_the_options_does_without(group, port, monkeypatch):
    for name in ("IP_MULTICAST_ALL", "SO_RXQ_OVFL", "IP_RECVERR"):
        monkeypatch.setattr(sockets, name, None)
    monkeypatch.setattr(sockets, "BIND_TO_GROUP", False)
    with sockets.open_sending(group, port, interface=LO, ttl=0, loop=True) as sender:
        assert sender.getsockopt(socket.IPPROTO_IP, 11) == 0
    with sockets.open_receiving(group, port, interface=LO) as receiver:
        assert receiver.getsockname() == ("0.0.0.0", port)
        assert receiver.getsockopt(socket.IPPROTO_IP, 49) == 1
        assert receiver.getsockopt(socket.SOL_SOCKET, 40) == 0


def test_a_platform_that_does_not_list_addresses_takes_them_as_they_are(monkeypatch):
    monkeypatch.setattr(interfaces, "_SIOCGIFCONF", None)
    assert interfaces.find_interface("127.0.0.1", 4) == Interface(None, 0, "127.0.0.1")


@pytest.mark.parametrize("ttl", [-1, 256])
def test_a_ttl_out_of_range_is_refused(group, port, ttl):
    with pytest.raises(ConfigError, match="ttl"):
        sockets.open_sending(group, port, interface=LO, ttl=ttl, loop=True)


def test_joining_twice_and_leaving_twice_is_no_error(receiver, group):
    for source in (None, "127.0.0.1"):
        sockets.join(receiver, group, LO, source)
        sockets.join(receiver, group, LO, source)
        sockets.leave(receiver, group, LO, source)
        sockets.leave(receiver, group, LO, source)


def test_joining_where_there_is_no_such_address_is_an_error(receiver, group):
    nowhere = Interface(None, 0, "192.0.2.77")
    with pytest.raises(OSError) as raised:
        sockets.join(receiver, group, nowhere)
    assert raised.value.errno == errno.ENODEV
    sockets.leave(receiver, group, nowhere)


def test_joining_a_source_needs_the_platform_and_one_family(receiver, group, monkeypatch):
    with pytest.raises(ConfigError, match="family"):
        sockets.join(receiver, group, LO, "::1")
    with pytest.raises(ConfigError, match="not an IP address"):
        sockets.join(receiver, group, LO, "daq")
    monkeypatch.setattr(sockets, "MCAST_JOIN_SOURCE_GROUP", None)
    with pytest.raises(OSError, match="Linux only") as raised:
        sockets.join(receiver, group, LO, "127.0.0.1")
    assert raised.value.errno == errno.EOPNOTSUPP


def test_a_unicast_address_needs_no_membership_and_shares_its_port_with_nobody(port):
    with sockets.open_receiving("127.0.0.1", port, interface=LO) as sock:
        sockets.join(sock, "127.0.0.1", LO)
        with pytest.raises(OSError, match="use"):
            sockets.open_receiving("127.0.0.1", port, interface=LO)


def test_a_buffer_is_granted_as_far_as_the_kernel_allows(receiver):
    allowed = int(Path("/proc/sys/net/core/rmem_max").read_text())
    assert sockets.ask_buffer(receiver, socket.SO_RCVBUF, 100_000) == 100_000
    assert sockets.ask_buffer(receiver, socket.SO_RCVBUF, 2 * allowed) == allowed
    assert sockets.buffer_size(receiver, socket.SO_RCVBUF) == allowed
    assert sockets.enlarge_hint(8 << 20) == "sudo sysctl -w net.core.rmem_max=8388608"
