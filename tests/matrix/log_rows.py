"""The rows of the log: three nodes, a bridge and a relay, each killed or cut off at random, from a seed."""

import time

from matrix.bench import wait
from matrix.cluster import Chaos, Cluster, settle
from matrix.rows import NUMBERED, row
from matrix.sites import Sites

INFLOW = "astropix_bridge/inflow.py"


def run_log(bench, kinds, each, rate):
    """Fill the log while things are killed; return what was sent, the log's messages, and a late reader's."""
    cluster = Cluster(bench)
    cluster.start()
    bench.relay = bench.start_relay()
    cluster.start_bridge()
    daq = bench.start_daq(rate=rate)
    cluster.wait_whole()
    chaos = Chaos(bench, cluster, bench.seed, kinds)
    chaos.run(each)
    sent = daq.stop()
    wait(1)
    settle(cluster)
    stored = cluster.dump()
    (got,) = bench.start_monitors(cluster.log_url).finish(sum(len(m.serials) for m in stored))
    bench.injected = f"{', '.join(f'{kind} {each}x' for kind in kinds)}; {sent} readouts sent"
    return sent, stored, got


def check_log(bench, sent, stored, got):
    """Check the log message by message, and the late reader against it; return the readouts that it lacks."""
    serials = [serial for message in stored for serial in message.serials]
    bench.equal("stored twice", len(serials) - len(set(serials)), 0)
    bench.true("stored in order", serials == sorted(serials))
    bench.equal("damaged", serials.count(None), 0)
    bench.equal("the log's numbers", [m.number for m in stored], list(range(1, len(stored) + 1)))
    expected, missing = {}, 0
    for message in stored:
        begin = expected.get(message.relay_id, 0)
        bench.checks += (
            [("relay's numbers fall", message.sequence, begin)] if message.sequence < begin else []
        )
        missing += message.sequence - begin
        expected[message.relay_id] = message.sequence + len(message.serials)
    bench.true("a late reader is handed what is stored", got.serials == serials)
    bench.equal("between relay and log, by the reader", got.lost_at["relay_to_log"], missing)
    bench.equal("delivered and lost, by the reader", got.ledger["delivered"] + got.ledger["lost"], sent)
    bench.equal("lost, by the reader", got.ledger["lost"], sent - len(set(serials)))
    return sent - len(set(serials))


@row(
    "log: nodes, links and the bridge killed or cut",
    INFLOW,
    """{"start": end or "oldest"}""",
    """{"start": "live"}""",
    alone=True,
)
def log_nodes(bench):
    kinds = ("leader", "link", "bridge", "node", "relay link", "pair")
    outcome = run_log(bench, kinds, bench.long(20, 1), bench.long(5000, 1000))
    bench.equal("missing in the log", check_log(bench, *outcome), 0)
    bench.counted = "0 lost: each readout stored once, in order"
    bench.recovered = "yes: sent again, or asked of the relay's history"


@row(
    "log: the relay killed too",
    NUMBERED,
    "            self.lose(Place.BEFORE_SOCKET, missing, at_ns)",
    "            pass",
    alone=True,
)
def log_relay(bench):
    sent, stored, got = run_log(bench, ("relay", "bridge"), bench.long(20, 1), bench.long(5000, 1000))
    lost = check_log(bench, sent, stored, got)
    bench.true("the relay was away", lost > 0)
    bench.equal("restarts, by the reader", got.ledger["restarts"], len({m.relay_id for m in stored}) - 1)
    bench.counted = f"{lost} before the socket, while no relay was there"
    bench.recovered = "no: UDP"


@row(
    "log: a beam line cut off from the hub",
    "astropix_bridge/waking.py",
    "self._asked.setdefault(reply, _Asked(request, now_s, now_s + AGAIN_S))",
    "return",
    alone=True,
)
def log_site(bench):
    """In the short form the hub has a mirror before there is a beam line: it has asked, too, and waits."""
    sites = Sites(bench)
    sites.start_hub()
    if bench.quick:
        sites.wait_until_asked()
    sites.start_beam_line()
    bench.relay = bench.start_relay()
    sites.start_bridge()
    reader = bench.start_monitors(sites.hub_url, host=sites.hub, patience_s=60.0)
    daq = bench.start_daq(rate=1000)
    if bench.quick:
        wait(1)
    else:
        wait(2)
        sites.cut(60.0)
    began_s = time.monotonic()
    sites.wait_until_mirrored(120.0)
    took_s = time.monotonic() - began_s
    sent = daq.stop()
    (got,) = reader.finish(sent)
    bench.all_delivered(got, sent)
    bench.true(f"within 10 s: {took_s:.1f} s", took_s <= 10.0)
    bench.injected = "the hub before the beam line" if bench.quick else "60 s at 1000 readouts/s"
    bench.counted = f"0 lost; the hub had everything {took_s:.1f} s after"
    bench.recovered = "yes: the mirror's request was sent again"
