"""The relay: CPU a readout, the highest rate, latency, subscribers, memory, and how its cost grows."""

import time
from contextlib import ExitStack

from astropix_stream.gathering import GATHER_S
from bench.chain import REFERENCE, Address, Relay, blast, counted, peer, rounds_of, rss, take_turns
from bench.rows import Row
from ports import free_port_pair

MiB = 1 << 20
_FULL_SOON = 16 << 20  # bytes of history: what grows after half of the soak is not history


LIMITS = {200: 1.1, 1_000: 0.5}  # of the naive relay's CPU, by rate
REFERENCE_LIMIT = 0.4  # of the reference's at the highest rate
# A readout may wait for all of `publish.max_delay`; the rest is the relay's turn, and the machine's noise.
LOADED_MS = GATHER_S * 1e3 + 2


def cpu(scale, directory):
    """CPU of the whole process by rate, beside the naive relay; beside the reference at the highest one."""
    rows = []
    kinds = ("ours", "naive", "reference") if REFERENCE else ("ours", "naive")
    with ExitStack() as stack:
        relays = {kind: stack.enter_context(Relay(kind, directory)) for kind in kinds}
        for rate in scale.cpu_rates_hz:
            others = ["naive", "reference"] if REFERENCE and rate == max(scale.cpu_rates_hz) else ["naive"]
            for other in others:
                row = row_of(other, rate, REFERENCE_LIMIT if other == "reference" else LIMITS.get(rate))
                sides = [(relays["ours"], row.ours), (relays[other], row.theirs)]
                measure(scale, rate, sides, rounds_of(scale, row))
                rows.append(row)
    return rows


def row_of(other, rate, most=None):
    limit = "" if most is None else f"≤ {most:g} ×"
    row = Row("relay, CPU a readout", other, "us", limit, most=most, note=f"{rate:,}/s")
    row.curve = ("relay", rate)
    return row


def measure(scale, rate, relays, rounds):
    """Measure relays in turn, so often, each with a subscriber that stays."""
    with ExitStack() as stack:
        counters = [stack.enter_context(relay.counter(1)) for relay, _ in relays]
        sides = [(relay.program, relay.address, figures) for relay, figures in relays]
        sent = take_turns(scale, rate, sides, rounds)
        for counter, (_, figures) in zip(counters, relays, strict=True):
            # Who loses some, as the naive one does at high rates, is not to look cheaper for that.
            figures[:] = [figure * sent / max(1, counted(counter)) for figure in figures]


def fan_out(scale, directory):
    """CPU of the relay with hundreds of subscribers, beside the naive relay."""
    subscribers = max(scale.subscribers)
    row = Row("relay, CPU a readout, many subscribers", "naive", "us", "≤ 0.6 ×", most=0.6)
    lost = Row("relay, many subscribers, lost by the last one", "", "", "0", most=0.0)
    row.note = lost.note = f"{subscribers} at {scale.slow_hz:,}/s"
    with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
        count = max(2, round(scale.slow_hz * scale.seconds))
        for _ in range(scale.few_rounds):
            took, least = ours.run(count, 35, scale.slow_hz, subscribers=subscribers)
            row.ours.append(took)
            lost.ours.append(count - least)  # who was not let in is no cheap subscriber
            row.theirs.append(naive.run(count, 35, scale.slow_hz, subscribers=subscribers)[0])
    return [row, lost]


def highest_rate(scale, directory):
    """Bisect for the highest rate at which a subscriber gets every readout of a burst."""
    row = Row(
        "relay, highest rate without loss",
        "reference",
        "/s",
        "≥ 1.2 ×",
        least=1.2,
        note=f"{scale.burst} readouts",
    )
    row.note += "; reference and naive may queue 10^6 messages, ours 256"
    kinds = {"ours": row.ours, "reference": row.theirs} if REFERENCE else {"ours": row.ours}
    for _ in range(scale.few_rounds):
        for kind, found in kinds.items():
            # After the first round close to what was found before.
            low, high = (found[-1] / 1.2, found[-1] * 1.2) if found else (scale.fast_hz, scale.fast_hz * 6)
            found.append(bisect(scale, directory, kind, low, high))
    if not REFERENCE:
        row.against, row.least = "no RELAY_REFERENCE", None
    return [row]


def bisect(scale, directory, kind, low, high):
    """Return the highest rate, within some 7 %, at which all readouts of a burst arrive; else `low`."""
    with Relay(kind, directory) as relay:
        while high > 1.15 * low:
            rate = (low * high) ** 0.5
            reached, got = relay.burst(scale.burst, 35, rate)
            if got < scale.burst:
                high = rate
            elif reached < 0.9 * rate:  # the source is no faster
                return reached
            else:
                low = rate
    return low


def latency(scale, directory):
    """How much later a readout comes to a subscriber than to a plain `recvfrom` of the same multicast."""
    lone, loaded = f"{scale.lone_hz}/s", f"{scale.fast_hz:,}/s"
    rows = [
        Row("added latency, median", "reference", "ms", "≤ 1.3 ×", most=1.3, note=lone),
        Row(
            "added latency, 99th percentile", "reference", "ms", "≤ 2 ms", most=2.0, note=lone, absolute=True
        ),
        Row("added latency into RelayReceiver, median", "", "ms", "", note=lone),
        Row("added latency, 99th percentile", "", "ms", f"≤ {LOADED_MS:g} ms", most=LOADED_MS, note=loaded),
    ]
    kinds = ("ours", "reference") if REFERENCE else ("ours",)
    with ExitStack() as stack:
        relays = {kind: stack.enter_context(Relay(kind, directory)) for kind in kinds}
        for _ in range(scale.rounds):
            direct = late(scale, Address(), scale.lone_hz, "recvfrom")
            for kind, relay in relays.items():
                found = late(scale, relay.address, scale.lone_hz, "sub")
                for row, there, here in zip(rows, found, direct, strict=False):
                    (row.ours if kind == "ours" else row.theirs).append(there - here)
            ours = relays["ours"].address
            rows[2].ours.append(late(scale, ours, scale.lone_hz, "receiver")[0] - direct[0])
            direct = late(scale, Address(), scale.fast_hz, "recvfrom")
            rows[3].ours.append(late(scale, ours, scale.fast_hz, "sub")[1] - direct[1])
    if not REFERENCE:
        rows[0].against, rows[0].most, rows[0].limit = "no RELAY_REFERENCE", None, ""
    return rows


def late(scale, where, rate, how):
    """Return median and 99th percentile, in ms, of how late readouts come in a way that `peers.late` has."""
    count = max(16, round(rate * scale.seconds))
    url = where.endpoint if how != "recvfrom" else f"{where.group}:{where.port}"
    with peer("late", how, url, count) as receiver:
        receiver.wait_for("ready")
        time.sleep(0.3)  # until the subscription has arrived
        blast(where, count, 35, rate)
        receiver.wait(timeout=60)
        return [float(word) for word in receiver.stdout.split()[1:]]


def memory(scale, directory):
    """RSS after start; after many readouts, less the history; and by how much it grew meanwhile."""
    started = Row("relay, memory after start", "", "MiB", "≤ 45 MiB", most=45, note="no metrics")
    served = Row("relay, memory after start", "", "MiB", "≤ 45 MiB", most=45, note="metrics")
    soaked = Row(
        "relay, memory beyond history", "", "MiB", "≤ 60 MiB", most=60, note=f"{scale.soak} readouts"
    )
    growth = Row("relay, memory, growth in the second half", "", "MiB", "≤ 1 MiB", most=1)
    with Relay("ours", directory, metrics=f"127.0.0.1:{free_port_pair()}") as relay:
        served.ours.append(rss(relay.program.pid) / MiB)
    with Relay("ours", directory, history=_FULL_SOON) as relay:
        started.ours.append(rss(relay.program.pid) / MiB)
        relay.run(scale.soak // 2, 35, 3 * scale.fast_hz)
        half = rss(relay.program.pid)
        relay.run(scale.soak - scale.soak // 2, 35, 3 * scale.fast_hz)
        end = rss(relay.program.pid)
    soaked.ours.append((end - _FULL_SOON) / MiB)
    growth.ours.append((end - half) / MiB)
    return [started, served, soaked, growth]


def growth(scale, directory):
    """Return CPU in us a readout by size and by number of subscribers; and what the last one got."""
    curves = {"size": {}, "subscribers": {}}
    with Relay("ours", directory) as relay:
        middle = 10 * scale.slow_hz
        for size in scale.sizes:
            curves["size"][size] = relay.run(round(middle * scale.seconds), size, middle)[0]
        for subscribers in scale.subscribers:
            count = round(scale.slow_hz * scale.seconds)
            took, least = relay.run(count, 35, scale.slow_hz, subscribers=subscribers)
            curves["subscribers"][subscribers] = (took, count - least)
    return curves
