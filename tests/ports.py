"""Ports that are free."""

import contextlib
import random
import socket


def free_port_pair():
    """Return a TCP port that is free, as is the next one: a relay serves history there.

    Below the range that the kernel gives to connections, or it may give the next one away meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
