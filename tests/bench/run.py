"""``make bench``: measure, print the table, write docs/performance.md and its plot.

Without RELAY_REFERENCE, the path of the relay written in C, the rows against it have no ratio.
"""

import argparse
import tempfile
import time
from pathlib import Path

from bench import (
    cascade_rows,
    code_rows,
    daily_rows,
    file_rows,
    log_rows,
    monitor_rows,
    other_rows,
    receiver_rows,
    relay_rows,
    report,
)
from bench.scale import FULL, NORMAL, TINY

DOCS = Path(__file__).parents[2] / "docs"
GROWTH = "growth"
BENCHMARKS = {
    "relay_cpu": relay_rows.cpu,
    "relay_highest_rate": relay_rows.highest_rate,
    "relay_latency": relay_rows.latency,
    "relay_receiver": receiver_rows.relay_receiver,
    "multicast_receiver": receiver_rows.multicast_receiver,
    "asyncio": receiver_rows.asyncio,
    "others": other_rows.rows,
    "send": code_rows.send,
    "decode": code_rows.decode,
    "decode_kinds": code_rows.decode_kinds,
    "files": file_rows.rows,
    "monitor": monitor_rows.page,
    "relay_memory": relay_rows.memory,
    "fan_out": relay_rows.fan_out,
    "daily": daily_rows.daily,
    "starts": daily_rows.starts,
    "streams": daily_rows.streams,
    "cascade_cpu": cascade_rows.cpu,
    "cascade_latency": cascade_rows.latency,
    "cascade_one_copy": cascade_rows.one_copy,
    "slow_lines": cascade_rows.slow_lines,
    "bridge_cpu": log_rows.cpu,
    "bridge_latency": log_rows.latency,
    "bridge_highest_rate": log_rows.highest_rate,
    "log_replay": log_rows.replay,
    "log_sync": log_rows.sync,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="10 million readouts for the memory; takes longer"
    )
    parser.add_argument("--tiny", action="store_true", help="see that all runs; the figures mean nothing")
    parser.add_argument(
        "--only", choices=[*BENCHMARKS, GROWTH], nargs="+", help="write only with --output then"
    )
    parser.add_argument("--output", type=Path, help="directory to write to; docs by default")
    options = parser.parse_args()
    scale = FULL if options.full else TINY if options.tiny else NORMAL
    wanted = options.only or [*BENCHMARKS, GROWTH]
    rows, began_s = [], time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for name in wanted:
            if name != GROWTH:
                part_s = time.monotonic()
                found = BENCHMARKS[name](scale, directory)
                print(f"{name}: {time.monotonic() - part_s:.0f} s")
                print(*("; ".join(filter(None, row.cells())) for row in found), sep="\n", flush=True)
                rows += found
        part_s = time.monotonic()
        curves = relay_rows.growth(scale, directory) if GROWTH in wanted else None
        ended_s = time.monotonic()
    print(f"{GROWTH}: {ended_s - part_s:.0f} s\nall: {ended_s - began_s:.0f} s")
    page = report.text(rows, curves, scale, ended_s - began_s)
    print(page)
    if options.output or not options.only:
        report.write(options.output or DOCS, page, rows, curves, scale)


if __name__ == "__main__":
    main()
