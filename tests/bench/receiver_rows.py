"""The receivers: CPU a readout, objects out, beside the loops that a user would write instead."""

import time

from bench.chain import Address, Relay, blast, cpu_s, peer
from bench.rows import Row


def relay_receiver(scale, directory):
    """`RelayReceiver` behind our relay, and a pyzmq SUB loop with from_bytes behind the naive one."""
    row = Row(
        "RelayReceiver, CPU a readout", "SUB loop", "us", "≤ 0.5 ×", most=0.5, note=f"{scale.fast_hz}/s"
    )
    for _ in range(scale.rounds):
        for kind, program, figures in (("ours", "receive", row.ours), ("naive", "sub", row.theirs)):
            with Relay(kind, directory) as relay:
                figures.append(run(scale, relay.address, program, relay.address.endpoint))
    return [row]


def multicast_receiver(scale, _):
    """`MulticastReceiver`, and a recvfrom loop with from_bytes."""
    row = Row("MulticastReceiver, CPU a readout", "recvfrom loop", "us", "≤ 0.6 ×", most=0.6)
    row.note = f"{scale.fast_hz}/s"
    for _ in range(scale.rounds):
        at = Address()
        url = f"udp://{at.group}:{at.port}?interface=127.0.0.1"
        row.ours.append(run(scale, at, "receive", url))
        row.theirs.append(run(scale, at, "recvfrom", at.group, at.port))
    return [row]


def run(scale, address, *words):
    count = round(scale.fast_hz * scale.seconds)
    with peer(*words) as receiver:
        receiver.wait_for("ready")
        time.sleep(0.7)  # until the subscription has arrived
        before = cpu_s(receiver.pid)
        blast(address, count, 35, scale.fast_hz)
        time.sleep(0.3)
        took = cpu_s(receiver.pid) - before
        receiver.stop()
        # A loop that is too slow loses some: it is not to look cheaper for that.
        return took / int(receiver.stdout.split()[-1]) * 1e6
