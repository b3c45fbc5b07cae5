"""A DAQ: readouts at a rate, until it is told to stop; then it says how many it sent.

Commands: ``rate HZ`` (0: a pause), ``stop COUNT``: send that many more, at most 1000/s, and end.
"""

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
}


class Daq:
    def __init__(self, given):
        self.socket = open_sender(given["interface"], given["port"])
        self.to = tuple(given["to"])
        self.size = given["size"]
        self.next_id, self.first_serial = given["first_id"], given["first_serial"]
        self.sent = 0

    def send(self):
        serial = self.first_serial + self.sent
        self.socket.sendto(pack(self.next_id, time.time_ns(), serial, self.size), self.to)
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
    daq.send_paced(1000.0, count=int(value))
    result(sent=daq.sent, port=daq.socket.getsockname()[1])


if __name__ == "__main__":
    main()
