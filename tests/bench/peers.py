"""The programs around what is measured: ``python -m bench.peers NAME …``, each a process of its own.

blast and count stand in for the C programs of the same kind where there are none. naive, sub and recvfrom are
what a user would write instead of the relay, `RelayReceiver` and `MulticastReceiver`.
"""

import contextlib
import itertools
import signal
import socket
import statistics
import struct
import sys
import time

from astropix_stream.multicast import interfaces

QUIET_S = 0.5
NOTHING_S = 20.0  # without a single message: the source, or the relay, has failed
HIT = bytes.fromhex("e08056e80da85403bcbc")


def datagram(size):
    """A readout of `size` bytes with hits in it."""
    data = (b"\xbc\xbc" + HIT * (size // len(HIT) + 1))[: size - 19]
    return bytearray(struct.pack("<3sIQI", b"\xfe\xdc\xba", 0, 0, size - 19) + data)


def blast(group, port, count, size, rate, burst=1):
    """Multicast `count` readouts, `burst` at a time; print how many, in how many seconds, at what rate."""
    from astropix_stream.multicast import sockets

    interface = interfaces.find_interface("127.0.0.1", 4)
    count, rate, burst, readout = int(count), float(rate), int(burst), datagram(int(size))
    stamp = struct.Struct("<IQ").pack_into
    groups = [(one, int(port)) for one in group.split(",")]  # several have the readouts in turn
    with sockets.open_sending(groups[0][0], int(port), interface=interface, ttl=0, loop=True) as udp:
        udp.setblocking(True)
        began = time.monotonic()
        for i in range(count):
            stamp(readout, 3, i // len(groups), time.time_ns())
            udp.sendto(readout, groups[i % len(groups)])
            if rate and i % burst == burst - 1:
                # Each at its own time: a sleep that lasted too long shortens the next one.
                while (left := began + (i + 1) / rate - time.monotonic()) > 0:
                    if left > 0.00006:
                        time.sleep(left)
        elapsed = time.monotonic() - began
    print(count, f"{elapsed:.3f}", round(count / elapsed), flush=True)


def count(endpoint, sockets="1"):
    """Subscribe so many times; at SIGUSR1, once all is quiet, print the least that a socket has got since."""
    import zmq

    context, poller, got = zmq.Context(), zmq.Poller(), {}
    context.max_sockets = 2000
    for _ in range(int(sockets)):
        sub = context.socket(zmq.SUB)
        sub.rcvhwm = 1_000_000
        sub.subscribe(b"apx/")
        sub.connect(endpoint)
        poller.register(sub, zmq.POLLIN)
        got[sub] = 0
    asked_s, last_s, before = [], 0.0, dict(got)
    signal.signal(signal.SIGUSR1, lambda *_: asked_s.append(time.monotonic()))
    print("ready", flush=True)
    while True:
        ready = poller.poll(100)
        if not ready and asked_s and time.monotonic() > (last_s or asked_s[0] + NOTHING_S) + QUIET_S:
            print("least", min(got[sub] - before[sub] for sub in got), flush=True)
            last_s, before = 0.0, dict(got)
            asked_s.clear()
        for sub, _ in ready:
            for _ in range(100):
                try:
                    topic, header, *_ = sub.recv_multipart(zmq.NOBLOCK)
                except (zmq.Again, ValueError):
                    break
                if topic.endswith(b"/data"):
                    got[sub] += int.from_bytes(header[6:8], "little") if len(header) == 56 else 1
                    last_s = time.monotonic()


def naive(group, port, endpoint):
    """The relay that a user would write instead: one recvfrom, one send."""
    import zmq

    udp = join(group, port)
    pub = zmq.Context().socket(zmq.PUB)
    pub.sndhwm = 1_000_000
    pub.bind(endpoint)
    while True:
        data, _ = udp.recvfrom(65535)
        pub.send_multipart([b"apx/bench/data", b"", data])


def join(group, port):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    udp.bind((group, int(port)))
    member = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    return udp


def sub(endpoint):
    """What a user would write instead of `RelayReceiver`."""
    import zmq

    from astropix_stream.fmt import AstroPix4Readout

    sock = zmq.Context().socket(zmq.SUB)
    sock.rcvhwm = 1_000_000
    sock.subscribe(b"apx/")
    sock.connect(endpoint)
    with counting() as counted:
        while True:
            AstroPix4Readout.from_bytes(sock.recv_multipart()[2])
            next(counted)


def recvfrom(group, port):
    """What a user would write instead of `MulticastReceiver`."""
    from astropix_stream.fmt import AstroPix4Readout

    udp = join(group, port)
    with counting() as counted:
        while True:
            AstroPix4Readout.from_bytes(udp.recvfrom(65535)[0])
            next(counted)


def receive(url):
    """Readout objects from `MulticastReceiver` or `RelayReceiver`."""
    from astropix_stream.fmt import AstroPix4Readout
    from astropix_stream.opening import open_receiver

    with open_receiver(AstroPix4Readout, url) as receiver, counting() as counted:
        for _ in receiver:
            next(counted)


@contextlib.contextmanager
def counting():
    """Say that this program is ready; at SIGTERM print how many times `next` was called."""
    counted = itertools.count()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("ready", flush=True)
    try:
        yield counted
    finally:
        print("counted", next(counted), flush=True)


def receive_async(url):
    """Readout objects from the same receivers, awaited in an event loop."""
    import asyncio

    from astropix_stream.fmt import AstroPix4Readout
    from astropix_stream.opening import open_receiver

    async def receive_all():
        async for _ in receiver:
            next(counted)

    with open_receiver(AstroPix4Readout, url) as receiver, counting() as counted:
        asyncio.run(receive_all())


def hold(endpoint, clients):
    """Subscribe so many times, as clients of the relay that look at nothing else, and wait."""
    import zmq

    context = zmq.Context()
    for _ in range(int(clients)):
        sub = context.socket(zmq.SUB)
        sub.subscribe(b"apx/")
        sub.connect(endpoint)
    print("ready", flush=True)
    time.sleep(600)


def late(how, where, count):
    """Print median and 99th percentile, in ms, of how late `count` readouts arrive.

    At a `receiver`, a plain `sub` of either relay, or a `recvfrom` of the group itself.
    """
    arrivals = {"receiver": from_receiver, "sub": from_sub, "recvfrom": from_group}[how](where)
    found = []
    for timestamps in arrivals:
        now = time.time_ns()
        found += [now - timestamp for timestamp in timestamps]
        if len(found) >= int(count):
            break
    cuts = statistics.quantiles(found, n=100)
    print(f"{cuts[49] / 1e6:.4f} {cuts[98] / 1e6:.4f}", flush=True)


def from_receiver(url):
    from astropix_stream.fmt import AstroPix4Readout
    from astropix_stream.opening import open_receiver

    with open_receiver(AstroPix4Readout, url, timeout=10) as receiver:
        receiver.wait_ready(10)
        print("ready", flush=True)
        while True:
            yield [receiver.receive().timestamp]


def from_sub(endpoint):
    import zmq

    sock = zmq.Context().socket(zmq.SUB)
    sock.rcvhwm = 1_000_000
    sock.subscribe(b"apx/")
    sock.connect(endpoint)
    print("ready", flush=True)
    while True:
        frames = sock.recv_multipart()
        if frames[0].endswith(b"/data"):
            yield timestamps_in(frames[-1])


def from_group(address):
    group, _, port = address.partition(":")
    udp = join(group, port)
    print("ready", flush=True)
    while True:
        yield timestamps_in(udp.recvfrom(65535)[0])


def timestamps_in(payload):
    """Return the timestamps of readouts back to back."""
    at, found = 0, []
    while at < len(payload):
        timestamp, length = struct.unpack_from("<QI", payload, at + 7)
        found.append(timestamp)
        at += 19 + length
    return found


def viewers(page, number):
    """Look at the live page as so many browsers do: take what it sends, and say that it is drawn."""
    import asyncio
    import json
    import re
    import urllib.request

    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    async def say(socket, kind, content):
        for part in ({"msgid": "1", "msgtype": kind}, {}, content):
            await socket.write_message(json.dumps(part))

    async def patch(socket, talk, attribute, value):
        event = {"kind": "ModelChanged", "model": {"id": talk}, "attr": attribute, "new": value}
        await say(socket, "PATCH-DOC", {"events": [event]})

    async def until(socket, pattern):
        while (message := await socket.read_message()) is not None:
            if found := re.search(pattern, str(message)):
                return found[1]
        return None

    async def look():
        html = (await asyncio.to_thread(urllib.request.urlopen, page)).read().decode()
        token = re.search(r'"token":"([^"]+)"', html)[1]
        where, origin = page.replace("http", "ws") + "/ws", {"Origin": page}
        # A load of the page makes a document, 0.3 s of CPU.
        request = HTTPRequest(where, headers=origin, connect_timeout=90, request_timeout=90)
        socket = await websocket_connect(request, subprotocols=["bokeh", token])
        await until(socket, "(ACK)")  # before, the server takes nothing
        await say(socket, "PULL-DOC-REQ", {})
        talk = await until(socket, r'"name":"[\w.]*Talk","id":"(\w+)"')
        await patch(socket, talk, "wish", json.dumps({"serial": 1, "choice": {}}))
        drawing.add(token)
        if len(drawing) == int(number):
            await asyncio.sleep(2)  # until the first pictures are out, which take more than those that follow
            print("watching", flush=True)
        while (redraw := await until(socket, r'"attr":"words".*\\"redraw\\":(\d+)')) is not None:
            if int(redraw) % 2 == 0:  # as assets/monitor.js does
                await patch(socket, talk, "seen", int(redraw))

    async def look_all():
        await asyncio.gather(*(look() for _ in range(int(number))))

    drawing = set()
    asyncio.run(look_all())


if __name__ == "__main__":
    programs = (blast, count, hold, naive, sub, recvfrom, receive, receive_async, late, viewers)
    {f.__name__: f for f in programs}[sys.argv[1]](*sys.argv[2:])
