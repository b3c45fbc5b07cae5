"""The page docs/performance.md and its plot."""

import datetime
import os
import platform
import sys
from pathlib import Path

import zmq

from bench.chain import REFERENCE
from bench.rows import HEADINGS, table

INTRODUCTION = """# Performance

Written by `make bench`, which measures on the machine where it runs, in under 5 minutes; figures of other
machines differ, ratios less. Each ratio is of two programs measured in turn, round by round; the figure is
the median of the rounds, the spread their least and most. CPU is user and system time of the whole process,
all threads. Traffic stays on the loopback interface, sent in bursts of 16.

- *reference*: a relay in C, `recvmmsg` and one libzmq message a readout (`RELAY_REFERENCE` names it; not in
  this repository). *naive*: `recvfrom` and one pyzmq message a readout (`tests/bench/peers.py`).
- Queues: reference, naive and the counting subscribers may hold 10^6 messages; our relay 256 (16 MiB) a
  subscriber, with 400 places for subscribers and 64 MiB of history, all else as by default.
- The speed of this machine itself changes by a factor of 1.7 from minute to minute, as that of others like it
  may: decoding stands beside a plain loop in Python, which is slower by the same factor then.
- The highest rate is that of the source where no relay lost anything: on two cores it shares them with all.
"""

TURN = """## Where the time goes, and what was tried

At 50 000/s the relay turns 820 times a second, 61 readouts each time: some 190 us, and 35 us of ZeroMQ's own
thread. Taken apart on the machine above, idle otherwise (2026-11-22, wall time between marks in the code):

| part of a turn | us |
| --- | --- |
| `recvmmsg`, nearly all of it in the kernel | 45 to 70 |
| the rest of reading: sizes, sources, headers, a memoryview of each datagram | 30 |
| accept, join, number, pack | 20 |
| three ZeroMQ frames; the last wakes ZeroMQ's thread | 15 |
| count, remember in history | 20 |
| sleep and wake | 35 |
| beats, clients, metrics: every 100 ms | 1 |

A loop of nothing but `recvmmsg` and the sleep takes 85 to 110 us a turn; one that joins and sends as well,
and checks nothing, 115 to 160. So half of the reference's cost, with checks, counts and history, is out of
reach for Python on this machine. A larger `max_delay` is the way to pay less: the cost of a turn hardly
depends on how much it carries.

What runs once in 5 ms runs from cold caches, 5 us for each call of a function in Python. At 200/s that, and
50 to 90 us to wake ZeroMQ's thread, are the added latency. Hence readouts are published before they are
counted.

Tried without gain: slots close together or in huge pages, no garbage collection (there is none to do),
columns of the headers as bytes, a core of its own, 2 ms instead of 1 ms between the drains of a
`MulticastReceiver` (8 %, for twice the risk of a full buffer).

With `--full`, 10 million readouts (2026-11-23): 53 MiB beyond history. What memory grows by meanwhile is
history's index, 24 bytes a message until it has gone round once; it is part of `history.size`.

Over five runs on an idle machine of this kind the relay stood at 0.61 to 0.75 of the reference, the added
latency at 0.29 to 0.42 ms, the highest rate at 1.19 to 1.47 times the reference's, which the source limits
too, and `MulticastReceiver` at 0.67 to 0.78 of the plain loop.
"""

GROWTH = """## How the relay's cost grows

CPU of the relay a readout, one subscriber, {seconds:g} s each. A turn of the loop costs some 200 us,
whatever it carries: the more readouts come in it, the less each one bears.

![CPU a readout by rate, size and subscribers](performance.svg)
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


def text(rows, curves, scale):
    """Return the page."""
    parts = [INTRODUCTION, f"Measured {machine()}.\n", table(HEADINGS, [row.cells() for row in rows]) + "\n"]
    if curves is not None:
        parts.append(GROWTH.format(seconds=scale.seconds))
        parts.append(table(["rate, 35 bytes", "us a readout"], cells(curves["rate"], "{:,}/s")) + "\n")
        parts.append(
            table([f"size at {10 * scale.slow_hz}/s", "us a readout"], cells(curves["size"], "{} bytes"))
            + "\n"
        )
        heads = [
            f"subscribers at {scale.slow_hz}/s",
            "us a readout",
            "us a readout and subscriber",
            "lost by the last",
        ]
        lines = [
            [str(n), f"{took:.2f}", f"{took / n:.2f}", str(lost)]
            for n, (took, lost) in curves["subscribers"].items()
        ]
        parts.append(table(heads, lines) + "\n")
    return "\n".join([*parts, TURN])


def cells(curve, form):
    return [[form.format(x), f"{y:.2f}"] for x, y in curve.items()]


def write(directory, rows, curves, scale):
    """Write the page and the plot."""
    (directory / "performance.md").write_text(text(rows, curves, scale))
    if curves is not None:
        draw(directory / "performance.svg", curves, scale)


def draw(path, curves, scale):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "bench"
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    fan_out = {n: took / n for n, (took, _) in curves["subscribers"].items()}
    for axis, curve, label in (
        (axes[0], curves["rate"], "rate, 1/s (35 bytes)"),
        (axes[1], curves["size"], f"size, bytes ({10 * scale.slow_hz}/s)"),
        (axes[2], fan_out, f"subscribers ({scale.slow_hz}/s)"),
    ):
        axis.plot(list(curve), list(curve.values()), "o-")
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(label)
        axis.set_ylabel("us a readout")
        axis.grid(alpha=0.3)
    axes[2].set_ylabel("us a readout and subscriber")
    figure.savefig(path, metadata={"Date": None})
