"""Peers that speak ZMTP badly, in every way we could think of: the relay lives, others lose nothing."""

import contextlib
import itertools
import os
import re
import resource
import sys
import threading
import time
from pathlib import Path

import pytest

from astropix_stream.errors import ReceiveTimeout, RefusedError
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from programs import Program
from zmtp import GREETING, READY, Peer, frame

RATE_HZ = 500
MiB = 1 << 20


class Stream:
    """Readouts at a steady rate, and a subscriber that counts them."""

    def __init__(self, group, port, endpoint):
        self.sender = MulticastSender(group, port, 0, interface="127.0.0.1")
        self.receiver = RelayReceiver(AstroPix4Readout, endpoint, timeout=5)
        self.receiver.wait_ready(5)
        self.longest_s = 0.0
        self._stop, self._all_sent = threading.Event(), threading.Event()
        self._sent = 0
        self._threads = [threading.Thread(target=target) for target in (self._send, self._receive)]

    def _send(self):
        while not self._stop.wait(1 / RATE_HZ):
            self.sender.send_readout(AstroPix4Readout(bytes(100), self._sent, time.time_ns()))
            self._sent += 1
        self._all_sent.set()

    def _receive(self):
        count = 0
        while not self._all_sent.is_set() or count < self._sent:
            with contextlib.suppress(ReceiveTimeout):
                readout = self.receiver.receive(timeout=0.1)
                self.longest_s = max(self.longest_s, (time.time_ns() - readout.timestamp) / 1e9)
                count += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        ledger = self.receiver.ledger
        self.sender.close()
        self.receiver.close()
        assert (ledger.delivered, ledger.lost, ledger.restarts) == (self._sent, 0, 0)


class RelayProgram(Program):
    endpoint: str


@pytest.fixture
def program(group, port):
    options = ("--group", group, "--port", port, "--interface", "127.0.0.1", "--publish", "tcp://127.0.0.1:0")
    with RelayProgram(sys.executable, "-m", "astropix_relay", "run", *options) as program:
        program.endpoint = re.search(r"tcp://\S+", program.wait_for("publishing on"))[0]
        yield program
        assert program.stop() == 0, "the relay lived to the end"


@pytest.fixture
def stream(program, group, port):
    with Stream(group, port, program.endpoint) as stream:
        yield stream
    print(f"longest way of a readout: {stream.longest_s * 1e3:.0f} ms")


def memory(program, key="VmRSS"):
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def grows_at_most(program, size):
    before = memory(program)
    yield
    peak = memory(program, "VmHWM") - before
    print(f"memory grew by {peak / MiB:.1f} MiB")
    assert peak < size


def test_a_subscription_of_10_mb(program, stream):
    """Each ends its connection; after a few the address is refused, which the stream does not notice."""
    with grows_at_most(program, 8 * MiB):
        for _ in range(10):
            with Peer(program.endpoint) as peer:
                with contextlib.suppress(ConnectionError, AssertionError):
                    peer.shake_hands()
                    peer.sendall(frame(b"\x01" + bytes(10_000_000)))
                assert peer.is_closed()


def flood(peer, bodies):
    """Send until the relay ends the connection; return how many bytes left."""
    sent = 0
    try:
        peer.shake_hands()
        while True:
            sent += peer.send(b"".join(frame(next(bodies)) for _ in range(50)))
    except OSError:
        return sent


FLOODS = {
    "short topics": (b"\x01topic%d" % i for i in itertools.count()),
    "random topics": (b"\x01" + os.urandom(74) for _ in itertools.count()),
    "storm": itertools.cycle((b"\x01apx/astropix/beat", b"\x00apx/astropix/beat")),
    "rubbish": (bytes([2]) + os.urandom(20) for _ in itertools.count()),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_subscriptions_is_cut(program, stream, kind):
    with grows_at_most(program, 16 * MiB), Peer(program.endpoint) as peer:
        flood(peer, FLOODS[kind])
        assert peer.is_closed()
    program.wait_for("cut a connection")


def test_a_message_of_endless_frames_is_cut(program, stream):
    with grows_at_most(program, 16 * MiB), Peer(program.endpoint) as peer:
        peer.shake_hands()
        with contextlib.suppress(OSError):
            while True:
                peer.sendall(b"\x01\x00" * 4096)
        assert peer.is_closed()
    program.wait_for("cut a connection")


def test_topics_that_no_stream_has_are_few(program, stream):
    """Within the bytes that are allowed. Those of the stream, and what they begin with, do not count."""
    with Peer(program.endpoint) as good, Peer(program.endpoint) as bad:
        good.shake_hands()
        for topic in (b"", b"apx/", b"apx/astropix/", b"apx/astropix/data", b"apx/hello\0") * 5:
            good.subscribe(topic)
        bad.shake_hands()
        for number in range(16):
            bad.subscribe(b"apx/astropix%d/" % number)
        bad.settimeout(0.5)
        assert not bad.is_closed()
        bad.settimeout(10)
        bad.subscribe(b"x")
        assert bad.is_closed()
        program.wait_for("subscribed to more than 16 topics that no stream has")
        heard = b""
        while b"apx/astropix/beat" not in heard:  # a beat comes each second
            heard = heard[-100:] + good.recv(1 << 16)
    assert program.stderr.count("cut a connection") == 1


def test_who_is_cut_again_and_again_is_refused_and_who_is_in_stays(program, stream):
    """From the stream's own address, which is not exempt."""
    for _ in range(3):
        with Peer(program.endpoint) as peer:
            flood(peer, (b"\x01" + os.urandom(74) for _ in itertools.count()))
    program.wait_for("are refused for 60 s")
    with (
        RelayReceiver(AstroPix4Readout, program.endpoint, timeout=5) as newcomer,
        pytest.raises(RefusedError, match="refuses our address for a while"),
    ):
        newcomer.wait_ready(5)


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n" * 50,
        os.urandom(20_000),
        bytes(20_000),
        b"\xff" * 20_000,
        GREETING + b"\xff" * 5000,
        GREETING + frame(READY * 40, command=True),
        GREETING + frame(READY, command=True) + b"\x02" + b"\xff" * 8,
        GREETING + frame(READY, command=True) + b"\x06" + b"\xff" * 8 + bytes(1000),
        GREETING + frame(READY, command=True) + frame(b"\x04PING\xff\xff", command=True) * 1000,
        GREETING + frame(READY.replace(b"SUB", b"PUB"), command=True),
        GREETING.replace(b"NULL", b"CURVE"),
        GREETING.replace(b"NULL\0", b"PLAIN"),
        GREETING + frame(READY, command=True) + b"\x01\x01\x01" * 1000 + frame(b"\x07rubbish"),
    ],
    ids=[
        "http", "random", "zeros", "ones", "after greeting", "long ready", "huge frame", "huge command",
        "pings", "publisher", "curve", "plain", "parts",
    ],
)  # fmt: skip
def test_junk(program, stream, words):
    with grows_at_most(program, 8 * MiB):
        for _ in range(5):
            with Peer(program.endpoint) as peer, contextlib.suppress(ConnectionError):
                peer.sendall(words)
                peer.settimeout(0.05)
                peer.is_closed()


@pytest.mark.parametrize("said", [0, 1, 10, 63, 64, 70, 64 + 30])
def test_reset_in_mid_handshake(program, stream, said):
    words = (GREETING + frame(READY, command=True))[:said]
    with grows_at_most(program, 8 * MiB):
        for _ in range(100):
            peer = Peer(program.endpoint)
            peer.sendall(words)
            peer.reset()


def test_2000_silent_connections(program, stream, group, port):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with grows_at_most(program, 200 * MiB), contextlib.ExitStack() as opened:
            peers = [opened.enter_context(Peer(program.endpoint)) for _ in range(2000)]
            with RelayReceiver(AstroPix4Readout, program.endpoint, timeout=5) as newcomer:
                newcomer.wait_ready(5)  # they keep nobody out
                newcomer.receive()
            assert all(peer.is_closed() for peer in peers), "none is left after 3 s"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with RelayReceiver(AstroPix4Readout, program.endpoint, timeout=5) as newcomer:
        newcomer.receive()


def test_a_subscriber_that_never_reads(program, group, port):
    """Its queue is 8 MiB, the kernel's buffers on both sides some more; the others do not notice."""
    with contextlib.ExitStack() as opened:
        stuck = [opened.enter_context(Peer(program.endpoint)) for _ in range(3)]
        for peer in stuck:
            peer.shake_hands()
            peer.subscribe(b"")
        with RelayReceiver(AstroPix4Readout, program.endpoint, timeout=5) as receiver:
            receiver.wait_ready(5)
            before = memory(program)
            with MulticastSender(group, port, 0, interface="127.0.0.1") as sender:
                for i in range(2000):  # 120 MB
                    sender.send_readout(AstroPix4Readout(bytes(60_000), i))
                    assert receiver.receive().readout_id == i
            grown = memory(program, "VmHWM") - before
            print(f"memory grew by {grown / MiB:.1f} MiB")
            assert grown < 3 * 8 * MiB + 64 * MiB + 16 * MiB  # queues, the history, and some
            assert receiver.ledger.lost == 0
