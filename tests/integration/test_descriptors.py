"""A relay for which no descriptor is free any more: it goes on with those that it has."""

import itertools
import os
import re
import resource
import socket
import sys
import time
import urllib.request

import pytest

from astropix_relay.configuration.loading import load_config
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from ports import free_port, free_port_pair
from programs import Program
from relays import running

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture
def above(group, port):
    """A relay that another one is fed by."""
    with running(
        load_config(
            f"streams: [{{group: {group}, port: {port}, interface: 127.0.0.1}}]\n"
            "publish: {endpoint: 'tcp://127.0.0.1:0'}\nmetrics: {listen: null}\n"
        )
    ) as relay:
        yield relay.publisher.endpoint


def take_all_descriptors(program):
    """Set the limit to the number that a new file would get; return the limits of before."""
    numbers = {int(name) for name in os.listdir(f"/proc/{program.pid}/fd")}
    lowest = next(number for number in itertools.count() if number not in numbers)
    before = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
    return before


def test_it_goes_on_in_all_that_it_does(above, group, port, sender, tmp_path):
    """With a group, a stream from another relay, an output and metrics, through several looks at them."""
    metrics = free_port(TCP)
    config = tmp_path / "relay.yaml"
    config.write_text(
        f"streams:\n- {{name: near, group: {group}, port: {port}, interface: 127.0.0.1}}\n"
        f"- {{name: far, from: ['{above}?stream=astropix']}}\n"
        f"outputs: [{{multicast: '239.255.9.9:{free_port(UDP)}', interface: lo, ttl: 0, stream: far}}]\n"
        f"publish: {{endpoint: 'tcp://127.0.0.1:{free_port_pair()}'}}\n"
        f"metrics: {{listen: '127.0.0.1:{metrics}'}}\n"
    )
    with Program(sys.executable, "-m", "astropix_relay", "run", "--config", config) as program:
        endpoint = re.search(r"tcp://\S+", program.wait_for("publishing on"))[0]
        with (
            RelayReceiver(AstroPix4Readout, endpoint, "near", timeout=5) as near,
            RelayReceiver(AstroPix4Readout, endpoint, "far", timeout=5) as far,
        ):
            near.wait_ready(8)
            far.wait_ready(8)
            before = take_all_descriptors(program)
            until_s = time.monotonic() + 4
            count = 0
            while time.monotonic() < until_s:
                sender.send_readout(AstroPix4Readout(b"", count))
                assert near.receive().readout_id == far.receive().readout_id == count
                count += 1
                time.sleep(0.05)
            assert near.ledger.lost == far.ledger.lost == 0
            resource.prlimit(program.pid, resource.RLIMIT_NOFILE, before)
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/healthz", timeout=5) as answer:
                assert answer.read().decode() == "ok\nnear: live\nfar: live\n"
        assert program.stop() == 0
        assert "Traceback" not in program.stderr
