"""A relay that is attacked, and what a good subscriber beside the attackers got.

It loses nothing and waits for no readout much longer than a subscriber of a second relay, which nobody
attacks; no turn of the loop is longer than 50 ms. Once the attackers have left, the relay gives their memory
back; when they are there again, it stops within a second. All but the attackers run at a higher priority:
what an attack is to take is the relay's time, and not the processors of this machine, which has others to
serve.
"""

import contextlib
import functools
import statistics
import time
from collections import Counter
from contextlib import contextmanager

from matrix.bench import Child, Died, MiB, memory, prefer, wait, wait_until

RATE_HZ = 500
P99_MS = 20  # or three times that of the relay that nobody attacks, where the machine is busy with others
STOP_S = 1.0
RETURNED = 10 * MiB  # more than the relay that nobody attacks has grown by, which has the same history
RETURNED_S = 5.0
AGAIN_S = 0.5
PRIORITY = -15
SECURITY = "security: {{client_keys: {0}/clients, secret_key: {0}/relay.key_secret}}\n"


class Scene:
    """A relay, a good subscriber and a DAQ; beside them the same without an attack; and how they fared."""

    def __init__(self, bench, *, curve=None, rate=RATE_HZ, size=100, more="", **options):
        self.bench = bench
        self.watchdog = bench.directory / "watchdog"
        self.keys, url = [], bench.url
        if curve:
            more += SECURITY.format(bench.directory)
            self.keys, url = self.make_keys(curve)
        env = {"APX_WATCHDOG": str(self.watchdog), **options.pop("env", {})}
        other = bench.add_relay_host()
        self.relay = bench.start_relay(env=env, more=more, **options)
        self.other = bench.start_relay(other, more=more)
        self.url = url
        beside = url.replace(bench.relay_host.nics[1].address, other.nics[1].address)
        self.clients = [bench.start_monitors(one, latency=True, settle_s=1.0) for one in (url, beside)]
        self.daq = bench.start_daq(rate=rate, size=size)
        for program in (self.relay, self.other, self.daq.program, *(c.program for c in self.clients)):
            prefer(program, PRIORITY)
        wait(bench.long(3, 1.5))
        self.before, self.other_before = memory(self.relay.pid), memory(self.other.pid)
        self.log = Counter()
        for client in self.clients:
            client.tell("mark")

    def make_keys(self, curve):
        """Return the attackers' keys, on the list or a stranger's, and the good one's URL."""
        pairs = self.bench.write_keys("relay", "good", "listed", "stranger")
        directory = self.bench.directory
        (directory / "clients").mkdir()
        for name in ("good", "listed"):
            (directory / "clients" / f"{name}.key").write_text((directory / f"{name}.key").read_text())
        url = f"{self.bench.url}?server_key={directory}/relay.key&key_file={directory}/good.key_secret"
        return [pairs["relay"][0], *pairs[curve]], url

    def attack(self, kind, *, host=None, port=5556, **options):
        """Start attackers; they go on until they are told otherwise."""
        host = host or self.bench.monitor_host
        nic = self.bench.relay_host.nics[0 if host is self.bench.daq_host else 1]
        given = {"endpoint": f"tcp://{nic.address}:{port}", "attack": kind, "curve": self.keys}
        return self.bench.start_module(host, "attacker", "attacking", Child, **given, **options)

    def stop(self, relay):
        """Stop a relay; return how long that took."""
        began_s = time.monotonic()
        try:
            code = relay.stop()
        except AssertionError:
            code = "still runs"
        self.bench.equal("exit code of the relay", code, 0)
        return time.monotonic() - began_s

    def kept(self):
        """Return how much more the relay has grown by than the other one."""
        grown = memory(self.relay.pid) - self.before
        return grown - max(0, memory(self.other.pid) - self.other_before)

    def p99_ms(self, got):
        """Return the 99th percentile of how late readouts came; in the short form, that of most seconds.

        There a single pause of the machine's own is more than a hundredth of the time.
        """
        return statistics.median(got.p99_apart_ms) if self.bench.quick else got.p99_ms[-1]

    def leave(self, attackers):
        """Let attackers leave, and add up what they did."""
        attackers.tell("end")
        self.log.update(attackers.result())

    def compare_kept(self):
        """Compare what the relay keeps of an attack that is over."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.kept() <= RETURNED, timeout=RETURNED_S)
        kept = self.kept() / MiB
        self.bench.true(f"{kept:.1f} MiB kept, at most {RETURNED / MiB:.0f}", kept <= RETURNED / MiB)
        return kept

    def end(self, attackers, begin, kind, *, prompt=True):
        """Let the attackers leave, and come again for the relay's end; compare how the good ones fared.

        `begin` starts them again. What is sent may come late if it is not `prompt`.
        """
        bench = self.bench
        sent = self.daq.stop()
        (got,), (beside,) = (client.finish(sent) for client in self.clients)
        if self.relay.process.poll() is not None:
            raise Died(f"the relay died: {self.relay.stderr.splitlines()[-1]}")
        self.peak = memory(self.relay.pid, "VmHWM") - self.before
        self.leave(attackers)
        kept = self.compare_kept()
        attackers = begin()
        wait(AGAIN_S)
        stopped_s, calm_s = (self.stop(relay) for relay in (self.relay, self.other))
        self.leave(attackers)
        bench.all_delivered(got, sent)
        bench.equal("lost, by place", dict(+got.lost_at), {})
        bench.equal("turns longer than 50 ms", self.watchdog.read_text().splitlines()[:3], [])
        p99, calm = (self.p99_ms(one) for one in (got, beside))
        if prompt:
            within = p99 <= max(P99_MS, 3 * calm)
            bench.true(f"p99 of {p99:.1f} ms, {calm:.1f} where nobody attacks", within)
        bench.true(
            f"it stopped in {stopped_s:.2f} s, {calm_s:.2f} where nobody attacks",
            stopped_s <= max(STOP_S, 3 * calm_s),
        )
        bench.injected = f"{kind}: {self.log['connections']} connections"
        bench.counted = f"0 lost of {sent}; p99 {p99:.1f} ms, {calm:.1f} where nobody attacks"
        bench.counted += f"; the relay grew by {self.peak / MiB:.0f} MiB, and kept {max(0, kept):.0f}"
        bench.recovered = "not needed"

    def grew_at_most(self, size):
        self.bench.true(f"grew by {self.peak / MiB:.1f} MiB, at most {size}", self.peak <= size * MiB)


@contextmanager
def under_attack(bench, kind, *, port=5556, host=None, attacker=None, seconds=None, prompt=True, **options):
    """Run a scene under an attack."""
    scene = Scene(bench, **options)
    begin = functools.partial(scene.attack, kind, port=port, host=host, **(attacker or {}))
    attackers, began_s = begin(), time.monotonic()
    yield scene
    wait(max(0.0, (seconds or bench.long(60, 4)) - (time.monotonic() - began_s)))
    scene.end(attackers, begin, kind, prompt=prompt)
