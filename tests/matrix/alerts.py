"""The alert rules against real faults: ``python -m matrix.alerts [--only WORD]``, or ``--soak MINUTES``.

Each row of the matrix runs in its short form, while the metrics of its relays and bridges are read once a
second. promtool evaluates config/prometheus/astropix-alerts.yml over what was read, taken as one sample in
half a minute; the row must fire exactly the alerts of `EXPECTED`. What is not in that table must fire none:
most rows break what a relay neither counts nor can know, such as a client's line.

With ``--soak`` it is an ordinary day instead (`soak.Ordinary`), read every 15 s; nothing may fire.
"""

import argparse
import contextlib
import re
import sys
import tempfile
from pathlib import Path

from matrix import __main__ as matrix  # noqa: F401  (all rows)
from matrix.bench import Died
from matrix.rows import ROWS
from matrix.scrapes import WatchedBench, fired
from matrix.soak import Ordinary, say

STEP_S = 30  # what a second of a row stands for, so that rules that wait for a minute have one
SOAK_STEP_S = 15  # as Prometheus reads by default, or often

LOST = "AstropixLostBeforeSocket"
EXPECTED = {
    "UDP loss 1 %": {LOST},
    "UDP loss 30 %": {LOST},
    "duplicates 5 %": {"AstropixDuplicates"},
    "truncation 5 %": {"AstropixReadoutsDamaged"},
    "fragment loss, 60 kB readouts": {LOST, "AstropixFragmentsLost"},  # what is lost, and why
    "relay SIGSTOPped for 2 s at 20 000/s": {"AstropixLostInKernel"},
    "relay killed with SIGKILL and restarted": {"AstropixRelayRestarted"},
    "interface deleted and made again": {LOST, "AstropixRejoined"},  # it is lost while there is none
    "wrong readout_ids, 1 %": {LOST},  # the id that each should have had is missing
    "two ways, of which one loses; the DAQ restarts, its clock set": {LOST},  # on the way of this relay
    "DAQ pause of 10 min (model time)": {"AstropixStreamSilent"},
    "hits of doubled readouts": {"AstropixDuplicates"},
    "two DAQs on one group": {LOST},
    # Of the forged ones many are well-formed: a DAQ of their own, whose ids jump and come twice.
    "random and mutated datagrams": {LOST, "AstropixReadoutsDamaged", "AstropixSharedSource"},
    "two relays, each killed in turn every 5 s": {
        "AstropixRelayRestarted", "relay2: AstropixRelayRestarted",
    },
    "cascade: the relay in the middle killed and restarted": {"second: AstropixRelayRestarted"},
    "cascade: the last relay killed and restarted": {"third: AstropixRelayRestarted"},
    # What the first did not receive meanwhile no relay has counted: its account begins again.
    "cascade: the first relay killed and restarted": {"AstropixRelayRestarted"},
    "cascade: each line cut, without history": {
        "second: AstropixLostBetweenRelays", "third: AstropixLostBetweenRelays",
    },
    "cascade: a diamond, each side killed in turn": {
        "left: AstropixRelayRestarted", "right: AstropixRelayRestarted",
    },
    "cascade: a loop of three relays": {"third: AstropixOutputStopped"},
    "log: nodes, links and the bridge killed or cut": {
        "bridge: AstropixBridgeRestarted", "bridge: AstropixNotStored",
    },
    "log: the relay killed too": {"AstropixRelayRestarted", "bridge: AstropixBridgeRestarted"},
    # In the short form it is there when the beam line is not, and has not heard it.
    "log: a beam line cut off from the hub": {"hub: AstropixMirrorSilent"},
    "attack: clients that come and go": set(),
    "attack: what no client says": {"AstropixClientsRefused"},  # some of it asks for other security
    # Nobody can read the metrics meanwhile.
    "attack: metrics, dripping": {"AstropixRelayDown"},
    "attack: metrics, crowded": {"AstropixRelayDown"},
    "attack: metrics, huge headers": set(),
    "disk of the log full": {"AstropixLogBlocked"},
    "attack: clients without a key on the list": {"AstropixClientsRefused"},
}  # fmt: skip


# What fires as well if it lasts for a minute, that is two seconds here: how long a start takes, or the log's
# servers to agree on a leader, depends on what else this machine has to do.
PERHAPS = {
    # If more are rejected than there are readouts missing in their places.
    "random and mutated datagrams": {"AstropixForeignDatagrams"},
    "attack: what no client says": {"AstropixConnectionsCut"},
    # If so much is logged that the queue is full.
    "stderr blocked": {"AstropixLogBlocked"},
    "journal that does not read": {"AstropixLogBlocked"},
    "cascade: the relay in the middle killed and restarted": {"third: AstropixUpstreamLost"},
    "cascade: the first relay killed and restarted": {
        "second: AstropixUpstreamLost", "third: AstropixUpstreamLost",
    },
    "cascade: relays stopped for 3 s": {
        "second: AstropixRelayDown", "third: AstropixRelayDown", "third: AstropixUpstreamLost",
    },
    "cascade: each line cut, without history": {
        "second: AstropixUpstreamLost", "third: AstropixUpstreamLost",
    },
    "log: nodes, links and the bridge killed or cut": {
        "bridge: AstropixBridgeHearsNothing", "bridge: AstropixStoredLate",
    },
    "log: the relay killed too": {"bridge: AstropixBridgeHearsNothing"},
}  # fmt: skip


def is_right(name, alerts):
    """Whether a row fired its alerts, and no others but those that depend on how long things take."""
    wanted = EXPECTED.get(name, usual(name))
    perhaps = {one.replace("Restarted", "Down") for one in wanted} | PERHAPS.get(name, set())
    return wanted <= alerts <= wanted | perhaps


def usual(name):
    """Return what a row fires that is not in the table: attacks are cut off, unless they just do not read."""
    attack = name.startswith("attack: ") and not name.startswith("attack: 62 clients")
    return {"AstropixConnectionsCut"} if attack else set()


def keep_scrapes(bench, directory, name):
    for target, text in bench.scrapes.items():
        name = re.sub(r"\W+", "-", name)
        (directory / f"{name}.{target.host}.{target.job}.txt").write_text(text)


def try_row(row, keep):
    """Run a row; return the alerts that it fired, None if it started nothing that is watched."""
    with tempfile.TemporaryDirectory() as directory:
        bench = WatchedBench(directory, quick=True)
        with contextlib.suppress(Died), bench:
            row.run(bench)
        if keep:
            keep_scrapes(bench, keep, row.name)
        return fired(bench.scrapes, STEP_S, directory) if "astropix_" in str(bench.scrapes) else None


def try_rows(only, keep):
    """Run rows and print what each fired; return whether any was wrong."""
    wrong = False
    for row in ROWS:
        if only not in row.name:
            continue
        try:
            alerts = try_row(row, keep)
        except Exception as error:
            print(f"{row.name}: the row itself: {error!r}", flush=True)
            wrong = True
            continue
        right = alerts is None or is_right(row.name, alerts)
        wrong |= not right
        said = "nothing watched" if alerts is None else ", ".join(sorted(alerts)) or "none"
        wanted = sorted(EXPECTED.get(row.name, usual(row.name)))
        print(f"{row.name}: {said}" + ("" if right else f": WRONG, wanted {wanted}"), flush=True)
    return wrong


def try_soak(minutes, seed, keep):
    """Let an ordinary day pass, shortened; return whether anything fired, or was counted wrong."""
    with tempfile.TemporaryDirectory() as directory:
        bench = WatchedBench(directory, seed=seed)
        bench.every_s = SOAK_STEP_S
        with bench:
            Ordinary(bench, minutes, seed).run()
        if keep:
            keep_scrapes(bench, keep, "soak")
        red = say(bench)
        alerts = fired(bench.scrapes, SOAK_STEP_S, directory)
    (text,) = bench.scrapes.values()
    read = text.count("astropix_relay_build_info{")
    print(f"{read} readings of the metrics; alerts:", ", ".join(sorted(alerts)) or "none")
    return red or bool(alerts) or read < 0.9 * minutes * 60 / SOAK_STEP_S


def main():
    parser = argparse.ArgumentParser(prog="matrix.alerts", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="an ordinary day instead of the rows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep what was read in this directory")
    options = parser.parse_args()
    if options.soak:
        return try_soak(options.soak, options.seed, options.keep)
    return try_rows(options.only, options.keep)


if __name__ == "__main__":
    sys.exit(main())
