"""The bridge and the log: CPU beside a plain publisher, latency, highest rate, replay, cost of syncing."""

import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager

from bench.chain import TESTS, Relay, blast, cpu_s, peer
from bench.rows import Row
from logs import Server, bridge
from programs import Program

_LIMITS = {1_000: 1.0, 50_000: 0.1}  # of a plain publisher's CPU, by rate
_LEAST_HZ, _REPLAY_HZ = 100_000, 300_000
_BATCH_MS = 20.0


def log_peer(*words):
    """Start one of `log_peers`."""
    return Program(sys.executable, "-m", "bench.log_peers", *words, env={"PYTHONPATH": str(TESTS)})


@contextmanager
def running(directory, *, server_more=""):
    """A relay, a server and a bridge between them, with a directory of their own."""
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir=directory))
        relay = stack.enter_context(Relay("ours", place))
        server = Server(place)
        server.jetstream = f"max_file: 8G{server_more}"
        stack.enter_context(server)
        program = stack.enter_context(bridge(place, relay.address.endpoint, server.url))
        program.wait_for("made APX_bench")
        yield relay, server, program


def stored(server, count, timeout_s=60.0):
    """Wait until so many readouts are stored; return how many are."""
    with log_peer("stored", server.url, count, timeout_s) as program:
        program.wait(timeout=timeout_s + 20)
        return int(program.stdout.split()[-1])


def cpu(scale, directory):
    """CPU a readout of the bridge, beside a plain publisher of single readouts with nats-py."""
    rows = []
    with running(directory) as (relay, server, program):
        with log_peer("publish", relay.address.endpoint, server.url) as plain:
            plain.wait_for("ready")
            for rate in (scale.slow_hz, scale.fast_hz):
                most = _LIMITS.get(rate)
                row = Row("bridge, CPU a readout, 35 bytes", "plain nats-py", "us", "", most=most)
                row.limit, row.note = "" if most is None else f"≤ {most:g} ×", f"{rate:,}/s"
                count = max(2, round(rate * scale.seconds))
                for _ in range(scale.rounds):
                    ours, theirs = cpu_s(program.pid), cpu_s(plain.pid)
                    blast(relay.address, count, 35, rate)
                    taken = log_peer_count(plain, count)
                    row.ours.append((cpu_s(program.pid) - ours) / count * 1e6)
                    row.theirs.append((cpu_s(plain.pid) - theirs) / max(1, taken) * 1e6)
                rows.append(row)
    return rows


def log_peer_count(plain, count):
    """Wait until the plain publisher has what was sent, or has been quiet; return how many it has stored."""
    plain.write(f"{count}\n")
    return int(plain.wait_for("published", 120).split()[-1])


def latency(scale, directory):
    """How much later a readout comes from the log than from multicast."""
    last = Row("added latency, relay, bridge and log, 99th percentile", "", "ms", "", most=_BATCH_MS + 10)
    last.limit, last.note = f"≤ {_BATCH_MS + 10:g} ms", f"{scale.lone_hz}/s, batch {_BATCH_MS:g} ms"
    count = max(100, round(scale.lone_hz * scale.lone_seconds))
    with running(directory) as (relay, server, _):
        for _ in range(scale.rounds):
            with peer("late", "receiver", f"{server.url}?start=live&stream=bench", count) as receiver:
                receiver.wait_for("ready")
                blast(relay.address, count, 35, scale.lone_hz)
                receiver.wait(timeout=60)
                last.ours.append(float(receiver.stdout.split()[-1]))
    return [last]


def highest_rate(scale, directory):
    """The rate of a burst, of which nothing is missing in the log."""
    row = Row("bridge, rate of a burst that is stored whole", "", "/s", "", least=_LEAST_HZ)
    row.limit, row.note = f"≥ {_LEAST_HZ:,}/s", f"{scale.burst:,} readouts, one node"
    with running(directory) as (relay, server, _):
        for n in range(1, scale.rounds + 1):
            with log_peer("stored", server.url, n * scale.burst, 60.0) as program:
                program.wait_for("ready")
                began = time.monotonic()
                blast(relay.address, scale.burst, 35, scale.fast_hz * 3)
                program.wait(timeout=80)
                whole = int(program.stdout.split()[-1]) >= n * scale.burst
                row.ours.append(scale.burst / (time.monotonic() - began) if whole else 0.0)
    return [row]


def replay(scale, directory):
    """Readout objects a second from the log."""
    row = Row("log, replay into readout objects", "", "/s", "", least=_REPLAY_HZ)
    row.limit, row.note = f"≥ {_REPLAY_HZ:,}/s", f"{scale.burst:,} readouts of 35 bytes"
    with running(directory) as (relay, server, _):
        blast(relay.address, scale.burst, 35, scale.fast_hz)
        count = stored(server, scale.burst)
        for _ in range(scale.rounds):
            with log_peer("replay", f"{server.url}?start=oldest&stream=bench", count) as program:
                program.wait(timeout=120)
                row.ours.append(float(program.stdout.split()[-1]))
    return [row]


def sync(scale, directory):
    """CPU of bridge and server where each message is on disk before it is acknowledged, and by default."""
    rows = []
    for rate in (scale.slow_hz, scale.fast_hz):
        for name in ("bridge", "nats-server"):
            row = Row(f"{name}, CPU a readout, sync_interval: always", "2 min", "us", "")
            row.note = f"{rate:,}/s"
            rows.append(row)
    for more, figures in ((", sync_interval: always", "ours"), ("", "theirs")):
        with running(directory, server_more=more) as (relay, server, program):
            for i, rate in enumerate((scale.slow_hz, scale.fast_hz)):
                count = max(2, round(rate * scale.seconds))
                for _ in range(scale.few_rounds):
                    before = cpu_s(program.pid), cpu_s(server.program.pid)
                    blast(relay.address, count, 35, rate)
                    time.sleep(0.2)
                    after = cpu_s(program.pid), cpu_s(server.program.pid)
                    for j in (0, 1):
                        getattr(rows[2 * i + j], figures).append((after[j] - before[j]) / count * 1e6)
    return rows
