"""What the programs take all day: idle, at the rates that people have, with many streams, and to start."""

import re
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.chain import Address, blast, cpu_s, peer, rss
from bench.rows import Row
from ports import free_port_pair
from programs import Program

MIB = 1 << 20
CLIENTS = 64
_RATES_HZ = {200: 3.0, 1_000: 5.0}  # and what part of a core, in percent, is allowed
_TOTAL_HZ = 2_000
_SETTLE_S = 1.5


def apx(*words):
    return Program(sys.executable, "-m", "astropix_stream.cli", *words)


def percent(program, seconds, work=None):
    """Part of one core that a program takes while `work` is done, or while it idles."""
    before, began = cpu_s(program.pid), time.monotonic()
    if work is None:
        time.sleep(seconds)
    else:
        work()
    used = (cpu_s(program.pid) - before) / (time.monotonic() - began) * 100
    if "\nState:\tZ" in Path(f"/proc/{program.pid}/status").read_text():
        raise RuntimeError(f"{program} has ended")  # and took nothing
    return used


def tools(scale, directory):
    """The page with two viewers, `record` and `top`, direct, by rate."""
    rows = []
    for name in ("monitor", "record", "top"):
        at = Address()
        with opened(name, f"udp://{at.group}:{at.port}?interface=127.0.0.1", directory) as program:
            for rate, most in _RATES_HZ.items():
                note = f"{rate:,}/s" + ("; 2 viewers" if name == "monitor" else "")
                row = Row(f"apx {name}, part of one core", "", "%", f"≤ {most:g} %", most=most, note=note)
                count = max(2, round(rate * scale.daily_seconds))
                row.ours = [
                    percent(program, 0, lambda to=at, n=count, r=rate: blast(to, n, 35, r))
                    for _ in range(scale.few_rounds)
                ]
                rows.append(row)
    return rows


@contextmanager
def opened(name, url, directory):
    words = {
        "monitor": ("monitor", url, "--listen", "127.0.0.1:0"),
        "record": ("record", url, Path(directory) / f"{free_port_pair()}.apx"),
        "top": ("top", url),
    }[name]
    with ExitStack() as stack:
        program = stack.enter_context(apx(*words))
        if name == "monitor":
            page = program.wait_for("the page is at").removeprefix("the page is at ")
            stack.enter_context(peer("viewers", page, 2)).wait_for("watching", 90)
        time.sleep(_SETTLE_S)
        yield program


CONFIG = """
streams: [{streams}]
publish: {{endpoint: "{endpoint}"}}
history: {{size: {history}}}
metrics: {{listen: null}}
memory_budget: 16GiB
"""


@contextmanager
def relay_of(streams, directory, history):
    """A relay with so many streams; gives it, their addresses, and seconds until it was ready."""
    group, port, tcp_port = "239.66.{}.{}", Address().port, free_port_pair()
    addresses = []
    for i in range(streams):
        address = Address.__new__(Address)
        address.group, address.port = group.format(1 + i // 200, 1 + i % 200), port
        addresses.append(address)
    file = Path(directory) / f"streams-{streams}-{tcp_port}.yaml"
    listed = ", ".join(
        f"{{name: s{i}, group: {a.group}, port: {a.port}, interface: 127.0.0.1}}"
        for i, a in enumerate(addresses)
    )
    file.write_text(CONFIG.format(streams=listed, endpoint=f"tcp://127.0.0.1:{tcp_port}", history=history))
    began = time.monotonic()
    with Program(sys.executable, "-m", "astropix_relay", "run", "--config", file) as program:
        program.wait_for("publishing on")
        yield program, addresses, time.monotonic() - began


def streams(scale, directory):
    """CPU and memory of a relay with many streams, 2000 readouts/s in all, beside one with one stream."""
    cpu = Row("relay, CPU a readout, many streams", "1 stream", "us", "≤ 1.5 ×", most=1.5)
    memory = Row("relay, memory a stream", "", "MiB", "≤ 0.3 MiB", most=0.3, note="history off")
    idle = Row("relay, idle, many streams", "", "%", "≤ 1 %", most=1.0)
    cpu.note, idle.note = f"{scale.streams}, {_TOTAL_HZ:,}/s in all", f"{scale.streams} streams"
    with (
        relay_of(1, directory, "0") as (one, (only,), _),
        relay_of(scale.streams, directory, "0") as (many, all_of_them, _),
    ):
        time.sleep(_SETTLE_S)
        memory.ours.append((rss(many.pid) - rss(one.pid)) / MIB / max(1, scale.streams - 1))
        idle.ours.append(percent(many, scale.daily_seconds))
        count = max(scale.streams, round(_TOTAL_HZ * scale.daily_seconds))
        for _ in range(scale.rounds):
            for program, at, figures in ((many, all_of_them, cpu.ours), (one, [only], cpu.theirs)):
                figures.append(percent(program, 0, lambda to=at: spread(to, count)) * 1e4 / _TOTAL_HZ)
    return [cpu, memory, idle]


def spread(addresses, count):
    """Send to several groups in turn."""
    words = [address.group for address in addresses]
    with peer("blast", ",".join(words), addresses[0].port, count, 35, _TOTAL_HZ) as source:
        source.wait(timeout=120)


def idle(scale, directory):
    """What the relay and each client take while nothing comes."""
    rows = []
    with relay_of(1, directory, "16MiB") as (relay, _, _):
        time.sleep(_SETTLE_S)
        rows.append(idle_row("relay", relay, scale))
        endpoint = f"tcp://127.0.0.1:{listening_port(relay)}"
        with peer("hold", endpoint, CLIENTS) as clients, peer("receive", endpoint) as receiver:
            clients.wait_for("ready")
            receiver.wait_for("ready")
            time.sleep(2 * _SETTLE_S)
            rows.append(idle_row(f"relay, {CLIENTS} clients", relay, scale))
            rows.append(idle_row("RelayReceiver", receiver, scale))
    at = Address()
    url = f"udp://{at.group}:{at.port}?interface=127.0.0.1"
    with peer("receive", url) as receiver:
        receiver.wait_for("ready")
        time.sleep(_SETTLE_S)
        rows.append(idle_row("MulticastReceiver", receiver, scale))
    with apx("monitor", url, "--listen", "127.0.0.1:0") as program:
        program.wait_for("the page is at")
        time.sleep(2 * _SETTLE_S)
        rows.append(idle_row("apx monitor", program, scale))
    for name, what in (("monitor", "apx monitor, 2 viewers"), ("record", "apx record"), ("top", "apx top")):
        with opened(name, url, directory) as program:
            rows.append(idle_row(what, program, scale))
    return rows


def listening_port(relay):
    """Return the port that a relay said it publishes on."""
    line = next(line for line in relay.stderr.splitlines() if "publishing on" in line)
    return int(re.search(r"publishing on tcp://127\.0\.0\.1:(\d+)", line)[1])


def idle_row(name, program, scale):
    return Row(f"{name}, idle", "", "%", "≤ 0.3 %", most=0.3, ours=[percent(program, scale.daily_seconds)])


def starts(scale, directory):
    """How long until the relay publishes, and until `apx receive` prints the first readout."""
    relay = Row("relay, start until it publishes", "", "s", "≤ 0.6 s", most=0.6)
    first = Row("apx receive, start until the first readout", "", "s", "≤ 0.35 s", most=0.35)
    for _ in range(scale.rounds):
        with relay_of(1, directory, "16MiB") as (_, _, ready_s):
            relay.ours.append(ready_s)
        at = Address()
        url = f"udp://{at.group}:{at.port}?interface=127.0.0.1"
        with peer("blast", at.group, at.port, 100_000, 35, _TOTAL_HZ):
            time.sleep(0.5)
            began = time.monotonic()
            with apx("receive", url, "--count", 1) as program:
                program.wait_for("readout ")
                first.ours.append(time.monotonic() - began)
    return [relay, first]
