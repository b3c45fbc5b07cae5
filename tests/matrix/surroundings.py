"""Rows in which what is around the relay fails: whoever reads its log, or the disk where that is written.

Clients come and go without pause meanwhile, so that there is much to log.
"""

import contextlib
import functools
import os
import socket
import sys

from matrix.bench import wait
from matrix.rows import row
from matrix.scene import Scene

LOGS = "astropix_relay/host/logs.py"
DEBUG = "log: {level: debug}\n"
# What logs without a thread of its own would do: wait until the text is written.
WAITING = """    stream = QueuedStream(_write_to_stderr)

    def write(text):
        data = text.encode()
        while data:
            try:
                data = data[os.write(2, data) :]
            except OSError:
                time.sleep(0.01)

    stream.write = write"""
BROKEN = (LOGS, "    stream = QueuedStream(_write_to_stderr)", WAITING)
# Standard error is a socket to a journal that does not read.
TO_JOURNAL = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
sock.connect(sys.argv[1])
os.dup2(sock.fileno(), 2)
told = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{told.st_dev}:{told.st_ino}"
os.execv(sys.argv[2], sys.argv[2:])
"""


def relay_whose_log_fails(bench, what, through, *, kind="visits"):
    """Compare what a subscriber gets of a relay that is started `through` something."""
    try:
        scene = Scene(bench, more=DEBUG, through=through, ready=None)
    except AssertionError as error:
        bench.equal("a subscriber is served", str(error).splitlines()[0], "yes")
        return
    begin = functools.partial(scene.attack, kind, host=bench.daq_host, clients=4)
    attackers = begin()
    wait(bench.long(60, 4))
    scene.end(attackers, begin, what)


@row("stderr blocked", *BROKEN)
def stderr_blocked(bench):
    """A pipe that is full before the relay starts, and that nobody reads."""
    fifo = bench.directory / "stderr"
    os.mkfifo(fifo)
    full = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, b"x" * 4096)
        through = ("sh", "-c", 'out=$1; shift; exec "$@" 2>"$out"', "sh", fifo)
        relay_whose_log_fails(bench, "standard error is a full pipe that nobody reads", through)
    finally:
        os.close(full)


@row("journal that does not read", *BROKEN)
def journal_stuck(bench):
    path = bench.directory / "journal"
    with socket.socket(socket.AF_UNIX) as journal:
        journal.bind(str(path))
        journal.listen()
        through = (sys.executable, "-c", TO_JOURNAL, path)
        relay_whose_log_fails(bench, "standard error is the socket of a journal that does not read", through)


@row("disk of the log full", *BROKEN)
def log_disk_full(bench):
    """The mount is seen by this program alone: `ip netns exec` gives it mounts of its own."""
    disk = bench.directory / "disk"
    disk.mkdir()
    script = (
        'disk=$1; shift; mount -t tmpfs -o size=64k tmpfs "$disk" && head -c 65536 /dev/zero >"$disk/full";'
        ' exec "$@" 2>>"$disk/log"'
    )
    through = ("sh", "-c", script, "sh", disk)
    relay_whose_log_fails(bench, "standard error is a file on a full disk", through)
