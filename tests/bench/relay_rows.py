"""The relay: CPU a readout, the highest rate, latency, subscribers, memory, and how its cost grows."""

from contextlib import ExitStack

from bench.chain import REFERENCE, Relay, blast, counted, peer, rss, take_turns
from bench.rows import Row

MiB = 1 << 20
_FULL_SOON = 16 << 20  # bytes of history: what grows after half of the soak is not history


LIMITS = {200: 1.1, 1_000: 0.5}  # of the naive relay's CPU, by rate
REFERENCE_LIMIT = 0.4  # of the reference's at the highest rate


def cpu(scale, directory):
    """CPU of the whole process by rate, beside the naive relay; beside the reference at the highest one."""
    rows = []
    kinds = ("ours", "naive", "reference") if REFERENCE else ("ours", "naive")
    with ExitStack() as stack:
        relays = {kind: stack.enter_context(Relay(kind, directory)) for kind in kinds}
        for rate in scale.cpu_rates_hz:
            others = ["naive", "reference"] if REFERENCE and rate == max(scale.cpu_rates_hz) else ["naive"]
            for other in others:
                most = REFERENCE_LIMIT if other == "reference" else LIMITS.get(rate)
                row = Row(
                    "relay, CPU a readout, 35 bytes",
                    other,
                    "us",
                    "" if most is None else f"≤ {most:g} ×",
                    most=most,
                    note=f"{rate:,}/s",
                )
                measure(scale, rate, [(relays["ours"], row.ours), (relays[other], row.theirs)])
                rows.append(row)
    return rows


def measure(scale, rate, relays):
    """Measure relays in turn, each with a subscriber that stays."""
    with ExitStack() as stack:
        counters = [stack.enter_context(relay.counter(1)) for relay, _ in relays]
        sent = take_turns(scale, rate, [(relay.program, relay.address, figures) for relay, figures in relays])
        for counter, (_, figures) in zip(counters, relays, strict=True):
            # Who loses some, as the naive one does at high rates, is not to look cheaper for that.
            figures[:] = [figure * sent / max(1, counted(counter)) for figure in figures]


def fan_out(scale, directory):
    """CPU of the relay with hundreds of subscribers, beside the naive relay."""
    subscribers = max(scale.subscribers)
    row = Row("relay, CPU a readout, many subscribers", "naive", "us", "≤ 0.6 ×", most=0.6)
    row.note = f"{subscribers} at {scale.slow_hz:,}/s"
    with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
        count = max(2, round(scale.slow_hz * scale.seconds))
        for _ in range(scale.rounds):
            row.ours.append(ours.run(count, 35, scale.slow_hz, subscribers=subscribers)[0])
            row.theirs.append(naive.run(count, 35, scale.slow_hz, subscribers=subscribers)[0])
    return [row]


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
    for _ in range(scale.rounds):
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
    """How much later a readout comes to a `RelayReceiver` than to a `MulticastReceiver`."""
    rows = []
    for rate, name, limits in (
        (scale.lone_hz, "low rate", (0.3, 2.0)),
        (scale.fast_hz, "loaded", (None, 10.0)),
    ):
        median = Row(f"added latency, {name}, median", "direct", "ms", f"≤ {limits[0]} ms", most=limits[0])
        last = Row(
            f"added latency, {name}, 99th percentile", "direct", "ms", f"≤ {limits[1]:g} ms", most=limits[1]
        )
        for _ in range(scale.rounds):
            direct, relayed = late(scale, directory, rate)
            median.ours.append(relayed[0] - direct[0])
            last.ours.append(relayed[1] - direct[1])
        for row in (median, last):
            row.against, row.note = "MulticastReceiver, subtracted", f"{rate}/s"
            rows += [row] if row.most is not None else []
    return rows


def late(scale, directory, rate):
    count = max(16, round(rate * scale.seconds))
    with Relay("ours", directory) as relay:
        found = []
        where = relay.address
        for url in (f"udp://{where.group}:{where.port}?interface=127.0.0.1", where.endpoint):
            with peer("late", url, count) as receiver:
                receiver.wait_for("ready")
                blast(where, count, 35, rate)
                receiver.wait(timeout=60)
                found.append([float(word) for word in receiver.stdout.split()[1:]])
    return found


def memory(scale, directory):
    """RSS after start; after many readouts, less the history; and by how much it grew meanwhile."""
    started = Row("relay, memory after start", "", "MiB", "≤ 45 MiB", most=45)
    soaked = Row(
        "relay, memory beyond history", "", "MiB", "≤ 60 MiB", most=60, note=f"{scale.soak} readouts"
    )
    growth = Row("relay, memory, growth in the second half", "", "MiB", "≤ 1 MiB", most=1)
    with Relay("ours", directory, history=_FULL_SOON) as relay:
        started.ours.append(rss(relay.program.pid) / MiB)
        relay.run(scale.soak // 2, 35, 3 * scale.fast_hz)
        half = rss(relay.program.pid)
        relay.run(scale.soak - scale.soak // 2, 35, 3 * scale.fast_hz)
        end = rss(relay.program.pid)
    soaked.ours.append((end - _FULL_SOON) / MiB)
    growth.ours.append((end - half) / MiB)
    return [started, soaked, growth]


def growth(scale, directory):
    """Return CPU in us a readout by rate, by size and by number of subscribers; and what the last one got."""
    curves = {"rate": {}, "size": {}, "subscribers": {}}
    with Relay("ours", directory) as relay:
        for rate in scale.rates_hz:
            curves["rate"][rate] = relay.run(round(rate * scale.seconds), 35, rate)[0]
        middle = 10 * scale.slow_hz
        for size in scale.sizes:
            curves["size"][size] = relay.run(round(middle * scale.seconds), size, middle)[0]
        for subscribers in scale.subscribers:
            count = round(scale.slow_hz * scale.seconds)
            took, least = relay.run(count, 35, scale.slow_hz, subscribers=subscribers)
            curves["subscribers"][subscribers] = (took, count - least)
    return curves
