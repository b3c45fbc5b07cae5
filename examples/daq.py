"""A DAQ that multicasts what it reads, until Ctrl-C: `python daq.py --help`.

What a board would give is made up here. The two lines for your own DAQ are marked.
"""

import argparse
import random
import signal
import sys
import time

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender


def read_board(generator):
    """Return what a board sends for one hit, between idle bytes."""
    hit = bytes([0xE0]) + bytes(generator.randrange(0x80) for _ in range(7))
    return b"\xbc\xbc" + hit + b"\xbc"


def main():
    """Read, save and send until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Multicast simulated readouts.")
    parser.add_argument("--group", default="239.1.1.1")
    parser.add_argument("--port", type=int, default=5007)
    parser.add_argument("--interface", help="by name or address; by default that of the route to the group")
    parser.add_argument("--ttl", type=int, default=2, help="hops that a readout may take; 0: this host")
    parser.add_argument("--rate", type=float, default=100.0, help="readouts per second")
    given = parser.parse_args()

    generator = random.Random(4)
    sender = MulticastSender(
        given.group, given.port, given.ttl, interface=given.interface
    )  # <- the first line
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    readout_id = 0
    try:
        while True:
            readout = AstroPix4Readout(read_board(generator), readout_id)
            # Save it to disk here. Sending comes after, and never blocks or fails.
            sender.send_readout(readout)  # <- the second line
            readout_id += 1
            time.sleep(1 / given.rate)
    except KeyboardInterrupt:
        print(f"sent {readout_id} readouts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
