"""Measure each file of the pure core by its own unit tests, and by no others: ``make coverage``.

What a file's own tests do not reach was reached by chance elsewhere, and nobody looked at what came out. The
pure core is what import-linter's contract in pyproject.toml lists. The tests of ``counting/ledger.py`` are
``tests/unit/counting/test_ledger.py``, and ``test_ledger_*.py`` beside it; where there are none, those of its
package, ``tests/unit/test_counting.py``, or else all in the folder ``tests/unit/counting``. The daemons' are
in ``tests/unit/daemon`` and ``bridge``, and what they share in ``shared``.
"""

import argparse
import ast
import contextlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
import tomllib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "tests/unit"
CONTRACT = "What calls itself pure"
PACKAGES = {
    "astropix_stream": (ROOT / "client", UNIT),
    "astropix_relay": (ROOT / "daemon", UNIT / "daemon"),
    "astropix_bridge": (ROOT / "daemon", UNIT / "bridge"),
    "astropix_daemon": (ROOT / "daemon", UNIT / "shared"),
}
ENOUGH = 95.0  # per cent of lines and branches together


def pure_files():
    """Return the source files of the pure core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (modules,) = (one["source_modules"] for one in contracts if one["name"].startswith(CONTRACT))
    found = []
    for module in modules:
        parts = module.split(".")
        path = PACKAGES[parts[0]][0].joinpath(*parts)
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [path for path in found if has_code(path)]


def has_code(path):
    """Return whether there is more in a file than its docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def own_tests(path):
    """Return the test files of a source file."""
    source, unit = next(
        (root, unit) for package, (root, unit) in PACKAGES.items() if path.is_relative_to(root / package)
    )
    if path.parent.name == "checking" and path.stem != "quantities":
        # The checked configuration is one thing, which the relay's own tests look at from all sides.
        return (UNIT / "daemon/test_configuration.py",)
    inside = list(path.relative_to(source).with_suffix("").parts[1:])  # without the package's name
    if inside[-1] == "__init__":
        inside.pop()
    while inside:
        name = inside.pop()
        folder = unit.joinpath(*inside)
        if found := [*folder.glob(f"test_{name}.py"), *sorted(folder.glob(f"test_{name}_*.py"))]:
            return tuple(found)
        if found := sorted((folder / name).glob("test_*.py")):
            return tuple(found)
    return (UNIT / "daemon/test_configuration.py",) if unit.name == "shared" else ()


def run_tests(tests, files, data):
    """Run test files in this process, alone, and measure these source files; return what failed."""
    include = [str(path) for path in files]
    measured = coverage.Coverage(data_file=data, config_file=False, branch=True, include=include)
    said = io.StringIO()
    os.chdir(ROOT)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), measured.collect():
        failed = pytest.main(["-q", "-p", "no:cacheprovider", "--hypothesis-profile=same", *map(str, tests)])
    measured.save()
    return said.getvalue() if failed else ""


def measure(files):
    """Return coverage's account of each source file that has tests, and the output of tests that failed."""
    jobs = defaultdict(list)
    for path in files:
        if tests := own_tests(path):
            jobs[tests].append(path)
    # The longest first, so that none is left to run alone at the end.
    by_size = sorted(jobs, key=lambda tests: sum(path.stat().st_size for path in tests), reverse=True)
    # Each in a process of its own, forked from one that has imported what takes long, and nothing of ours.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coverage", "pytest", "numpy", "pydantic"])
    pool = ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as folder, pool:
        data = [Path(folder, f"data.{i}") for i in range(len(by_size))]
        said = list(pool.map(run_tests, by_size, [jobs[tests] for tests in by_size], data))
        whole = coverage.Coverage(data_file=Path(folder, "whole"), config_file=False, branch=True)
        whole.combine([str(path) for path in data if path.exists()])
        report = Path(folder, "report.json")
        whole.json_report(outfile=str(report))
        accounts = json.loads(report.read_text())["files"]
    return {ROOT / name: account for name, account in accounts.items()}, [text for text in said if text]


def gaps(account):
    """Return what was not reached, as coverage writes it: lines, and branches from a line to another."""
    branches = [f"{begin}->{'exit' if end < 0 else end}" for begin, end in account["missing_branches"]]
    return " ".join([*map(str, account["missing_lines"]), *branches])


def main():
    parser = argparse.ArgumentParser(prog="make coverage", description=__doc__)
    parser.add_argument("words", nargs="*", help="only files whose path holds one of these")
    words = parser.parse_args().words
    files = [path for path in pure_files() if not words or any(word in str(path) for word in words)]
    accounts, failed = measure(files)
    short = 0
    for path in files:
        name, tests = str(path.relative_to(ROOT)), own_tests(path)
        account = accounts.get(path)
        percent = account["summary"]["percent_covered"] if account else 0.0
        is_short = percent < ENOUGH
        short += is_short
        by = " ".join(str(test.relative_to(UNIT)) for test in tests) or "no tests of its own"
        mark = "SHORT" if is_short else ""
        print(f"{percent:6.1f} % {mark:5} {name:60} {by}")
        if account and percent < ENOUGH:
            print(f"{'':15} not reached: {gaps(account)}")
    print(*failed, sep="\n")
    print(f"{len(files)} files of the pure core, {short} below {ENOUGH:.0f} %")
    return bool(short or failed)


if __name__ == "__main__":
    sys.exit(main())
