"""The guard on real connections: it ends those that send too much, and forgets those that ended."""

import contextlib
import os
import socket
import threading
import time

import pytest

from astropix_relay.clients.guard import Guard
from astropix_relay.clients.limits import STRANGE_IN_ALL, STRANGE_THEN, STRANGE_TOPICS, Allowance

ALLOWANCE = Allowance(start=1000, per_s=0, most=1000)


@pytest.fixture
def guard():
    guard = Guard()
    yield guard
    guard.close()
    guard.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "guard"]


@pytest.fixture
def pair():
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        listening.accept()[0] as server,
    ):
        client.settimeout(10)
        yield client, server


def watch(guard, server, allowance=ALLOWANCE):
    return guard.watch(server.fileno(), "publish", server.getsockname()[1], allowance, time.monotonic())


def test_who_sends_too_much_is_cut_although_nobody_reads(guard, pair):
    client, server = pair
    assert watch(guard, server) == "127.0.0.1"
    client.sendall(bytes(1000))
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    client.sendall(b"!")
    assert client.recv(1) == b""
    (cut,) = guard.cuts
    assert cut == ("publish", "127.0.0.1", "sent 1001 bytes where 1000 are allowed")


def test_what_is_earned_counts(guard, pair):
    client, server = pair
    watch(guard, server)
    guard.earn(server.fileno(), 500)
    client.sendall(bytes(1500))
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert not guard.cuts


def test_who_asks_for_too_much_that_nobody_publishes_is_cut(guard, pair):
    client, server = pair
    watch(guard, server)
    for _ in range(STRANGE_TOPICS):
        guard.note_strange_topic(server.fileno())
    guard.note_strange_topic(10_000)  # of a connection that is not watched
    assert not guard.cuts
    guard.note_strange_topic(server.fileno())
    guard.note_strange_topic(server.fileno())
    assert not guard.end_silenced(1)
    assert client.recv(1) == b""
    (cut,) = guard.cuts
    assert cut.why == "subscribed to more than 16 topics that no stream has"


def test_nothing_more_is_taken_of_those_with_too_many_topics_and_they_end_one_by_one(guard):
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        pairs = []
        for _ in range(3):
            client = opened.enter_context(socket.create_connection(listening.getsockname()))
            pairs.append((client, opened.enter_context(listening.accept()[0])))
            watch(guard, pairs[-1][1])
        for client, server in pairs:
            for _ in range(STRANGE_TOPICS + 1):
                guard.note_strange_topic(server.fileno())
            client.sendall(b"more")
            client.settimeout(0.1)
            server.settimeout(0.1)
            for sock in (client, server):
                with pytest.raises(TimeoutError):
                    sock.recv(1)
        fd = pairs[1][1].fileno()
        assert guard.end_silenced(1)
        guard.forget(fd)
        assert guard.end_silenced(1)
        assert not guard.end_silenced(1)
        for client, _ in (pairs[0], pairs[2]):
            client.settimeout(10)
            assert client.recv(1) == b""


def test_where_all_have_many_strange_topics_each_may_have_few(guard):
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        servers = []
        for _ in range(STRANGE_IN_ALL // STRANGE_TOPICS + 2):
            opened.enter_context(socket.create_connection(listening.getsockname()))
            servers.append(opened.enter_context(listening.accept()[0]))
            watch(guard, servers[-1])
        *greedy, late, last = [server.fileno() for server in servers]
        for fd in greedy * STRANGE_TOPICS:
            guard.note_strange_topic(fd)
        for fd in (late, last) * STRANGE_THEN:
            guard.note_strange_topic(fd)
        assert not guard.cuts
        guard.note_strange_topic(late)
        assert [cut.why for cut in guard.cuts] == ["subscribed to more than 2 topics that no stream has"]
        guard.forget(greedy[0])
        for _ in range(STRANGE_TOPICS - STRANGE_THEN - 5):
            guard.note_strange_topic(last)
        assert len(guard.cuts) == 1


def test_the_peer_sees_the_end_once_the_copy_is_closed(guard, pair):
    client, server = pair
    watch(guard, server)
    fd = server.fileno()
    server.close()
    guard.forget(fd)
    assert client.recv(1) == b""


def test_a_copy_of_ours_is_never_taken_for_a_connection_of_libzmq(guard, pair):
    """A descriptor of a connection that ended may be ours by the time that we hear of it."""
    _, server = pair
    watch(guard, server)
    copy = next(iter(guard._by_copy))
    assert guard.watch(copy, "publish", server.getsockname()[1], ALLOWANCE, 0.0) is None


def test_what_is_no_connection_to_the_port_is_left_alone(guard, pair):
    _, server = pair
    assert guard.watch(server.fileno(), "publish", 1, ALLOWANCE, 0.0) is None
    assert guard.watch(10_000, "publish", 1, ALLOWANCE, 0.0) is None


def test_a_file_that_has_the_number_by_now_is_left_alone_and_no_copy_stays(guard, tmp_path):
    with open(tmp_path / "file", "w") as file:
        before = set(os.listdir("/proc/self/fd"))
        assert guard.watch(file.fileno(), "publish", 1, ALLOWANCE, 0.0) is None
        assert set(os.listdir("/proc/self/fd")) == before


def test_an_idle_guard_sleeps(guard, pair):
    client, server = pair
    watch(guard, server)
    client.sendall(b"x")
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05
