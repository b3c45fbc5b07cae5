"""Run the matrix: ``python -m matrix [--quick] [--broken] [--only WORD] [--write]``."""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matrix import cascade_rows, log_rows  # noqa: F401  (their rows)
from matrix.bench import Bench, Died
from matrix.mutants import ROOT, break_lines
from matrix.rows import ROWS

SEEN_RED = Path(__file__).with_name("seen_red.json")
DOCUMENT = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- the table, by make faults -->\n", "<!-- end of the table -->\n"
HEAD = ("fault", "injected", "counted, and where", "recovered", "verdict")


def run_row(row, *, quick=True, tree=None, seed=1):
    """Run one row; return its bench, closed. A row that cannot end is red."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(directory, quick=quick, tree=tree, seed=seed)
        try:
            with bench:
                row.run(bench)
                bench.no_crash()
        except Died as error:
            bench.equal("the programs under test", str(error), "alive")
        except Exception as error:
            # No verdict on the code under test: in a broken copy this is not the red that was looked for.
            bench.broke_down = True
            bench.equal("the row itself", str(error).splitlines()[:1] or repr(error), "no error")
            traceback.print_exc()
    return bench


def seen_red():
    return json.loads(SEEN_RED.read_text()) if SEEN_RED.exists() else {}


def verdict(row, bench):
    if bench.failures:
        return "RED"
    return "green" if seen_red().get(row.name) == row.digest else "green, but never seen red: does not count"


def run_side_by_side(rows, run):
    """Run rows, three at a time where they bear it; yield (row, what `run` returned) in order."""
    together = [row for row in rows if not row.alone]
    with ThreadPoolExecutor(3) as pool:
        yield from zip(together, pool.map(run, together), strict=True)
    for row in rows:
        if row.alone:
            yield row, run(row)


def run_all(rows, *, quick, seed):
    """Run rows and print the table as it grows; return its lines and whether any is red."""
    lines, red = [], False
    print(as_line(HEAD), as_line(["---"] * len(HEAD)), sep="\n", flush=True)
    for row, bench in run_side_by_side(rows, lambda row: run_row(row, quick=quick, seed=seed)):
        cells = (row.name, bench.injected, bench.counted, bench.recovered, verdict(row, bench))
        lines.append(as_line(cells))
        print(lines[-1], flush=True)
        for what, counted, injected in bench.failures:
            print(f"  RED: {what}: counted {counted}, injected {injected}", flush=True)
            red = True
    return lines, red


def run_one_broken(row, seed):
    with tempfile.TemporaryDirectory() as directory:
        return run_row(row, tree=break_lines(row.broken, directory), seed=seed)


def run_broken(rows, *, seed):
    """Break each row's line and expect red; remember which were seen so. Return whether any stayed green."""
    stayed_green = False
    for row, bench in run_side_by_side(rows, lambda row: run_one_broken(row, seed)):
        seen = seen_red()
        is_red = bench.failures and not bench.broke_down
        if is_red:
            seen[row.name] = row.digest
        else:
            seen.pop(row.name, None)
            stayed_green = True
        SEEN_RED.write_text(json.dumps(seen, indent=2, sort_keys=True) + "\n")
        what, counted, injected = (bench.failures or [("no comparison failed", "", "")])[0]
        colour = "red" if is_red else "NOT SEEN RED"
        print(f"{row.name}: {colour}: {what}: counted {counted}, injected {injected}", flush=True)
    return stayed_green


def as_line(cells):
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def machine():
    """Return what a number depends on: the processors, the memory, kernel and Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GiB, Linux {platform.release()},"
        f" Python {platform.python_version()}"
    )


def write(lines, *, quick, seed):
    """Put the table into docs/reliability.md."""
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    how = "make faults QUICK=1" if quick else "make faults"
    when = f"`{how}`, {datetime.date.today()}, seed {seed}; {machine()}.\n"
    table = "\n".join([as_line(HEAD), as_line(["---"] * len(HEAD)), *lines])
    DOCUMENT.write_text(f"{head}{BEGIN}\n{when}\n{table}\n\n{END}{tail}")


def main():
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorten what is long")
    parser.add_argument("--broken", action="store_true", help="break each row's line and expect red")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for row in ROWS if options.only in row.name]
    if options.broken:
        return run_broken(rows, seed=options.seed)
    lines, red = run_all(rows, quick=options.quick, seed=options.seed)
    if options.write and not options.only:
        write(lines, quick=options.quick, seed=options.seed)
    return red


if __name__ == "__main__":
    sys.exit(main())
