"""Run a source, a relay and subscribers as processes on the loopback interface, and see what the relay took.

With RELAY_REFERENCE, the path of the relay written in C, the other C programs beside it (blast, subscribe)
are used too; without, those of `peers`, and the rows against the reference have no ratio.
"""

import contextlib
import os
import random
import socket
import sys
import time
from pathlib import Path

from ports import free_port, free_port_pair
from programs import Program

REFERENCE = Path(os.environ["RELAY_REFERENCE"]) if os.environ.get("RELAY_REFERENCE") else None
TESTS = Path(__file__).parents[1]
# What the relay may use beyond its defaults: hundreds of subscribers need places.
CONFIG = """
streams: [{{name: bench, group: {group}, port: {port}, interface: 127.0.0.1}}]
publish: {{endpoint: "{endpoint}", max_clients: 400, subscriber_queue: 16MiB}}
history: {{size: {history}}}
metrics: {{listen: {metrics}}}
memory_budget: 16GiB
"""
HISTORY = 64 << 20
PACED_HZ = 10_000


def peer(*words):
    """Start one of `peers`."""
    return Program(sys.executable, "-m", "bench.peers", *words, env={"PYTHONPATH": str(TESTS)})


def cpu_s(pid):
    """Seconds of CPU that a process has taken, user and system, all threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def cpu_us(program, address, count, size, rate):
    """Send to a program; return its CPU in us a readout sent."""
    before = cpu_s(program.pid)
    blast(address, count, size, rate)
    time.sleep(0.05)
    return (cpu_s(program.pid) - before) / count * 1e6


def rounds_of(scale, row):
    """Return how often two programs take turns for a row."""
    return scale.short_rounds if row.is_judged else scale.unjudged_rounds


def take_turns(scale, rate, sides, rounds=None):
    """Send to programs in turn; a side is a program, where to send, and its figures (CPU, us a readout sent).

    Returns how many readouts each was sent.
    """
    count = max(2, round(rate * scale.short_seconds))
    rounds = scale.short_rounds if rounds is None else rounds
    for _ in range(rounds):
        for program, address, figures in sides:
            figures.append(cpu_us(program, address, count, 35, rate))
    return count * rounds


def rss(pid):
    """Bytes of memory in use."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


class Address:
    """A group and ports that nobody else uses."""

    def __init__(self):
        self.group = "239.{}.{}.{}".format(*(random.randrange(1, 255) for _ in range(3)))
        self.port = free_port(socket.SOCK_DGRAM)
        self.tcp_port = free_port_pair()

    @property
    def endpoint(self):
        return f"tcp://127.0.0.1:{self.tcp_port}"


def c_program(name):
    """The C program of this name beside the reference, if there is one."""
    found = REFERENCE and REFERENCE.with_name(name)
    return found if found and found.exists() else None


def blast(address, count, size, rate):
    """Send one by one, evenly spaced, as a DAQ does, and wait for the end; return the rate that was reached.

    Above 10 000/s they go in bursts of 16: to pace each would take the source a whole core.
    """
    burst = 1 if 0 < rate <= PACED_HZ else 16
    words = (address.group, address.port, count, size, rate, burst)
    program = c_program("blast")
    with Program(program, *words) if program else peer("blast", *words) as source:
        source.wait(timeout=60 + count / max(rate, 1000))
        return float(source.stdout.split()[2])


class Relay:
    """A relay that runs: ``ours``, ``reference`` or ``naive``."""

    def __init__(self, kind, directory, *, history=HISTORY, metrics="null"):
        self.address = Address()
        where = (self.address.group, self.address.port, self.address.endpoint)
        if kind == "ours":
            file = Path(directory) / f"relay-{self.address.tcp_port}.yaml"
            keys = {"endpoint": self.address.endpoint, "history": history, "metrics": metrics}
            file.write_text(CONFIG.format(**vars(self.address), **keys))
            self.program = Program(sys.executable, "-m", "astropix_relay", "run", "--config", file)
            self.program.wait_for("publishing on")
        else:
            self.program = Program(REFERENCE, *where) if kind == "reference" else peer("naive", *where)
        self._wait_until_it_listens()

    def _wait_until_it_listens(self):
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.address.tcp_port)):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.program} does not listen")

    def run(self, count, size, rate, *, subscribers=1):
        """Pass readouts on; return CPU in us a readout, and how many the last subscriber got.

        Until all have arrived: where subscribers need the processors, much is sent after the source ends.
        """
        with self.counter(subscribers) as counter:
            before = cpu_s(self.program.pid)
            blast(self.address, count, size, rate)
            least = counted(counter)
            return (cpu_s(self.program.pid) - before) / count * 1e6, least

    def burst(self, count, size, rate):
        """Pass readouts on; return the rate at which they were sent, and how many arrived."""
        with self.counter(1) as counter:
            return blast(self.address, count, size, rate), counted(counter)

    @contextlib.contextmanager
    def counter(self, subscribers):
        program = c_program("subscribe") if subscribers == 1 else None
        words = (self.address.endpoint,) if program else ("count", self.address.endpoint, subscribers)
        with Program(program, *words) if program else peer(*words) as counter:
            if not program:
                counter.wait_for("ready")
            time.sleep(0.7 + subscribers / 200)  # a subscription is answered by none but our relay
            yield counter

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.close()


def counted(counter):
    """Wait until a subscriber has counted; return its readouts, or the least that one of several got."""
    counter.wait(timeout=60)
    return min(int(word) for word in counter.stdout.splitlines()[-1].split()[1:3] if "." not in word)
