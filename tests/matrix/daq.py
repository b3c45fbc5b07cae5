"""A DAQ: readouts at a rate, until it is told to stop; then it says how many it sent.

Its clock may be ahead by `clock_s`, and a part of its ids, `wrong_ids`, have one bit flipped. Commands:
``rate HZ`` (0: a pause), ``stop COUNT``: send that many more, at most 1000/s, with right ids, and end.
"""

import random
import time

from matrix.program import commands, open_sender, options, result, take
from matrix.readouts import pack

DEFAULTS = {
    "to": ["239.1.1.1", 5007],
    "interface": "eth0",
    "port": 0,
    "rate": 1000.0,
    "size": 60,
    "first_id": 0,
    "first_serial": 0,
    "clock_s": 0.0,
    "wrong_ids": 0.0,
    "seed": 1,
}


class Daq:
    def __init__(self, given):
        self.socket = open_sender(given["interface"], given["port"])
        self.to = tuple(given["to"])
        self.size = given["size"]
        self.next_id, self.first_serial = given["first_id"], given["first_serial"]
        self.ahead_ns = round(given["clock_s"] * 1e9)
        self.wrong_ids, self.random = given["wrong_ids"], random.Random(given["seed"])
        self.sent = self.wrong = 0

    def flipped_bit(self):
        """Return what is wrong with the next id: one of the bits 7 to 31, or mostly nothing."""
        if self.sent < 20 or self.random.random() >= self.wrong_ids:
            return 0
        self.wrong += 1
        return 1 << self.random.randint(7, 31)

    def send(self):
        serial = self.first_serial + self.sent
        readout_id = self.next_id ^ self.flipped_bit()
        self.socket.sendto(pack(readout_id, time.time_ns() + self.ahead_ns, serial, self.size), self.to)
        self.next_id += 1
        self.sent += 1

    def send_paced(self, rate, lines=None, count=None):
        """Send until a command comes, which is returned, or until `count` are sent."""
        began_s, sent = time.monotonic(), 0
        while count is None or sent < count:
            due = int((time.monotonic() - began_s) * rate)
            for _ in range(min(due, count or due) - sent):
                self.send()
                sent += 1
            if lines is not None and (command := take(lines)):
                return command
            time.sleep(0.001)
        return []


def main():
    given = options(DEFAULTS)
    lines = commands()
    daq, rate = Daq(given), given["rate"]
    print("sending", daq.socket.getsockname()[1], flush=True)
    while True:
        word, value = daq.send_paced(rate, lines)
        if word == "stop":
            break
        rate = float(value)
        print("paced", flush=True)
    daq.wrong_ids = 0.0
    daq.send_paced(1000.0, count=int(value))
    result(sent=daq.sent, wrong=daq.wrong, port=daq.socket.getsockname()[1])


if __name__ == "__main__":
    main()
