"""The receivers: CPU a readout by rate, objects out, beside the loops that a user would write instead."""

import time
from contextlib import ExitStack

from bench.chain import Address, Relay, peer, rounds_of, take_turns
from bench.rows import Row

RELAY_LIMITS = {200: 1.3, 1_000: 0.6, 50_000: 0.5}
DIRECT_LIMITS = {200: 1.2, 1_000: 1.0, 50_000: 0.6}
ASYNC_LIMITS = {1_000: 1.1, 50_000: 1.3}


def relay_receiver(scale, directory):
    """`RelayReceiver` behind our relay, and a pyzmq SUB loop with from_bytes behind the naive one."""
    rows = []
    for rate in scale.cpu_rates_hz:
        row = row_of("RelayReceiver", "SUB loop", rate, RELAY_LIMITS, "subscriber")
        with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
            measure(
                scale,
                rate,
                rounds_of(scale, row),
                (ours.address, ("receive", ours.address.endpoint), row.ours),
                (naive.address, ("sub", naive.address.endpoint), row.theirs),
            )
        rows.append(row)
    return rows


def multicast_receiver(scale, _):
    """`MulticastReceiver`, and a recvfrom loop with from_bytes."""
    rows = []
    for rate in scale.cpu_rates_hz:
        row = row_of("MulticastReceiver", "recvfrom loop", rate, DIRECT_LIMITS, "direct")
        ours, plain = Address(), Address()
        url = f"udp://{ours.group}:{ours.port}?interface=127.0.0.1"
        measure(
            scale,
            rate,
            rounds_of(scale, row),
            (ours, ("receive", url), row.ours),
            (plain, ("recvfrom", plain.group, plain.port), row.theirs),
        )
        rows.append(row)
    return rows


def asyncio(scale, _):
    """`MulticastReceiver` awaited in an event loop, and the same in a plain loop."""
    rows = []
    for rate in sorted({min(rate, scale.fast_hz) for rate in ASYNC_LIMITS}):
        row = row_of("MulticastReceiver with asyncio", "a plain loop", rate, ASYNC_LIMITS)
        awaited, plain = Address(), Address()
        urls = [f"udp://{at.group}:{at.port}?interface=127.0.0.1" for at in (awaited, plain)]
        measure(
            scale,
            rate,
            rounds_of(scale, row),
            (awaited, ("receive_async", urls[0]), row.ours),
            (plain, ("receive", urls[1]), row.theirs),
        )
        rows.append(row)
    return rows


def row_of(what, against, rate, limits, panel=""):
    most = limits.get(rate)
    limit = "" if most is None else f"≤ {most:g} ×"
    curve = (panel, rate) if panel else None
    note = f"{rate:,}/s"
    return Row(f"{what}, CPU a readout", against, "us", limit, most=most, note=note, curve=curve)


def measure(scale, rate, rounds, *sides):
    """Measure receivers in turn, each with a source of its own; a side is where to send, words, figures."""
    with ExitStack() as stack:
        receivers = [stack.enter_context(peer(*words)) for _, words, _ in sides]
        for receiver in receivers:
            receiver.wait_for("ready")
        time.sleep(0.7)  # until the subscriptions have arrived
        programs = [
            (receiver, at, figures) for receiver, (at, _, figures) in zip(receivers, sides, strict=True)
        ]
        sent = take_turns(scale, rate, programs, rounds)
        time.sleep(0.3)
        for receiver, _, figures in programs:
            receiver.stop()
            # A loop that is too slow loses some: it is not to look cheaper for that.
            delivered = max(1, int(receiver.stdout.split()[-1])) / sent
            figures[:] = [figure / delivered for figure in figures]
