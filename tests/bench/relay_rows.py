"""The relay: CPU a readout, the highest rate, latency, subscribers, memory, and how its cost grows."""

import time
from contextlib import ExitStack

from astropix_stream.gathering import GATHER_S
from bench.chain import REFERENCE, Address, Relay, Side, blast, cpu_us, peer, rss, take_turns
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
    rows = [(rate, row_of("naive", rate, LIMITS.get(rate))) for rate in scale.cpu_rates_hz]
    with Relay("ours", directory) as ours:
        measure(scale, rows, ours, "naive", directory)
        if REFERENCE:
            highest = max(scale.cpu_rates_hz)
            rows.append((highest, row_of("reference", highest, REFERENCE_LIMIT)))
            measure(scale, rows[-1:], ours, "reference", directory)
    return [row for _, row in rows]


def row_of(other, rate, most=None):
    limit = "" if most is None else f"≤ {most:g} ×"
    row = Row("relay, CPU a readout", other, "us", limit, most=most, note=f"{rate:,}/s")
    row.curve = ("relay", rate)
    return row


def measure(scale, rows, ours, other, directory):
    """Measure our relay in turn with another one, each with a subscriber that stays."""
    with Relay(other, directory) as theirs, ours.counter(1) as here, theirs.counter(1) as there:
        sides = Side(ours.program, ours.address, here), Side(theirs.program, theirs.address, there)
        take_turns(scale, rows, *sides)
        for side, counter in zip(sides, (here, there), strict=True):
            side.end(counter.arrived())


def fan_out(scale, directory):
    """CPU of the relay with hundreds of subscribers, beside the naive relay."""
    subscribers = max(scale.subscribers)
    row = Row("relay, CPU a readout, many subscribers", "naive", "us", "≤ 0.6 ×", most=0.6)
    lost = Row("relay, many subscribers, lost by the last one", "", "", "0", most=0.0)
    row.note = lost.note = f"{subscribers} at {scale.slow_hz:,}/s"
    with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
        count = max(2, round(scale.slow_hz * scale.seconds))
        with ours.counter(subscribers) as here, naive.counter(subscribers) as there:
            for _ in range(scale.few_rounds):
                took, least = ours.pass_on(here, count, 35, scale.slow_hz)
                row.ours.append(took)
                lost.ours.append(count - least)  # who was not let in is no cheap subscriber
                row.theirs.append(naive.pass_on(there, count, 35, scale.slow_hz)[0])
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
    with ExitStack() as stack:
        relays = {kind: stack.enter_context(Relay(kind, directory)) for kind in kinds}
        for _ in range(scale.few_rounds):
            # After the first round close to what was found before.
            searches = {
                relays[kind]: Search(found[-1] / 1.2, found[-1] * 1.2)
                if found
                else Search(scale.fast_hz, scale.fast_hz * 6)
                for kind, found in kinds.items()
            }
            while any(not search.is_done for search in searches.values()):
                step(scale, searches)
            for kind, found in kinds.items():
                found.append(searches[relays[kind]].low)
    if not REFERENCE:
        row.against, row.least = "no RELAY_REFERENCE", None
    return [row]


class Search:
    """Bisects for the highest rate, within some 7 %, at which all readouts of a burst arrive; else `low`."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    @property
    def is_done(self):
        return self.high <= 1.15 * self.low

    @property
    def rate(self):
        return (self.low * self.high) ** 0.5

    def learn(self, reached, whole):
        """Take in whether all of the last burst arrived, and at which rate it was sent."""
        if not whole:
            self.high = self.rate
        elif reached < 0.9 * self.rate:  # the source is no faster
            self.low = self.high = reached
        else:
            self.low = self.rate


def step(scale, searches):
    """Send a burst to each relay whose search is not done; all subscribers wait for their end together."""
    with ExitStack() as stack:
        sent = []
        for relay, search in searches.items():
            if not search.is_done:
                counter = stack.enter_context(relay.counter(1))
                sent.append((search, blast(relay.address, scale.burst, 35, search.rate), counter))
        for search, reached, counter in sent:
            search.learn(reached, counter.arrived() == scale.burst)


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
    kinds, loaded_s = ("ours", "reference") if REFERENCE else ("ours",), scale.short_seconds
    with ExitStack() as stack:
        relays = {kind: stack.enter_context(Relay(kind, directory)) for kind in kinds}
        for _ in range(scale.rounds):
            direct = late(Address(), scale.lone_hz, "recvfrom", scale.lone_seconds)
            for kind, relay in relays.items():
                found = late(relay.address, scale.lone_hz, "sub", scale.lone_seconds)
                for row, there, here in zip(rows, found, direct, strict=False):
                    (row.ours if kind == "ours" else row.theirs).append(there - here)
            ours = relays["ours"].address
            found = late(ours, scale.lone_hz, "receiver", scale.lone_seconds)
            rows[2].ours.append(found[0] - direct[0])
            direct = late(Address(), scale.fast_hz, "recvfrom", loaded_s)
            rows[3].ours.append(late(ours, scale.fast_hz, "sub", loaded_s)[1] - direct[1])
    if not REFERENCE:
        rows[0].against, rows[0].most, rows[0].limit = "no RELAY_REFERENCE", None, ""
    return rows


def late(where, rate, how, seconds):
    """Return median and 99th percentile, in ms, of how late readouts come in a way that `peers.late` has."""
    count = max(16, round(rate * seconds))
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
        with relay.counter(1):
            for size in scale.sizes:
                count = round(middle * scale.seconds)
                curves["size"][size] = cpu_us(relay.program, relay.address, count, size, middle)
        for subscribers in scale.subscribers:
            count = round(scale.slow_hz * scale.seconds)
            took, least = relay.run(count, 35, scale.slow_hz, subscribers=subscribers)
            curves["subscribers"][subscribers] = (took, count - least)
    return curves
