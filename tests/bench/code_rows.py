"""What is timed in this process: sending, decoding to objects, decoding to columns."""

import socket
import time
from pathlib import Path

from astropix_analysis import multicast
from astropix_analysis.columns import decode_columns
from astropix_analysis.fileio import apx_open
from astropix_analysis.fmt import AstroPix4Readout
from astropix_analysis.simulation import Detector
from astropix_analysis.sock import MulticastSender
from bench.chain import Address
from bench.peers import datagram
from bench.rows import Row

RUN = Path(__file__).parents[3] / "shared" / "data" / "run_20250723.apx"
PUBLIC_US = 18.0  # a hit, the public astropix-analysis decoder on the machine of issue 4


def send(scale, _):
    """`send_readout` and a bare sendto of the same bytes, prebuilt, to a group that nobody joined."""
    row = Row("send_readout beyond a bare sendto", "bare sendto", "us", "≤ 1.5 us", most=1.5)
    at = Address()
    readout = AstroPix4Readout.from_bytes(datagram(35))
    data, to = readout.to_bytes(), (at.group, at.port)
    interface = multicast.find_interface("127.0.0.1", socket.AF_INET)
    bare = []
    with (
        MulticastSender(at.group, at.port, 0, interface="127.0.0.1") as sender,
        multicast.open_sender(at.group, at.port, interface=interface, ttl=0, loop=True) as udp,
    ):
        for _ in range(max(scale.rounds, 1)):
            bare.append(each_us(scale.calls, lambda: udp.sendto(data, to)))
            row.ours.append(each_us(scale.calls, lambda: sender.send_readout(readout)) - bare[-1])
    row.against = f"bare sendto, subtracted: {sorted(bare)[len(bare) // 2]:.2f} us"
    return [row]


def each_us(calls, function):
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            function()
        best = min(best, time.perf_counter() - began)
    return best / calls * 1e6


def real_run():
    """Return the readouts of the run that the issue is about; simulated ones where it is not at hand."""
    if RUN.exists():
        with apx_open(RUN) as file:
            return list(file), "real run"
    detector = Detector(seed=1)
    return [readout for (_, readout), _ in zip(detector.readouts(), range(500), strict=False)], "simulated"


def decode(scale, _):
    """A hit as an object and as a row of a table; the public decoder's figure is that of the issue."""
    readouts, where = real_run()
    raw = [readout.to_bytes() for readout in readouts]
    hits = sum(len(readout.decode()) for readout in readouts)
    repeats = max(1, scale.calls // 1000)
    many = b"".join(raw) * repeats
    objects = Row("decode(), a hit", f"public decoder {PUBLIC_US} us", "us", "≤ 2.5 us", most=2.5, note=where)
    columns = Row(
        "decode_columns, a hit", "public decoder", "us", "≤ 0.02 × (50 × as fast)", most=0.02, note=where
    )
    for _ in range(scale.rounds):
        objects.ours.append(
            timed_us(lambda: [AstroPix4Readout.from_bytes(data).decode() for data in raw]) / hits
        )
        columns.ours.append(timed_us(lambda: decode_columns(many)) / hits / repeats)
        columns.theirs.append(PUBLIC_US)
    objects.note += f", {1e6 / objects.figure:,.0f} hits/s"
    columns.note += f", {1e6 / columns.figure:,.0f} hits/s"
    return [objects, columns]


def timed_us(function):
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best * 1e6
