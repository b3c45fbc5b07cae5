"""Rows of `make faults` in which clients attack the relay, or its log is blocked, and a subscriber counts.

In each the good subscriber loses nothing, no turn of the loop is longer than 50 ms, and memory stays in
bounds.
The attackers are on the good subscriber's own host, or, where a row needs a newcomer, on the DAQ's.
"""

import os
from contextlib import contextmanager

from matrix.bench import RELAY, Child, MiB, descriptors, memory, wait
from matrix.rows import Broken, row

GUARD = "astropix_relay/clients/guard.py"
GATE = "astropix_relay/clients/gate.py"
CONNECTIONS = "astropix_relay/clients/connections.py"
LIMIT_S = 0.05
RATE_HZ = 500


@contextmanager
def under_attack(bench, kind, *, host=None, port=5556, size=100, relay=None, **options):
    """Run a relay, a good subscriber and attackers; compare what the subscriber got with what was sent."""
    relay = relay or bench.start_relay(env={"APX_WATCHDOG": str(LIMIT_S)})
    client = bench.start_monitors()
    daq = bench.start_daq(rate=RATE_HZ, size=size)
    wait(0.5)
    before = memory(relay.pid)
    seconds = bench.long(60, 6)
    host = host or bench.monitor_host
    nic = bench.relay_host.nics[0 if host is bench.daq_host else 1]
    endpoint = f"tcp://{nic.address}:{port}"
    attackers = bench.start_module(
        host, "attacker", "attacking", Child, endpoint=endpoint, attack=kind, seconds=seconds, **options
    )
    yield relay, attackers
    log = attackers.result(seconds + 60)
    sent = daq.stop()
    (got,) = client.finish(sent)
    peak = memory(relay.pid, "VmHWM") - before
    bench.all_delivered(got, sent)
    bench.equal("reconnected", got.ledger["restarts"], 0)
    bench.equal("turns longer than 50 ms", [x for x in relay.stderr.splitlines() if "a turn took" in x], [])
    bench.injected = (
        f"{options.get('clients', 8)} clients, {kind}, {seconds} s: {log['connections']} connections"
    )
    bench.counted = f"0 lost of {sent}; the relay grew by {peak / MiB:.0f} MiB at most"
    bench.recovered = "not needed"
    bench.peak = peak
    bench.stop_relay(relay)


def flood(name, kind):
    @row(
        f"attack: {name}",
        GUARD,
        "        if sent > allowed:",
        "        if sent > allowed + (1 << 40):",
        # Without the guard these alone keep a storm within bounds; so they are broken, too.
        also=(
            Broken(
                "astropix_relay/clients/publisher.py", "_INCOMING_MESSAGES = 16", "_INCOMING_MESSAGES = 0"
            ),
            Broken(CONNECTIONS, "CLIENT_RECEIVE_BUFFER = 4 << 10", "CLIENT_RECEIVE_BUFFER = 4 << 20"),
        ),
    )
    def attack(bench):
        with under_attack(bench, kind):
            pass
        bench.true(f"grew by {bench.peak / MiB:.0f} MiB, at most 64", bench.peak <= 64 * MiB)

    return attack


flood("messages of endless frames", "endless")
flood("random topics", "topics")
flood("subscribe and unsubscribe", "storm")


@row(
    "attack: silent connections to the limit of descriptors",
    GATE,
    "        if too_many <= 0:",
    "        if too_many <= 1 << 40:",
    also=(Broken(GUARD, "if error.errno in (errno.EMFILE, errno.ENFILE):", "if error.errno == -1:"),),
)
def silent(bench):
    config = bench.directory / "few.yaml"
    config.write_text("streams: [{interface: eth0}]\npublish: {endpoint: 'tcp://*:5556'}\n")
    limited = ("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", RELAY, "run", "--config", config)
    relay = bench.start(bench.relay_host, *limited, env={"APX_WATCHDOG": str(LIMIT_S)})
    relay.wait_for("publishing")
    with under_attack(bench, "silent", relay=relay, clients=1, host=bench.daq_host):
        wait(2)
        newcomer = bench.start_monitors()
        most = max(descriptors(relay.pid) for _ in range(50))
        bench.true(f"{most} descriptors of 1024: some are left", most < 1000)
        newcomer.tell("finish", 0)
    bench.true(f"grew by {bench.peak / MiB:.0f} MiB, at most 32", bench.peak <= 32 * MiB)


@row(
    "attack: 62 clients ask history and never read",
    "astropix_relay/clients/archive.py",
    "            self.unwanted += 1\n            return 0",
    "            self.unwanted += 1\n            return 1 << 20",
)
def greedy(bench):
    with under_attack(bench, "greedy", port=5557, clients=62, size=20_000, host=bench.daq_host):
        wait(2)
        code = (
            "import sys, time\n"
            "from astropix_stream.fmt import AstroPix4Readout\n"
            "from astropix_stream.relay import RelayReceiver\n"
            "began = time.monotonic()\n"
            "receiver = RelayReceiver(AstroPix4Readout, sys.argv[1], start='oldest', timeout=10)\n"
            "while time.time_ns() - receiver.receive().timestamp > 200e6:\n    pass\n"
            "print(time.monotonic() - began, receiver.ledger.lost)\n"
        )
        took_s, lost = bench.monitor_host.python(code, bench.url).split()
        bench.equal("lost by an honest client that recovers", int(lost), 0)
        bench.true(f"it took {float(took_s):.1f} s", float(took_s) < (3 if bench.quick else 2))
    bench.true(f"grew by {bench.peak / MiB:.0f} MiB, at most 160 and history", bench.peak <= (160 + 64) * MiB)


@row(
    "stderr blocked",
    "astropix_relay/host/logs.py",
    "    stream = QueuedStream(_write_to_stderr)",
    "    stream = QueuedStream(_write_to_stderr)\n    stream.write = lambda text: os.write(2, text.encode())",
)
def stderr_blocked(bench):
    """A pipe that is full before the relay starts, and that nobody reads."""
    fifo = bench.directory / "stderr"
    os.mkfifo(fifo)
    full = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        while True:
            os.write(full, b"x" * 4096)
    except BlockingIOError:
        pass
    config = bench.directory / "blocked.yaml"
    config.write_text(
        "streams: [{interface: eth0}]\npublish: {endpoint: 'tcp://*:5556'}\nlog: {level: debug}\n"
    )
    relay = bench.start(
        bench.relay_host, "sh", "-c", 'exec "$@" 2>"$0"', fifo, RELAY, "run", "--config", config
    )
    try:
        try:
            client = bench.start_monitors()
        except AssertionError:
            bench.true("a subscriber is served", False)
            return
        daq = bench.start_daq(rate=RATE_HZ)
        wait(bench.long(60, 4))
        sent = daq.stop()
        (got,) = client.finish(sent)
        bench.all_delivered(got, sent)
        bench.stop_relay(relay)
    finally:
        os.close(full)
    bench.injected = "standard error is a full pipe that nobody reads, from the start to the end"
    bench.counted = f"0 lost of {sent}"
    bench.recovered = "not needed"
