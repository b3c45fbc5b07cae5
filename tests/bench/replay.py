"""What 20 clients that replay history cost those that listen live: ``python tests/bench/replay.py``.

Prints percentiles of the processor's time that one turn of the relay's loop takes, which is what a readout
may have to wait for; of the time from a readout's timestamp (taken just before it is sent) until the relay
has numbered it; and of that until a subscriber has it. The latter two need an idle machine. All is on the
loopback interface; the relay, the clients that replay and this program are processes of their own.
"""

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time

import zmq

from astropix_relay.configuration.loading import default_config
from astropix_relay.service import Relay
from astropix_stream import wire
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from astropix_stream.wire import Ask, Request

DATA = bytes(range(1, 251)) * 4


def replay(endpoint, clients):
    """Ask for all of history again and again, a page at a time each; tell each second how much."""
    context = zmq.Context()
    poller = zmq.Poller()
    for _ in range(clients):
        sock = context.socket(zmq.DEALER)
        sock.connect(endpoint)
        sock.send(wire.pack_request(Request(Ask.OLDEST, 0, 0, 0, 0, "astropix")))
        poller.register(sock, zmq.POLLIN)
    began, taken = time.monotonic(), 0
    while True:
        for sock, _ in poller.poll():
            frame, page = sock.recv_multipart()
            answer = wire.parse_answer(frame)
            taken += len(page)
            start = answer.end if answer.end < answer.next else 0
            sock.send(wire.pack_request(Request(Ask.RANGE, 0, 0, start, wire.WITHOUT_END, "astropix")))
        if time.monotonic() - began > 1:
            print(f"{taken / (time.monotonic() - began) / 1e6:.0f}", flush=True)
            began, taken = time.monotonic(), 0


class MeasuredRelay(Relay):
    """Tells how much of the processor each turn of the loop took, when it gets SIGUSR1 and at the end."""

    def __init__(self, config):
        super().__init__(config)
        self.turns, self.began_s = [], time.thread_time()
        signal.signal(signal.SIGUSR1, lambda *_: self.tell())
        signal.signal(signal.SIGTERM, lambda *_: self.stop())

    def _listen(self, wait_s):
        self.turns.append(time.thread_time() - self.began_s)
        readable = super()._listen(wait_s)
        self.began_s = time.thread_time()
        return readable

    def tell(self):
        print(percentiles(self.turns), flush=True)
        self.turns.clear()


def percentiles(values):
    values = sorted(values)
    at = (0.5, 0.9, 0.99, 0.999, 1.0)
    return "  ".join(
        f"p{100 * q:g} {1000 * values[min(len(values) - 1, int(q * len(values)))]:.2f}" for q in at
    )


def measure(sender, receiver, rate, seconds):
    """Send at a rate; return the delays in s until the relay had each readout, and until we had it."""
    count = int(rate * seconds)

    def send():
        began = time.monotonic()
        for i in range(count):
            time.sleep(max(0.0, began + i / rate - time.monotonic()))
            sender.send_readout(AstroPix4Readout(DATA, i))

    thread = threading.Thread(target=send)
    thread.start()
    relayed, received = [], []
    while len(received) < count:
        batch = receiver.receive_batch(timeout=10)
        now = time.time_ns()
        relayed += [(batch.received_ns - timestamp) / 1e9 for timestamp in batch.timestamps]
        received += [(now - timestamp) / 1e9 for timestamp in batch.timestamps]
    thread.join()
    return relayed, received


def turns(relay):
    relay.send_signal(signal.SIGUSR1)
    return relay.stdout.readline().strip()


@contextlib.contextmanager
def started(*argv):
    program = subprocess.Popen([sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True)
    try:
        yield program
    finally:
        program.terminate()
        program.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--replay", help="internal: replay from this endpoint")
    parser.add_argument("--relay", nargs=2, help="internal: relay this group to this endpoint")
    options = parser.parse_args()
    if options.replay:
        replay(options.replay, options.clients)
    if options.relay:
        group, publish = options.relay
        return MeasuredRelay(default_config(group=group, interface="127.0.0.1", publish=publish)).run()
    port = random.randrange(20_000, 32_000)
    group, endpoint = f"239.77.{random.randrange(256)}.{random.randrange(1, 255)}", f"tcp://127.0.0.1:{port}"
    with (
        started(__file__, "--relay", group, endpoint) as relay,
        MulticastSender(group, 5007, 0, interface="127.0.0.1") as sender,
        RelayReceiver(AstroPix4Readout, endpoint) as receiver,
    ):
        receiver.wait_ready(10)
        measure(sender, receiver, 10_000, 7)  # 70 000 readouts of 1 kB: history is full
        turns(relay)
        print("milliseconds", f"at {options.rate:g} readouts/s of {len(DATA)} bytes")
        for clients in (0, options.clients):
            with contextlib.ExitStack() as stack:
                if clients:
                    arguments = ("--clients", clients, "--replay", f"tcp://127.0.0.1:{port + 1}")
                    program = stack.enter_context(started(__file__, *arguments))
                    program.stdout.readline()
                relayed, received = measure(sender, receiver, options.rate, options.seconds)
                speed = f", {program.stdout.readline().strip()} MB/s" if clients else ""
            print(f"{clients} replaying{speed}")
            print("  a turn        ", turns(relay))
            print("  until relayed ", percentiles(relayed))
            print("  until received", percentiles(received))
        print(receiver.ledger)


if __name__ == "__main__":
    main()
