"""What the programs take all day: idle, at the rates that people have, with many streams, and to start."""

import re
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.chain import Address, blast, cpu_s, peer, rss
from bench.receiver_rows import url_of
from bench.rows import Row
from ports import free_port_pair
from programs import Program

MIB = 1 << 20
CLIENTS, VIEWERS = 64, 2
TOOLS = (f"apx monitor, {VIEWERS} viewers", "apx record", "apx top")
_RATES_HZ = {200: 3.0, 1_000: 5.0}  # and what part of a core, in percent, is allowed
_TOTAL_HZ = 2_000
_SETTLE_S = 1.5


def apx(*words):
    return Program(sys.executable, "-m", "astropix_stream.cli", *words)


def percents(programs, work):
    """Return the part of one core that each of these programs takes while something is done."""
    before, began = [cpu_s(program.pid) for program in programs], time.monotonic()
    work()
    after, lasted_s = [cpu_s(program.pid) for program in programs], time.monotonic() - began
    for program in programs:
        if "\nState:\tZ" in Path(f"/proc/{program.pid}/status").read_text():
            raise RuntimeError(f"{program} has ended")  # and took nothing
    return [(end - begin) / lasted_s * 100 for begin, end in zip(before, after, strict=True)]


def daily(scale, directory):
    """What each program takes while nothing comes, all side by side; then three of them in turn, by rate."""
    at = {name: Address() for name in TOOLS}
    with ExitStack() as stack:
        tools = {name: started(stack, name, at[name], directory) for name in TOOLS}
        watched = idle_programs(stack, directory) | tools
        time.sleep(2 * _SETTLE_S)
        idle = [Row(f"{name}, idle", "", "%", "≤ 0.3 %", most=0.3) for name in watched]
        for _ in range(scale.rounds):
            found = percents([*watched.values()], lambda: time.sleep(scale.daily_seconds))
            for row, figure in zip(idle, found, strict=True):
                row.ours.append(figure)
        busy = [
            busy_row(scale, name, rate, most, at[name], program)
            for name, program in tools.items()
            for rate, most in _RATES_HZ.items()
        ]
    return [*busy, *idle]


def busy_row(scale, name, rate, most, at, program):
    row = Row(f"{name}, part of one core", "", "%", f"≤ {most:g} %", most=most, note=f"{rate:,}/s")
    count = max(2, round(rate * scale.daily_seconds))
    for _ in range(scale.few_rounds):
        row.ours += percents([program], lambda: blast(at, count, 35, rate))
    return row


def started(stack, name, at, directory):
    """Start one of `TOOLS` on an address."""
    words = {
        "record": ("record", url_of(at), Path(directory) / f"{at.port}.apx"),
        "top": ("top", url_of(at)),
    }.get(name.split()[1].rstrip(","), ("monitor", url_of(at), "--listen", "127.0.0.1:0"))
    program = stack.enter_context(apx(*words))
    if "viewers" in name:
        page = program.wait_for("the page is at").removeprefix("the page is at ")
        stack.enter_context(peer("viewers", page, VIEWERS)).wait_for("watching", 90)
    return program


def idle_programs(stack, directory):
    """Start what else idles, by name."""
    relay, _, _ = stack.enter_context(relay_of(1, directory, "16MiB"))
    asked, _, _ = stack.enter_context(relay_of(1, directory, "16MiB"))
    endpoint = f"tcp://127.0.0.1:{listening_port(asked)}"
    clients = stack.enter_context(peer("hold", endpoint, CLIENTS))
    receivers = [stack.enter_context(peer("receive", url)) for url in (endpoint, url_of(Address()))]
    page = started(stack, "apx monitor", Address(), directory)
    for program in (clients, *receivers):
        program.wait_for("ready")
    page.wait_for("the page is at")
    return {
        "relay": relay,
        f"relay, {CLIENTS} clients": asked,
        "RelayReceiver": receivers[0],
        "MulticastReceiver": receivers[1],
        "apx monitor": page,
    }


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
        idle.ours += percents([many], lambda: time.sleep(scale.daily_seconds))
        count = max(scale.streams, round(_TOTAL_HZ * scale.daily_seconds))
        for _ in range(scale.rounds):
            for program, at, figures in ((many, all_of_them, cpu.ours), (one, [only], cpu.theirs)):
                (part,) = percents([program], lambda to=at: spread(to, count))
                figures.append(part * 1e4 / _TOTAL_HZ)
    return [cpu, memory, idle]


def spread(addresses, count):
    """Send to several groups in turn."""
    words = [address.group for address in addresses]
    with peer("blast", ",".join(words), addresses[0].port, count, 35, _TOTAL_HZ) as source:
        source.wait(timeout=120)


def listening_port(relay):
    """Return the port that a relay said it publishes on."""
    line = next(line for line in relay.stderr.splitlines() if "publishing on" in line)
    return int(re.search(r"publishing on tcp://127\.0\.0\.1:(\d+)", line)[1])


def starts(scale, directory):
    """How long until the relay publishes, and until `apx receive` prints the first readout."""
    relay = Row("relay, start until it publishes", "", "s", "≤ 0.6 s", most=0.6)
    first = Row("apx receive, start until the first readout", "", "s", "≤ 0.35 s", most=0.35)
    for _ in range(scale.rounds):
        with relay_of(1, directory, "16MiB") as (_, _, ready_s):
            relay.ours.append(ready_s)
        at = Address()
        with peer("blast", at.group, at.port, 100_000, 35, _TOTAL_HZ):
            time.sleep(0.5)
            began = time.monotonic()
            with apx("receive", url_of(at), "--count", 1) as program:
                program.wait_for("readout ")
                first.ours.append(time.monotonic() - began)
    return [relay, first]
