"""Our programs beside what people use instead: bluesky's publisher and proxy, NATS, LCM.

Rows only where their distributions are installed (``pip install --group peers``).
"""

import importlib.util
import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager

from bench.chain import TESTS, Address, Relay, cpu_s, cpu_us, peer
from bench.receiver_rows import row_of, url_of
from bench.relay_rows import row_of as relay_row_of
from ports import free_port_pair
from programs import Program

_ENV = {"PYTHONPATH": str(TESTS)}
_NATS_SERVER = shutil.which("nats-server", path=os.path.dirname(sys.executable))
# LCM names no interface of its own: it gets a network with nothing but the loopback interface.
_ALONE = 'ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && exec "$@"'


def rows(scale, directory):
    """CPU a readout of ours and of each other system, in turn, at the rates that people have."""
    rates = [rate for rate in scale.cpu_rates_hz if rate <= scale.other_hz]
    found = []
    if _has("bluesky"):
        found += chain_rows(scale, directory, rates, "bluesky's publisher and proxy", "bluesky", bluesky)
    if _has("nats") and _NATS_SERVER:
        found += chain_rows(scale, directory, rates, "nats-py and nats-server", "nats-py", nats)
    if _has("lcm") and os.geteuid() == 0 and shutil.which("nsenter"):
        found += lcm_rows(scale, rates)
    return found


def _has(module):
    return importlib.util.find_spec(module) is not None


def other(*words):
    return Program(sys.executable, "-m", "bench.other_peers", *words, env=_ENV)


def chain_rows(scale, directory, rates, relays, receiver, opened):
    """Relay and subscriber, ours and the other system's."""
    found = []
    with Relay("ours", directory) as ours, opened() as (address, programs, words):
        with peer("receive", ours.address.endpoint) as mine, other(*words) as theirs:
            for program in (mine, theirs):
                program.wait_for("ready")
            time.sleep(1.0)  # until the subscriptions have arrived
            for rate in rates:
                relay = relay_row_of(relays, rate)
                subscriber = row_of("RelayReceiver", receiver, rate, {}, "subscriber")
                sides = [
                    (Together(ours.program, mine), ours.address, relay.ours, subscriber.ours),
                    (Together(*programs, theirs), address, relay.theirs, subscriber.theirs),
                ]
                for _ in range(scale.rounds):
                    for side, at, of_relay, of_subscriber in sides:
                        side.send(scale, rate, at)
                        of_relay.append(side.taken_us(0, -1))
                        of_subscriber.append(side.taken_us(-1, None))
                found += [relay, subscriber]
    return found


class Together:
    """Programs that work on the same readouts: what each of them takes."""

    def __init__(self, *programs):
        self._programs = programs
        self._taken: list[float] = []

    def send(self, scale, rate, at):
        """Send for a while."""
        before = [cpu_s(program.pid) for program in self._programs]
        count = scale.turn(rate)
        cpu_us(self._programs[0], at, count, 35, rate)
        after = [cpu_s(program.pid) for program in self._programs]
        self._taken = [(end - begin) / count * 1e6 for begin, end in zip(before, after, strict=True)]

    def taken_us(self, begin, end):
        """Return the CPU of some of the programs for a readout of the last call of `send`."""
        return sum(self._taken[begin:end])


@contextmanager
def bluesky():
    at, ports = Address(), free_port_pair()
    inward, outward = f"tcp://127.0.0.1:{ports}", f"tcp://127.0.0.1:{ports + 1}"
    with ExitStack() as stack:
        proxy = stack.enter_context(other("bluesky_proxy", inward, outward))
        proxy.wait_for("ready")
        publisher = stack.enter_context(other("bluesky_publish", at.group, at.port, inward))
        publisher.wait_for("ready")
        yield at, (publisher, proxy), ("bluesky_receive", outward)


@contextmanager
def nats():
    at, port = Address(), free_port_pair()
    url = f"nats://127.0.0.1:{port}"
    with Program(_NATS_SERVER, "-a", "127.0.0.1", "-p", port) as server:
        server.wait_for("Server is ready")
        with other("nats_publish", at.group, at.port, url) as publisher:
            publisher.wait_for("ready")
            yield at, (publisher, server), ("nats_receive", url)


def lcm_rows(scale, rates):
    """`MulticastReceiver` beside a receiver of LCM's."""
    found = []
    ours, theirs = Address(), Address()
    python = (sys.executable, "-m", "bench.other_peers")
    bus = f"udpm://{theirs.group}:{theirs.port}?ttl=0"
    with (
        peer("receive", url_of(ours)) as mine,
        Program("unshare", "--net", "sh", "-c", _ALONE, "sh", *python, "lcm_receive", bus, env=_ENV) as other,
    ):
        for program in (mine, other):
            program.wait_for("ready")
        inside = ("nsenter", f"--net=/proc/{other.pid}/ns/net")
        for rate in rates:
            row = row_of("MulticastReceiver", "LCM", rate, {}, "direct")
            count = scale.turn(rate)
            for _ in range(scale.rounds):
                row.ours.append(cpu_us(mine, ours, count, 35, rate))
                before = cpu_s(other.pid)
                words = (*inside, *python, "lcm_blast", theirs.group, theirs.port, count, rate)
                with Program(*words, env=_ENV) as source:
                    source.wait(timeout=60)
                time.sleep(0.05)
                row.theirs.append((cpu_s(other.pid) - before) / count * 1e6)
            found.append(row)
    return found
