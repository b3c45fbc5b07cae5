"""A relay that is silent is lost; one whose messages wait here is not."""

import signal
import sys
import threading
import time

import pytest

from astropix_relay.configuration.model import Config, MetricsConfig, PublishConfig, StreamConfig
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender
from programs import Program
from relays import running

SUBSCRIBER = """
import logging, sys
from astropix_stream import relay
from astropix_stream.fmt import AstroPix4Readout
logging.basicConfig(level="INFO")
relay.LOST_AFTER_S = 1.5
with relay.RelayReceiver(AstroPix4Readout, sys.argv[1], timeout=5) as receiver:
    receiver.wait_ready(5)
    print("ready")
    for readout in receiver:
        if readout.readout_id % 100 == 0:
            print("got", readout.readout_id)
        if readout.data() == b"end":
            break
    print("lost", receiver.ledger.lost, "of", receiver.ledger.delivered)
"""


@pytest.fixture
def relay(group, port):
    config = Config(
        streams=(StreamConfig(group=group, port=port, interface="127.0.0.1"),),
        publish=PublishConfig(endpoint="tcp://127.0.0.1:0"),
        metrics=MetricsConfig(listen=None),
    )
    with running(config) as relay:
        yield relay


def test_after_a_stop_what_waits_is_taken_before_the_relay_is_given_up(relay, group, port):
    stop = threading.Event()
    with (
        Program(sys.executable, "-c", SUBSCRIBER, relay.publisher.endpoint) as program,
        MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
    ):
        program.wait_for("ready")
        sent = 0

        def send():
            nonlocal sent
            while not stop.wait(0.002):
                sender.send_readout(AstroPix4Readout(b"", sent))
                sent += 1

        thread = threading.Thread(target=send)
        thread.start()
        try:
            program.wait_for("got 100")
            program.send_signal(signal.SIGSTOP)
            time.sleep(2.5)  # the fault itself: longer than a relay may be silent
            program.send_signal(signal.SIGCONT)
            program.wait_for(f"got {(sent // 100 + 1) * 100}")
        finally:
            stop.set()
            thread.join()
        sender.send_readout(AstroPix4Readout(b"end", sent))
        assert program.wait() == 0
        assert f"lost 0 of {sent + 1}" in program.stdout
        assert "connecting again" not in program.stderr
