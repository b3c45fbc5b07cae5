"""What the daemon says to systemd, and what systemd hands to it.

Without systemd everything here is a no-op with a plain answer: `notify` and what is built on it return
False, `listen_fds` an empty dictionary, `stderr_is_journal` False. So the daemon calls them always, and never
asks whether it is a service.

Only the standard library: the protocols are datagrams of ``NAME=value`` lines and a few environment
variables, promised to be stable in sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3), systemd.exec(5).
"""

import array
import contextlib
import logging
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

__all__ = [
    "JournalFormatter",
    "barrier",
    "listen_fds",
    "notify",
    "notify_reloading",
    "remove_fds",
    "stderr_is_journal",
    "store_fds",
]

SEND_TIMEOUT_S = 0.02
"""How long a notification waits for room in the manager's queue: a stuck one must not stop the relay."""

FIRST_LISTEN_FD = 3
"""SD_LISTEN_FDS_START: systemd passes its file descriptors from here on, without holes."""

MAX_FD_NAME = 255
"""FDNAME_MAX; a descriptor with a longer name is stored as "stored", where nobody looks for it."""

UNREACHABLE = (TimeoutError, FileNotFoundError, ConnectionRefusedError, PermissionError)
"""Nobody listens (any more), or nobody reads: nothing that the relay should die of."""


def notify(
    *, fds: Sequence[int] = (), environ: Mapping[str, str] = os.environ, **assignments: str | int
) -> bool:
    """Send one notification to the service manager.

    Through a new socket each time, as sd_notify(3) does, or that of `reserved`; always to the manager's
    address, since it may have replaced its own socket.

    Parameters
    ----------
    fds
        File descriptors to send along, at most 253 (the kernel's SCM_MAX_FD).
    environ
        Where to look for NOTIFY_SOCKET.
    **assignments
        The variables of sd_notify(3): ``notify(READY=1, STATUS="2 streams")``. A value's line ends become
        spaces.

    Returns
    -------
    bool
        Whether it is in the manager's queue: False without a manager, or with one that cannot be reached now.
    """
    address = _socket_address(environ.get("NOTIFY_SOCKET", ""))
    if address is None:
        return False
    lines = (f"{name}={' '.join(str(value).splitlines())}" for name, value in assignments.items())
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    with contextlib.ExitStack() as opened:
        sock = _reserved[0] if _reserved else opened.enter_context(_open())
        try:
            sock.sendmsg(["\n".join(lines).encode()], rights, 0, address)
        except UNREACHABLE:
            return False
    return True


_reserved: list[socket.socket] = []


@contextlib.contextmanager
def reserved() -> Iterator[None]:
    """Keep a socket for notifications: what is sent within needs no descriptor, when none is free."""
    with _open() as sock:
        _reserved.append(sock)
        try:
            yield
        finally:
            _reserved.remove(sock)


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(SEND_TIMEOUT_S)
    return sock


def _socket_address(text: str) -> str | None:
    """Return the address that NOTIFY_SOCKET means, or None when it is not an AF_UNIX one."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def is_manager_there(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a service manager listens to notifications."""
    return bool(environ.get("NOTIFY_SOCKET"))


def notify_reloading(*, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell that a reload begins; it ends with ``notify(READY=1)``, whether or not the new file was taken.

    The time lets ``Type=notify-reload`` (systemd 253) tell this reload from an earlier one.
    """
    return notify(environ=environ, RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)


def store_fds(name: str, *fds: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Put copies of descriptors into the manager's store, which hands them to the next start of the service.

    A socket that is in the store already is kept once, so storing all of them again at every start does no
    harm. More than FileDescriptorStoreMax are dropped with a line in the journal, and so is one that polls
    POLLHUP or POLLERR.

    Parameters
    ----------
    name
        What `listen_fds` will call them; several may share one name.
    *fds
        The descriptors, which stay open here.
    environ
        Where to look for NOTIFY_SOCKET.

    Returns
    -------
    bool
        As for `notify`. They are in the store only when `barrier` has returned True.

    Raises
    ------
    ValueError
        For a name that systemd would not keep.
    """
    return notify(fds=fds, environ=environ, FDSTORE=1, FDNAME=_checked_fd_name(name))


def remove_fds(name: str, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Take all descriptors of this name out of the manager's store; otherwise as `store_fds`."""
    return notify(environ=environ, FDSTOREREMOVE=1, FDNAME=_checked_fd_name(name))


def _checked_fd_name(name: str) -> str:
    # The rule of systemd's fdname_is_valid(); the colon separates the names in LISTEN_FDNAMES.
    if not 0 < len(name) <= MAX_FD_NAME or not all(" " <= char < "\x7f" and char != ":" for char in name):
        raise ValueError(f"{name!r}: a stored descriptor's name is 1 to {MAX_FD_NAME} of ASCII, without ':'")
    return name


def barrier(timeout_s: float, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Wait until the manager has worked through every notification sent before.

    Needed before an exit: the manager finds the service by the sender's process, and drops the notification
    of one that is gone.
    """
    reader, writer = os.pipe()
    try:
        sent = notify(fds=[writer], environ=environ, BARRIER=1)
        os.close(writer)
        poll = select.poll()
        poll.register(reader, 0)  # POLLHUP alone: the manager has closed the only other end
        return sent and bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(reader)


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> dict[str, list[int]]:
    """Take over the descriptors that systemd passed at this start, those from its store among them.

    They are the caller's from here on: each is used (``socket.socket(fileno=fd)``) or closed. The environment
    is cleared, so that a second call, or a child, does not take them for its own.

    Returns
    -------
    dict
        The name of `store_fds` -> the descriptors stored under it; empty when none are for this process.
    """
    pid, count, names = (environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    fds = range(FIRST_LISTEN_FD, FIRST_LISTEN_FD + int(count))
    labels = names.split(":") if names else []
    named: dict[str, list[int]] = {}
    for fd, name in zip(fds, labels + ["unknown"] * (len(fds) - len(labels)), strict=False):
        os.set_inheritable(fd, False)
        named.setdefault(name, []).append(fd)
    return named


def stderr_is_journal(environ: Mapping[str, str] = os.environ, *, stderr_fd: int = 2) -> bool:
    """Tell whether standard error goes to the journal itself, not to a file or pipe set up since."""
    try:
        stat = os.fstat(stderr_fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class JournalFormatter(logging.Formatter):
    """Put the priority of sd-daemon(3), ``<3>`` for an error, before each line; the journal removes it.

    Before each, not once: the journal makes an entry of every line, and a traceback is more than one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text with a priority before each line."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def _priority(level: int) -> int:
    """Return the syslog priority of a level of `logging`."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((priority for least, priority in steps if level >= least), 7)
