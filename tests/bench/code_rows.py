"""What is timed in this process: sending, decoding to objects, decoding to columns."""

import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

from astropix_stream import fmt
from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.columns import decode_columns
from astropix_stream.fileio import apx_open
from astropix_stream.fmt import ASTEP, ASTROPIX3, ASTROPIX4, AstroPix4Readout
from astropix_stream.multicast import interfaces, sockets
from astropix_stream.sock import MulticastSender
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
    interface = interfaces.find_interface("127.0.0.1", 4)
    bare = []
    with (
        MulticastSender(at.group, at.port, 0, interface="127.0.0.1") as sender,
        sockets.open_sending(at.group, at.port, interface=interface, ttl=0, loop=True) as udp,
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
    """A hit as an object and as a row of a table, beside a plain loop."""
    readouts, where = real_run()
    raw = [readout.to_bytes() for readout in readouts]
    hits = sum(len(readout.decode()) for readout in readouts)
    repeats = max(1, scale.calls // 1000)
    many = b"".join(raw) * repeats
    public = f"{where}; public decoder {PUBLIC_US:g} us"
    objects = Row("decode(), a hit", "plain loop", "us", "≤ 2.5 us", most=2.5, absolute=True)
    columns = Row(
        "decode_columns, a hit", "plain loop", "us", "≤ 0.36 us (50 × as fast as public)", most=0.36
    )
    columns.absolute = True
    for _ in range(scale.rounds):
        objects.ours.append(
            timed_us(lambda: [AstroPix4Readout.from_bytes(data).decode() for data in raw]) / hits
        )
        columns.ours.append(timed_us(lambda: decode_columns(many)) / hits / repeats)
        plain = timed_us(lambda: [decode_plainly(data[fmt.HEADER_SIZE :]) for data in raw]) / hits
        objects.theirs.append(plain)
        columns.theirs.append(plain)
    objects.note, columns.note = (f"{public}; {1e6 / row.figure:,.0f} hits/s" for row in (objects, columns))
    return [objects, columns]


def decode_kinds(scale, _):
    """Each kind of readout beside AstroPix 4: a byte of readouts with as many hits, as boards send them."""
    count = max(50, scale.calls // 20)
    payloads = {
        kind: b"".join(
            readout.to_bytes()
            for _, readout in islice(
                Detector(seed=1, hits=6 / (1 + kind.half_hits), kind=kind).readouts(), count
            )
        )
        for kind in (ASTROPIX4, ASTROPIX3, ASTEP)
    }
    rows = [
        Row(f"decode_columns, a byte of {kind.name}", ASTROPIX4.name, "ns", "≤ 1.0 ×", most=1.0)
        for kind in (ASTROPIX3, ASTEP)
    ]
    hits = {kind: len(decode_columns(raw, kind)) for kind, raw in payloads.items()}
    for _ in range(scale.rounds):
        ours = {
            kind: 1000 * timed_us(lambda raw=raw, kind=kind: decode_columns(raw, kind)) / len(raw)
            for kind, raw in payloads.items()
        }
        for row, kind in zip(rows, (ASTROPIX3, ASTEP), strict=True):
            row.ours.append(ours[kind])
            row.theirs.append(ours[ASTROPIX4])
    for row, kind in zip(rows, (ASTROPIX3, ASTEP), strict=True):
        own, other = (len(payloads[each]) / hits[each] for each in (kind, ASTROPIX4))
        ratio = statistics.median(row.ratios) * own / other
        row.note = (
            f"{own:.1f} bytes a row of the table, where AstroPix 4 has {other:.1f}: {ratio:.2f} × a row"
        )
    return rows


def decode_plainly(data):
    """Decode as one does at first, from the description of the format: byte by byte and bit by bit."""
    hits, at = [], 0
    while at + fmt.HIT_SIZE <= len(data):
        if data[at] < 0xE0 or data[at] == 0xFF:
            at += 1
            continue
        bits = "".join(f"{byte:08b}"[::-1] for byte in data[at : at + fmt.HIT_SIZE])
        hit: dict[str, Any] = {
            name: int(bits[first : last + 1], 2) for name, (first, last) in fmt.BIT_FIELDS.items()
        }
        for n in "12":
            gray = binary = hit[f"ts_coarse{n}"] << 3 | hit[f"ts_fine{n}"]
            while gray := gray >> 1:
                binary ^= gray
            hit[f"ts_dec{n}"] = binary
        if hit["ts_dec2"] < hit["ts_dec1"]:
            hit["ts_dec2"] += fmt.ROLLOVER
        hit["tot_us"] = (hit["ts_dec2"] - hit["ts_dec1"]) / fmt.CLOCK_MHZ
        hits.append(hit)
        at += fmt.HIT_SIZE
    return hits


def timed_us(function):
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best * 1e6
