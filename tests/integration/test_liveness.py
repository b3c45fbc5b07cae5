"""A relay that is silent is lost; one whose messages wait here is not."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

import pytest

from astropix_relay.configuration.model import Config, MetricsConfig, PublishConfig, StreamConfig
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender
from programs import Program
from relays import running
from zmtp import Peer

SUBSCRIBER = """
import logging, sys
from astropix_stream import relay
from astropix_stream.relay import connection
from astropix_stream.fmt import AstroPix4Readout
logging.basicConfig(level="INFO")
connection.LOST_AFTER_S = 1.5
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
        assert "reconnecting" not in program.stderr


def test_a_connection_is_probed_by_tcp_and_not_by_zeromq(relay):
    """The limits in docs/security.md; a peer that is silent for longer than any heartbeat is left alone."""
    port = int(relay.publisher.endpoint.rpartition(":")[2])
    with Peer(relay.publisher.endpoint) as peer:
        peer.shake_hands()
        ours = peer.getsockname()
        accepted = tcp_sockets_of(port)  # several: the guard has a copy
        told = [accepted[0].getsockopt(socket.IPPROTO_TCP, option) for option in PROBES]
        peers = {sock.getpeername() for sock in accepted}
        for sock in accepted:
            sock.close()
        assert peers == {ours}
        assert told[0] + told[1] * told[2] == 11
        assert told[3] == 15_000
        peer.settimeout(3)
        heard = b""
        with contextlib.suppress(TimeoutError):
            while True:
                heard += peer.recv(1000)
        assert b"PING" not in heard


PROBES = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)


def tcp_sockets_of(port):
    """Return copies of this process's connections that came to a port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
            continue
        sock = socket.socket(fileno=os.dup(int(name)))
        try:
            is_one = sock.family == socket.AF_INET and sock.getsockname()[1] == port and sock.getpeername()
        except OSError:  # not connected
            is_one = False
        if is_one:
            found.append(sock)
        else:
            sock.close()
    return found
