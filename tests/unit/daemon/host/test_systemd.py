"""systemd.py against real AF_UNIX sockets; what systemd makes of it is tests/systemd's business."""

import array
import fcntl
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from astropix_relay.host import systemd

NOWHERE: dict[str, str] = {}


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(5)
        self.environ = {"NOTIFY_SOCKET": address.replace("\0", "@")}

    def receive(self) -> tuple[list[str], list[int]]:
        data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
        fds = array.array("i")
        for _level, _kind, content in ancillary:
            fds.frombytes(content)
        return data.decode().split("\n"), list(fds)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"\0astropix-test-{os.getpid()}"
    manager = Manager(address)
    with manager.sock:
        yield manager


def test_notify_sends_all_assignments_in_one_datagram(manager: Manager) -> None:
    assert systemd.notify(READY=1, STATUS="2 streams, 3 subscribers", environ=manager.environ)
    assert manager.receive() == (["READY=1", "STATUS=2 streams, 3 subscribers"], [])


def test_a_line_end_in_a_value_does_not_start_a_new_assignment(manager: Manager) -> None:
    assert systemd.notify(STATUS="lost\nREADY=1", environ=manager.environ)
    assert manager.receive() == (["STATUS=lost READY=1"], [])


def test_the_environment_of_the_process_is_the_default(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environ["NOTIFY_SOCKET"])
    assert systemd.notify(WATCHDOG=1)
    assert manager.receive() == (["WATCHDOG=1"], [])


def test_reloading_tells_the_monotonic_time(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    assert systemd.notify_reloading(environ=manager.environ)
    (reloading, stamp), _ = manager.receive()
    assert reloading == "RELOADING=1"
    name, _, value = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize(
    "address", ["", "vsock:2:1234", "relative", "/nonexistent/notify", "@astropix-nobody"]
)
def test_without_a_manager_everything_is_a_no_op(address: str, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": address} if address else NOWHERE
    assert not systemd.notify(READY=1, environ=environ)
    assert not systemd.notify_reloading(environ=environ)
    assert not systemd.store_fds("udp", 0, environ=environ)
    assert not systemd.remove_fds("udp", environ=environ)
    assert not systemd.barrier(1, environ=environ)


def test_a_manager_that_does_not_read_costs_a_bounded_time(manager: Manager) -> None:
    before = time.monotonic()
    while systemd.notify(STATUS="x", environ=manager.environ):
        pass
    waited = time.monotonic() - before
    assert systemd.SEND_TIMEOUT_S <= waited < systemd.SEND_TIMEOUT_S + 1


def test_stored_descriptors_arrive_as_the_same_socket(manager: Manager) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        assert systemd.store_fds("udp/a", udp.fileno(), udp.fileno(), environ=manager.environ)
        lines, fds = manager.receive()
        assert lines == ["FDSTORE=1", "FDNAME=udp/a"]
        assert len(fds) == 2
        for fd in fds:
            with socket.socket(fileno=fd) as copy:
                assert copy.getsockname() == udp.getsockname()


def test_remove_names_the_descriptors(manager: Manager) -> None:
    assert systemd.remove_fds("udp/a", environ=manager.environ)
    assert manager.receive() == (["FDSTOREREMOVE=1", "FDNAME=udp/a"], [])


@pytest.mark.parametrize("name", ["", "a:b", "line\nend", "µ", "x" * 256])
def test_a_name_that_systemd_would_not_keep_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="stored descriptor's name"):
        systemd.store_fds(name, 0, environ=NOWHERE)
    with pytest.raises(ValueError, match="stored descriptor's name"):
        systemd.remove_fds(name, environ=NOWHERE)


def test_barrier_ends_when_the_manager_closes_its_end(manager: Manager) -> None:
    def serve() -> None:
        lines, fds = manager.receive()
        assert lines == ["BARRIER=1"]
        for fd in fds:
            os.close(fd)

    thread = threading.Thread(target=serve)
    thread.start()
    assert systemd.barrier(5, environ=manager.environ)
    thread.join()


def test_barrier_times_out(manager: Manager) -> None:
    assert not systemd.barrier(0.01, environ=manager.environ)
    for fd in manager.receive()[1]:
        os.close(fd)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Three descriptors, consecutive and inheritable as systemd passes them, but not from 3 on (pytest's)."""
    fds = [fcntl.fcntl(0, fcntl.F_DUPFD, 900 + i) for i in range(3)]
    assert fds == [900, 901, 902]
    for fd in fds:
        os.set_inheritable(fd, True)
    monkeypatch.setattr(systemd, "FIRST_LISTEN_FD", fds[0])
    yield fds
    for fd in fds:
        os.close(fd)


def listen_environ(**changes: str) -> dict[str, str]:
    usual = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "3",
        "LISTEN_FDNAMES": "udp/a:tcp:udp/a",
        "HOME": "/",
    }
    return usual | changes


def test_listen_fds_are_taken_over(passed: list[int]) -> None:
    environ = listen_environ()
    assert systemd.listen_fds(environ) == {"udp/a": [passed[0], passed[2]], "tcp": [passed[1]]}
    assert not any(os.get_inheritable(fd) for fd in passed)
    assert environ == {"HOME": "/"}
    assert systemd.listen_fds(environ) == {}


@pytest.mark.parametrize(("names", "expected"), [("", {"unknown": 3}), ("a", {"a": 1, "unknown": 2})])
def test_missing_names_are_unknown(passed: list[int], names: str, expected: dict[str, int]) -> None:
    named = systemd.listen_fds(listen_environ(LISTEN_FDNAMES=names))
    assert {name: len(fds) for name, fds in named.items()} == expected


@pytest.mark.parametrize(
    "change", [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "-1"}, {"LISTEN_FDS": "x"}]
)
def test_descriptors_for_another_process_are_left_alone(passed: list[int], change: dict[str, str]) -> None:
    environ = listen_environ(**change)
    assert systemd.listen_fds(environ) == {}
    assert environ == {"HOME": "/"}
    assert all(os.get_inheritable(fd) for fd in passed)


def test_stderr_is_journal_only_for_the_very_stream(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        stat = os.fstat(a.fileno())
        environ = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
        assert systemd.stderr_is_journal(environ, stderr_fd=a.fileno())
        assert not systemd.stderr_is_journal(environ, stderr_fd=b.fileno())
        assert not systemd.stderr_is_journal(NOWHERE, stderr_fd=a.fileno())
    assert not systemd.stderr_is_journal(environ, stderr_fd=10**6)


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.CRITICAL, "<2>"),
        (logging.ERROR, "<3>"),
        (logging.WARNING, "<4>"),
        (logging.INFO, "<6>"),
        (5, "<7>"),
    ],
)
def test_each_line_carries_its_priority(level: int, prefix: str) -> None:
    try:
        raise OSError("no such device")
    except OSError:
        record = logging.LogRecord("relay", level, __file__, 1, "join %s", ("eth0",), sys.exc_info())
    lines = systemd.JournalFormatter("%(message)s").format(record).splitlines()
    assert lines[0] == f"{prefix}join eth0"
    assert lines[-1] == f"{prefix}OSError: no such device"
    assert all(line.startswith(prefix) for line in lines)
