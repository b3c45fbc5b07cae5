"""What the matrix's own programs share: options in JSON, commands on standard input, a result in JSON."""

import json
import os
import queue
import socket
import sys
import threading


def options(defaults):
    """Return the options given as JSON in the first argument; one without a default is an error."""
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    if unknown := set(given) - set(defaults):
        raise SystemExit(f"no such options: {', '.join(sorted(unknown))}")
    return {**defaults, **given}


def commands():
    """Return a queue of the lines that come on standard input, each as a list of words."""
    lines = queue.SimpleQueue()

    def read():
        for line in sys.stdin:
            lines.put(line.split())
        os._exit(1)  # the runner is gone, and would never tell us to stop

    threading.Thread(target=read, daemon=True).start()
    return lines


def take(lines):
    """Return the next command, or an empty list."""
    try:
        return lines.get_nowait()
    except queue.Empty:
        return []


def result(**values):
    """Print the one line that the runner waits for."""
    print("result", json.dumps(values), flush=True)


def open_sender(interface=None, port=0):
    """Return a socket that multicasts through an interface, from a port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    if interface is not None:
        request = bytes(8) + socket.if_nametoindex(interface).to_bytes(4, "little")  # struct ip_mreqn
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
    return sock
