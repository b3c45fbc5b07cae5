"""The live page: how much of one core it takes while readouts come fast and viewers look."""

import json
import sys
import time
import urllib.request

from bench.chain import Address, blast, cpu_s, peer, rss
from bench.rows import Row
from programs import Program

RATE_HZ = 20_000
SIZE = 60  # bytes: four hits in a readout
VIEWERS = 10
MIB = 1 << 20


def page(scale, _):
    """`apx monitor` on one core, at 20 000 readouts/s: CPU, what it did not hold, and its memory."""
    rate_hz = min(RATE_HZ, scale.fast_hz)
    name = f"apx monitor with {VIEWERS} viewers"
    cpu = Row(f"{name}, part of one core", "", "%", "≤ 100 %", most=100.0, note=f"{rate_hz}/s")
    missed = Row(f"{name}, readouts lost or skipped", "", "", "0", most=0.0)
    memory = Row(f"{name}, memory", "", "MiB", "≤ 256 MiB", most=256.0)
    at, count = Address(), round(rate_hz * scale.daily_seconds)
    url = f"udp://{at.group}:{at.port}?interface=127.0.0.1"
    argv = ("-m", "astropix_stream.cli", "monitor", url, "--listen", "127.0.0.1:0")
    with Program("taskset", "--cpu-list", "0", sys.executable, *argv) as monitor:
        address = monitor.wait_for("the page is at").removeprefix("the page is at ")
        with peer("viewers", address, VIEWERS) as watching:
            watching.wait_for("watching", 90)
            for _ in range(scale.few_rounds):
                before, began = cpu_s(monitor.pid), time.monotonic()
                blast(at, count, SIZE, rate_hz)
                cpu.ours.append((cpu_s(monitor.pid) - before) / (time.monotonic() - began) * 100)
                time.sleep(2.0)  # until gaps are closed and all is decoded
                missed.ours.append(count - held(address))
                memory.ours.append(rss(monitor.pid) / MIB)
    return [cpu, missed, memory]


def held(address):
    """Return how many readouts of its run a page has."""
    with urllib.request.urlopen(f"{address}/api/state.json", timeout=10) as answer:
        return json.load(answer)["run"]["readouts"]
