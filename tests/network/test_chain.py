"""The whole chain on real input: DAQ -> multicast -> relay -> ZeroMQ -> monitor on another subnet.

daq, relay and witness share a LAN with multicast; relay and monitor share another one. The monitor has no
route for multicast, and the relay host does not forward. `apx send` plays a run in daq; a RelayReceiver in
monitor and a MulticastReceiver in witness both get every byte of it.
"""

import csv
import json
import sys
from itertools import islice
from pathlib import Path

import pytest

from astropix_stream.cli.playing.simulation import Detector
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout
from conftest import SHARED

RELAY = (sys.executable, "-m", "astropix_relay", "run")
APX = f"{sys.executable} -m astropix_stream.cli"
GROUP, PORT = "239.1.1.1", 5007

# Prints the bytes and the hits of every readout, as JSON lines, until nothing came for 3 s.
RECEIVE = """
import json, sys
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver

class Exact:
    @classmethod
    def from_bytes(cls, data):
        hits = AstroPix4Readout.from_bytes(data).decode()
        print(json.dumps({"bytes": data.hex(), "hits": [hit.attribute_values() for hit in hits]}))

with open_receiver(Exact, sys.argv[1]) as receiver:
    if hasattr(receiver, "wait_ready"):
        receiver.wait_ready(10)
    print("ready", file=sys.stderr)
    timeout = 15
    while True:
        try:
            receiver.receive(timeout=timeout)
        except ReceiveTimeout:
            break
        timeout = 3
    print(json.dumps(receiver.ledger.to_json()), file=sys.stderr)
"""


def lab_of_two_lans(lab):
    daq, relay, monitor, witness = lab.hosts("daq", "relay", "monitor", "witness")
    lab.lan(daq, relay, witness)
    lab.lan(relay, monitor)
    for host in (daq, relay, witness):
        host.route_multicast()
    return daq, relay, monitor, witness


def play(lab, path):
    """Play a file through the chain; return what monitor and witness received, each (readouts, ledger)."""
    daq, relay, monitor, witness = lab_of_two_lans(lab)
    assert "239.1.1.1" not in monitor.ip("route show table all")
    publish = f"tcp://{relay.nics[1].address}:5556"
    with (
        relay.start(*RELAY, "--publish", publish) as daemon,
        witness.start_python(RECEIVE, f"udp://{GROUP}:{PORT}") as direct,
    ):
        daemon.wait_for("publishing")
        with monitor.start_python(RECEIVE, f"{publish}?stream=astropix") as relayed:
            relayed.wait_for("ready")
            direct.wait_for("ready")
            sent = daq.run(f"{APX} send {path} --rate 500")
            assert "not sent" not in sent
            assert relayed.wait() == direct.wait() == 0
        assert daemon.stop() == 0
    return [
        (list(map(json.loads, program.stdout.splitlines())), json.loads(program.stderr.splitlines()[-1]))
        for program in (relayed, direct)
    ]


def assert_all_received(received, path):
    with apx_open(path) as run:
        sent = [datagram.hex() for datagram, _, _ in run.datagrams()]
    for readouts, ledger in received:
        assert [readout["bytes"] for readout in readouts] == sent
        assert ledger["lost"] == 0
        assert ledger["delivered"] == len(sent)


def test_a_generated_run_arrives_byte_for_byte(lab, tmp_path):
    path = tmp_path / "generated.apx"
    with apx_open(path, "wb", FileHeader(AstroPix4Readout, {"made": "by a test"})) as file:
        for _, readout in islice(Detector(seed=7).readouts(), 1000):
            file.write(readout.to_bytes())
    received = play(lab, path)
    assert_all_received(received, path)
    with apx_open(path) as run:
        hits = [hit.attribute_values() for readout in run for hit in readout.decode()]
    assert len(hits) > 500
    for readouts, _ in received:
        assert [hit for readout in readouts for hit in readout["hits"]] == hits


@pytest.mark.shared
def test_a_real_run_arrives_with_every_hit(lab):
    path = SHARED / "data/run_20250723.apx"
    received = play(lab, path)
    assert_all_received(received, path)
    lines = Path(SHARED / "data/run_20250723_hits.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    names = AstroPix4Readout.HIT_CLASS.ATTRIBUTE_NAMES
    for readouts, _ in received:
        hits = [dict(zip(names, hit, strict=True)) for readout in readouts for hit in readout["hits"]]
        assert len(hits) == len(rows) == 776
        for hit, row in zip(hits, rows, strict=True):
            assert {name: float(hit[name]) for name in row} == {name: float(row[name]) for name in row}


def test_streams_on_two_groups_with_one_port_stay_apart(lab, tmp_path):
    daq, relay, monitor, _ = lab_of_two_lans(lab)
    address = relay.nics[1].address
    config = tmp_path / "relay.yaml"
    config.write_text(
        f"streams:\n"
        f"  - {{name: one, group: 239.1.1.1, port: {PORT}, interface: eth0}}\n"
        f"  - {{name: two, group: 239.1.1.2, port: {PORT}, interface: eth0}}\n"
        f"publish: {{endpoint: 'tcp://{address}:5556'}}\n"
    )
    with relay.start(*RELAY, "--config", config) as daemon:
        daemon.wait_for("publishing")
        urls = [f"tcp://{address}:5556?stream={name}" for name in ("one", "two")]
        with monitor.start_python(RECEIVE, urls[0]) as one, monitor.start_python(RECEIVE, urls[1]) as two:
            one.wait_for("ready")
            two.wait_for("ready")
            daq.python(
                "import sys\n"
                "from astropix_stream.sock import MulticastSender\n"
                "from astropix_stream.fmt import AstroPix4Readout\n"
                "a, b = MulticastSender('239.1.1.1'), MulticastSender('239.1.1.2')\n"
                "for i in range(300):\n"
                "    a.send_readout(AstroPix4Readout(b'\\x01', i, 1))\n"
                "    if i < 200: b.send_readout(AstroPix4Readout(b'\\x02', i, 1))\n"
            )
            assert one.wait() == two.wait() == 0
        assert daemon.stop() == 0
    for program, count, data in ((one, 300, "01"), (two, 200, "02")):
        readouts = [json.loads(line)["bytes"] for line in program.stdout.splitlines()]
        assert len(readouts) == count
        assert all(readout.endswith(f"01000000{data}") for readout in readouts)
