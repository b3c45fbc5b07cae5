"""Random and mutated datagrams, 0 to 65 507 bytes, and among them good ones from another port.

``good_among``: one good one after so many; with 0 none, and no junk either that is a readout after all.
"""

import random
import time
from collections import Counter

from matrix.program import open_sender, options, result
from matrix.readouts import pack, reason_of, serial_of

DEFAULTS = {
    "to": ["239.1.1.1", 5007],
    "interface": "eth0",
    "seed": 1,
    "count": 50_000,
    "rate": 6000.0,
    "good_among": 10,
}
LARGEST = 65507


def make_junk(rng, random_bytes, serial):
    """Return one datagram: of random bytes, or a readout with something wrong."""
    if rng.random() < 0.5:
        # Most are small; each size up to the largest comes.
        size = rng.choice((rng.randint(0, 64), rng.randint(0, 1472), int(LARGEST ** rng.random()), 0))
        begin = rng.randrange(len(random_bytes) - size)
        return random_bytes[begin : begin + size]
    datagram = bytearray(pack(serial, time.time_ns(), serial, rng.randint(12, 400)))
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            datagram[rng.randrange(len(datagram))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del datagram[rng.randrange(len(datagram)) :]
    elif kind == 2:
        datagram += random_bytes[: rng.randint(1, min(1000, LARGEST - len(datagram)))]
    else:
        datagram[15:19] = rng.randbytes(4)
    return bytes(datagram)


def main():
    given = options(DEFAULTS)
    rng, to = random.Random(given["seed"]), tuple(given["to"])
    among = given["good_among"]
    random_bytes = rng.randbytes(1 << 20)
    good, bad = open_sender(given["interface"]), open_sender(given["interface"])
    log: Counter[str] = Counter()
    began_s, sent, good_sent = time.monotonic(), 0, 0
    while sent < given["count"]:
        due = min(given["count"], int((time.monotonic() - began_s) * given["rate"]))
        for _ in range(due - sent):
            datagram = make_junk(rng, random_bytes, sent)
            if not among and reason_of(datagram) is None:
                datagram = b""
            bad.sendto(datagram, to)
            sent += 1
            log[reason_of(datagram) or ("whole" if serial_of(datagram) is not None else "valid")] += 1
            if among and sent % among == 0:
                good.sendto(pack(good_sent, time.time_ns(), good_sent), to)
                good_sent += 1
        time.sleep(0.001)
    result(sent=good_sent, port=good.getsockname()[1], junk_port=bad.getsockname()[1], junk=sent, log=log)


if __name__ == "__main__":
    main()
