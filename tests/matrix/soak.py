"""The soak: everything at random from a seed; at the end, injected = counted, and nothing has grown.

``python -m matrix.soak --minutes 1 --seed 1``. A client on the other network is there from beginning to
end, and so is a direct receiver beside the relay, the witness. Meanwhile the impairer's rates and the DAQ's
rate change, runs end and begin, visitors subscribe and leave in every way, and at random times the relay or
the client is stopped, the client's connection cut, junk multicast; in the first half the relay is killed
and restarted.

All comparisons are exact.

`Ordinary` is the same without faults: what happens on a day when all is well.
"""

import argparse
import functools
import json
import random
import signal
import statistics
import sys
import tempfile
import time

from matrix.bench import PORT, Bench, MiB, descriptors, kill, memory, wait, wait_until

RATES = (200, 500, 1000, 2000)
FAULTS = (
    {},
    {"loss": 0.01},
    {"loss": 0.3},
    {"duplicate": 0.05},
    {"reorder": 0.1},
    {"truncate": 0.05},
    {"loss": 0.05, "duplicate": 0.05, "reorder": 0.05, "truncate": 0.05},
)
CALM_S = 8.0  # after a fault of the client, before the relay may be killed with what it has of history
GROWTH = 8 * MiB  # between quarters of the time, for what allocators keep
GROWTH_A_MINUTE = MiB // 2
MORE_DESCRIPTORS = 8  # the connection to history, on both sides


def has_at_most(pid, count):
    return descriptors(pid) <= count


class Soak:
    FAULTS: tuple[dict[str, float], ...] = FAULTS
    PAUSES_S = (0.2, 0.8)

    def __init__(self, bench, minutes, seed):
        self.bench, self.minutes = bench, minutes
        self.random = random.Random(seed)
        self.log = {}
        self.sent = self.runs = 0
        self.relay_drops = 0
        self.visitors = []
        self.samples = {}
        self.client_fault_s = 0.0
        bench.drop(bench.relay_host, down="udp dport 1")  # makes the table; matches nothing
        self.clear()
        self.relay = bench.start_relay(history="8MiB")
        self.client, self.witness = bench.start_monitors(), bench.start_witness()
        self.impairer = None
        self.daq = None

    def clear(self):
        self.bench.drop_no_more(self.bench.relay_host)

    # What happens

    def begin_run(self):
        """Begin a run; at its first and last readouts nothing may be lost that nothing would tell of."""
        daq = {"rate": self.random.choice(RATES), "first_serial": self.sent}
        if self.impairer is None:
            self.daq, self.impairer = self.bench.start_impaired(daq)
        else:
            through = {"to": ["127.0.0.1", 5008], "interface": None}
            self.daq = self.bench.start_daq(**through, **daq)
        self.runs += 1
        wait(0.3)

    def end_run(self):
        self.impairer.spare()
        self.sent += self.daq.stop(100)

    def impair(self):
        self.impairer.tell(
            "rates", json.dumps(self.random.choice(self.FAULTS), separators=(",", ":")), answer="impairs"
        )

    def new_run(self):
        self.end_run()
        self.begin_run()
        self.impair()

    def change_rate(self):
        self.daq.tell("rate", self.random.choice(RATES), answer="paced")

    def visit(self):
        """Let a visitor come, or one of them go: in order, killed, or killed while stopped."""
        if len(self.visitors) < 3 and (not self.visitors or self.random.random() < 0.6):
            slow_s = self.random.choice((0.0, 0.05))
            url, host = self.bench.url, self.bench.monitor_host
            self.visitors.append(self.bench.start_monitors(url, host=host, slow_s=slow_s, settle_s=0.1))
            return
        visitor = self.visitors.pop(self.random.randrange(len(self.visitors)))
        way = self.random.randrange(3)
        if way == 0:
            visitor.tell("finish", 0)
        if way == 1:
            visitor.program.send_signal(signal.SIGSTOP)
            wait(1)
        if way:
            kill(visitor.program)
        visitor.program.close()

    def stop_relay(self):
        self.relay.send_signal(signal.SIGSTOP)
        wait(self.random.uniform(0.1, 0.5))
        self.relay.send_signal(signal.SIGCONT)

    def stop_client(self):
        self.client.program.send_signal(signal.SIGSTOP)
        wait(self.random.uniform(0.5, 3))
        self.client.program.send_signal(signal.SIGCONT)
        self.client_fault_s = time.monotonic()

    def cut(self):
        self.bench.drop(self.bench.monitor_host, hook="input priority 0", cut="")
        wait(self.random.uniform(0.5, 3))
        self.bench.monitor_host.nft("delete table ip t")
        self.client_fault_s = time.monotonic()

    def junk(self):
        options = {"count": 300, "rate": 1000, "seed": self.random.randrange(1000), "good_among": 0}
        program = self.bench.start(
            self.bench.daq_host, sys.executable, "-m", "matrix.junk", json.dumps(options)
        )
        program.wait_for("result")
        program.close()

    def kill_relay(self):
        """Kill and restart it; what is sent meanwhile is dropped before its host, by nft, which counts it.

        The impairer spares for more than a second before: what a relay has counted since its last beat dies
        with it.
        """
        wait(max(0.0, self.client_fault_s + CALM_S - time.monotonic()))
        self.impairer.spare()
        wait(2.5)
        self.relay_drops += self.bench.kernel_drops(self.relay)
        host = self.bench.relay_host
        host.nft(f"add rule ip t in udp dport {PORT} counter name down drop")
        wait(0.5)
        kill(self.relay)
        self.relay.close()
        self.relay = self.bench.start_relay(history="8MiB")
        self.clear()
        wait(2.5)
        self.impair()

    # The whole

    def kills(self):
        return max(1, round(self.minutes / 2))

    def actions(self):
        return [
            self.impair, self.impair, self.change_rate, self.new_run, self.visit, self.visit, self.visit,
            self.stop_relay, self.stop_client, self.cut, self.junk,
        ]  # fmt: skip

    def run(self):
        began_s = time.monotonic()
        lasts_s = self.minutes * 60
        kills = self.kills()
        self.begin_run()
        self.descriptors = {name: descriptors(pid) for name, pid in self.pids().items()}
        actions = self.actions()
        kill_times = [lasts_s * (n + 1) / (kills + 1) * 0.6 for n in range(kills)]
        while (passed_s := time.monotonic() - began_s) < lasts_s:
            if kill_times and passed_s >= kill_times[0]:
                kill_times.pop(0)
                action = self.kill_relay
            else:
                action = self.random.choice(actions)
            self.log[action.__name__] = self.log.get(action.__name__, 0) + 1
            action()
            for name, pid in self.pids().items():
                self.samples.setdefault(name, []).append((time.monotonic() - began_s, memory(pid)))
            wait(self.random.uniform(*self.PAUSES_S))
        self.finish()

    def pids(self):
        return {
            "relay": self.relay.pid,
            "client": self.client.program.pid,
            "witness": self.witness.program.pid,
        }

    def finish(self):
        bench = self.bench
        wait(3)
        while self.visitors:
            visitor = self.visitors.pop()
            kill(visitor.program)
            visitor.program.close()
        self.end_run()
        log = self.impairer.stop()
        down = bench.nft_counter(bench.relay_host, "down")
        drops = self.relay_drops + bench.kernel_drops(self.relay)
        lost = log["loss"] + log["truncate"] + down
        self.compare_growth()
        copies = self.sent - lost + log["duplicate"]
        (got,), (direct,) = self.client.finish(copies), self.witness.finish(copies)
        bench.equal("readouts that the impairer got", log["received"], self.sent)
        bench.equal("dropped by the relay's kernel", drops, 0)
        for who, received in (("client", got), ("witness", direct)):
            rejected = "relay_rejected" if who == "client" else "client_rejected"
            bench.equal(f"{who}: readouts handed out", len(received.unique), self.sent - lost)
            bench.equal(f"{who}: copies handed out", received.doubled, log["duplicate"])
            bench.equal(f"{who}: damaged", received.corrupt, 0)
            bench.equal(f"{who}: lost", received.ledger["lost"], lost)
            bench.equal(f"{who}: delivered", received.ledger["delivered"], self.sent - lost)
            bench.equal(f"{who}: rejected", received.lost_at[rejected], log["truncate"])
            bench.equal(f"{who}: before the socket", received.lost_at["before_socket"], log["loss"] + down)
            bench.equal(f"{who}: duplicates", received.ledger["duplicates"], log["duplicate"])
            bench.equal(f"{who}: reordered", received.ledger["reordered"], log["behind"])
            bench.equal(f"{who}: late", received.ledger["late"], 0)
            bench.equal(f"{who}: runs", received.ledger["runs"], self.runs)
            bench.equal(f"{who}: strays", received.ledger["stray"], 0)
        bench.equal("client: restarts", got.ledger["restarts"], self.log.get("kill_relay", 0))
        bench.no_crash()
        bench.equal("exit code of the relay", self.relay.stop(), 0)
        bench.injected = (
            f"{self.sent} readouts in {self.runs} runs; {log['loss']} lost, {log['truncate']} cut,"
            f" {log['duplicate']} doubled, {log['behind']} behind, {down} without a relay; {self.log}"
        )
        bench.counted = f"client: {got.ledger['text']}; {got.ledger['recovered']} recovered"

    def compare_growth(self):
        bench = self.bench
        for name, sampled in self.samples.items():
            # The relay's from its last start on.
            samples = [size for passed_s, size in sampled if passed_s > 0.6 * self.minutes * 60]
            half = len(samples) // 2
            if half:
                grown = statistics.median(samples[half:]) - statistics.median(samples[:half])
                bound = GROWTH + GROWTH_A_MINUTE * self.minutes
                bench.true(
                    f"{name} grew by {grown / MiB:.1f} MiB, less than {bound / MiB:.1f}", grown < bound
                )
        for name, pid in self.pids().items():
            most = self.descriptors[name] + MORE_DESCRIPTORS * (name != "witness")
            try:
                wait_until(functools.partial(has_at_most, pid, most), timeout=10)
            except AssertionError:
                bench.equal(f"{name}: open descriptors", descriptors(pid), f"at most {most}")


class Ordinary(Soak):
    """What nobody is to be alarmed about: readouts out of order, clients of all sorts, a DAQ at rest.

    What an operator should hear of is left out: readouts that are lost, damaged or duplicated, what others
    multicast to the group, and a relay that is restarted.
    """

    FAULTS = ({}, {"reorder": 0.1})
    PAUSES_S = (1.0, 5.0)  # a host that stops a relay more often than once in half a minute is not well

    def kills(self):
        return 0

    def actions(self):
        return [
            self.impair, self.change_rate, self.new_run, self.rest, self.visit, self.visit, self.visit,
            self.stop_relay, self.stop_client, self.cut, self.reload,
        ]  # fmt: skip

    def rest(self):
        """Let no run follow for a while: up to two minutes in a soak of an hour."""
        self.end_run()
        wait(self.random.uniform(0, 2 * self.minutes))
        self.begin_run()
        self.impair()

    def reload(self):
        self.relay.send_signal(signal.SIGHUP)


def soak(minutes, seed, tree=None):
    """Run a soak; return its bench with the comparisons."""
    with tempfile.TemporaryDirectory() as directory, Bench(directory, tree=tree, seed=seed) as bench:
        Soak(bench, minutes, seed).run()
    return bench


def say(bench):
    """Print what a soak found; return whether anything was wrong."""
    print("injected:", bench.injected)
    print("counted:", bench.counted)
    for what, counted, injected in bench.failures:
        print(f"RED: {what}: counted {counted}, injected {injected}")
    print(f"{len(bench.checks) - len(bench.failures)} of {len(bench.checks)} comparisons are equal")
    return bool(bench.failures)


def main():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return say(soak(options.minutes, options.seed))


if __name__ == "__main__":
    sys.exit(main())
