"""A connection that is cut for some seconds: what was sent meanwhile comes afterwards, in order."""

import json
import sys
import time

import pytest

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender

RELAY = (sys.executable, "-m", "astropix_relay", "run", "--interface", "eth0")
RATE, BEFORE, DURING, AFTER = 500, 500, 4000, 500

CLIENT = """
import json, logging, sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import RelayReceiver

logging.basicConfig(level="INFO")
count = int(sys.argv[2])
with RelayReceiver(AstroPix4Readout, sys.argv[1], timeout=30) as receiver:
    receiver.wait_ready()
    print("ready")
    ids = []
    while len(ids) < count:
        ids.append(receiver.receive().readout_id)
        if len(ids) == 100:
            print("receives")
    print("result", json.dumps([ids == list(range(count)), receiver.ledger.to_json()]))
"""


def cut_by_firewall(monitor, _):
    monitor.nft("add table ip t; add chain ip t in { type filter hook input priority 0; policy drop; }")
    return lambda: monitor.nft("delete table ip t")


def cut_by_link(monitor, back):
    back[monitor].down()
    return back[monitor].up


def send(sender, ids):
    for i in ids:
        sender.send_readout(AstroPix4Readout(bytes(range(1, 201)), i))
        time.sleep(1 / RATE)


@pytest.mark.parametrize("cut", [cut_by_firewall, cut_by_link])
def test_a_cut_of_8_seconds_loses_nothing(lab, cut):
    daq, relay, monitor = lab.hosts("daq", "relay", "monitor")
    lab.lan(daq, relay)
    back = lab.lan(relay, monitor)
    publish = f"tcp://{relay.nics[1].address}:5556"
    with (
        relay.start(*RELAY, "--publish", publish) as daemon,
        daq.inside(),
        MulticastSender(interface="eth0") as sender,
    ):
        daemon.wait_for("publishing")
        with monitor.start_python(CLIENT, publish, BEFORE + DURING + AFTER) as client:
            client.wait_for("ready")
            send(sender, range(BEFORE))
            client.wait_for("receives")
            heal = cut(monitor, back)
            send(sender, range(BEFORE, BEFORE + DURING))
            client.wait_for("nothing heard for 5 s; reconnecting")
            heal()
            send(sender, range(BEFORE + DURING, BEFORE + DURING + AFTER))
            whole, ledger = json.loads(client.wait_for("result").removeprefix("result"))
        assert daemon.stop() == 0
    assert (whole, ledger["lost"]) == (True, 0)
    assert ledger["recovered"] > DURING / 2
