"""What Prometheus would read of the relays and bridges of a row, and the alerts that fire on it.

Beside each of them a program reads its metrics, as Prometheus would. promtool then evaluates
config/prometheus/astropix-alerts.yml over what was read.
"""

import contextlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import yaml

from matrix.bench import RELAY, Bench

RULES = Path(__file__).parents[2] / "config/prometheus/astropix-alerts.yml"
AFTER_S = 720  # that the last sample is repeated for: what began at the end still fires
_BEGIN = "scrape\n"
_LINE = re.compile(r"(astropix_(?:relay|bridge)_\w+)(\{[^}]*\})? (\S+)")

_JOBS = {RELAY: ("astropix-relay", 9108), "astropix_bridge": ("astropix-bridge", 9109)}


class Target(NamedTuple):
    """What is read: a job of Prometheus, and the host that it runs on."""

    job: str
    host: str


class WatchedBench(Bench):
    """A bench whose relays and bridges are read, each from its start on."""

    every_s = 1.0

    def __init__(self, directory, **options):
        super().__init__(directory, **options)
        self.scrapes: dict[Target, str] = {}
        self._readers = {}
        self._read = set()

    def start(self, host, *argv, **options):
        program = super().start(host, *argv, **options)
        for word, (job, port) in _JOBS.items():
            target = Target(job, host.name)
            if word in argv and "run" in argv and target not in self._readers:
                reader = (sys.executable, "-m", "matrix.scrapes", str(port), str(self.every_s))
                self._readers[target] = super().start(host, *reader)
        return program

    def start_daq(self, **options):
        """Start a DAQ, once all that runs was read and was well: what happens from now on is a change."""
        for target in self._readers.keys() - self._read:
            self._wait_until_well(target)
        self._read |= self._readers.keys()
        return super().start_daq(**options)

    def _wait_until_well(self, target, tries=10):
        """Wait until its streams are connected: a second or two after the start, more behind relays."""
        word = "_bridge_start_time" if target.job == "astropix-bridge" else "_relay_joined{"
        with contextlib.suppress(AssertionError):  # one whose log is stuck may not get as far
            while tries and self._readers[target].wait_for(word, 5.0).endswith(" 0.0"):
                tries -= 1

    def __exit__(self, kind, error, trace):
        for target, reader in self._readers.items():
            reader.stop()
            self.scrapes[target] = reader.stdout
        super().__exit__(kind, error, trace)


def read(port, every_s):
    """Print the metrics on a port every so often, each time after a line of its own; for `WatchedBench`."""
    while True:
        began_s = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=every_s) as answer:
                text = answer.read().decode()
        except (OSError, urllib.error.URLError):
            text = ""
        print(f"{_BEGIN}{text}", end="", flush=True)
        time.sleep(max(0.0, began_s + every_s - time.monotonic()))


def series_of(target, scrapes, step_s):
    """Return promtool's series, of what was read of one target, from when it was there to its end."""
    found = [dict(_samples(text)) for text in scrapes.split(_BEGIN)]
    begin = next((i for i, one in enumerate(found) if _is_well(one)), 0)
    found = found[begin:]
    while found and not found[0]:
        del found[0]
    while found and not found[-1]:  # the row is over, and the program gone
        found.pop()
    found += found[-1:] * (AFTER_S // step_s)
    wanted = set(re.findall(r"astropix_(?:relay|bridge)_\w+", RULES.read_text()))
    names = sorted({name for one in found for name in one if name.partition("{")[0] in wanted})
    series = [("up", ["1" if one else "0" for one in found])]
    series += [(name, [one.get(name, "_" if one else "stale") for one in found]) for name in names]
    written = [{"series": _named(target, name), "values": " ".join(values)} for name, values in series]
    return written, len(found)


def _is_well(sample):
    """Whether all its streams are connected, or it has none of its own."""
    joined = [value for name, value in sample.items() if name.startswith("astropix_relay_joined")]
    return bool(sample) and "0.0" not in joined


def _samples(text):
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            yield match[1] + (match[2] or ""), match[3]


def _named(target, name):
    name, _, labels = name.partition("{")
    return f'{name}{{job="{target.job}",instance="{target.host}"{"," + labels if labels else "}"}'


def fired(scrapes, step_s, directory, rules=RULES):
    """Return the alerts that fire at any time, as `alert`, or as `host: alert` if that is not `relay`.

    Parameters
    ----------
    scrapes
        By `Target`, what its reader printed.
    step_s
        What the time from one reading to the next stands for, in s.
    directory
        For a file for promtool.
    """
    series, steps = [], 0
    for target, text in scrapes.items():
        found, count = series_of(target, text, step_s)
        series += found
        steps = max(steps, count)
    query = 'count by (alertname, instance) (ALERTS{alertstate="firing"})'
    tests = [{"expr": query, "eval_time": f"{i * step_s}s", "exp_samples": []} for i in range(steps)]
    test = {"interval": f"{step_s}s", "input_series": series, "promql_expr_test": tests}
    file = Path(directory) / "tests.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": [test]})
    )
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    alerts = set(re.findall(r'\{alertname="(\w+)", instance="([\w-]+)"\}', said))
    if done.returncode and not alerts:
        raise AssertionError(said[-2000:])
    return {name if host == "relay" else f"{host}: {name}" for name, host in alerts}


if __name__ == "__main__":
    read(int(sys.argv[1]), float(sys.argv[2]))
