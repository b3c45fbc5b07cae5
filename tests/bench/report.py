"""The page docs/performance.md and its plot."""

import datetime
import os
import platform
import statistics
import sys
from pathlib import Path

import zmq

from astropix_stream.gathering import GATHER_S
from bench.chain import PACED_HZ, REFERENCE
from bench.rows import HEADINGS, table

DECISIONS = Path(__file__).parents[2] / "docs/decisions"
LONE = next(path.name for path in DECISIONS.glob("*-a-lone-readout.md"))

INTRODUCTION = """# Performance

Written by `make bench`: every figure on this page is measured, on the machine where it runs. Detectors
that people have give 50 to 2000 readouts/s, one by one and evenly spaced, so look first at the rows of
200/s and 1,000/s. A limit that is not reached says **no**. What costs, and what was tried, is in [decision
11](decisions/0011-a-turn-of-the-loop.md), [decision 15](decisions/0015-how-long-readouts-gather.md) and
[decision {lone}](decisions/{lone_file}).

![CPU of a readout by rate, size and subscribers](performance.svg)

How it is measured:

- A ratio is of two programs that take turns, round by round; the figure is the median of the rounds, the
  spread their least and most. Other machines give other figures; the ratios differ less.
- CPU is user and system time of the whole process, all threads, by the scheduler's count in ns
  (`schedstat`).
- The source sends each readout at its own time, as a DAQ does, up to {paced:,}/s; above that in bursts of
  16. All traffic stays on the loopback interface.
- *naive* is the relay that one would write: `recvfrom`, and a message of pyzmq for each readout. *SUB
  loop* and *recvfrom loop* receive in the same way, and make a readout of each datagram with `from_bytes`
  (`tests/bench/peers.py`).
- *reference* is a relay in C, which is not in this repository: `recvmmsg`, and a message of libzmq for
  each readout (`RELAY_REFERENCE` names it).
- bluesky, NATS and LCM are measured where they are installed (`pip install --group peers`): each as its
  documentation shows it, with the same readouts. All else, the log's rows included, takes less than six
  minutes.
- What is idle is watched at the same time; each program that is not idle is measured alone.
- *naive*, *reference* and the counting subscribers may queue 10^6 messages; our relay 256 for a
  subscriber, with 400 places for subscribers and 64 MiB of history. All else is as by default.
- Added latency is that of a plain SUB socket behind the relay, less that of a plain `recvfrom` of the same
  group.
- Where readouts come less than {apart:g} ms apart, relay and receivers let them gather for {gather:g} ms:
  one wake, one system call and one message are then for all of them. So under load a readout may come
  {gather:g} ms later, and the limit there is that and 2 ms. `publish.max_delay: 0s`, or `gather = 0` of a
  receiver, turns it off.
- A virtual machine's speed may change from minute to minute, most of all that of Python after a sleep,
  when others have used the caches: two runs may differ by a fifth.
"""

# Where the time goes of what is not reached, by what is in the name of a row; the first that fits.
WHY = {
    "idle": (
        "what looks after the network, its sessions and Ctrl-C wakes 2 to 7 times a second; each "
        "wake takes 0.2 to 0.9 ms, since caches are cold then ([decision {lone}]({lone_file}))"
    ),
    "many streams": (
        "one stream has ten readouts in one message, where many streams have ten messages; 256 heartbeats "
        "a second take half as much as all of one stream's work ([decision {lone}]({lone_file}))"
    ),
    "many subscribers": (
        "nearly all of it is ZeroMQ's own, which writes each message to each subscriber; it is less than the "
        "naive relay's by as much as readouts gather in a message"
    ),
    "relay, CPU a readout": (
        "to wake costs the relay more than the naive loop, since more code is cold; it counts, remembers "
        "and sends heartbeats ([decision {lone}]({lone_file}), with the steps)"
    ),
    "highest rate": (
        "a rate is found to within 7 %, and source, relay and subscriber share the machine's cores; what a "
        "turn of the loop costs is in [decision 11](decisions/0011-a-turn-of-the-loop.md)"
    ),
    "added latency": (
        "of the way of a lone readout through cold caches, in Python where the reference is C "
        "([decision 11](decisions/0011-a-turn-of-the-loop.md))"
    ),
    "MulticastReceiver with asyncio": (
        "a turn of asyncio's event loop costs as much as all that the receiver does "
        "([decision {lone}]({lone_file}))"
    ),
    "MulticastReceiver": (
        "it wakes no more often than it must; per wake it checks, notes and counts "
        "([decision {lone}]({lone_file}), with the steps)"
    ),
    "RelayReceiver": (
        "as often awake as the SUB loop, with more to do each time ([decision {lone}]({lone_file}))"
    ),
    "decode_columns, a byte": "a byte holds more hits: what a hit costs stands in the row",
    "apx convert": (
        "of a second, a quarter is the start of Python with NumPy, and a half reading, counting and "
        "decoding; the rest is writing"
    ),
    "apx info": "a quarter is the start of Python with NumPy, the rest reading, counting and decoding",
    "memory after start": (
        "Python itself takes 9 MiB, pydantic 11 (3 of them OpenSSL, which it imports), typer and pyzmq 3 "
        "each; for metrics, prometheus_client brings an HTTP client and TLS, 3 MiB"
    ),
}

GROWTH = """## How the relay's cost grows

CPU of the relay for a readout, with sizes at {middle:,}/s and with subscribers at {slow:,}/s, {seconds:g}
s each. What a turn of the loop costs hardly depends on what it carries: the more readouts come in it, the
less each one bears.
"""


def machine():
    """Say what was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {model}, "
        f"Linux {platform.release()}, Python {platform.python_version()} ({sys.executable}), "
        f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}, load before {os.getloadavg()[2]:.1f}, "
        f"reference {'used' if REFERENCE else 'not at hand'}"
    )


def text(rows, curves, scale, lasted_s):
    """Return the page, of a run that lasted so long."""
    introduction = INTRODUCTION.format(
        paced=PACED_HZ, gather=GATHER_S * 1e3, apart=GATHER_S * 500, lone=LONE[:4].lstrip("0"), lone_file=LONE
    )
    parts = [
        introduction,
        f"Measured {machine()}, in {lasted_s:.0f} s.\n",
        table(HEADINGS, [row.cells() for row in rows]) + "\n",
    ]
    if missed := [row for row in rows if row.is_judged and not row.reached]:
        parts.append("Not reached: " + "; ".join(row.cells()[0] for row in missed) + ".\n")
        parts.append(reasons(missed))
    if curves is not None:
        middle = 10 * scale.slow_hz
        parts.append(GROWTH.format(seconds=scale.seconds, middle=middle, slow=scale.slow_hz))
        sizes = cells(curves["size"], "{} bytes")
        parts.append(table([f"size at {middle:,}/s", "us a readout"], sizes) + "\n")
        heads = ["subscribers", "us a readout", "us a readout and subscriber", "lost by the last"]
        lines = [
            [str(n), f"{took:.2f}", f"{took / n:.2f}", str(lost)]
            for n, (took, lost) in curves["subscribers"].items()
        ]
        parts.append(table(heads, lines) + "\n")
    return "\n".join(parts)


def reasons(missed):
    """Return where the time of rows that are not reached goes, as far as it was looked into."""
    found: dict[str, list[str]] = {}
    for row in missed:
        if (part := next((part for part in WHY if part in row.what), None)) is not None:
            found.setdefault(part, []).append(row.what)
    names = {"lone": LONE[:4].lstrip("0"), "lone_file": f"decisions/{LONE}"}
    lines = [
        f"- *{'*, *'.join(dict.fromkeys(found[part]))}*: {why.format(**names)}."
        for part, why in WHY.items()
        if part in found
    ]
    return "\n".join(["Where their time goes:", "", *lines, ""]) if lines else ""


def cells(curve, form):
    return [[form.format(x), f"{y:.2f}"] for x, y in curve.items()]


def write(directory, page, rows, curves, scale):
    """Write the page and the picture."""
    (directory / "performance.md").write_text(page)
    draw(directory / "performance.svg", rows, curves, scale)


def by_rate(rows):
    """Return the curves of the picture: for each part and each program, CPU in us by rate."""
    parts = {}
    for row in rows:
        if row.curve is None:
            continue
        panel, rate = row.curve
        programs = parts.setdefault(panel, {})
        programs.setdefault(row.what.partition(",")[0], {}).setdefault(rate, row.figure)
        if row.theirs:
            programs.setdefault(row.against, {}).setdefault(rate, statistics.median(row.theirs))
    return parts


def draw(path, rows, curves, scale):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "bench"
    figure = Figure(figsize=(11, 6.4 if curves else 3.6), layout="constrained")
    grid = figure.add_gridspec(2 if curves else 1, 6)
    for i, (panel, programs) in enumerate(by_rate(rows).items()):
        axis = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
        for n, (name, curve) in enumerate(programs.items()):
            rates, width = sorted(curve), 1.0 if n else 2.2
            axis.plot(rates, [curve[rate] for rate in rates], ".-", label=name, linewidth=width)
        axis.set(xscale="log", yscale="log", xlabel="readouts/s", ylabel="us of CPU a readout", title=panel)
        axis.legend(fontsize="x-small")
        axis.grid(alpha=0.3)
    if curves:
        fan_out = {n: took / n for n, (took, _) in curves["subscribers"].items()}
        for i, curve, label, unit in (
            (0, curves["size"], f"size, bytes ({10 * scale.slow_hz:,}/s)", "us a readout"),
            (1, fan_out, f"subscribers ({scale.slow_hz:,}/s)", "us a readout and subscriber"),
        ):
            axis = figure.add_subplot(grid[1, 3 * i : 3 * i + 3])
            axis.plot(list(curve), list(curve.values()), ".-")
            axis.set(xscale="log", xlabel=label, ylabel=unit, title="relay")
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
