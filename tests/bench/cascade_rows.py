"""Relays behind relays: CPU, latency and bytes of a hop; and what a slow line carries of real hits."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.sock import MulticastSender
from bench.chain import Address, Counter, Relay, Side, blast, cpu_s, peer, take_turns
from bench.rows import Row
from programs import Program

MONITORS = 20
_RATES_HZ = {1_000: 1.2, 20_000: 1.2}  # and what a cascade may take, times what the first relay takes


class Cascade:
    """A relay that takes the stream of another one."""

    def __init__(self, above, directory, options=""):
        self.address = Address()
        file = Path(directory) / f"cascade-{self.address.tcp_port}.yaml"
        file.write_text(
            f"streams: [{{name: bench, from: ['{above.address.endpoint}{options}']}}]\n"
            f"publish: {{endpoint: '{self.address.endpoint}', max_clients: 400, subscriber_queue: 16MiB}}\n"
            "metrics: {listen: null}\nmemory_budget: 16GiB\n"
        )
        self.program = Program(sys.executable, "-m", "astropix_relay", "run", "--config", file)
        self.program.wait_for("publishing on")
        time.sleep(0.5)

    def counter(self, subscribers):
        return Counter(self.address.endpoint, subscribers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.close()


def sent_bytes(endpoint):
    """Return what a host has sent on the connections that it took at an endpoint, as the kernel counts."""
    port = endpoint.rpartition(":")[2]
    told = subprocess.run(
        ["ss", "-tinH", "sport", "=", f":{port}"], capture_output=True, text=True, check=True
    ).stdout
    return sum(int(word.partition(":")[2]) for word in told.split() if word.startswith("bytes_sent:"))


def cpu(scale, directory):
    """CPU a readout of a cascade beside the first relay's; each has one subscriber."""
    rows = []
    for rate, most in _RATES_HZ.items():
        row = Row("cascade, CPU a readout, 35 bytes", "first relay", "us", f"≤ {most:g} ×", most=most)
        row.note = f"{rate:,}/s"
        rows.append((rate, row))
    with Relay("ours", directory) as first, Relay("ours", directory) as alone:
        with Cascade(first, directory) as cascade, cascade.counter(1) as below, alone.counter(1) as direct:
            ours = Side(cascade.program, first.address, below)
            theirs = Side(alone.program, alone.address, direct)
            take_turns(scale, rows, ours, theirs)
            ours.end(below.arrived())
            theirs.end(direct.arrived())
    return [row for _, row in rows]


def latency(scale, directory):
    """What each of two hops adds to the time until a readout is there."""
    row = Row("added latency a hop, median", "", "ms", "≤ 0.5 ms", most=0.5, note=f"{scale.lone_hz}/s")
    count = max(2, round(scale.lone_hz * scale.lone_seconds))
    with Relay("ours", directory) as first, Cascade(first, directory) as second:
        with Cascade(second, directory) as third:
            for _ in range(scale.rounds):
                medians = []
                for relay in (first, third):
                    with peer(
                        "late", "receiver", f"{relay.address.endpoint}?stream=bench", count
                    ) as receiver:
                        receiver.wait_for("ready")
                        blast(first.address, count, 35, scale.lone_hz)
                        receiver.wait(timeout=60)
                        medians.append(float(receiver.stdout.split()[-2]))
                row.ours.append(max(1e-6, (medians[1] - medians[0]) / 2))
    return [row]


def one_copy(scale, directory):
    """Bytes that the relay above sends, with 20 monitors below, beside one."""
    row = Row("bytes on the line to a cascade", "1 monitor", "bytes a readout", "≤ 1.1 ×", most=1.1)
    row.note = f"{MONITORS} monitors below, {scale.slow_hz:,}/s"
    count = max(100, round(scale.slow_hz * scale.seconds))
    with ExitStack() as stack:
        sides = []
        for monitors, figures in ((MONITORS, row.ours), (1, row.theirs)):
            first = stack.enter_context(Relay("ours", directory))
            cascade = stack.enter_context(Cascade(first, directory))
            stack.enter_context(cascade.counter(monitors))
            sides.append((first.address, figures))
        for _ in range(scale.few_rounds):
            for address, figures in sides:
                before = sent_bytes(address.endpoint)
                blast(address, count, 35, scale.slow_hz)
                time.sleep(0.3)
                figures.append((sent_bytes(address.endpoint) - before) / count)
    return [row]


def slow_lines(scale, directory):
    """Bytes and CPU of compressed and thinned streams, with the hits of a simulated run."""
    rows = []
    with ExitStack() as stack:
        lines = [stack.enter_context(line(directory, options)) for options in ("&compress=zstd", "")]
        for rate in (scale.lone_hz, scale.slow_hz):
            size = Row("bytes on a slow line, compress=zstd", "plain", "bytes a readout", "≤ 0.6 ×", most=0.6)
            took = Row("relay, CPU a readout, one subscriber compressed", "plain", "us", "≤ 1.5 ×", most=1.5)
            size.note = took.note = f"{rate:,}/s"
            count = max(2, round(rate * scale.seconds))
            for _ in range(scale.rounds):
                for one, sizes, figures in zip(
                    lines, (size.ours, size.theirs), (took.ours, took.theirs), strict=True
                ):
                    sent, used_s, _ = one.carry(count, rate)
                    sizes.append(sent / count)
                    figures.append(used_s / count * 1e6)
            rows += [size, took]
    cap = Row("bytes/s of max_bandwidth", "", "kB/s", "≤ 20 kB/s", most=20.0)
    cap.note = f"20kB/s, {scale.slow_hz:,}/s"
    with line(directory, "&max_bandwidth=20kB/s") as thinned:
        count = max(2, round(scale.slow_hz * 2 * scale.seconds))
        thinned.carry(2 * count, scale.slow_hz)  # until it is known how many are too many
        for _ in range(scale.few_rounds):
            sent, _, lasted_s = thinned.carry(count, scale.slow_hz, settle_s=0.0)
            cap.ours.append(sent / lasted_s / 1000)
    return [*rows, cap]


@contextmanager
def line(directory, options):
    """A relay with one subscriber behind a slow line."""
    with Relay("ours", directory) as relay:
        address = relay.address
        with (
            peer("receive", f"{address.endpoint}?stream=bench{options}") as receiver,
            MulticastSender(address.group, address.port, 0, interface="127.0.0.1") as sender,
        ):
            receiver.wait_for("ready")
            time.sleep(0.5)
            yield Line(relay, sender)


class Line:
    """Carries the hits of a simulated detector, evenly spaced."""

    def __init__(self, relay, sender):
        self._relay, self._sender = relay, sender
        self._readouts = Detector(seed=1).readouts()

    def carry(self, count, rate, *, settle_s=0.3):
        """Return bytes that left the relay, seconds of CPU that it took, and how many seconds it lasted."""
        readouts = [readout for _, readout in islice(self._readouts, count)]
        endpoint, pid = self._relay.address.endpoint, self._relay.program.pid
        before, used_s, began_s = sent_bytes(endpoint), cpu_s(pid), time.monotonic()
        for i, readout in enumerate(readouts):
            time.sleep(max(0.0, began_s + i / rate - time.monotonic()))
            self._sender.send_readout(readout)
        time.sleep(settle_s)
        after, lasted_s = sent_bytes(endpoint), time.monotonic() - began_s
        return after - before, cpu_s(pid) - used_s, lasted_s
