"""A monitor: `python monitor.py URL`, until Ctrl-C or until nothing comes for 10 s.

URL is udp://239.1.1.1:5007 on the detector's own network, or tcp://RELAY:5556 anywhere else. Prints how many
hits each chip had in the last second, and at the end what was lost, and where.
"""

import contextlib
import sys
import time
from collections import Counter

from astropix_stream.errors import AstropixError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver


def main():
    """Receive and count."""
    url = sys.argv[1] if len(sys.argv) > 1 else "udp://239.1.1.1:5007"
    hits, told = Counter(), time.monotonic()
    with open_receiver(AstroPix4Readout, url, timeout=10) as receiver:
        with contextlib.suppress(KeyboardInterrupt, TimeoutError):
            for readout in receiver:
                hits.update(hit.chip_id for hit in readout.decode())
                if time.monotonic() - told >= 1:
                    print({f"chip {chip}": count for chip, count in sorted(hits.items())}, flush=True)
                    hits, told = Counter(), time.monotonic()
        print(f"{receiver.ledger.delivered} readouts received, {receiver.ledger}")


if __name__ == "__main__":
    try:
        main()
    except (AstropixError, OSError) as error:
        sys.exit(f"monitor.py: {error}")
