"""Who holds a TCP port: from the kernel's tables, as far as this user may see.

Parsing is pure; `find_holder` reads.
"""

import os
import pwd
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ANYWHERE = ("0.0.0.0", "::")


class Listening(NamedTuple):
    """A listening TCP socket: where, the user who made it, and its inode."""

    host: str
    port: int
    uid: int
    inode: int


class Holder(NamedTuple):
    """Who holds a port; `pid` is None where this user cannot see it."""

    uid: int
    pid: int | None = None
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.pid == 1:
            return "held by systemd, for a service that is stopped or starts"
        if self.pid is not None:
            return f"held by {self.name} (process {self.pid})"
        if self.uid == os.getuid():
            return "held by our own previous run"
        return f"held by a program of user {_user(self.uid)} (see `sudo ss -tlnp`)"

    @property
    def name(self) -> str:
        """The program's name; of one in Python, the script's."""
        words = list(self.command)
        if words and Path(words[0]).name.startswith("python"):  # its options are no name, but for -m's value
            words = [word for word in words[1:] if not word.startswith("-")] or words
        return Path(words[0]).name if words else "a program"


def parse_listening(table: str) -> Iterator[Listening]:
    """Yield the listening sockets of /proc/net/tcp or tcp6; lines that are not understood are left out."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        with suppress(ValueError, IndexError, OSError):
            if fields[3] != _LISTENING:
                continue
            host, _, port = fields[1].partition(":")
            yield Listening(_address(host), int(port, 16), int(fields[7]), int(fields[9]))


def _address(text: str) -> str:
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    raw = struct.pack(f"={len(words)}I", *words)  # each word in the host's byte order
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, raw)


def overlapping(sockets: Iterable[Listening], host: str, port: int) -> list[Listening]:
    """Return the sockets that keep others from listening at this address; a host of `*` is every one."""
    anywhere = host == "*" or host in _ANYWHERE
    return [s for s in sockets if s.port == port and (anywhere or s.host == host or s.host in _ANYWHERE)]


def find_holder(host: str, port: int) -> Holder | None:
    """Return who listens there; None if nobody does, or the kernel does not tell."""
    listening: list[Listening] = []
    for table in _TABLES:
        with suppress(OSError):
            listening += parse_listening(Path(table).read_text())
    found = overlapping(listening, host, port)
    if not found:
        return None
    for one in found:
        for pid in _processes_with(one.inode):
            return Holder(one.uid, pid, _command(pid))
    return Holder(found[0].uid)


def _processes_with(inode: int) -> Iterator[int]:
    """Yield the processes that have this socket open; those of others are seen by root alone."""
    wanted = f"socket:[{inode}]"
    # PID 1 last: what systemd keeps for a service that runs is held by that service.
    numbers = sorted((int(name) for name in os.listdir("/proc") if name.isdecimal()), reverse=True)
    for pid in numbers:
        with suppress(OSError):
            directory = f"/proc/{pid}/fd"
            if any(_target(f"{directory}/{fd}") == wanted for fd in os.listdir(directory)):
                yield pid


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _command(pid: int) -> tuple[str, ...]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in words if word)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
