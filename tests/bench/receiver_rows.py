"""The receivers: CPU a readout, objects out, beside the loops that a user would write instead."""

import time
from contextlib import ExitStack

from bench.chain import Address, Relay, peer, take_turns
from bench.rows import Row


def relay_receiver(scale, directory):
    """`RelayReceiver` behind our relay, and a pyzmq SUB loop with from_bytes behind the naive one."""
    row = Row(
        "RelayReceiver, CPU a readout", "SUB loop", "us", "≤ 0.5 ×", most=0.5, note=f"{scale.fast_hz}/s"
    )
    with Relay("ours", directory) as ours, Relay("naive", directory) as naive:
        measure(
            scale,
            (ours.address, ("receive", ours.address.endpoint), row.ours),
            (naive.address, ("sub", naive.address.endpoint), row.theirs),
        )
    return [row]


def multicast_receiver(scale, _):
    """`MulticastReceiver`, and a recvfrom loop with from_bytes."""
    row = Row("MulticastReceiver, CPU a readout", "recvfrom loop", "us", "≤ 0.6 ×", most=0.6)
    row.note = f"{scale.fast_hz}/s"
    ours, plain = Address(), Address()
    url = f"udp://{ours.group}:{ours.port}?interface=127.0.0.1"
    measure(
        scale,
        (ours, ("receive", url), row.ours),
        (plain, ("recvfrom", plain.group, plain.port), row.theirs),
    )
    return [row]


def measure(scale, *sides):
    """Measure receivers in turn, each with a source of its own; a side is where to send, words, figures."""
    with ExitStack() as stack:
        receivers = [stack.enter_context(peer(*words)) for _, words, _ in sides]
        for receiver in receivers:
            receiver.wait_for("ready")
        time.sleep(0.7)  # until the subscriptions have arrived
        programs = [
            (receiver, at, figures) for receiver, (at, _, figures) in zip(receivers, sides, strict=True)
        ]
        sent = take_turns(scale, scale.fast_hz, programs)
        time.sleep(0.3)
        for receiver, _, figures in programs:
            receiver.stop()
            # A loop that is too slow loses some: it is not to look cheaper for that.
            delivered = int(receiver.stdout.split()[-1]) / sent
            figures[:] = [figure / delivered for figure in figures]
