"""Wait for a descriptor; and one descriptor that covers a socket and what is buffered in front of it."""

import os
import select
from collections.abc import Sequence

_ONE = (1).to_bytes(8, "little")
_MAX_WAIT_S = 86400.0  # poll() takes no more than 24 days


def wait_readable(fd: int, timeout_s: float | None) -> bool:
    """Wait until `fd` is readable, at most `timeout_s` (None: no limit) or a day; return whether it is."""
    return wait_any_readable([fd], timeout_s)


def wait_any_readable(fds: Sequence[int], timeout_s: float | None) -> bool:
    """Wait until one of several descriptors is readable, as `wait_readable` for one."""
    if timeout_s is not None:
        timeout_s = min(timeout_s, _MAX_WAIT_S)
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select(fds, [], [], timeout_s)[0])
    poller = select.poll()  # select() takes no descriptor above 1023
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))


class Readiness:
    """Readable while a watched descriptor is, or while `set(True)` says that something is buffered.

    Linux's epoll; there is no equivalent elsewhere that `select` takes.
    """

    def __init__(self, *watched_fds: int) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._event, select.EPOLLIN)
        for fd in watched_fds:
            self.watch(fd)
        self._is_set = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._epoll.fileno()

    def set(self, buffered: bool) -> None:
        """Say whether something is buffered."""
        if buffered != self._is_set:
            self._is_set = buffered
            if buffered:
                os.write(self._event, _ONE)
            else:
                os.read(self._event, 8)

    def watch(self, fd: int) -> None:
        """Watch another descriptor."""
        self._epoll.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor; call this before it is closed."""
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Close both descriptors."""
        self._epoll.close()
        os.close(self._event)
