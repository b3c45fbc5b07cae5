"""The rows: each breaks something in one way, and compares what was injected with what was counted.

A row's `Broken` is the line that was broken on purpose to see the verdict turn red (``make faults-mutants``).
"""

import inspect
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from matrix.bench import PORT, RELAY, Bench, MiB, kill, memory, wait
from matrix.readouts import HEADER, SERIALS_OF_A_DAQ, serial_of


class Broken(NamedTuple):
    """A line of the code under test, and what is put in its place."""

    file: str
    line: str
    instead: str


@dataclass(frozen=True)
class Row:
    name: str
    run: Callable[[Bench], None]
    broken: tuple[Broken, ...]
    alone: bool = False
    """It needs both processors; the others run side by side."""

    digest: str = ""
    """Of what is run and what is broken: a row that was changed must be seen red again."""


ROWS: list[Row] = []


def row(name, file, line, instead, *, also=(), alone=False):
    broken = (Broken(file, line, instead), *also)

    def register(run):
        made_of = inspect.getsource(run) + repr([tuple(one) for one in broken])
        made_of += repr(sorted(inspect.getclosurevars(run).nonlocals.items())) if run.__closure__ else ""
        digest = sha256(made_of.encode()).hexdigest()
        ROWS.append(Row(name, run, broken, alone, digest[:16]))
        return run

    return register


SEQUENCING = "astropix_stream/counting/sequencing.py"
ACCOUNT = "astropix_stream/counting/account.py"
FOLLOWING = "astropix_stream/counting/following.py"
NUMBERED = "astropix_stream/counting/numbered.py"
EVIDENCE = "astropix_stream/counting/evidence.py"
TRACK = "astropix_stream/counting/track.py"
ARBITER = "astropix_stream/receiving/arbiter.py"
SUBSCRIPTION = "astropix_stream/relay/subscription.py"
RECOVERY = "astropix_stream/relay/recovery.py"


def run_impaired(bench, daq=None, **faults):
    """Send through an impairer; return what was sent, its log, and what client and witness got."""
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    sender, impairer = bench.start_impaired(daq, **faults)
    wait(bench.long(20, 3))
    impairer.spare()
    sent = sender.stop()
    log = impairer.stop()
    bench.equal("readouts that the impairer got", log["received"], sent)
    expected = sent - log["loss"] - log["truncate"] + log["duplicate"]
    (got,), (direct,) = client.finish(expected), witness.finish(expected)
    bench.stop_relay(relay)
    return sent, log, got, direct


def nothing_but(bench, who, got, **counts):
    """Compare all that a ledger counts as wrong; what is not named must be 0."""
    keys = ("duplicates", "reordered", "late", "stray", "lost", "restarts")
    for key in keys:
        bench.equal(f"{who}: {key}", got.ledger[key], counts.get(key, 0))
    bench.equal(f"{who}: runs", got.ledger["runs"], counts.get("runs", 1))


def lost_before_the_socket(bench, lost, sent, got, direct):
    bench.equal("before the socket, by the relay's beat", got.totals["before_socket"], lost)
    for who, received in (("client", got), ("witness", direct)):
        bench.equal(f"{who}: before the socket", received.lost_at["before_socket"], lost)
        bench.equal(f"{who}: readouts handed out", len(received.unique), sent - lost)
        nothing_but(bench, who, received, lost=lost)
        bench.true(f"{who}: in order", received.is_in_order())
    bench.true("something was lost", lost > 0)
    bench.counted = f"{got.totals['before_socket']} before the socket: relay, client and direct receiver"
    bench.recovered = "no: UDP"


@row(
    "UDP loss 1 %",
    ACCOUNT,
    "skipped = (distance(track.last_id, readout_id, self._far) - 1) // stride",
    "skipped = distance(track.last_id, readout_id, self._far) // stride",
)
def udp_loss_1(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    daq = bench.start_daq(rate=2000)
    wait(0.3)
    bench.drop(bench.relay_host, lost=f"udp dport {PORT} numgen random mod 100 < 1")
    wait(bench.long(20, 3))
    bench.drop_no_more(bench.relay_host)
    sent = daq.stop()
    lost = bench.nft_counter(bench.relay_host, "lost")
    (got,), (direct,) = client.finish(sent - lost), witness.finish(sent - lost)
    bench.injected = f"{lost} of {sent} datagrams dropped (nft numgen's counter)"
    lost_before_the_socket(bench, lost, sent, got, direct)
    bench.stop_relay(relay)


@row(
    "UDP loss 30 %",
    ACCOUNT,
    "self.before_socket += left - rejected - in_kernel",
    "self.before_socket += min(left - rejected - in_kernel, 3)",
)
def udp_loss_30(bench):
    sent, log, got, direct = run_impaired(bench, {"rate": 2000}, loss=0.3)
    bench.injected = f"{log['loss']} of {sent} datagrams dropped (impairer's log)"
    lost_before_the_socket(bench, log["loss"], sent, got, direct)


@row(
    "duplicates 5 %",
    SEQUENCING,
    "self.duplicates += 1",
    "self.duplicates += readout_id % 2",
)
def duplicates(bench):
    sent, log, got, direct = run_impaired(bench, {"rate": 2000}, duplicate=0.05)
    doubled = log["duplicate"]
    bench.injected = f"{doubled} of {sent} datagrams sent twice (impairer's log)"
    bench.equal("duplicates, by the relay's beat", got.totals["duplicates"], doubled)
    for who, received in (("client", got), ("direct receiver", direct)):
        nothing_but(bench, who, received, duplicates=doubled)
        # A relay forwards what came; the ledger tells the copies, and `delivered` counts each once.
        bench.equal(f"{who}: copies handed out", received.doubled, doubled)
        bench.equal(f"{who}: delivered", received.ledger["delivered"], sent)
        bench.equal(f"{who}: readouts", len(received.unique), sent)
    bench.counted = f"{got.totals['duplicates']} duplicates: relay, client and direct receiver"
    bench.recovered = "nothing was lost"


@row("reorder within 32, and stalls", TRACK, "REORDER_WINDOW = 64  # in strides", "REORDER_WINDOW = 16")
def reorder(bench):
    sent, log, got, direct = run_impaired(bench, {"rate": 1000}, reorder=0.1, delay=0.005)
    bench.injected = (
        f"{log['behind']} of {sent} sent behind a later one, {log['delay']} stalls (impairer's log)"
    )
    bench.equal("reordered, by the relay's beat", got.totals["reordered"], log["behind"])
    for who, received in (("client", got), ("direct receiver", direct)):
        nothing_but(bench, who, received, reordered=log["behind"])
        bench.all_delivered(received, sent, in_order=False)
    bench.true("some were reordered", log["behind"] > 0)
    bench.counted = f"{got.totals['reordered']} reordered: relay, client and direct receiver"
    bench.recovered = "nothing was lost"


@row(
    "truncation 5 %",
    "astropix_stream/multicast/intake.py",
    "if found == magic and length == size - header_size:",
    "if found == magic and length >= size - header_size:",
)
def truncation(bench):
    sent, log, got, direct = run_impaired(bench, {"rate": 2000}, truncate=0.05)
    cut = {reason: log[f"truncate {reason}"] for reason in ("short", "length")}
    bench.injected = (
        f"{log['truncate']} of {sent} cut: {cut['short']} short, {cut['length']} length (impairer's log)"
    )
    bench.equal("rejected datagrams by reason, in the beat", got.report.get("rejected"), cut)
    bench.equal("rejected readouts by reason, in the beat", got.totals["rejected"], cut)
    bench.equal("client: rejected by the relay", got.lost_at["relay_rejected"], log["truncate"])
    bench.equal("witness: rejected", dict(direct.rejected), cut)
    for who, received in (("client", got), ("witness", direct)):
        nothing_but(bench, who, received, lost=log["truncate"])
        bench.equal(f"{who}: readouts handed out", len(received.unique), sent - log["truncate"])
        bench.equal(f"{who}: damaged", received.corrupt, 0)
    bench.counted = f"{got.totals['rejected']} rejected: relay, client and direct receiver"
    bench.recovered = "no: UDP"


@row(
    "fragment loss, 60 kB readouts",
    ACCOUNT,
    "in_kernel = self._kernel.claim(min(gap.drops, left - rejected))",
    "in_kernel = left - rejected",
)
def fragments(bench):
    relay = bench.start_relay(buffer="16MiB")
    # What lacks a fragment waits for it, and would fill the kernel's 4 MiB in the default 30 s.
    bench.relay_host.sysctl("net.ipv4.ipfrag_time=1")
    client, witness = bench.start_monitors(), bench.start_witness()
    daq = bench.start_daq(rate=100, size=60_000)
    wait(0.3)
    # Each datagram has one fragment at this offset, so that a fragment lost is a datagram lost.
    offset = 3 * 1480 // 8
    bench.drop(bench.relay_host, lost=f"ip frag-off & 0x1fff == {offset} numgen random mod 10 < 1")
    wait(bench.long(20, 4))
    bench.drop_no_more(bench.relay_host)
    sent = daq.stop(10)
    lost = bench.nft_counter(bench.relay_host, "lost")
    (got,), (direct,) = client.finish(sent - lost), witness.finish(sent - lost)
    bench.injected = f"one of 41 fragments of {lost} of {sent} datagrams dropped (nft numgen's counter)"
    lost_before_the_socket(bench, lost, sent, got, direct)
    bench.stop_relay(relay)


@row(
    "relay SIGSTOPped for 2 s at 20 000/s",
    ACCOUNT,
    "gap.drops += drops",
    "gap.drops += drops - 1",
    alone=True,
)
def relay_stopped(bench):
    relay = bench.start_relay(buffer="4MiB")
    client = bench.start_monitors()
    daq = bench.start_daq(rate=20_000)
    wait(0.5)
    relay.send_signal(signal.SIGSTOP)
    wait(2)
    relay.send_signal(signal.SIGCONT)
    wait(1)
    sent = daq.stop()
    drops = bench.kernel_drops(relay)
    (got,) = client.finish(sent - drops)
    bench.injected = f"{drops} of {sent} dropped by the relay's kernel (/proc/net/udp)"
    bench.true("the queue was full", drops > 0)
    bench.equal("gap: readouts not handed out", sent - len(got.unique), drops)
    bench.equal("client: in the relay's kernel", got.lost_at["relay_kernel"], drops)
    bench.equal("relay's beat: kernel_dropped", got.report.get("kernel_dropped"), drops)
    bench.equal("relay's beat: in_kernel", got.totals["in_kernel"], drops)
    bench.equal("at most", got.ledger["at_most"], False)
    nothing_but(bench, "client", got, lost=drops)
    bench.counted = f"{got.lost_at['relay_kernel']} in the relay's kernel: relay and client"
    bench.recovered = "no: before the relay"
    bench.stop_relay(relay)


@row(
    "one slow subscriber, nine good ones",
    "astropix_relay/clients/publisher.py",
    "zmq.SNDHWM: max(1, queue_bytes // wire.MAX_PAYLOAD),",
    "zmq.SNDHWM: 0,",
    alone=True,
)
def slow_subscriber(bench):
    relay = bench.start_relay(history="8MiB", queue="8MiB")
    good = bench.start_monitors(*[bench.url] * 9)
    slow = bench.start_monitors(slow_s=0.1, receiver={"recover": False})
    before = memory(relay.pid)
    size, rate = 40_000, 300
    daq = bench.start_daq(rate=rate, size=size)
    wait(bench.long(20, 7))
    sent = daq.stop()
    nine = good.finish(sent)
    (one,) = slow.finish(0)
    grown = memory(relay.pid, "VmHWM") - before
    bound = (8 + 8 + 16) * MiB  # its queue, the history, and what messages under way to nine take besides
    for got in nine:
        bench.all_delivered(got, sent)
    bench.true("the slow one lost some", one.ledger["lost"] > 0)
    bench.equal("slow: delivered and lost", one.ledger["delivered"] + one.ledger["lost"], sent)
    bench.equal("slow: between relay and client", one.lost_at["relay_to_client"], sent - len(one.unique))
    bench.true(f"relay grew by {grown / MiB:.1f} MiB, less than {bound / MiB:.0f}", grown < bound)
    bench.injected = f"reads 10 of {rate} messages/s; {sent} readouts, {sent * size / MiB:.0f} MiB"
    bench.counted = (
        f"nine: 0 lost; slow: {one.lost_at['relay_to_client']} between relay and client;"
        f" the relay grew by {grown / MiB:.0f} MiB"
    )
    bench.recovered = "not asked for"
    bench.stop_relay(relay)


@row(
    "subscriber SIGSTOPped",
    SUBSCRIPTION,
    "if header.sequence < missing_until:",
    "if header.sequence < missing_until and header.sequence % 97:",
)
def subscriber_stopped(bench):
    seconds = bench.long(60, 6)
    relay = bench.start_relay(queue="256KiB")
    client = bench.start_monitors()
    daq = bench.start_daq(rate=1000, size=bench.long(600, 4000))
    wait(0.5)
    client.program.send_signal(signal.SIGSTOP)
    wait(seconds)
    client.program.send_signal(signal.SIGCONT)
    wait(1)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"stopped for {seconds} s of {sent} readouts at 1 000/s"
    bench.all_delivered(got, sent)
    bench.true("some came from history", got.ledger["recovered"] > 0)
    nothing_but(bench, "client", got)
    bench.counted = f"{got.ledger['lost']} lost"
    bench.recovered = f"all; {got.ledger['recovered']} from history"
    bench.stop_relay(relay)


@row(
    "connection cut",
    "astropix_stream/relay/connection.py",
    "for topic in self._topics:",
    "for topic in self._topics[:1]:",
)
def connection_cut(bench):
    seconds = bench.long(30, 7)
    relay = bench.start_relay()
    client = bench.start_monitors()
    daq = bench.start_daq(rate=1000, size=bench.long(400, 400))
    wait(0.5)
    bench.drop(bench.monitor_host, hook="input priority 0", lost="")
    wait(seconds)
    packets = bench.nft_counter(bench.monitor_host, "lost")
    bench.drop_no_more(bench.monitor_host)
    client.program.wait_for("nothing heard for 5 s")
    wait(2)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"{packets} packets dropped in {seconds} s (nft's counter); {sent} readouts"
    bench.true("packets were dropped", packets > 0)
    bench.true("some came from history", got.ledger["recovered"] > 0)
    bench.all_delivered(got, sent)
    nothing_but(bench, "client", got)
    bench.counted = f"{got.ledger['lost']} lost"
    bench.recovered = f"all; {got.ledger['recovered']} from history"
    bench.stop_relay(relay)


@row(
    "relay killed with SIGKILL and restarted",
    NUMBERED,
    "missing = (ahead - 1) // self.readouts.stride - self.missed",
    "missing = ahead // self.readouts.stride - self.missed",
)
def relay_killed(bench):
    relay = bench.start_relay()
    client = bench.start_monitors(settle_s=4)
    daq = bench.start_daq(rate=2000)
    times = bench.long(5, 2)
    for _ in range(times):
        wait(1)
        kill(relay)
        relay = bench.start_relay()
        wait(2.5)  # a client that comes back must have asked for what it missed
    sent = daq.stop()
    (got,) = client.finish(0)  # how many is not known here
    missing = sent - len(got.unique)
    bench.injected = f"killed {times} times; {missing} of {sent} not handed out (the programs' own serials)"
    bench.true("some were sent while there was no relay", missing > 0)
    bench.equal("handed out twice", got.doubled, 0)
    bench.true("in order", got.is_in_order())
    nothing_but(bench, "client", got, lost=missing, restarts=times)
    bench.equal("delivered", got.ledger["delivered"], len(got.unique))
    bench.counted = f"{got.ledger['lost']} lost: {places(got)}; {got.ledger['restarts']} restarts"
    bench.recovered = f"{got.ledger['recovered']} from the new relay's history"
    bench.stop_relay(relay)


def places(got):
    return ", ".join(f"{count} {place}" for place, count in got.lost_at.items()) or "nothing"


@row("DAQ restarted in mid-run", FOLLOWING, "self.run_count += 1", "self.run_count = 1")
def daq_restarted(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    sent = runs = 0
    for _ in range(bench.long(10, 3)):
        runs += 1
        daq = bench.start_daq(rate=1000, port=40_000, first_serial=sent)
        wait(0.7)
        sent += daq.stop(0)
    (got,), (direct,) = client.finish(sent), witness.finish(sent)
    bench.injected = f"{runs} runs from one port, {sent} readouts"
    for who, received in (("client", got), ("witness", direct)):
        bench.all_delivered(received, sent)
        nothing_but(bench, who, received, runs=runs)
    bench.equal("runs, by the relay's beat", got.totals["runs"], runs)
    bench.counted = f"{got.totals['runs']} runs, 0 lost: relay, client and direct receiver"
    bench.recovered = "nothing was lost"
    bench.stop_relay(relay)


@row(
    "interface deleted and made again",
    "astropix_stream/multicast/joined.py",
    "sockets.join(sock, self.wanted.group, interface, source)",
    "self._has_joined or sockets.join(sock, self.wanted.group, interface, source)",
)
def interface_made_again(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    nic, rate = bench.front[bench.relay_host], 1000
    daq = bench.start_daq(rate=rate)
    times, limit = bench.long(5, 2), 0.0
    for _ in range(times):
        wait(1)
        began_s = time.monotonic()
        nic.delete()
        wait(1.5)
        nic.create()
        limit += (time.monotonic() - began_s + 3.0) * rate  # joined again within 3 s
        for program in (relay, witness.program):
            program.wait_for("joined 239.1.1.1:5007 again on eth0")
    wait(1)
    sent = daq.stop()
    (got,), (direct,) = client.finish(0), witness.finish(0)  # how many is not known here
    bench.injected = f"{times} times, for 1.5 s each; {sent} readouts sent (the DAQ's own count)"
    for who, received in (("client", got), ("witness", direct)):
        missing = sent - len(received.unique)
        bench.true(f"{who}: some were sent meanwhile", missing > 1.5 * rate * times * 0.9)
        bench.true(f"{who}: {missing} missing, at most {limit:.0f}", missing < limit)
        bench.equal(f"{who}: before the socket", received.lost_at["before_socket"], missing)
        nothing_but(bench, who, received, lost=missing)
        bench.true(f"{who}: in order", received.is_in_order())
    bench.equal("witness: rejoins", direct.rejoins, {"interface": times})
    bench.counted = f"{got.ledger['lost']} lost by the relay, {direct.ledger['lost']} by the receiver; "
    bench.counted += f"{times} rejoins"
    bench.recovered = "joined again within 3 s, by both"
    bench.stop_relay(relay)


CLOCKS_S = (0.0, -1.0, -3600.0, 7200.0, -0.4, -1.9, 3600.0, -86400.0)


def send_runs(bench, clocks_s):
    """Let a DAQ send a run for each setting of its clock, from one port; return how many readouts; a text."""
    sent = 0
    for clock_s in clocks_s:
        daq = bench.start_daq(rate=1000, port=40_000, first_serial=sent, clock_s=clock_s)
        wait(0.7)
        sent += daq.stop(0)
    return sent, ", ".join(f"{clock_s:+g} s" for clock_s in clocks_s)


@row(
    "DAQ's clock set between runs",
    SEQUENCING,
    "self._begin_run(*pending.places[0], now, joining=joining)",
    "pending.places[0][1] > self._tracks[0].last_timestamp and self._begin_run(*pending.places[0], now)",
)
def clock_of_daq(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    clocks_s = CLOCKS_S[: bench.long(len(CLOCKS_S), 4)]
    sent, clocks = send_runs(bench, clocks_s)
    (got,), (direct,) = client.finish(sent), witness.finish(sent)
    bench.injected = f"{len(clocks_s)} runs, {sent} readouts; the DAQ's clock at {clocks}"
    for who, received in (("client", got), ("witness", direct)):
        bench.all_delivered(received, sent)
        nothing_but(bench, who, received, runs=len(clocks_s))
    bench.equal("runs, by the relay's beat", got.totals["runs"], len(clocks_s))
    bench.counted = f"{got.totals['runs']} runs, 0 lost: relay, client and direct receiver"
    bench.recovered = "nothing was lost"
    bench.stop_relay(relay)


@row(
    "wrong readout_ids, 1 %",
    EVIDENCE,
    "or step > max(near(stride), track.usual_step):",
    "or step > far(stride):",
)
def wrong_ids(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    daq = bench.start_daq(rate=1000, wrong_ids=0.01, seed=bench.seed)
    wait(bench.long(20, 4))
    sent = daq.stop(200)
    wrong = daq.wrong
    (got,), (direct,) = client.finish(sent), witness.finish(sent)
    bench.injected = f"one bit, of 7 to 31, flipped in {wrong} of {sent} readout_ids (the DAQ's log)"
    bench.true("some were wrong", wrong > 0)
    for who, received in (("client", got), ("witness", direct)):
        # Each is handed out, as a stray; the id that it should have had is missing.
        bench.equal(f"{who}: readouts handed out", len(received.unique), sent)
        nothing_but(bench, who, received, stray=wrong, lost=wrong)
    bench.equal("stray, by the relay's beat", got.totals["stray"], wrong)
    bench.counted = (
        f"{got.totals['stray']} stray, as many missing, one run: relay, client and direct receiver"
    )
    bench.recovered = "each was handed out"
    bench.stop_relay(relay)


@row(
    "two ways, of which one loses; the DAQ restarts, its clock set",
    ARBITER,
    "theirs.add(key, self._arrived)",
    "theirs.add(key, self._arrived) if ids[i] % 100 else None",
)
def two_ways(bench):
    hosts = [bench.relay_host, bench.add_relay_host()]
    relays = [bench.start_relay(host) for host in hosts]
    client = bench.start_monitors([f"tcp://{host.nics[1].address}:5556" for host in hosts], settle_s=4)
    bench.drop(hosts[0], lost=f"udp dport {PORT} numgen random mod 20 < 1")
    clocks_s = CLOCKS_S[: bench.long(len(CLOCKS_S), 4)]
    sent, clocks = send_runs(bench, clocks_s)
    lost = bench.nft_counter(hosts[0], "lost")
    (got,) = client.finish(sent)
    bench.injected = (
        f"{lost} of {sent} dropped on one way (nft's counter);"
        f" {len(clocks_s)} runs, the DAQ's clock at {clocks}"
    )
    bench.true("something was lost on one way", lost > 0)
    bench.all_delivered(got, sent, in_order=False)
    bench.equal("runs", got.ledger["runs"], len(clocks_s))
    bench.counted = f"{got.ledger['lost']} lost, {got.ledger['runs']} runs"
    bench.recovered = "all, from the other way"
    for relay in relays:
        bench.stop_relay(relay)


@row(
    "DAQ pause of 10 min (model time)",
    SEQUENCING,
    "self.last_s, self._last_ns = now",
    "self.last_s, self._last_ns, self._tracks = *now, self._tracks if now.s - self.last_s < 60 else []",
)
def daq_pause(bench):
    clock = bench.clock()
    relay = bench.start_relay(env=clock.env)
    client = bench.start_monitors(env=clock.env)
    witness = bench.start_monitors(bench.direct_url, host=bench.relay_host, env=clock.env)
    daq = bench.start_daq(rate=1000, env=clock.env)
    wait(1)
    daq.tell("rate", 0, answer="paced")
    wait(1.5)  # the relay looks once a second whether it heard something
    clock.shift(monotonic_s=600, wall_s=600)
    relay.wait_for("joined 239.1.1.1:5007 again")  # after two minutes of silence
    daq.tell("rate", 1000, answer="paced")
    wait(1)
    sent = daq.stop()
    (got,), (direct,) = client.finish(sent), witness.finish(sent)
    bench.injected = f"600 s without a readout in the clocks of all four programs; {sent} readouts"
    for who, received in (("client", got), ("witness", direct)):
        bench.all_delivered(received, sent)
        nothing_but(bench, who, received)
    bench.counted = "0 lost, 1 run: relay, client and direct receiver; the relay joined again"
    bench.recovered = "nothing was lost"
    bench.stop_relay(relay)


@row(
    "history smaller than the outage",
    SUBSCRIPTION,
    "self._account.miss(place, missed - before_joining, now.ns, not_ours=before_joining)",
    "self._account.miss(place, missed - before_joining - 1, now.ns, not_ours=before_joining)",
)
def small_history(bench):
    relay = bench.start_relay(history="4MiB", queue="256KiB")
    client = bench.start_monitors(settle_s=4)
    daq = bench.start_daq(rate=1000, size=4000)
    wait(0.5)
    client.program.send_signal(signal.SIGSTOP)
    seconds = bench.long(30, 8)
    wait(seconds)
    client.program.send_signal(signal.SIGCONT)
    wait(2)
    sent = daq.stop()
    (got,) = client.finish(0)
    missing = sent - len(got.unique)
    bench.injected = (
        f"stopped for {seconds} s; {missing} of {sent} not handed out (the programs' own serials)"
    )
    bench.true("history did not hold it all", missing > 0)
    bench.true("it held some", got.ledger["recovered"] > 0)
    bench.equal("between relay and client", got.lost_at["relay_to_client"], missing)
    nothing_but(bench, "client", got, lost=missing)
    bench.equal("handed out twice", got.doubled, 0)
    bench.true("in order", got.is_in_order())
    bench.counted = f"{got.lost_at['relay_to_client']} between relay and client"
    bench.recovered = f"{got.ledger['recovered']} from history, the rest is counted"
    bench.stop_relay(relay)


@row(
    "two DAQs on one group",
    "astropix_stream/counting/stream.py",
    "account = self._sources.get(batch.source) or self._open_account(batch.source, now)",
    "account = next(iter(self._sources.values()), None) or self._open_account(batch.source, now)",
)
def two_daqs(bench):
    relay = bench.start_relay()
    client, witness = bench.start_monitors(), bench.start_witness()
    daqs = [bench.start_daq(rate=1000, port=40_001 + n, first_serial=n * SERIALS_OF_A_DAQ) for n in range(2)]
    wait(0.3)
    rates = (20, 7)  # one in so many
    matches = (
        f"udp dport {PORT} udp sport {daq.port} numgen random mod {rate} < 1"
        for daq, rate in zip(daqs, rates, strict=True)
    )
    bench.drop(bench.relay_host, **{f"lost{n}": match for n, match in enumerate(matches)})
    wait(bench.long(20, 3))
    bench.drop_no_more(bench.relay_host)
    sent = [daq.stop() for daq in daqs]
    lost = [bench.nft_counter(bench.relay_host, f"lost{n}") for n in range(2)]
    expected = sum(sent) - sum(lost)
    (got,), (direct,) = client.finish(expected), witness.finish(expected)
    told = {account["port"]: account["before_socket"] for account in got.report["sources"]}
    for n, daq in enumerate(daqs):
        bench.equal(f"beat: before the socket, of port {daq.port}", told.get(int(daq.port)), lost[n])
    for who, received in (("client", got), ("witness", direct)):
        nothing_but(bench, who, received, lost=sum(lost), runs=2)
        bench.equal(f"{who}: before the socket", received.lost_at["before_socket"], sum(lost))
        bench.equal(f"{who}: readouts handed out", len(received.unique), expected)
        bench.true(f"{who}: each DAQ's in order", received.is_in_order())
    bench.injected = f"{lost[0]} and {lost[1]} of {sent[0]} and {sent[1]} dropped (nft numgen's counters)"
    bench.counted = (
        " and ".join(f"{told.get(int(daq.port))}" for daq in daqs) + " before the socket, by source"
    )
    bench.recovered = "no: UDP"
    bench.stop_relay(relay)


WALL_CLOCK = (
    "astropix_stream/clock.py",
    "return Moment(time.monotonic(), time.time_ns())",
    "return Moment(time.time() - _AHEAD, time.time_ns())\n\n\n_AHEAD = time.time() - time.monotonic()",
)


def step_clock(bench, **who):
    """Step the wall clock of one program forward by an hour, back by two, and so on, under load."""
    clock = bench.clock()
    watchdog = bench.directory / "watchdog"
    env = {"APX_WATCHDOG": str(watchdog)}
    relay = bench.start_relay(env=env | clock.env if "relay" in who else env)
    client = bench.start_monitors(env=clock.env if "client" in who else None)
    daq = bench.start_daq(rate=1000)
    steps = (0, 3600, -3600) * bench.long(5, 2)
    for step_s in steps:
        # Between two readouts: one that comes just then hides the step.
        daq.tell("rate", 0, answer="paced")
        wait(0.2)
        clock.shift(wall_s=step_s)
        wait(0.4)
        daq.tell("rate", 1000, answer="paced")
        wait(0.4)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"{len(steps)} steps of the {next(iter(who))}'s clock: +1 h, -2 h, …; {sent} readouts"
    bench.all_delivered(got, sent)
    nothing_but(bench, "client", got)
    bench.equal("the last beat tells of all", got.report.get("published"), sent)
    bench.true("it never connected again", "not heard" not in client.program.stderr)
    bench.equal("turns longer than 50 ms", watchdog.read_text().splitlines()[:3], [])
    bench.counted = "0 lost, 1 run, no restart; beats went on"
    bench.recovered = "nothing was lost"
    bench.stop_relay(relay)


@row("clock step of the relay, ±1 h", *WALL_CLOCK)
def clock_of_relay(bench):
    step_clock(bench, relay=True)


# Either of two guards is enough there: monotonic time, and patience that trusts no single step of it.
@row(
    "clock step of the client, ±1 h",
    *WALL_CLOCK,
    also=[
        Broken(
            "astropix_stream/relay/patience.py",
            "self._spent_s += min(now_s - self._looked_s, self._limit_s / 2)",
            "self._spent_s += now_s - self._looked_s",
        )
    ],
)
def clock_of_client(bench):
    step_clock(bench, client=True)


@row(
    "random and mutated datagrams",
    "astropix_stream/multicast/intake.py",
    "if size >= header_size:",
    "if size:",
    alone=True,
)
def junk_datagrams(bench):
    count = bench.long(1_000_000, 50_000)
    watchdog = bench.directory / "watchdog"
    relay = bench.start_relay(buffer="16MiB", env={"APX_WATCHDOG": str(watchdog)})
    client = bench.start_monitors()
    junk = bench.start(
        bench.daq_host, sys.executable, "-m", "matrix.junk", json.dumps({"count": count, "seed": bench.seed})
    )
    told = json.loads(junk.wait_for("result", 600).removeprefix("result"))
    sent, log = told["sent"], told["log"]
    (got,) = client.finish(sent)
    drops = bench.kernel_drops(relay)
    rejected = {reason: log[reason] for reason in ("short", "magic", "length")}
    bench.injected = f"{count} random or mutated ({rejected}, {log['valid']} valid) among {sent} good ones"
    good = {serial for serial in got.serials if serial < sent}
    bench.equal("kernel's drops", drops, 0)
    bench.equal("turns longer than 50 ms", watchdog.read_text().splitlines()[:3], [])
    bench.equal("good ones handed out", len(good), sent)
    bench.equal("rejected by reason", got.report.get("rejected"), rejected)
    # One whose data alone was changed is a readout like any other: only a checksum of ours tells it.
    bench.equal("valid ones handed out", got.corrupt, log["valid"])
    accounts = {account["port"]: account for account in got.report["sources"]}
    account = accounts.get(told["port"], {})
    bench.equal("the good source: received", account.get("received"), sent)
    for key in ("before_socket", "in_kernel", "duplicates", "reordered", "late", "stray"):
        bench.equal(f"the good source: {key}", account.get(key), 0)
    bench.counted = f"{got.report.get('rejected')} rejected by the relay"
    bench.recovered = "every good one was delivered"
    bench.stop_relay(relay)


@row(
    "random bytes as a relay's messages",
    SUBSCRIPTION,
    "        except WireError:\n            self.malformed += 1\n"
    "            return []\n\n    def _take_hello",
    "        except ZeroDivisionError:\n"
    "            self.malformed += 1\n            return []\n\n    def _take_hello",
)
def mad_relay(bench):
    fake = bench.start_module(
        bench.relay_host,
        "fake_relay",
        "publishing",
        endpoint="tcp://*:5556",
        seed=bench.seed,
        count=bench.long(200_000, 20_000),
    )
    client = bench.start_monitors()
    told = fake.result(120)
    (got,) = client.finish(told["sent"])
    bench.injected = f"{told['junk']} messages of junk among {told['sent']} good ones (the fake's log)"
    bench.all_delivered(got, told["sent"])
    bench.equal("malformed, by the client", got.malformed, told["junk"])
    nothing_but(bench, "client", got)
    bench.counted = f"{got.malformed} malformed, in the client"
    bench.recovered = "every good one was delivered"
    fake.program.close()


@row(
    "hits of doubled readouts",
    "astropix_stream/batch.py",
    "if not any(self.duplicates):",
    "if True:",
)
def doubled_hits(bench):
    relay = bench.start_relay()
    apx, folder = RELAY.with_name("apx"), bench.directory / "doubled"
    folder.mkdir()
    recorder = bench.start(bench.monitor_host, apx, "record", "--json", bench.url, folder / "run.apx")
    recorder.wait_for("receiving from")
    page = bench.start(
        bench.monitor_host, apx, "monitor", "--json", bench.url, "--no-page", "--snapshot", folder / "page"
    )
    page.wait_for("receiving from")
    client = bench.start_monitors()
    sender, impairer = bench.start_impaired({"rate": 1000}, duplicate=0.2)
    wait(bench.long(10, 3))
    impairer.spare()
    sent = sender.stop()
    log = impairer.stop()
    doubled = log["duplicate"]
    client.finish(sent + doubled)
    for program in (recorder, page):
        program.process.send_signal(signal.SIGINT)
        program.wait()
    serials, _ = read_recording(folder / "run.apx")
    once = write_once(folder / "run.apx", folder / "once.apx")
    hits = {
        name: convert(bench, apx, folder / f"{name}.apx", *options)
        for name, options in (("once", []), ("run", []))
    }
    kept = convert(bench, apx, folder / "run.apx", "--keep-duplicates", "--force")
    shown = json.loads(next(line for line in page.stdout.splitlines() if line.startswith("{")))["run"]
    bench.injected = f"{doubled} of {sent} readouts sent twice (impairer's log)"
    bench.equal("readouts in the recording, each copy", len(serials), sent + doubled)
    bench.equal("different readouts in it", once, sent)
    bench.true("the readouts have hits", hits["once"]["hits"] > sent / 10)
    bench.equal("apx convert: hits", hits["run"]["hits"], hits["once"]["hits"])
    bench.equal("apx convert: duplicates left out", hits["run"]["duplicates_left_out"], doubled)
    bench.true("--keep-duplicates keeps their hits", kept["hits"] > hits["run"]["hits"])
    bench.equal("page: readouts", shown["readouts"], sent)
    bench.equal("page: hits", shown["hits"], hits["once"]["hits"])
    bench.equal("page: duplicates", shown["duplicates"], doubled)
    bench.counted = f"{doubled} duplicates left out of {hits['run']['hits']} hits: table and page"
    bench.recovered = "nothing was lost"
    bench.stop_relay(relay)


def convert(bench, apx, path, *options):
    """Convert a recording; return what the command says of it."""
    program = bench.start(
        bench.monitor_host, apx, "convert", "--json", path, path.with_suffix(".csv"), *options
    )
    program.wait()
    return json.loads(program.stdout)


def write_once(path, other):
    """Copy a recording, each readout once, by its serial; return how many there are."""
    data = path.read_bytes()
    at = 10 + int.from_bytes(data[6:10], "little")
    copy, seen = [data[:at]], set()
    while at + HEADER.size <= len(data):
        end = at + HEADER.size + HEADER.unpack_from(data, at)[3]
        serial = serial_of(data[at:end])
        if serial not in seen:
            copy.append(data[at:end])
        seen.add(serial)
        at = end
    other.write_bytes(b"".join(copy))
    return len(seen)


@row(
    "disk full while recording",
    "astropix_stream/cli/files/part.py",
    "os.truncate(self.path, self.size)",
    "pass",
)
def disk_full(bench):
    relay = bench.start_relay()
    client = bench.start_monitors()
    full, copy = bench.directory / "full", bench.directory / "copy"
    full.mkdir()
    copy.mkdir()
    apx = RELAY.with_name("apx")
    # The mount is seen by this program alone: `ip netns exec` gives it mounts of its own.
    script = (
        f"mount -t tmpfs -o size={DISK} tmpfs {full} || exit 9;"
        f" {apx} record --json {bench.url} {full}/run.apx;"
        f" echo exit code $?; cp {full}/run.* {copy}"
    )
    recorder = bench.start(bench.monitor_host, "sh", "-c", script)
    recorder.wait_for("receiving from")
    daq = bench.start_daq(rate=1000, size=1000)
    recorder.wait_for("exit code", 60)
    sent = daq.stop()
    recorder.wait()
    (got,) = client.finish(sent)
    serials, left_over = read_recording(copy / "run.apx")
    told = json.loads(next(line for line in recorder.stdout.splitlines() if line.startswith("{")))
    account = json.loads((copy / "run.json").read_text())
    bench.injected = f"a disk of {DISK // 1024} KiB (tmpfs), {sent} readouts of 1 kB"
    bench.true("it says that the disk is full", "No space left on device" in recorder.stderr)
    bench.true("exit code 1", "exit code 1\n" in recorder.stdout)
    bench.true("something was written", len(serials) > 0.9 * DISK / 1031)
    bench.equal("the file has whole readouts, and bytes left over", left_over, 0)
    bench.equal("the first ones, in order", serials, list(range(len(serials))))
    bench.equal("readouts, by the summary", told["readouts"], len(serials))
    bench.equal("readouts, by the account beside the file", account["readouts"], len(serials))
    bench.equal("received", told["readouts"] + told["not_written"], told["stream"]["delivered"])
    bench.all_delivered(got, sent)
    bench.counted = f"{told['readouts']} whole readouts in the file, {told['not_written']} more not written"
    bench.recovered = "what is in the file; another subscriber lost nothing"
    bench.stop_relay(relay)


DISK = 1 << 20


def read_recording(path):
    """Return the serials of the whole readouts of a file, and how many bytes are left over."""
    data = path.read_bytes()
    at = 10 + int.from_bytes(data[6:10], "little")
    serials = []
    while at + HEADER.size <= len(data):
        end = at + HEADER.size + HEADER.unpack_from(data, at)[3]
        if end > len(data):
            break
        serials.append(serial_of(data[at:end]))
        at = end
    return serials, len(data) - at


@row(
    "two relays, each killed in turn every 5 s",
    ARBITER,
    "is_new = place is None",
    "is_new = place is None or not ids[i] % 1000",
)
def two_relays(bench):
    hosts = [bench.relay_host, bench.add_relay_host()]
    relays = [bench.start_relay(host) for host in hosts]
    client = bench.start_monitors([f"tcp://{host.nics[1].address}:5556" for host in hosts], settle_s=4)
    daq = bench.start_daq(rate=1000)
    times = bench.long(12, 2)
    for n in range(times):
        wait(5)
        kill(relays[n % 2])
        relays[n % 2] = bench.start_relay(hosts[n % 2])
    wait(3)
    sent = daq.stop()
    (got,) = client.finish(sent)
    bench.injected = f"{times} kills; {sent} readouts"
    bench.all_delivered(got, sent)
    bench.equal("restarts", got.ledger["restarts"], times)
    bench.equal("runs", got.ledger["runs"], 1)
    bench.counted = f"{got.ledger['lost']} lost, {got.ledger['restarts']} restarts"
    bench.recovered = "all, from the other relay"
    for relay in relays:
        bench.stop_relay(relay)


# These rows register themselves; they need `row` from here.
from matrix import attacks, surroundings  # noqa: E402, F401
