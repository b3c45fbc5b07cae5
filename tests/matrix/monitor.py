"""Monitors: one receiver for each URL, each in a thread; what they were handed, serial by serial.

Commands: ``mark``: begin another part of the time, for `p99_ms`. ``finish COUNT``: go on until each has that
many and nothing came for `settle_s`, or `patience_s` passed without anything; then print the result of each.
"""

import logging
import resource
import threading
import time
from array import array
from itertools import pairwise

from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from matrix.program import commands, options, result
from matrix.readouts import serial_of, timestamp_of

DEFAULTS = {
    "urls": [],
    "receiver": {},
    "slow_s": 0.0,
    "settle_s": 2.2,
    "patience_s": 10.0,
    "latency": False,  # whether to note how old each readout was, by the wall clock that all programs share
}


APART = 500  # readouts of each value of `p99_apart_ms`, after the last mark


class Monitor(threading.Thread):
    def __init__(self, url, given):
        super().__init__()
        self.given = given
        self.expected = None
        self.ready = threading.Event()
        self.count = 0
        # Of serials, in the order in which they were handed out: the first of each range, and how many.
        self.firsts, self.counts = array("Q"), array("Q")
        self.corrupt = 0
        self.ages_ns, self.marks = array("q"), [0]
        self.outcome = {}
        self.receiver = open_receiver(AstroPix4Readout, url, **given["receiver"])

    def run(self):
        with self.receiver as receiver:
            if hasattr(receiver, "wait_ready"):
                receiver.wait_ready(60)
            self.ready.set()
            self.read(receiver)
            ledger = receiver.ledger
            subscription = getattr(receiver, "_subscription", None)
            self.outcome = {
                "ranges": list(zip(self.firsts, self.counts, strict=True)),
                "corrupt": self.corrupt,
                "ledger": {**ledger.to_json(), "losses": [], "text": str(ledger)},
                "report": getattr(receiver, "report", None),
                # Told nowhere in public.
                "malformed": subscription.malformed if subscription else 0,
                "rejected": dict(getattr(receiver, "rejected", {})),
                "rejoins": dict(getattr(receiver, "rejoins", {})),
                "p99_ms": [
                    p99(self.ages_ns[begin:end]) / 1e6
                    for begin, end in pairwise([*self.marks, len(self.ages_ns)])
                ],
                "p99_apart_ms": [
                    p99(self.ages_ns[begin : begin + APART]) / 1e6
                    for begin in range(self.marks[-1], len(self.ages_ns), APART)
                ],
            }

    def read(self, receiver):
        last_s = time.monotonic()
        while True:
            try:
                batch = receiver.receive_batch(timeout=0.1)
            except ReceiveTimeout:
                quiet_s = time.monotonic() - last_s
                if self.expected is not None and quiet_s >= (
                    self.given["settle_s"] if self.count >= self.expected else self.given["patience_s"]
                ):
                    return
                continue
            last_s = time.monotonic()
            self.note(batch)
            if self.given["slow_s"] and self.expected is None:
                time.sleep(self.given["slow_s"])

    def note(self, batch):
        firsts, counts = self.firsts, self.counts
        now_ns = time.time_ns() if self.given["latency"] else 0
        for datagram in batch.datagrams():
            if now_ns:
                self.ages_ns.append(now_ns - timestamp_of(datagram))
            serial = serial_of(datagram)
            if serial is None:
                self.corrupt += 1
                continue
            self.count += 1
            if firsts and firsts[-1] + counts[-1] == serial:
                counts[-1] += 1
            else:
                firsts.append(serial)
                counts.append(1)


def p99(values):
    """Return what one in a hundred exceeds; 0 without values."""
    return sorted(values)[len(values) * 99 // 100] if values else 0


def main():
    logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
    given = options(DEFAULTS)
    lines = commands()
    monitors = [Monitor(url, given) for url in given["urls"]]
    for monitor in monitors:
        monitor.start()
    for monitor in monitors:
        monitor.ready.wait(60)
    print("ready", flush=True)
    while (command := lines.get())[0] == "mark":
        for monitor in monitors:
            monitor.marks.append(len(monitor.ages_ns))
    _, expected = command
    for monitor in monitors:
        monitor.expected = int(expected)
    for monitor in monitors:
        monitor.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result(monitors=[monitor.outcome for monitor in monitors], peak=peak)


if __name__ == "__main__":
    main()
