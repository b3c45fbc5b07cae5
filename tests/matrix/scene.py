"""A relay that is attacked, and what a good subscriber beside the attackers got.

It loses nothing and waits for no readout much longer than a subscriber of a second relay, which nobody
attacks; no turn of the loop is longer than 50 ms, and the relay stops within a second in mid-attack. All but
the attackers run at a higher priority: what an attack is to take is the relay's time, and not the processors
of this machine, which has others to serve.
"""

import time
from collections import Counter
from contextlib import contextmanager

from matrix.bench import Child, MiB, memory, prefer, wait

RATE_HZ = 500
# Or three times that of the relay that nobody attacks. In the short form a single pause of the machine's own
# is more than a hundredth of the time.
P99_MS, P99_MS_SHORT = 20, 100
STOP_S = 1.0
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
        self.clients = [bench.start_monitors(one, latency=True) for one in (url, beside)]
        self.daq = bench.start_daq(rate=rate, size=size)
        for program in (self.relay, self.other, self.daq.program, *(c.program for c in self.clients)):
            prefer(program, PRIORITY)
        wait(bench.long(3, 1.5))
        self.before = memory(self.relay.pid)
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

    def end(self, attackers, kind, *, prompt=True):
        """Stop the relay in mid-attack, and compare; what is sent may come late if it is not `prompt`."""
        bench = self.bench
        sent = self.daq.stop()
        (got,), (beside,) = (client.finish(sent) for client in self.clients)
        self.peak = memory(self.relay.pid, "VmHWM") - self.before
        stopped_s, calm_s = (self.stop(relay) for relay in (self.relay, self.other))
        self.log = Counter()
        for one in attackers:
            one.tell("end")
            self.log.update(one.result())
        bench.all_delivered(got, sent)
        bench.equal("lost, by place", dict(+got.lost_at), {})
        bench.equal("turns longer than 50 ms", self.watchdog.read_text().splitlines()[:3], [])
        p99, calm = got.p99_ms[-1], beside.p99_ms[-1]
        most = max(bench.long(P99_MS, P99_MS_SHORT), 3 * calm)
        if prompt:
            bench.true(f"p99 of {p99:.1f} ms, {calm:.1f} where nobody attacks", p99 <= most)
        bench.true(
            f"it stopped in {stopped_s:.2f} s, {calm_s:.2f} where nobody attacks",
            stopped_s <= max(STOP_S, 3 * calm_s),
        )
        bench.injected = f"{kind}: {self.log['connections']} connections"
        bench.counted = f"0 lost of {sent}; p99 {p99:.1f} ms, {calm:.1f} where nobody attacks"
        bench.counted += f"; the relay grew by {self.peak / MiB:.0f} MiB"
        bench.recovered = "not needed"

    def grew_at_most(self, size):
        self.bench.true(f"grew by {self.peak / MiB:.1f} MiB, at most {size}", self.peak <= size * MiB)


@contextmanager
def under_attack(bench, kind, *, port=5556, host=None, attacker=None, seconds=None, prompt=True, **options):
    """Run a scene under an attack."""
    scene = Scene(bench, **options)
    attackers = scene.attack(kind, port=port, host=host, **(attacker or {}))
    began_s = time.monotonic()
    yield scene
    wait(max(0.0, (seconds or bench.long(60, 5)) - (time.monotonic() - began_s)))
    scene.end([attackers], kind, prompt=prompt)
