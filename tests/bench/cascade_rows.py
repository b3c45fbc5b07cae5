"""Relays behind relays: CPU, latency and bytes of a hop; and what a slow line carries of real hits."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.chain import Address, Relay, blast, counted, cpu_s, peer, take_turns
from bench.rows import Row
from programs import Program

MONITORS = 20
_RATES_HZ = {1_000: 1.2, 20_000: 1.2}  # and what a cascade may take, times what the first relay takes
_SIMULATED_S = 4.0


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

    @contextmanager
    def counter(self, subscribers):
        with peer("count", self.address.endpoint, subscribers) as counter:
            time.sleep(0.7 + subscribers / 200)
            yield counter

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
    with Relay("ours", directory) as first, Relay("ours", directory) as alone:
        with Cascade(first, directory) as cascade, cascade.counter(1) as below, alone.counter(1) as direct:
            for rate, most in _RATES_HZ.items():
                row = Row("cascade, CPU a readout, 35 bytes", "first relay", "us", f"≤ {most:g} ×", most=most)
                row.note = f"{rate:,}/s"
                sides = [
                    (cascade.program, first.address, row.ours),
                    (alone.program, alone.address, row.theirs),
                ]
                take_turns(scale, rate, sides)
                rows.append(row)
            counted(below)
            counted(direct)
    return rows


def latency(scale, directory):
    """What each of two hops adds to the time until a readout is there."""
    row = Row("added latency a hop, median", "", "ms", "≤ 0.5 ms", most=0.5, note=f"{scale.lone_hz}/s")
    count = max(2, round(scale.lone_hz * scale.seconds))
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
    with Relay("ours", directory) as first, Cascade(first, directory) as cascade:
        for _ in range(scale.rounds):
            for monitors, figures in ((MONITORS, row.ours), (1, row.theirs)):
                with cascade.counter(monitors) as counter:
                    before = sent_bytes(first.address.endpoint)
                    blast(first.address, count, 35, scale.slow_hz)
                    counted(counter)
                    figures.append((sent_bytes(first.address.endpoint) - before) / count)
    return [row]


def slow_lines(scale, directory):
    """Bytes and CPU of compressed and thinned streams, with the hits of a simulated run."""
    rows = []
    seconds = min(_SIMULATED_S, 4 * scale.seconds)
    for rate in (scale.lone_hz, scale.slow_hz):
        size = Row("bytes on a slow line, compress=zstd", "plain", "bytes a readout", "≤ 0.6 ×", most=0.6)
        took = Row("relay, CPU a readout, one subscriber compressed", "plain", "us", "≤ 1.5 ×", most=1.5)
        size.note = took.note = f"{rate:,}/s"
        for _ in range(scale.rounds):
            for options, sizes, figures in (
                ("&compress=zstd", size.ours, took.ours),
                ("", size.theirs, took.theirs),
            ):
                bytes_a_readout, cpu_us, _ = over_a_line(directory, options, rate, seconds)
                sizes.append(bytes_a_readout)
                figures.append(cpu_us)
        rows += [size, took]
    cap = Row("bytes/s of max_bandwidth", "", "kB/s", "≤ 20 kB/s", most=20.0)
    cap.note = f"20kB/s, {scale.slow_hz:,}/s"
    for _ in range(scale.rounds):
        _, _, bytes_a_s = over_a_line(directory, "&max_bandwidth=20kB/s", scale.slow_hz, 2 * seconds)
        cap.ours.append(bytes_a_s / 1000)
    return [*rows, cap]


def over_a_line(directory, options, rate, seconds):
    """Return bytes a readout, CPU of the relay in us a readout, and bytes/s in the second half."""
    count = max(2, round(rate * seconds))
    with Relay("ours", directory) as relay, ExitStack() as stack:
        address = relay.address
        receiver = stack.enter_context(peer("receive", f"{address.endpoint}?stream=bench{options}"))
        receiver.wait_for("ready")
        time.sleep(0.5)
        before, cpu_before = sent_bytes(address.endpoint), cpu_s(relay.program.pid)
        simulate(address, count // 2, rate)
        middle, middle_s = sent_bytes(address.endpoint), time.monotonic()
        simulate(address, count // 2, rate)
        time.sleep(0.3)
        after, lasted_s = sent_bytes(address.endpoint), time.monotonic() - middle_s
        used = cpu_s(relay.program.pid) - cpu_before
        return (after - before) / count, used / count * 1e6, (after - middle) / lasted_s


def simulate(address, count, rate):
    """Multicast hits of a simulated detector, evenly spaced."""
    words = ("-m", "astropix_stream.cli", "simulate", "--group", address.group, "--port", address.port)
    more = ("--interface", "127.0.0.1", "--ttl", "0", "--rate", rate, "--count", count, "--seed", "1")
    with Program(sys.executable, *words, *more) as program:
        if program.wait(timeout=60 + 2 * count / rate):
            raise RuntimeError(str(program))
