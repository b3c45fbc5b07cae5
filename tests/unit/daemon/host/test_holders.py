"""Who holds a TCP port."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_relay.host import holders
from astropix_relay.host.holders import Holder, Listening

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:15B4 00000000:0000 0A 0:0 00:0 0  1000 0 4242 1 0
   1: 0100007F:15B4 0100007F:9C40 01 0:0 00:0 0 0 0 4243 1 0
"""


def test_only_what_listens_counts():
    assert list(holders.parse_listening(TABLE)) == [Listening("127.0.0.1", 5556, 1000, 4242)]


@given(st.text())
def test_any_table_is_read(table):
    list(holders.parse_listening(table))


def test_an_address_overlaps_itself_and_all_addresses():
    sockets = [
        Listening("127.0.0.1", 5556, 0, 1),
        Listening("0.0.0.0", 5557, 0, 2),
        Listening("::", 5558, 0, 3),
    ]
    assert [s.inode for s in holders.overlapping(sockets, "127.0.0.1", 5556)] == [1]
    assert [s.inode for s in holders.overlapping(sockets, "*", 5556)] == [1]
    assert holders.overlapping(sockets, "192.0.2.1", 5556) == []
    assert [s.inode for s in holders.overlapping(sockets, "192.0.2.1", 5557)] == [2]
    assert [s.inode for s in holders.overlapping(sockets, "127.0.0.1", 5558)] == [3]


@pytest.mark.parametrize("where", ["127.0.0.1", "::1"])
def test_our_own_socket_is_found(where):
    family = socket.AF_INET6 if ":" in where else socket.AF_INET
    with socket.create_server((where, 0), family=family) as sock:
        port = sock.getsockname()[1]
        holder = holders.find_holder(where, port)
        assert holder is not None
        assert holder.pid == os.getpid()
        assert f"(process {os.getpid()})" in str(holder)
    assert holders.find_holder(where, port) is None


def test_how_a_holder_is_told():
    assert str(Holder(0, 1)) == "held by systemd, for a service that is stopped or starts"
    assert str(Holder(os.getuid())) == "held by our own previous run"
    assert "user 4294967290" in str(Holder(4294967290))
    relay = ("/opt/x/bin/python", "/opt/x/bin/astropix-relay", "run")
    assert str(Holder(0, 77, relay)) == "held by astropix-relay (process 77)"
    assert (
        str(Holder(0, 77, ("python3", "-u", "-m", "astropix_relay"))) == "held by astropix_relay (process 77)"
    )
