"""Clients that attack a relay: several at once, each back without pause when it is cut.

``attack`` is a key of `BODIES` (a flood of those frames) or of `ATTACKS`. ``curve`` has the keys that encrypt
it, as text: the server's, and the client's own pair. ``also`` is a second endpoint, for "odd things". It goes
on until any command comes.
"""

import contextlib
import itertools
import os
import random
import resource
import selectors
import socket
import threading
import time
from collections import Counter

from zmq.utils import z85

from astropix_stream import wire
from astropix_stream.wire import Ask, Request
from matrix.program import commands, options, result
from zmtp import DEALER, GREETING, READY, Curve, Peer, frame

DEFAULTS = {
    "endpoint": "",
    "also": "",
    "attack": "endless",
    "clients": 8,
    "rate": 3000.0,
    "sources": [],
    "curve": [],
}
_numbers = itertools.count()
BODIES = {
    # (body, whether more frames of the message follow)
    "endless": lambda: [(b"", True)] * 4096,
    "endless, 32 bytes": lambda: [(bytes(32), True)] * 1024,
    "topics": lambda: [(b"\x01" + os.urandom(74), False) for _ in range(200)],
    "short topics": lambda: [(b"\x01topic%d" % next(_numbers), False) for _ in range(800)],
    "storm": lambda: [(b"\x01apx/astropix/beat", False), (b"\x00apx/astropix/beat", False)] * 400,
    "slow lines": lambda: [(b"\x01apxz/astropix/data", False), (b"\x01%s" % _thinned(), False)] * 400,
    "everything, again": lambda: [(b"\x01", False)] * 800,
    "compressed history": lambda: [(b"", True), (_ask(Ask.OLDEST, flags=wire.ZSTD), False)] * 8,
    "history since": lambda: [(_ask(Ask.SINCE), False)] * 8,
    "no requests": lambda: [(os.urandom(next(_numbers) % 200), False)] * 8,
}


def _thinned():
    return b"apxt/astropix/%d/data" % (8000 + next(_numbers) % 12)


def _ask(kind, flags=0):
    return wire.pack_request(Request(kind, 1, 0, 0, 0, "astropix", flags))


AT_ONCE = 100  # frames: to encrypt them takes a busy machine its time
KEPT = 16_000  # connections that say nothing
TOPICS = 48  # of 74 bytes: what a connection may send when it is new


class Line:
    """A connection to the relay, with or without encryption."""

    def __init__(self, given, source, ready=READY, timeout=1.0):
        self.peer = Peer(given["endpoint"], timeout, source)
        self.curve = Curve(*(z85.decode(key) for key in given["curve"])) if given["curve"] else None
        self.is_in = False
        with contextlib.suppress(OSError):
            if self.curve is not None:
                self.is_in = self.curve.shake_hands(self.peer, ready[6:])
            else:
                self.peer.sendall(GREETING + frame(ready, command=True))
                self.is_in = len(self.peer.read(64)) == 64

    def pack(self, body, more=False):
        if self.curve is not None:
            return frame(self.curve.message(body, more=more))
        return bytes([more, len(body)]) + body

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.peer.close()


def flood(given, source, over, log):
    """Send without end, and come back when cut."""
    bodies = BODIES[given["attack"].removeprefix("history: ")]
    ready = DEALER if given["attack"].startswith("history: ") else READY
    while not over.is_set():
        with contextlib.suppress(OSError), Line(given, source, ready) as line:
            log["connections"] += 1
            while line.is_in and not over.is_set():
                some = bodies()
                for at in range(0, len(some), AT_ONCE):
                    line.peer.sendall(b"".join(line.pack(*one) for one in some[at : at + AT_ONCE]))


def visit(given, source, over, log):
    """Come in, subscribe, and leave, as fast as it goes."""
    while not over.is_set():
        with contextlib.suppress(OSError), Line(given, source) as line:
            log["connections"] += 1
            if line.is_in:
                log["let in"] += 1
                line.peer.sendall(line.pack(b"\x01apx/"))
            if log["connections"] % 2:
                line.peer.reset()


def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def dial(given, source=None):
    """Return a connection that is about to be there."""
    host, port = given["endpoint"].removeprefix("tcp://").rsplit(":", 1)
    sock = socket.socket()
    sock.setblocking(False)
    if source is not None:
        sock.bind((source, 0))
    sock.connect_ex((host, int(port)))
    return sock


def connect_on(given, source, over, log):
    """Open `rate` connections a second that say nothing, and keep the newest."""
    raise_limit()
    kept = []
    began_s = time.monotonic()
    for count in itertools.count():
        if over.is_set():
            break
        time.sleep(max(0.0, began_s + count / given["rate"] - time.monotonic()))
        with contextlib.suppress(OSError):  # out of ports
            kept.append(dial(given, source))
            log["connections"] += 1
        if len(kept) > KEPT:
            kept.pop(0).close()
    for sock in kept:
        sock.close()


def drip(words, pause_s, kept):
    """Return an attack in which `kept` connections say their words a byte at a time."""

    def attack(given, source, over, log):
        raise_limit()
        said: dict[socket.socket, int] = {}
        while not over.is_set():
            while len(said) < kept:
                said[dial(given, source)] = 0
                log["connections"] += 1
            for sock, at in list(said.items()):
                try:
                    sock.send(words[at % len(words) : at % len(words) + 1])
                    said[sock] = at + 1
                except BlockingIOError:
                    pass
                except OSError:
                    del said[sock]
                    sock.close()
            over.wait(pause_s)
        for sock in said:
            sock.close()

    return attack


def say_half(given, source, over, log):
    """Come in, begin a frame, and say no more."""
    while not over.is_set():
        with contextlib.suppress(OSError), Line(given, source) as line:
            log["connections"] += 1
            line.peer.sendall(b"\x02" + (4 << 20).to_bytes(8, "big") + bytes(2 << 20))
            while line.is_in and not over.is_set():
                with contextlib.suppress(TimeoutError):
                    line.is_in = bool(line.peer.recv(1 << 16))


def read_nothing(given, source, over, log):
    """Subscribe to everything, and never read."""
    with Line(given, source, timeout=5) as line:
        log["connections"] += line.is_in
        line.peer.sendall(line.pack(b"\x01"))
        over.wait()


def read_now_and_then(given, source, over, log):
    """Subscribe to everything, and read some of it, at another moment than others do."""
    with Line(given, source, timeout=5) as line:
        nth = log["connections"] = log["connections"] + line.is_in
        line.peer.sendall(line.pack(b"\x01"))
        over.wait(nth * 0.05)
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                line.peer.settimeout(0.05)
                for _ in range(200):
                    line.peer.recv(1 << 16)
            over.wait(2)


def ask_on(given, source, over, log):
    """Ask history again and again, and never read."""
    request = wire.pack_request(Request(Ask.OLDEST, 1, 0, 0, 0, "astropix"))
    with Line(given, source, DEALER, timeout=5) as line:
        line.peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        log["connections"] += line.is_in
        line.peer.setblocking(False)
        while not over.is_set():
            with contextlib.suppress(OSError):
                line.peer.send(b"".join(line.pack(request) for _ in range(20)))
            over.wait(0.01)


def ask_and_read(given, source, over, log):
    """Ask history for compressed pages without pause, and read each."""
    request = _ask(Ask.OLDEST, wire.ZSTD)
    while not over.is_set():
        with contextlib.suppress(OSError), Line(given, source, DEALER, timeout=5) as line:
            log["connections"] += 1
            line.peer.sendall(line.pack(request) * 4)
            line.peer.settimeout(0.2)
            while line.is_in and not over.is_set():
                line.is_in = bool(line.peer.recv(1 << 20))
                line.peer.sendall(line.pack(request))


def scrape(given, source, over, log):
    """Ask for the metrics without pause, and read them."""
    while not over.is_set():
        with contextlib.suppress(OSError), Peer(given["endpoint"], 1, source) as peer:
            log["connections"] += 1
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n")
            while peer.recv(1 << 20):
                pass


def _command(name, body=b"", flags=4):
    text = bytes([len(name)]) + name + body
    return bytes([flags | 2]) + len(text).to_bytes(8, "big") + text


GREETED = GREETING + frame(READY, command=True)
NAMES = b"\x0bSocket-Type\x00\x00\x00\x03SUB"
# What no client of ours says, each at the beginning of a connection; none is so much that it is cut for that.
ODD = [
    GREETING[:12],
    GREETING[:63],
    GREETING * 40,
    b"\xff" + bytes(8) + b"\x7f\x01\x02" + bytes(200),  # ZMTP 2.0
    b"\x01\x00" + b"\x0e\x00endless" * 200,  # ZMTP 1.0
    GREETING.replace(b"NULL\0", b"PLAIN") + _command(b"HELLO", b"\x05admin\x05admin"),
    GREETING.replace(b"NULL\0", b"CURVE") + _command(b"HELLO", b"\x01\x00" + bytes(192)),
    GREETING.replace(b"NULL\0", b"CURVE") + _command(b"INITIATE", bytes(248)),
    GREETING.replace(b"NULL\0", b"GSSAP") + _command(b"INITIATE", bytes(248)),
    Curve.GREETING + _command(b"WELCOME", bytes(160)) * 10,
    GREETING + b"GET /metrics HTTP/1.1\r\nHost: relay\r\n\r\n",
    GREETING + _command(b"READY", NAMES * 12),
    GREETING + _command(b"READY", b"\x08Identity" + b"\xff\xff\xff\xff" + b"x" * 100),
    GREETING + _command(b"READY", b"\xffSocket-Type"),
    GREETING + _command(b"READY", NAMES + b"\x08Identity\x00\x00\x00\xff" + bytes(255)),
    *(GREETING + _command(b"READY", NAMES.replace(b"\x03SUB", one)) for one in (
        b"\x03PUB", b"\x04PULL", b"\x06DEALER", b"\x06ROUTER", b"\x04PAIR", b"\x04XSUB", b"\x00",
    )),
    GREETING + _command(b"ERROR", b"\xff" + bytes(255)),
    GREETED + _command(b"READY", NAMES) * 20,
    GREETED + _command(b"PING", b"\x00\x00" + b"p" * 16) * 90,
    GREETED + _command(b"PING", b"\xff\xff" + b"p" * 300) * 10,
    GREETED + _command(b"PONG", b"p" * 16) * 90,
    GREETED + _command(b"SUBSCRIBE", b"apx/") * 150,
    GREETED + (_command(b"SUBSCRIBE") + _command(b"CANCEL")) * 90,
    GREETED + _command(b"CANCEL", b"never subscribed") * 100,
    GREETED + _command(b"JOIN", b"group") * 80 + _command(b"LEAVE", b"group") * 80,
    GREETED + _command(b"ERROR", b"\x05wrong"),
    GREETED + _command(b"", b"") * 100,
    GREETED + b"\x04\x00" * 1000,
    GREETED + _command(b"SUBSCRIBE", b"apx", flags=5) * 100,
    GREETED + _command(b"SUBSCRIBE", b"apx", flags=0xFC) * 100,
    GREETED + b"\xf8\x05\x01apx/" * 100,
    GREETED + b"\x01\x01\x01" * 500 + b"\x00\x00",
    GREETED + b"\x00\x01\x01" * 500,
    GREETED + b"\x00\x05\x00apx/" * 300,
    GREETED + b"\x00\x05\x02apx/" * 300,
    GREETED + frame(b"\x01apxz/astropix/data") * 16,
    GREETED + b"".join(frame(b"\x01apxt/astropix/%d/data" % (8000 + n)) for n in range(16)),
    GREETED + b"\x02" + b"\xff" * 8,
    GREETED + b"\x02" + bytes(8) + b"\x06" + (1 << 62).to_bytes(8, "big"),
    GREETED + b"\x02" + (319).to_bytes(8, "big") + b"\x01" + b"y" * 100,
]  # fmt: skip


def say_odd_things(given, _, over, log):
    """Begin connections in each way of `ODD`; leave at once, after a while, or with a reset."""
    for at in itertools.count(log["connections"]):
        if over.is_set():
            return
        endpoint = (given["also"] if at % 2 else None) or given["endpoint"]
        source = random.choice(given["sources"])  # what is odd is cut, and its address soon refused
        with contextlib.suppress(OSError), Peer(endpoint, 0.5, source) as peer:
            log["connections"] += 1
            text = ODD[at // 2 % len(ODD)]
            if text.startswith(GREETED):  # libzmq takes nothing more before it has answered
                peer.sendall(GREETED)
                log["let in"] += len(peer.read(64 + 28)) > 64
                text = text.removeprefix(GREETED)
            peer.sendall(text)
            if at % 3 == 0:
                peer.settimeout(0.05)
                while peer.recv(1 << 16):
                    pass
            if at % 3 == 1:
                peer.reset()


def leave_together(given, source, over, log):
    """Bring the topics of 60 clients, and have all leave at one moment."""
    while not over.is_set():
        with contextlib.ExitStack() as opened:
            lines = []
            for _ in range(60):
                with contextlib.suppress(OSError):
                    lines.append(opened.enter_context(Line(given, source, timeout=5)))
                    log["connections"] += 1
            for _ in range(TOPICS):
                for line in lines:
                    try:
                        line.peer.sendall(line.pack(b"\x01" + os.urandom(74)))
                    except OSError:
                        log["cut"] += 1
            over.wait(1)


def swell(given, source, over, log):
    """Send an HTTP request whose headers have no end."""
    while not over.is_set():
        with contextlib.suppress(OSError), Peer(given["endpoint"], 1, source) as peer:
            log["connections"] += 1
            peer.sendall(b"GET /metrics HTTP/1.1\r\n")
            while not over.is_set():
                peer.sendall(b"X-More: " + b"a" * 60_000 + b"\r\n")


def crowd(given, source, over, log):
    """Keep 1000 connections open."""
    raise_limit()
    with selectors.DefaultSelector() as selector:
        opened = 0
        while not over.is_set():
            while opened < 1000:
                sock = dial(given, source)
                selector.register(sock, selectors.EVENT_READ, sock)
                log["connections"] += 1
                opened += 1
            for key, _ in selector.select(0.1):
                selector.unregister(key.fileobj)
                key.data.close()
                opened -= 1
        for key in list(selector.get_map().values()):
            key.data.close()


SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: relay\r\nX-Slow: " + b"a" * 1000
ATTACKS = {
    "silent": connect_on,
    "slow handshakes": drip(GREETING + frame(READY, command=True), 0.05, 500),
    "slow handshakes, encrypted": drip(Curve.GREETING + bytes([4, 200]) + bytes(200), 0.05, 500),
    "visits": visit,
    "half frames": say_half,
    "stuck": read_nothing,
    "staggered": read_now_and_then,
    "greedy": ask_on,
    "leave together": leave_together,
    "odd things": say_odd_things,
    "compressed pages": ask_and_read,
    "metrics, scraped without pause": scrape,
    "metrics, dripping": drip(SCRAPE, 0.05, 8),
    "metrics, crowded": crowd,
    "metrics, huge headers": swell,
}


def main():
    given = options(DEFAULTS)
    attack = ATTACKS.get(given["attack"], flood)
    log: Counter[str] = Counter()
    lines = commands()
    over = threading.Event()
    sources = itertools.cycle(given["sources"] or [None])
    threads = [
        threading.Thread(target=attack, args=(given, next(sources), over, log))
        for _ in range(given["clients"])
    ]
    for thread in threads:
        thread.start()
    print("attacking", flush=True)
    lines.get()
    over.set()
    for thread in threads:
        thread.join()
    result(**log)


if __name__ == "__main__":
    main()
