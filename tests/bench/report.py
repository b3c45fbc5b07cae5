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

Written by `make bench`, which measures on the machine where it runs, in under 6 minutes; figures of other
machines differ, ratios less. Each ratio is of two programs measured in turn, round by round; the figure is
the median of the rounds, the spread their least and most. CPU is user and system time of the whole process,
all threads, by the scheduler's count in ns (`schedstat`). Traffic stays on the loopback interface, each
readout paced by itself up to 10 000/s as a DAQ sends them, and in bursts of 16 above.

Detectors that people have give 50 to 2000 readouts/s, evenly spaced: look at the rows of 200/s and 1000/s
first. A limit that is not reached is shown as **no**; where the time goes then is in
docs/decisions/0011-a-turn-of-the-loop.md and 0015-how-long-readouts-gather.md.

- *reference*: a relay in C, `recvmmsg` and one libzmq message a readout (`RELAY_REFERENCE` names it; not in
  this repository). *naive*: `recvfrom` and one pyzmq message a readout (`tests/bench/peers.py`).
- Queues: reference, naive and the counting subscribers may hold 10^6 messages; our relay 256 (16 MiB) a
  subscriber, with 400 places for subscribers and 64 MiB of history, all else as by default.
- A virtual machine's speed may change from minute to minute, most of all that of Python after a sleep, when
  others have used the caches: decoding stands beside a plain loop in Python; two runs may differ by a fifth.
- Where readouts come faster than 400/s, a `MulticastReceiver` lets them gather for 5 ms; so does the relay.
- The highest rate is that of the source where no relay lost anything: on two cores it shares them with all.
- Where the time of the relay goes, and what was tried: docs/decisions/0011-a-turn-of-the-loop.md.
"""

GROWTH = """## How the relay's cost grows

CPU of the relay a readout, one subscriber, {seconds:g} s each. What a turn of the loop
costs hardly depends on what it carries: the more readouts come in it, the less each one bears.

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
    return "\n".join(parts)


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
