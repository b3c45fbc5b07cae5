"""A DAQ that multicasts what it reads: `python daq.py [GROUP [PORT [INTERFACE]]]`, until Ctrl-C.

What a board would give is made up here. The two lines for your own DAQ are marked.
"""

import random
import sys
import time

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender

RATE = 100  # readouts a second


def read_board(generator):
    """Return what a board sends for one hit, between idle bytes."""
    hit = bytes([0xE0]) + bytes(generator.randrange(0x80) for _ in range(7))
    return b"\xbc\xbc" + hit + b"\xbc"


def main():
    group, port, interface = [*sys.argv[1:], *("239.1.1.1", "5007", None)[len(sys.argv) - 1 :]]
    generator = random.Random(4)
    sender = MulticastSender(group=group, port=int(port), interface=interface)  # <- the first line
    readout_id = 0
    try:
        while True:
            readout = AstroPix4Readout(read_board(generator), readout_id)
            # Save it to disk here. Sending comes after, and never blocks or fails.
            sender.send_readout(readout)  # <- the second line
            readout_id += 1
            time.sleep(1 / RATE)
    except KeyboardInterrupt:
        print(f"sent {readout_id} readouts")


if __name__ == "__main__":
    main()
