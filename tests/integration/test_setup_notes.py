"""What a relay's operator says of the setup comes to programs and to the page, through other relays too."""

import json
import time

import pytest

pytest.importorskip("bokeh")

from astropix_relay.configuration.loading import load_config
from astropix_stream.fileio import FileHeader, apx_open
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from integration.test_monitor import get, monitor
from programs import TIMEOUT
from relays import running

NOTES = {"threshold": "200 mV", "beam": "<i>120 GeV</i> π⁺"}


def config(stream):
    return load_config(
        json.dumps(
            {"streams": [stream], "publish": {"endpoint": "tcp://127.0.0.1:0"}, "metrics": {"listen": None}}
        )
    )


def test_through_two_relays_to_the_page(group, port):
    first = config({"group": group, "port": port, "interface": "127.0.0.1", "notes": NOTES})
    with running(first) as above:
        with running(config({"from": [above.publisher.endpoint]})) as below:
            with RelayReceiver(AstroPix4Readout, below.publisher.endpoint) as receiver:
                receiver.wait_ready(TIMEOUT)
                assert receiver.notes == NOTES
            with monitor(below.publisher.endpoint) as (_, page):
                deadline = time.monotonic() + TIMEOUT
                while not (setup := json.loads(get(page, "/api/state.json"))["setup"]):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                assert setup == NOTES


def test_the_header_of_a_file(tmp_path):
    path = tmp_path / "run.apx"
    header = FileHeader(AstroPix4Readout, {"args": {"threshold": 100.0, "inject": [0, 9]}})
    with apx_open(path, "wb", header) as file:
        file.write(AstroPix4Readout(b"\xbc", 0, 1).to_bytes())
    with monitor(str(path)) as (_, page):
        assert json.loads(get(page, "/api/state.json"))["setup"] == {
            "args.threshold": "100.0",
            "args.inject": "[0, 9]",
        }
