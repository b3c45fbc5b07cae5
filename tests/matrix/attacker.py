"""Clients that attack a relay: several at once, each back without pause when it is cut.

``attack`` is one of `BODIES`, or ``silent`` (connections that say nothing, as many as ``rate`` a second) or
``greedy`` (they ask history again and again, and never read).
"""

import contextlib
import itertools
import os
import resource
import socket
import struct
import threading
import time
from collections import Counter

from astropix_stream import wire
from astropix_stream.wire import Ask, Request
from matrix.program import commands, options, result
from zmtp import GREETING, READY, Peer, frame

DEFAULTS = {"endpoint": "", "attack": "endless", "clients": 8, "seconds": 5.0, "rate": 3000.0, "sources": []}
DEALER = b"\x05READY\x0bSocket-Type" + struct.pack("!I", 6) + b"DEALER"
BODIES = {
    "endless": lambda: b"\x01\x00" * 8192,
    "topics": lambda: b"".join(frame(b"\x01" + os.urandom(74)) for _ in range(200)),
    "storm": lambda: (frame(b"\x01apx/astropix/beat") + frame(b"\x00apx/astropix/beat")) * 800,
}


def flood(given, source, until_s, log):
    body = BODIES[given["attack"]]
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError), Peer(given["endpoint"], 1, source) as peer:
            log["connections"] += 1
            peer.sendall(GREETING + frame(READY, command=True))
            peer.read(64)
            while time.monotonic() < until_s:
                peer.sendall(body())


def stay_silent(given, source, until_s, log):
    host, port = given["endpoint"].removeprefix("tcp://").rsplit(":", 1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept = []
    began_s = time.monotonic()
    for count in itertools.count():
        if time.monotonic() > until_s:
            break
        time.sleep(max(0.0, began_s + count / given["rate"] - time.monotonic()))
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((host, int(port)))
        kept.append(sock)
        log["connections"] += 1
        if len(kept) > 2000:
            kept.pop(0).close()
    for sock in kept:
        sock.close()


def ask_on(given, source, until_s, log):
    request = frame(wire.pack_request(Request(Ask.OLDEST, 1, 0, 0, 0, "astropix")))
    with Peer(given["endpoint"], 5, source) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(GREETING + frame(DEALER, command=True))
        peer.read(64)
        log["connections"] += 1
        peer.setblocking(False)
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError):
                peer.send(request * 20)
            time.sleep(0.01)


def main():
    given = options(DEFAULTS)
    attack = {"silent": stay_silent, "greedy": ask_on}.get(given["attack"], flood)
    log: Counter[str] = Counter()
    lines = commands()
    until_s = time.monotonic() + given["seconds"]
    sources = itertools.cycle(given["sources"] or [None])
    threads = [
        threading.Thread(target=attack, args=(given, next(sources), until_s, log))
        for _ in range(given["clients"])
    ]
    for thread in threads:
        thread.start()
    print("attacking", flush=True)
    for thread in threads:
        thread.join()
    result(**log)
    while not lines.empty():
        lines.get()


if __name__ == "__main__":
    main()
