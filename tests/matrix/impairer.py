"""Impair UDP on its way: what comes to a socket goes on to the group lost, doubled, reordered, cut or late.

The same seed gives the same faults for the same datagrams. Commands: ``spare`` (pass everything on from
now, so that a later readout shows each loss), ``rates JSON`` (other faults from now), ``stop`` (let out
what is held, print the log).
"""

import json
import random
import select
import socket
import time
from collections import Counter, deque

from matrix.program import commands, open_sender, options, result, take
from matrix.readouts import reason_of, serial_of

DEFAULTS = {
    "listen": 5008,
    "to": ["239.1.1.1", 5007],
    "interface": "eth0",
    "seed": 1,
    "spare": 20,
    "loss": 0.0,
    "duplicate": 0.0,
    "reorder": 0.0,
    "truncate": 0.0,
    "delay": 0.0,
}
REORDER_WITHIN = 32
DELAY_S = 0.02
FAULTS = ("loss", "duplicate", "reorder", "truncate", "delay")


class Impairments:
    """Decides the fate of datagrams, without a socket. At most one fault strikes each.

    Parameters
    ----------
    seed
        Of the faults.
    rates
        Probability of each of `FAULTS`.
    spare
        So many of the first datagrams pass: before the first readout nobody can know of a loss.
    """

    def __init__(self, seed, rates, spare=0):
        self.log = Counter()
        self.rates = dict(rates)
        self.sparing = False
        self._random = random.Random(seed)
        self._spare = spare
        self._held = deque()  # (how many datagrams still go before it, datagram)
        self._highest = 0

    def take(self, datagram):
        """Return what leaves now, as (seconds to wait before, datagram)."""
        self.log["received"] += 1
        fault = self._choose()
        self.log[fault] += 1
        leaving = []
        for entry in self._held:
            entry[0] -= 1
        if fault == "truncate":
            datagram = datagram[: self._random.randrange(len(datagram))]
            self.log[f"truncate {reason_of(datagram)}"] += 1
        if fault == "reorder":
            self._held.append([self._random.randint(1, REORDER_WITHIN), datagram])
        elif fault != "loss":
            leaving.append((DELAY_S if fault == "delay" else 0.0, datagram))
        if fault == "duplicate":
            leaving.append((0.0, datagram))
        while self._held and self._held[0][0] <= 0:  # in the order of their coming: none waits for longer
            leaving.append((0.0, self._held.popleft()[1]))
        return self._note(leaving)

    def flush(self):
        """Return what is still held."""
        leaving = [(0.0, datagram) for _, datagram in self._held]
        self._held.clear()
        return self._note(leaving)

    def _choose(self):
        draw = self._random.random()
        if self.sparing or self.log["received"] <= self._spare:
            return "passed"
        for fault in FAULTS:
            draw -= self.rates.get(fault, 0.0)
            if draw < 0:
                return fault
        return "passed"

    def _note(self, leaving):
        """Count what leaves behind a readout that the DAQ sent later."""
        for _, datagram in leaving:
            self.log["sent"] += 1
            serial = serial_of(datagram)
            if serial is None:
                continue
            if serial < self._highest:
                self.log["behind"] += 1
            self._highest = max(serial, self._highest)
        return leaving


def main():
    given = options(DEFAULTS)
    lines = commands()
    incoming = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    incoming.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 32 << 20)
    incoming.bind(("127.0.0.1", given["listen"]))
    incoming.setblocking(False)
    outgoing, to = open_sender(given["interface"]), tuple(given["to"])
    impairments = Impairments(given["seed"], {fault: given[fault] for fault in FAULTS}, given["spare"])

    def send(leaving):
        for wait_s, datagram in leaving:
            if wait_s:
                time.sleep(wait_s)
            outgoing.sendto(datagram, to)

    def read():
        while True:
            try:
                datagram = incoming.recv(65536)
            except BlockingIOError:
                return
            send(impairments.take(datagram))

    print("impairing", outgoing.getsockname()[1], flush=True)
    while True:
        select.select([incoming], [], [], 0.02)
        read()
        command = take(lines)
        if command[:1] == ["stop"]:
            break
        if command[:1] == ["spare"]:
            impairments.sparing = True
            print("spares", flush=True)
        if command[:1] == ["rates"]:
            impairments.rates = json.loads(command[1])
            impairments.sparing = False
            print("impairs", flush=True)
    read()
    send(impairments.flush())
    result(**impairments.log)


if __name__ == "__main__":
    main()
