"""The programs around the bridge's benchmarks: ``python -m bench.log_peers NAME …``.

publish is what a user would write in place of the bridge: each message of the relay, one publish.
"""

import asyncio
import itertools
import sys
import time

import nats
from nats.js.errors import NotFoundError


def publish(endpoint, server):
    """Store each readout as a message of its own; for each number on standard input say how many came."""
    import zmq
    import zmq.asyncio

    async def run():
        client = await nats.connect(server)
        context = client.jetstream(publish_async_max_pending=256)
        await context.add_stream(name="PLAIN", subjects=["plain"])
        sub = zmq.asyncio.Context().socket(zmq.SUB)
        sub.rcvhwm = 1_000_000
        sub.subscribe(b"apx/bench/data")
        sub.connect(endpoint)
        loop, done, last_s = asyncio.get_running_loop(), 0, time.monotonic()
        reading = loop.run_in_executor(None, sys.stdin.readline)
        print("ready", flush=True)
        while True:
            if await sub.poll(100):
                last_s = time.monotonic()
                _, header, payload = await sub.recv_multipart()
                count = int.from_bytes(header[6:8], "little")
                size = len(payload) // count
                for begin in range(0, len(payload), size):
                    await context.publish_async("plain", payload[begin : begin + size])
                done += count
            elif reading.done() and time.monotonic() - last_s > 0.3:
                await context.publish_async_completed()
                print("published", done, flush=True)
                done = 0
                reading = loop.run_in_executor(None, sys.stdin.readline)

    asyncio.run(run())


def stored(server, count, timeout_s):
    """Print how many readouts the log has, once there are so many or time is over."""

    async def run():
        client = await nats.connect(server)
        context, end_s, found = client.jetstream(), time.monotonic() + float(timeout_s), 0
        print("ready", flush=True)
        while found < int(count) and time.monotonic() < end_s:
            await asyncio.sleep(0.05)
            try:
                last = await context.get_last_msg("APX_bench", "apx.local.bench.data")
            except NotFoundError:
                continue
            number, many = last.headers["Nats-Msg-Id"].partition(":")[2], last.headers["Apx-Count"]
            found = int(number) + int(many)
        print(found, flush=True)
        await client.close()

    asyncio.run(run())


def replay(url, count):
    """Print readout objects a second, from the first one on."""
    from astropix_stream.fmt import AstroPix4Readout
    from astropix_stream.opening import open_receiver

    with open_receiver(AstroPix4Readout, url, timeout=30) as receiver:
        receiver.wait_ready(10)
        began = time.monotonic()
        for _ in itertools.islice(receiver, int(count)):
            pass
        print(int(count) / (time.monotonic() - began), flush=True)


if __name__ == "__main__":
    {f.__name__: f for f in (publish, stored, replay)}[sys.argv[1]](*sys.argv[2:])
