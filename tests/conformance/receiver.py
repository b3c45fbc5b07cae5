"""A client for `apx conformance`: our own `RelayReceiver`, on a real socket.

::

    python -m conformance.receiver tcp://127.0.0.1:5556
"""

import contextlib
import json
import sys

from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import RelayReceiver


def main():
    delivered, printed = [], None
    with RelayReceiver(AstroPix4Readout, sys.argv[1], "astropix", timeout=0.1) as receiver:
        while True:
            with contextlib.suppress(ReceiveTimeout):
                delivered.append(receiver.receive().readout_id)
            ledger = receiver.ledger
            lost = {place.key: count for place, count in ledger.lost_at.items()}
            line = json.dumps({"delivered": delivered, "lost": lost, "restarts": ledger.restarts})
            if line != printed:
                print(line, flush=True)
                printed = line


if __name__ == "__main__":
    main()
