"""``make bench``: measure, print the table, write docs/performance.md and its plot.

Without RELAY_REFERENCE, the path of the relay written in C, the rows against it have no ratio.
"""

import argparse
import tempfile
from pathlib import Path

from bench import code_rows, monitor_rows, receiver_rows, relay_rows, report
from bench.scale import FULL, NORMAL, TINY

BENCHMARKS = {
    "relay_cpu": relay_rows.cpu,
    "relay_highest_rate": relay_rows.highest_rate,
    "relay_latency": relay_rows.latency,
    "relay_receiver": receiver_rows.relay_receiver,
    "multicast_receiver": receiver_rows.multicast_receiver,
    "send": code_rows.send,
    "decode": code_rows.decode,
    "monitor": monitor_rows.page,
    "relay_memory": relay_rows.memory,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="10 million readouts for the memory; takes longer"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="see that everything runs; the figures mean nothing"
    )
    parser.add_argument(
        "--only", choices=BENCHMARKS, nargs="*", help="these rows, no curves, nothing written"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs")
    options = parser.parse_args()
    scale = FULL if options.full else TINY if options.tiny else NORMAL
    with tempfile.TemporaryDirectory() as directory:
        rows = []
        for name, measure in BENCHMARKS.items():
            if options.only is None or name in options.only:
                found = measure(scale, directory)
                print(*("; ".join(filter(None, row.cells())) for row in found), sep="\n", flush=True)
                rows += found
        curves = None if options.only is not None else relay_rows.growth(scale, directory)
    print(report.text(rows, curves, scale))
    if curves is not None:
        report.write(options.output, rows, curves, scale)


if __name__ == "__main__":
    main()
