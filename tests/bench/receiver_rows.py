"""The receivers: CPU a readout by rate, objects out, beside the loops that a user would write instead."""

import time

from bench.chain import Address, Relay, Side, peer, take_turns
from bench.rows import Row

RELAY_LIMITS = {200: 1.3, 1_000: 0.6, 50_000: 0.5}
DIRECT_LIMITS = {200: 1.2, 1_000: 1.0, 50_000: 0.6}
ASYNC_LIMITS = {1_000: 1.1, 50_000: 1.3}


def relay_receiver(scale, directory):
    """`RelayReceiver` behind our relay, and a pyzmq SUB loop with from_bytes behind the naive one."""
    rows = [
        (rate, row_of("RelayReceiver", "SUB loop", rate, RELAY_LIMITS, "subscriber"))
        for rate in scale.cpu_rates_hz
    ]
    with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
        here, there = ours.address, naive.address
        measure(scale, rows, (here, "receive", here.endpoint), (there, "sub", there.endpoint))
    return [row for _, row in rows]


def multicast_receiver(scale, _):
    """`MulticastReceiver`, and a recvfrom loop with from_bytes."""
    rows = [
        (rate, row_of("MulticastReceiver", "recvfrom loop", rate, DIRECT_LIMITS, "direct"))
        for rate in scale.cpu_rates_hz
    ]
    ours, plain = Address(), Address()
    measure(scale, rows, (ours, "receive", url_of(ours)), (plain, "recvfrom", plain.group, plain.port))
    return [row for _, row in rows]


def asyncio(scale, _):
    """`MulticastReceiver` awaited in an event loop, and the same in a plain loop."""
    rates = sorted({min(rate, scale.fast_hz) for rate in ASYNC_LIMITS})
    rows = [
        (rate, row_of("MulticastReceiver with asyncio", "a plain loop", rate, ASYNC_LIMITS)) for rate in rates
    ]
    awaited, plain = Address(), Address()
    measure(scale, rows, (awaited, "receive_async", url_of(awaited)), (plain, "receive", url_of(plain)))
    return [row for _, row in rows]


def url_of(address):
    return f"udp://{address.group}:{address.port}?interface=127.0.0.1"


def row_of(what, against, rate, limits, panel=""):
    most = limits.get(rate)
    limit = "" if most is None else f"≤ {most:g} ×"
    curve = (panel, rate) if panel else None
    note = f"{rate:,}/s"
    return Row(f"{what}, CPU a readout", against, "us", limit, most=most, note=note, curve=curve)


def measure(scale, rows, ours, theirs):
    """Measure two receivers in turn, each with a source of its own: where to send, and a peer's words."""
    with peer(*ours[1:]) as here, peer(*theirs[1:]) as there:
        sides = []
        for receiver, (address, *_) in ((here, ours), (there, theirs)):
            receiver.wait_for("ready")
            sides.append(Side(receiver, address))
        time.sleep(0.5)  # until the subscriptions have arrived
        take_turns(scale, rows, *sides)
        time.sleep(0.3)
        for receiver, side in zip((here, there), sides, strict=True):
            receiver.stop()
            side.end(int(receiver.stdout.split()[-1]))
