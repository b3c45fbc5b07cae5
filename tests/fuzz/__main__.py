"""Run the targets in turn, until the time is over: ``python -m fuzz --minutes 1 --seed 1 [--only WORD]``."""

import argparse
import contextlib
import sys
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzz import peers, values

SETTINGS = settings(
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def fuzz(minutes, first_seed, only="", say=print):
    """Run the targets whose name holds `only`; return how many examples each had, and which failed."""
    counts: Counter[str] = Counter()
    failed: dict[str, str] = {}
    until_s = time.monotonic() + minutes * 60
    with contextlib.ExitStack() as opened:
        targets = dict(values.TARGETS)
        if any(only in name for name in peers.NAMES):
            targets |= peers.targets(opened)
        targets = {name: target for name, target in targets.items() if only in name}
        for number in range(10**9):
            for name, target in targets.items():
                if time.monotonic() > until_s or name in failed:
                    continue
                try:
                    run(name, target, first_seed * 1_000_003 + number, counts)
                except Exception:
                    failed[name] = traceback.format_exc(limit=-6)
                    say(f"{name}: FAILED (seed {first_seed}, round {number})\n{failed[name]}")
            if time.monotonic() > until_s or len(failed) == len(targets):
                break
    for name in targets:
        say(f"{name}: {counts[name]} examples{', FAILED' * (name in failed)}")
    return counts, failed


def run(name, target, number, counts):
    """Check some examples; raises what the smallest one that fails raises, with the example in its notes."""

    phases = (Phase.generate, Phase.shrink)[: 1 + target.shrinks]

    @seed(number)
    @settings(SETTINGS, max_examples=target.a_round, phases=phases)
    @given(target.examples)
    def one(example):
        counts[name] += 1
        target.check(example)

    one()


def main():
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets whose name holds this")
    options = parser.parse_args()
    _, failed = fuzz(options.minutes, options.seed, options.only)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
