"""What rtnetlink tells, asked of the kernel that runs the tests; changes and names are in tests/network."""

import socket

import pytest

from astropix_stream.multicast import links

needs_netlink = pytest.mark.skipif(
    not hasattr(socket, "AF_NETLINK"), reason="there is rtnetlink on Linux only"
)


@pytest.mark.parametrize("name", ["", "no-such-interface-of-this-host", "x" * 127, "x" * 128, "l\0o", "lö"])
def test_what_is_no_interface_has_no_index(name):
    assert links.find_by_altname(name) is None


@needs_netlink
def test_nothing_has_changed():
    with links.open_changes() as changes:
        links.take_changes(changes)
        assert not links.take_changes(changes)


def test_without_rtnetlink_nothing_is_told(monkeypatch):
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert links.open_changes() is None
    assert links.find_by_altname("daq0") is None
