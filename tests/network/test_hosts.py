"""The hosts and LANs of the network tests are what they say, and end with the test."""

import os
import socket

import pytest

from network.hosts import NAMESPACES, Lab


def namespaces():
    return {path.name for path in NAMESPACES.glob(f"apx{os.getpid()}-*")}


def test_hosts_on_one_lan_reach_each_other_by_both_protocols(lab):
    one, other = lab.hosts("one", "other")
    lan = lab.lan(one, other)
    assert (one.address, other.address6) == ("10.0.1.1", "fd00:1::2")
    for family, address in ((socket.AF_INET, other.address), (socket.AF_INET6, other.address6)):
        with other.inside(), socket.socket(family, socket.SOCK_DGRAM) as receiver:
            receiver.bind((address, 0))
            receiver.settimeout(5)
            with one.inside(), socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", receiver.getsockname())
            data, source = receiver.recvfrom(100)
        assert (data, source[0]) == (b"hello", lan[one].address if ":" not in address else one.address6)


def test_two_lans_stay_apart(lab):
    left, middle, right = lab.hosts("left", "middle", "right")
    lab.lan(left, middle)
    lab.lan(middle, right)
    assert [nic.name for nic in middle.nics] == ["eth0", "eth1"]
    assert right.address == "10.0.2.2"
    with (
        left.inside(),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        pytest.raises(OSError, match="unreachable"),
    ):
        sender.sendto(b"hello", (right.address, 9))


def test_an_interface_changes_address_and_is_pulled_out_and_in(lab):
    host, other = lab.hosts("host", "other")
    nic = lab.lan(host, other)[host]
    nic.address = "10.0.1.77"
    assert "10.0.1.77/24" in host.ip("address show eth0")
    assert "10.0.1.1/24" not in host.ip("address show eth0")
    before = nic.index
    nic.delete()
    assert "eth0" not in host.ip("link show")
    nic.create()
    assert nic.index != before
    nic.down()
    assert "state DOWN" in host.ip("link show eth0")
    nic.up()


def test_programs_run_inside(lab):
    host = lab.host()
    assert "1: lo" in host.run("ip link show")
    assert (
        host.python("import sys, socket; print(sys.argv[1], socket.if_nameindex())", "x") == "x [(1, 'lo')]\n"
    )
    with host.start_python("import sys; print('ready'); print(input(), file=sys.stderr)") as program:
        assert program.wait_for("ready") == "ready"
        program.write("hello\n")
        assert program.wait() == 0
        assert program.stderr == "hello\n"


def test_everything_is_removed_when_the_test_fails():
    before = namespaces()

    def fail():
        with Lab() as lab:
            lab.lan(*lab.hosts("one", "other"))
            assert len(namespaces() - before) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert namespaces() == before
