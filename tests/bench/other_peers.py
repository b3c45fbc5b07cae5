"""What people use instead of all this, each a process of its own: ``python -m bench.other_peers NAME …``.

Those that need a distribution of the dependency group ``peers`` import it when they are asked for.
"""

import struct
import sys
import time

from bench.peers import counting, datagram, join

_LCM_SMALL = 0x4C433032  # "LC02": a message in one datagram
_CHANNEL = b"READOUTS\0"


def bluesky_publish(group, port, endpoint):
    """Publish each readout as an event document."""
    from bluesky.callbacks.zmq import Publisher

    udp, publisher, number = join(group, port), Publisher(endpoint), 0
    print("ready", flush=True)
    while True:
        data, _ = udp.recvfrom(65535)
        number += 1
        event = {"descriptor": "astropix", "seq_num": number, "uid": str(number), "time": time.time()}
        publisher("event", event | {"data": {"readout": data}, "timestamps": {"readout": time.time()}})


def bluesky_proxy(inward, outward):
    from bluesky.callbacks.zmq import Proxy

    proxy = Proxy(inward, outward)
    print("ready", flush=True)
    proxy.start()


def bluesky_receive(endpoint):
    from bluesky.callbacks.zmq import RemoteDispatcher

    from astropix_stream.fmt import AstroPix4Readout

    def take(_, document):
        AstroPix4Readout.from_bytes(document["data"]["readout"])
        next(counted)

    dispatcher = RemoteDispatcher(endpoint)
    dispatcher.subscribe(take)
    with counting() as counted:
        dispatcher.start()


def nats_publish(group, port, server):
    """Publish each readout as a message of its own."""
    import asyncio

    import nats

    async def publish():
        udp, client = join(group, port), await nats.connect(server)
        udp.setblocking(False)
        print("ready", flush=True)
        while True:
            await client.publish("readouts", await asyncio.get_running_loop().sock_recv(udp, 65535))

    asyncio.run(publish())


def nats_receive(server):
    import asyncio

    import nats

    from astropix_stream.fmt import AstroPix4Readout

    async def receive():
        async def take(message):
            AstroPix4Readout.from_bytes(message.data)
            next(counted)

        client = await nats.connect(server)
        await client.subscribe("readouts", cb=take)
        await asyncio.Event().wait()

    with counting() as counted:
        asyncio.run(receive())


def lcm_receive(url):
    import lcm

    from astropix_stream.fmt import AstroPix4Readout

    def take(_, data):
        AstroPix4Readout.from_bytes(data)
        next(counted)

    bus = lcm.LCM(url)
    bus.subscribe("READOUTS", take)
    with counting() as counted:
        while True:
            bus.handle()


def lcm_blast(group, port, count, rate):
    """Multicast readouts one by one as LCM's messages, evenly spaced, in this network namespace."""
    import socket

    count, rate, readout = int(count), float(rate), datagram(35)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        began = time.monotonic()
        for i in range(count):
            struct.pack_into("<IQ", readout, 3, i, time.time_ns())
            udp.sendto(struct.pack(">II", _LCM_SMALL, i) + _CHANNEL + readout, (group, int(port)))
            while (left := began + (i + 1) / rate - time.monotonic()) > 0:
                time.sleep(left)


if __name__ == "__main__":
    programs = (
        bluesky_publish, bluesky_proxy, bluesky_receive, nats_publish, nats_receive, lcm_receive, lcm_blast,
    )  # fmt: skip
    {f.__name__: f for f in programs}[sys.argv[1]](*sys.argv[2:])
