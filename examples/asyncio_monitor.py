"""A monitor in asyncio: `python asyncio_monitor.py URL`, until Ctrl-C or until nothing comes for 10 s.

URL is udp://239.1.1.1:5007 on the detector's own network, or tcp://RELAY:5556 anywhere else. One task
receives; another prints once a second meanwhile. A server or a control system has its own task there.
"""

import asyncio
import signal
import sys
from collections import Counter

from astropix_stream.errors import AstropixError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver


async def count(receiver, hits):
    """Count the hits of each chip, until the receiver's timeout passes without a readout."""
    async for readout in receiver:
        hits.update(hit.chip_id for hit in readout.decode())


async def report(receiver, hits):
    """Print once a second how many hits each chip had."""
    while True:
        await asyncio.sleep(1)
        counts = {f"chip {chip}": count for chip, count in sorted(hits.items())}
        print(receiver.state, counts, flush=True)
        hits.clear()


async def main():
    """Run both tasks until the first ends, or is cancelled."""
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://239.1.1.1:5007"
    hits = Counter()
    with open_receiver(AstroPix4Readout, url, timeout=10) as receiver:
        tasks = [asyncio.create_task(count(receiver, hits)), asyncio.create_task(report(receiver, hits))]
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, tasks[0].cancel)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled():
                task.result()  # raises what went wrong
        print(f"{receiver.ledger.delivered} readouts received, {receiver.ledger}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (AstropixError, OSError) as error:
        sys.exit(f"asyncio_monitor.py: {error}")
