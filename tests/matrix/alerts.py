"""The alert rules against real faults: ``python -m matrix.alerts [--only WORD] [--keep DIRECTORY]``.

Each row of the matrix runs in its short form, while the metrics of its first relay are read once a second,
as Prometheus would. promtool then evaluates config/prometheus/astropix-alerts.yml over what was read, taken
as one sample in half a minute; the row must fire exactly the alerts of `EXPECTED`. What is not in that
table must fire none: most rows break what a relay neither counts nor can know, such as a client's line.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from matrix import __main__ as matrix
from matrix.bench import Bench, Died
from matrix.rows import ROWS

RULES = matrix.ROOT / "config/prometheus/astropix-alerts.yml"
METRICS = "http://127.0.0.1:9108/metrics"
EVERY_S = 1.0
STEP_S = 30  # what a second of a row stands for, so that rules that wait for a minute have one
AFTER = 24  # samples that the last one is repeated for: what began at the end still fires
UP = "up"
_LINE = re.compile(r"(astropix_relay_\w+)(\{[^}]*\})? (\S+)")

LOST = "AstropixLostBeforeSocket"
EXPECTED = {
    "UDP loss 1 %": {LOST},
    "UDP loss 30 %": {LOST},
    "duplicates 5 %": {"AstropixDuplicates"},
    "truncation 5 %": {"AstropixReadoutsDamaged"},
    "fragment loss, 60 kB readouts": {LOST, "AstropixFragmentsLost"},  # what is lost, and why
    "relay SIGSTOPped for 2 s at 20 000/s": {"AstropixLostInKernel"},
    "relay killed with SIGKILL and restarted": {"AstropixRelayDown", "AstropixRelayRestarted"},
    "interface deleted and made again": {LOST, "AstropixRejoined"},  # it is lost while there is none
    "wrong readout_ids, 1 %": {LOST},  # the id that each should have had is missing
    "two ways, of which one loses; the DAQ restarts, its clock set": {LOST},  # on the way of this relay
    "DAQ pause of 10 min (model time)": {"AstropixStreamSilent"},
    "hits of doubled readouts": {"AstropixDuplicates"},
    "two DAQs on one group": {LOST},
    # Of the forged ones many are well-formed: a DAQ of their own, whose ids jump and come twice.
    "random and mutated datagrams": {LOST, "AstropixReadoutsDamaged", "AstropixSharedSource"},
    "two relays, each killed in turn every 5 s": {"AstropixRelayDown", "AstropixRelayRestarted"},
    "attack: messages of endless frames": {"AstropixConnectionsCut"},
    "attack: messages of endless frames, 32 bytes each": {"AstropixConnectionsCut"},
}


def read():
    """Print what the relay says once a second, each time after a line of its own; for `WatchedBench`."""
    while True:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(METRICS, timeout=EVERY_S) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            text = ""
        print(f"scrape\n{text}", flush=True)
        time.sleep(max(0.0, began + EVERY_S - time.monotonic()))


class WatchedBench(Bench):
    """A bench whose first relay is read by Prometheus, so to say."""

    reader = None
    scrapes = ""

    def start_relay(self, host=None, **options):
        relay = super().start_relay(host, **options)
        if self.reader is None and (host or self.relay_host) is self.relay_host:
            self.reader = self.start(self.relay_host, sys.executable, "-m", "matrix.alerts", "--read")
            self.reader.wait_for("scrape")
        return relay

    def __exit__(self, kind, error, trace):
        if self.reader is not None:
            self.reader.stop()
            self.scrapes = self.reader.stdout
        super().__exit__(kind, error, trace)


def series_of(scrapes):
    """Return promtool's series, of what was read."""
    found = [dict(_samples(text)) for text in scrapes.split("scrape\n")[1:]]
    while found and not found[-1]:  # the row is over, and its relay gone
        found.pop()
    found += found[-1:] * AFTER
    wanted = set(re.findall(r"astropix_relay_\w+", RULES.read_text()))
    names = sorted({name for one in found for name in one if name.partition("{")[0] in wanted})
    series = [(UP, ["1" if one else "0" for one in found])]
    series += [(name, [one.get(name, "_" if one else "stale") for one in found]) for name in names]
    return [{"series": _with_job(name), "values": " ".join(values)} for name, values in series], len(found)


def _samples(text):
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            yield match[1] + (match[2] or ""), match[3]


def _with_job(name):
    name, _, labels = name.partition("{")
    job = 'job="astropix-relay",instance="relay:9108"'
    return f"{name}{{{job}{',' + labels if labels else '}'}"


def fired(scrapes, directory):
    """Return the alerts that fire at any time."""
    series, count = series_of(scrapes)
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    tests = [{"expr": query, "eval_time": f"{i * STEP_S}s", "exp_samples": []} for i in range(count)]
    test = {"interval": f"{STEP_S}s", "input_series": series, "promql_expr_test": tests}
    file = Path(directory) / "tests.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": [test]})
    )
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    alerts = set(re.findall(r'alertname="(\w+)"', said))
    if done.returncode and not alerts:
        raise AssertionError(said[-2000:])
    return alerts


def try_row(row, keep):
    """Run a row; return the alerts that it fired, None if it started no relay that was watched."""
    with tempfile.TemporaryDirectory() as directory:
        bench = WatchedBench(directory, quick=True)
        with contextlib.suppress(Died), bench:
            row.run(bench)
        if keep:
            name = re.sub(r"\W+", "-", row.name)
            (keep / f"{name}.txt").write_text(bench.scrapes)
        return fired(bench.scrapes, directory) if "astropix_relay_" in bench.scrapes else None


def main():
    parser = argparse.ArgumentParser(prog="matrix.alerts", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--keep", type=Path, help="keep what was read in this directory")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        return read()
    wrong = False
    for row in ROWS:
        if options.only not in row.name:
            continue
        try:
            alerts = try_row(row, options.keep)
        except Exception as error:
            print(f"{row.name}: the row itself: {error!r}", flush=True)
            wrong = True
            continue
        wanted = EXPECTED.get(row.name, set())
        right = alerts is None or alerts == wanted
        wrong |= not right
        said = "no relay watched" if alerts is None else ", ".join(sorted(alerts)) or "none"
        print(f"{row.name}: {said}" + ("" if right else f": WRONG, wanted {sorted(wanted)}"), flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
