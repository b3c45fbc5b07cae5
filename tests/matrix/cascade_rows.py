"""The rows of relays behind relays: each hop killed, stopped, cut and impaired; a diamond; a loop of three.

DAQ, first, second and third relay, monitor: each shares a LAN with its neighbours alone.
"""

import itertools
import json
import signal

from matrix.bench import PORT, RELAY, kill, wait, wait_until
from matrix.rows import NUMBERED, nothing_but, row

UPSTREAM = "astropix_relay/upstream.py"
FORWARDING = "astropix_relay/forwarding.py"
HOPS = "astropix_stream/counting/hops.py"
GROUP = f"239.1.1.1:{PORT}"


class Cascade:
    """The relays of a row, each on a host of its own, by name."""

    def __init__(self, bench, history="64MiB"):
        self.bench, self.history = bench, history
        self.hosts = {"first": bench.relay_host}
        self.running = {}

    def host(self, name, *lans):
        host = self.hosts.setdefault(name, self.bench._lab.host(name))
        for lan in lans:
            lan.connect(host)
        return host

    def lan(self):
        return self.bench._lab.lan()

    def url(self, name):
        return f"tcp://{self.hosts[name].nics[-1].address}:5556"

    def start(self, name, stream, *outputs):
        config = {
            "streams": [stream],
            "outputs": list(outputs),
            "publish": {"endpoint": self.url(name)},
            "history": {"size": self.history},
        }
        file = self.bench.directory / f"{name}.json"
        file.write_text(json.dumps(config))
        return self.start_again(name)

    def start_again(self, name):
        file = self.bench.directory / f"{name}.json"
        self.running[name] = self.bench.start(self.hosts[name], RELAY, "run", "--config", file)
        self.running[name].wait_for("publishing")
        return self.running[name]

    def stop(self):
        for name in reversed(self.running):
            self.bench.stop_relay(self.running[name])


def in_a_row(bench, **options):
    """Start first - second - third, and a monitor behind the third; return both."""
    cascade = Cascade(bench, **options)
    middle, far = cascade.lan(), cascade.lan()
    cascade.host("second", bench.back, middle)
    cascade.host("third", middle, far)
    far.connect(bench.monitor_host)
    cascade.start("first", {"interface": "eth0"})
    cascade.start("second", {"from": [cascade.url("first")]})
    cascade.start("third", {"from": [cascade.url("second")]})
    return cascade, bench.start_monitors(cascade.url("third"))


def all_came(bench, cascade, got, sent, *, alone=True):
    bench.all_delivered(got, sent)
    nothing_but(bench, "client", got)
    bench.equal("hops that lost something", got.ledger.get("hops", {}), {})
    bench.counted = "0 lost, 1 run, no restart: every number as the first relay gave it"
    cascade.stop()


@row(
    "cascade: the relay in the middle killed and restarted",
    UPSTREAM,
    """start = self._position or ("oldest" if self._oldest else "live")""",
    """start = self._position or "live\"""",
)
def middle_killed(bench):
    cascade, client = in_a_row(bench)
    daq = bench.start_daq(rate=1000)
    times = bench.long(5, 2)
    for _ in range(times):
        wait(0.7)
        kill(cascade.running["second"])
        wait(0.5)
        cascade.start_again("second")
        wait(2)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"second of three relays killed {times} times for 0.5 s; {sent} readouts sent"
    bench.recovered = "all: the second's history is filled from the first, the third asks it"
    all_came(bench, cascade, got, sent)


@row(
    "cascade: the last relay killed and restarted",
    FORWARDING,
    "                self.history.append(header, batch.payload)",
    "                pass",
)
def last_killed(bench):
    cascade, client = in_a_row(bench)
    daq = bench.start_daq(rate=1000)
    wait(0.7)
    kill(cascade.running["third"])
    wait(1)
    cascade.start_again("third")
    wait(3)
    late = bench.start_monitors(cascade.url("third"), receiver={"start": "oldest"})
    sent = daq.stop()
    (got,), (old,) = client.finish(sent), late.finish(sent)
    bench.injected = f"third of three relays killed for 1 s; {sent} readouts sent"
    bench.equal("a late reader is handed", len(old.unique), sent)
    bench.equal("recovered, by the late reader", old.ledger["recovered"] > 0, True)
    bench.recovered = "all: from the histories above, hop by hop"
    all_came(bench, cascade, got, sent)


@row(
    "cascade: the first relay killed and restarted",
    NUMBERED,
    "missing = (ahead - 1) // self.readouts.stride - self.missed",
    "missing = ahead // self.readouts.stride - self.missed",
)
def first_killed(bench):
    cascade, client = in_a_row(bench)
    daq = bench.start_daq(rate=1000)
    wait(1)
    kill(cascade.running["first"])
    wait(0.5)
    cascade.start_again("first")
    wait(3)
    sent = daq.stop()
    (got,) = client.finish(0)
    lost = sent - len(got.unique)
    bench.injected = f"first of three relays killed for 0.5 s; {lost} of {sent} readouts went to nobody"
    bench.true("some were", lost > 0)
    bench.equal("before the socket", got.lost_at["before_socket"], lost)
    bench.equal("damaged, or twice", (got.corrupt, got.doubled), (0, 0))
    nothing_but(bench, "client", got, lost=lost, restarts=1)
    bench.counted = f"{lost} before the socket, 1 restart, at the third hop"
    bench.recovered = "no: UDP"
    cascade.stop()


@row(
    "cascade: relays stopped for 3 s",
    "astropix_stream/relay/recovery.py",
    "return self._enabled and self.port is not None",
    "return False",
)
def stopped(bench):
    cascade, client = in_a_row(bench)
    daq = bench.start_daq(rate=2000)
    for name in ("second", "third"):
        wait(0.5)
        cascade.running[name].send_signal(signal.SIGSTOP)
        wait(bench.long(8, 3))
        cascade.running[name].send_signal(signal.SIGCONT)
        wait(1)
    bench.drop(cascade.hosts["second"], lost="tcp sport 5556 numgen random mod 10 < 9")
    wait(2)
    bench.drop_no_more(cascade.hosts["second"])
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"second and third stopped, 90 % of a line's packets lost for 2 s; {sent} readouts sent"
    bench.recovered = "all: from queues and histories"
    all_came(bench, cascade, got, sent)


@row(
    "cascade: each line cut, without history",
    HOPS,
    "count = hop.lost.get(Place.BETWEEN_RELAYS.key, 0) - self._before[hop.id]",
    "count = hop.lost.get(Place.BETWEEN_RELAYS.key, 0) - self._before[hop.id] - 1",
)
def lines_cut(bench):
    cascade, client = in_a_row(bench, history=0)
    daq = bench.start_daq(rate=500)
    lost = {}
    before = 0
    for upper, lower in (("first", "second"), ("second", "third")):
        wait(1)
        line = cascade.hosts[lower].nics[0]
        line.down()
        for one, other in ((upper, lower), (lower, upper)):  # what is on its way in the sockets is gone, too
            address = cascade.hosts[other].nics[0 if other == lower else -1].address
            cascade.hosts[one].run(f"ss -K dst {address}")
        wait(1)
        line.up()
        wait(8)  # until both have noticed that the connection is gone, and made another one
        lost[upper, lower] = before
    sent = daq.stop()
    (got,) = client.finish(0)
    missing = sent - len(got.unique)
    hops = got.ledger.get("hops", {})
    names = [f"between {cascade.url(one)} and {cascade.url(other)}" for one, other in lost]
    bench.injected = f"both lines between three relays cut for 1 s; {missing} of {sent} readouts lost there"
    bench.equal("the hops that are named", sorted(hops), sorted(names))
    bench.true("some were lost on each", all(count > 100 for count in hops.values()))
    bench.equal("between relays", got.lost_at["between_relays"], missing)
    bench.equal("by hop, together", sum(hops.values()), missing)
    bench.equal("by hop, in each relay's heartbeat", hop_losses(got), [hops.get(name) for name in names])
    bench.equal("gaps between serials", gaps(got.serials), [hops.get(name) for name in names])
    nothing_but(bench, "client", got, lost=missing)
    bench.counted = (
        f"{missing} between relays: {', '.join(str(hops.get(name)) for name in names)}, each at its hop"
    )
    bench.recovered = "no: no history"
    cascade.stop()


def hop_losses(got):
    return [hop["lost"].get("between_relays", 0) for hop in got.report["hops"][1:]]


def gaps(serials):
    steps = (b - a - 1 for a, b in itertools.pairwise(serials))
    return [step for step in steps if step]


@row(
    "cascade: a diamond, each side killed in turn",
    UPSTREAM,
    "        for url in self.config.upstreams:",
    "        for url in self.config.upstreams[:1]:",
)
def diamond(bench):
    cascade = Cascade(bench)
    middle, far = cascade.lan(), cascade.lan()
    for name in ("left", "right"):
        cascade.host(name, bench.back, middle)
    cascade.host("last", middle, far)
    far.connect(bench.monitor_host)
    cascade.start("first", {"interface": "eth0"})
    for name in ("left", "right"):
        cascade.start(name, {"from": [cascade.url("first")]})
    cascade.start("last", {"from": [cascade.url("left"), cascade.url("right")]})
    client = bench.start_monitors(cascade.url("last"))
    daq = bench.start_daq(rate=1000)
    times = bench.long(5, 1)
    for name in ("left", "right") * times:
        wait(0.7)
        kill(cascade.running[name])
        wait(0.3)
        cascade.start_again(name)
        wait(1.5)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"two ways from the first relay to the last, each killed {times}x; {sent} readouts sent"
    bench.recovered = "by the other way"
    bench.equal("hops", len(got.report["hops"]), 4)
    all_came(bench, cascade, got, sent)


@row(
    "cascade: a loop of three relays",
    "astropix_relay/outlet.py",
    "            and source.address in self._addresses",
    "            and False",
)
def loop(bench):
    """The third relay multicasts what it gets from the second to the group that the first has joined."""
    cascade = Cascade(bench)
    middle = cascade.lan()
    cascade.host("second", bench.back, middle)
    cascade.host("third", bench.front, middle)
    cascade.start("first", {"interface": "eth0"})
    cascade.start("second", {"from": [cascade.url("first")]})
    address = bench.front[cascade.hosts["third"]].address
    match = f"ip saddr {address} udp dport {PORT}"
    bench.relay_host.nft(
        f"table ip t {{\ncounter extra {{}}\nchain in {{\ntype filter hook prerouting priority 0\n"
        f"{match} counter name extra\n}}\n}}\n"
    )
    client = bench.start_monitors()
    daq = bench.start_daq(rate=1000)
    wait(1)
    third = cascade.start(
        "third", {"from": [cascade.url("second")]}, {"multicast": GROUP, "interface": "eth0"}
    )
    if not bench.broken:
        third.wait_for("stops: a loop")
    wait(1.5)
    extra = bench.nft_counter(bench.relay_host, "extra")
    wait(2)
    later = bench.nft_counter(bench.relay_host, "extra")
    bench.true("fewer than 100", extra < 100)
    if extra > 1000:  # as long as it goes round, nobody can count anything else
        kill(third)
        return
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"the third relay's output feeds the first; {extra} of {sent} readouts came back (nft)"
    bench.true("some came back", extra > 0)
    bench.equal("and none later", later, extra)
    bench.equal("readouts handed out", len(got.unique), sent)
    bench.equal("copies handed out", got.doubled, extra)
    bench.equal("lost", got.ledger["lost"], 0)
    words = f"output to {GROUP} stops: a loop: what we send to {GROUP} comes back in stream astropix, with"
    bench.true("the words", f"{words} {address}:" in third.stderr)
    bench.counted = f"{extra} copies, then silence: 'stops: a loop: what we send to {GROUP} comes back'"
    bench.recovered = "the stream goes on"
    cascade.stop()


__all__ = ["Cascade", "in_a_row", "wait_until"]
