"""What the kernel says of memberships and links: its text, parsed, and this host's own answers."""

import socket

from astropix_stream.multicast import interfaces, memberships, sockets

IGMP = (
    "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    "1\tlo        :     1      V3\n"
    "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    "7\teth0      :     2      V2\n"
    "\t\t\t\t010101EF     1 0:00000000\t\t1\n"
    "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
)
IGMP6 = (
    "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
    "7    eth0            ff150000000000000000000000000007     1 00000004 0\n"
)


def test_memberships_are_found_in_the_kernels_text():
    assert memberships.parse_igmp(IGMP) == {(1, "224.0.0.1"), (7, "239.1.1.1"), (7, "224.0.0.1")}
    assert memberships.parse_igmp6(IGMP6) == {(1, "ff02::1"), (7, "ff15::7")}
    assert memberships.parse_igmp("") == memberships.parse_igmp6("") == set()


def test_a_membership_of_this_host(group, port):
    lo = interfaces.Interface("lo", socket.if_nametoindex("lo"))
    with sockets.open_receiving(group, port, interface=lo) as sock:
        assert memberships.is_member(group, lo.index) is False
        sockets.join(sock, group, lo)
        assert memberships.is_member(group, lo.index)
        assert memberships.can_hear(group, lo)
        assert not memberships.can_hear(group, interfaces.Interface("lo", lo.index + 1000))


def test_where_the_system_does_not_tell_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.setattr(memberships, "PROC_NET", tmp_path)
    assert memberships.is_member("239.1.1.1", 1) is None
    assert not interfaces.has_link(interfaces.Interface("no such interface"))
    assert memberships.can_hear("239.1.1.1", interfaces.Interface("lo"))


def test_links():
    assert interfaces.has_link(interfaces.Interface("lo"))
    assert interfaces.interface_flags("lo") & interfaces.IFF_LOOPBACK
