"""Rows of `make faults` in which clients attack the relay, and a subscriber counts.

The attackers are on the good subscriber's own host, or, where a row needs a newcomer, on the DAQ's.
"""

import contextlib
import sys
import time

from matrix.bench import MiB, descriptors, kernel_memory, memory, prefer, wait
from matrix.rows import Broken, row
from matrix.scene import PRIORITY, under_attack

GUARD = "astropix_relay/clients/guard.py"
GATE = "astropix_relay/clients/gate.py"
LIMITS = "astropix_relay/clients/limits.py"
ARCHIVE = "astropix_relay/clients/archive.py"
PUBLISHER = "astropix_relay/clients/publisher.py"
CONNECTIONS = "astropix_relay/clients/connections.py"
METRICS_SERVER = "astropix_daemon/metrics_server.py"
NO_GUARD = (
    Broken(GUARD, "        if sent > allowed:", "        if sent > allowed + (1 << 40):"),
    # Without the guard these alone keep a storm within bounds; so they are broken, too.
    Broken(PUBLISHER, "_INCOMING_MESSAGES = 16", "_INCOMING_MESSAGES = 0"),
    Broken(CONNECTIONS, "CLIENT_RECEIVE_BUFFER = 4 << 10", "CLIENT_RECEIVE_BUFFER = 4 << 20"),
    Broken(LIMITS, "STRANGE_TOPICS = 16", "STRANGE_TOPICS = 1 << 40"),
)
NO_LIMIT = (
    *NO_GUARD,
    Broken(PUBLISHER, "_MAX_TAKEN, _MAX_TAKEN_S = 1000, 0.005", "_MAX_TAKEN, _MAX_TAKEN_S = 10**9, 10.0"),
)
NO_LIMIT_OF_A_FRAME = (*NO_GUARD, Broken(PUBLISHER, "_MAX_INCOMING = 320", "_MAX_INCOMING = 320 << 20"))


def flood(name, kind, most=64, broken=NO_GUARD, **options):
    """Register a row: eight attackers that are back at once, with nothing else to look at."""
    first, *also = broken

    @row(f"attack: {name}", *first, also=also)
    def attack(bench):
        with under_attack(bench, kind, **options) as scene:
            pass
        scene.grew_at_most(most)
        clients = options.get("attacker", {}).get("clients", 8)
        bench.true("each was cut, or left, and came back", scene.log["connections"] > 2 * clients)

    return attack


flood("messages of endless frames", "endless")
flood("messages of endless frames, 32 bytes each", "endless, 32 bytes")
flood("endless frames at history", "history: endless, 32 bytes", port=5557)
flood("random topics", "topics")
flood("short topics", "short topics")
flood("subscribe and unsubscribe", "storm", broken=NO_LIMIT)
flood("messages of endless frames, by a key on the list", "endless", curve="listed")
flood("random topics, by a key on the list", "topics", curve="listed")
flood("subscribe and unsubscribe, by a key on the list", "storm", curve="listed", broken=NO_LIMIT)


def limit_descriptors(count):
    return ("sh", "-c", f'ulimit -n {count}; exec "$@"', "sh")


def crowd(name, kind, *broken, curve=None, attacker=None, through=(), descriptors_at_most=None):
    """Register a row of many connections: a newcomer comes in, and descriptors are left."""
    first, *also = broken

    @row(f"attack: {name}", *first, also=also)
    def attack(bench):
        options = {"clients": 1, **(attacker or {})}
        with under_attack(
            bench, kind, host=bench.daq_host, attacker=options, curve=curve, through=through
        ) as scene:
            wait(2)
            began_s = time.monotonic()
            with contextlib.suppress(AssertionError):  # it was not ready in time
                bench.start_monitors(scene.url).tell("finish", 0)
            took_s = time.monotonic() - began_s
            bench.true(f"a newcomer came in, in {took_s:.1f} s", took_s < 10)
            most = max(descriptors(scene.relay.pid) for _ in range(50))
            if descriptors_at_most:
                bench.true(f"{most} descriptors, at most {descriptors_at_most}", most <= descriptors_at_most)
        scene.grew_at_most(32)
        bench.counted += f"; a newcomer came in in {took_s:.1f} s"

    return attack


NO_ROOM = Broken(GATE, "        if too_many <= 0:", "        if too_many <= 1 << 40:")
NO_DESCRIPTOR = Broken(GUARD, "if error.errno in (errno.EMFILE, errno.ENFILE):", "if error.errno == -1:")
NO_DEADLINE = Broken(CONNECTIONS, "HANDSHAKE_MS = 3000", "HANDSHAKE_MS = 3_000_000")
SCARCE = limit_descriptors(1024)
crowd(
    "silent connections to the limit of descriptors",
    *("silent", NO_ROOM, NO_DESCRIPTOR),
    through=SCARCE,
    descriptors_at_most=1000,
)
crowd(
    "silent connections to the limit of descriptors, encrypted",
    *("silent", NO_ROOM, NO_DESCRIPTOR),
    through=SCARCE,
    curve="stranger",
    descriptors_at_most=1000,
)
crowd("5000 connections/s", "silent", NO_ROOM, attacker={"rate": 5000.0})
crowd("slow handshakes", "slow handshakes", NO_DEADLINE, NO_ROOM, through=SCARCE)
crowd(
    "slow handshakes, encrypted",
    *("slow handshakes, encrypted", NO_DEADLINE, NO_ROOM),
    through=SCARCE,
    curve="stranger",
)
crowd(
    "clients that come and go",
    *("visits", Broken(LIMITS, "_PACE_MOST, _PACE_PER_S = 64, 16", "_PACE_MOST, _PACE_PER_S = 64, 0")),
    attacker={"clients": 8},
)
flood("half frames of 4 MiB", "half frames", most=32, attacker={"clients": 40}, broken=NO_LIMIT_OF_A_FRAME)


@row(
    "attack: topics of 60 clients that leave together",
    LIMITS,
    "STRANGE_TOPICS = 16",
    "STRANGE_TOPICS = 16_000",
)
def leaving(bench):
    """In the broken copy a turn takes 100 ms where the attackers get a processor to leave at one moment."""
    with under_attack(bench, "leave together", attacker={"clients": 1}, seconds=bench.long(60, 8)) as scene:
        pass
    scene.grew_at_most(64)
    bench.true("who brought too many topics was cut", scene.log["cut"] > 0)


@row(
    "attack: what no client says",
    PUBLISHER,
    "                self.ignored += 1",
    "                raise ValueError(body)",
)
def odd(bench):
    """Half handshakes, older protocols, commands in odd states, at both sockets; most leave at once."""
    also = f"tcp://{bench.relay_host.nics[1].address}:5557"
    bench.monitor_host.ip("route add local 10.0.2.128/25 dev lo")  # all of these are its own addresses
    sources = [f"10.0.2.{n}" for n in range(128, 255)]
    with under_attack(bench, "odd things", attacker={"also": also, "sources": sources}) as scene:
        pass
    scene.grew_at_most(32)


@row(
    "attack: clients without a key on the list",
    GATE,
    """return Admission(b"400", f"its key""",
    """return Admission(b"200", f"its key""",
)
def strangers(bench):
    with under_attack(bench, "visits", curve="stranger") as scene:
        pass
    scene.grew_at_most(32)
    bench.equal("strangers let in", scene.log["let in"], 0)


def stuck(name, kind, curve=None):
    """Register a row of readers that are too slow for 20 MB/s."""

    @row(
        f"attack: {name}",
        PUBLISHER,
        "zmq.SNDHWM: max(1, queue_bytes // wire.MAX_PAYLOAD),",
        "zmq.SNDHWM: 0,",
        also=(Broken(CONNECTIONS, "CLIENT_SEND_BUFFER = 768 << 10", "CLIENT_SEND_BUFFER = 64 << 20"),),
        alone=True,
    )
    def attack(bench):
        # Without memory of their own for each reader, since the readouts are shared: the short form would
        # not reach the budget where a queue has no end.
        budget = bench.long(1024, 240) * MiB
        seconds = bench.long(60, 12)
        with under_attack(
            bench,
            kind,
            host=bench.daq_host,
            attacker={"clients": 62},
            rate=400,
            size=50_000,
            curve=curve,
            seconds=seconds,
            prompt=False,  # those that read share the network, and the thread that writes to it
        ) as scene:
            most = 0
            for _ in range(seconds * 2 - 2):
                wait(0.5)
                most = max(most, memory(scene.relay.pid) + kernel_memory(bench.relay_host))
        bench.true(f"{most / MiB:.0f} MiB with the kernel's, of {budget / MiB:.0f}", most <= budget)
        bench.counted += f"; {most / MiB:.0f} MiB with the kernel's at most"

    return attack


stuck("62 clients never read 20 MB/s", "stuck")
stuck("62 clients read 20 MB/s now and then", "staggered")
stuck("62 clients with a key on the list never read 20 MB/s", "stuck", curve="listed")

RECOVER = """
import sys, time
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
began = time.monotonic()
receiver = open_receiver(AstroPix4Readout, sys.argv[1], start='oldest', timeout=10)
while time.time_ns() - receiver.receive().timestamp > 200e6:
    pass
print('recovered', time.monotonic() - began, receiver.ledger.lost)
"""


def greedy(name, curve=None):
    """Register a row of clients that ask history and never read; an honest one recovers beside them."""

    @row(
        f"attack: {name}",
        ARCHIVE,
        "            self.unwanted += 1\n            return 0",
        "            self.unwanted += 1\n            return 1 << 26",
    )
    def attack(bench):
        options = {"host": bench.daq_host, "attacker": {"clients": 62}, "size": 20_000, "curve": curve}
        # While the pages leave, a second of work for both processors, what is live may come late.
        options["prompt"] = False
        with under_attack(bench, "greedy", port=5557, **options) as scene:
            wait(2)
            honest = bench.start(bench.monitor_host, sys.executable, "-c", RECOVER, scene.url)
            prefer(honest, PRIORITY)
            took_s, lost = "inf", "-1"
            with contextlib.suppress(AssertionError):  # it never came to the end
                took_s, lost = honest.wait_for("recovered").split()[1:]
            bench.equal("lost by an honest client that recovers", int(lost), 0)
            bench.true(f"it took {float(took_s):.1f} s", float(took_s) <= bench.long(1, 2))
        scene.grew_at_most(160 + 64)  # 64: history
        bench.counted += f"; a recovery took {float(took_s):.1f} s"

    return attack


greedy("62 clients ask history and never read")
greedy("62 clients with a key on the list ask history and never read", curve="listed")


def metrics(kind, broken, *also, clients=1):
    """Register a row of clients of the metrics' port."""

    @row(f"attack: {kind}", *broken, also=also)
    def attack(bench):
        options = {"attacker": {"clients": clients}, "more": "metrics: {listen: '*:9108'}\n"}
        with under_attack(bench, kind, host=bench.daq_host, port=9108, **options) as scene:
            pass
        scene.grew_at_most(16)

    return attack


CROWDED = Broken(METRICS_SERVER, "MAX_CLIENTS = 8", "MAX_CLIENTS = 10_000")
UNCUT = Broken(
    METRICS_SERVER,
    "        for connection in list(self._connections):\n            _cut(connection)",
    "        while self._connections:\n            time.sleep(0.1)",
)
UNLIMITED = Broken(METRICS_SERVER, "            raise _TooLargeError", "            self._left = MAX_REQUEST")
metrics("metrics, dripping", UNCUT)
metrics("metrics, crowded", CROWDED)
metrics("metrics, huge headers", UNLIMITED, clients=8)
