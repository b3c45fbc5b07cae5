"""Run a source, a relay and subscribers as processes on the loopback interface, and see what the relay took.

With RELAY_REFERENCE, the path of the relay written in C, the other C programs beside it (blast, subscribe)
are used too; without, those of `peers`, and the rows against the reference have no ratio.
"""

import contextlib
import os
import random
import signal
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


class Side:
    """A program that stays, and takes turns with another one: what it takes, and what it has lost.

    Who loses some, as the naive ones do at high rates, is not to look cheaper for that: what the kernel
    dropped was not a readout that it has dealt with.
    """

    def __init__(self, program, address, counter=None):
        self._program, self._address, self._counter = program, address, counter
        self._sent = 0
        self._rows = []

    def take(self, scale, rate, figures):
        """Send to it for one turn; add what it took to the figures: CPU, in us a readout that reached it."""
        if self._counter is not None:
            self._counter.check()
        count, before = scale.turn(rate), dropped(self._address)
        took = cpu_us(self._program, self._address, count, 35, rate)
        there = count - (dropped(self._address) - before)
        figures.append(took * count / max(1, there))
        self._sent += there
        if not any(figures is row for row in self._rows):
            self._rows.append(figures)

    def end(self, arrived):
        """Correct all figures for what was lost later: so many have arrived in all turns."""
        for row in self._rows:
            row[:] = [figure * self._sent / max(1, arrived) for figure in row]


def take_turns(scale, rows, ours, theirs):
    """Let two sides take turns for rows that differ in their rate, each a pair of rate and row."""
    for rate, row in rows:
        for _ in range(scale.short_rounds if row.is_judged else scale.unjudged_rounds):
            ours.take(scale, rate, row.ours)
            theirs.take(scale, rate, row.theirs)


def dropped(address):
    """Return how many datagrams found no room in the sockets of an address, as the kernel counts."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    ports = (line.split() for line in lines)
    return sum(int(words[-1]) for words in ports if int(words[1].rpartition(":")[2], 16) == address.port)


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
            return self.pass_on(counter, count, size, rate)

    def pass_on(self, counter, count, size, rate):
        """Do the same with subscribers that are there."""
        before = cpu_s(self.program.pid)
        blast(self.address, count, size, rate)
        least = counter.arrived()
        return (cpu_s(self.program.pid) - before) / count * 1e6, least

    def counter(self, subscribers):
        return Counter(self.address.endpoint, subscribers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.close()


class Counter:
    """So many subscriptions to an endpoint, which count what comes.

    A single subscriber in C can be asked only once: it ends 2 s after its last readout.
    """

    def __init__(self, endpoint, subscribers):
        self._c = c_program("subscribe") if subscribers == 1 else None
        self._program = Program(self._c, endpoint) if self._c else peer("count", endpoint, subscribers)
        if not self._c:
            self._program.wait_for("ready")
        time.sleep(0.4 + subscribers / 200)  # a subscription is answered by none but our relay

    def check(self):
        """Raise if it no longer counts."""
        if self._program.process.poll() is not None:
            raise RuntimeError(f"has ended too early: {self._program}")

    def arrived(self):
        """Wait until all is quiet; return the least that a subscription has got since the last call."""
        if self._c:
            self._program.wait(timeout=60)
            return int(self._program.stdout.split()[1])
        self._program.send_signal(signal.SIGUSR1)
        return int(self._program.wait_for("least", 60).split()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._program.close()
