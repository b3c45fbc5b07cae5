"""A subscriber that knows nothing but docs/protocol.md counts what `RelayReceiver` counts."""

import contextlib
import re
import threading
from pathlib import Path

import pytest
import zmq

from astropix_relay.configuration.loading import default_config
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay.receiver import RelayReceiver
from astropix_stream.sock import MulticastSender
from relays import running

DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"


@pytest.fixture(scope="module")
def account_class():
    program = re.search(r"```python account\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)
    scope = {}
    exec(program, scope)
    return scope["Account"]


@contextlib.contextmanager
def subscribed(endpoint, account, ready):
    """Give each message to an account of the page's program, in a thread, until the block ends."""
    stop = threading.Event()

    def run():
        with zmq.Context() as context, context.socket(zmq.SUB) as sub:
            sub.linger = 0
            sub.rcvtimeo = 50
            sub.reconnect_ivl = 20
            sub.subscribe("apx/hello")
            sub.subscribe("apx/astropix/")
            sub.connect(endpoint)
            while not stop.is_set():
                with contextlib.suppress(zmq.Again):
                    account.take(sub.recv_multipart())
                    ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Daq:
    """Two sources that multicast one readout in `stride`."""

    def __init__(self, opened, group, port, stride):
        self.senders = [
            opened.enter_context(MulticastSender(group, port, 0, interface="127.0.0.1")) for _ in range(2)
        ]
        self.stride = stride
        self.sent = 0

    def send(self, count, *, skip=()):
        """Let each source send `count` readouts, but for those at the places `skip`: these are lost."""
        for _ in range(count):
            for sender in self.senders:
                if self.sent // 2 not in skip:
                    sender.send_readout(AstroPix4Readout(b"\xbc\x01", self.sent // 2 * self.stride))
                self.sent += 1

    def lose(self, count):
        self.sent += 2 * count


def receive_until(receiver, account, condition):
    for _ in range(100):
        if condition():
            return
        with contextlib.suppress(ReceiveTimeout):
            while True:
                receiver.receive_batch(timeout=0.05)
    raise AssertionError(f"{receiver.ledger}; {vars(account)}")


@pytest.mark.parametrize("stride", [1, 10])
def test_what_was_sent_while_no_relay_ran_is_counted(account_class, group, port, tcp_port, stride):
    config = default_config(
        group=group, port=port, interface="127.0.0.1", publish=f"tcp://127.0.0.1:{tcp_port}"
    )
    config = config.model_copy(update={"streams": (config.streams[0].model_copy(update={"stride": stride}),)})
    account, ready = account_class(), threading.Event()
    with contextlib.ExitStack() as opened:
        daq = Daq(opened, group, port, stride)
        with running(config) as relay:
            endpoint = relay.publisher.endpoint
            opened.enter_context(subscribed(endpoint, account, ready))
            receiver = opened.enter_context(RelayReceiver(AstroPix4Readout, endpoint, recover=False))
            receiver.wait_ready(5)
            assert ready.wait(5)
            daq.send(100)
            daq.lose(3)
            daq.send(100)
            receive_until(receiver, account, lambda: receiver.ledger.lost == 6 == account.lost)
        for gone in (50, 7):
            ready.clear()
            daq.send(gone)  # nobody is there
            with running(config) as relay:
                daq.send(5)  # published before the two are back
                receive_until(receiver, account, lambda relay=relay: relay.publisher.subscriptions >= 4)
                daq.send(20)
                daq.lose(2)
                daq.send(100)
                receive_until(
                    receiver,
                    account,
                    lambda: (
                        receiver.ledger.delivered + receiver.ledger.lost == daq.sent
                        and account.delivered + account.lost == daq.sent
                    ),
                )
        ledger = receiver.ledger
        assert ledger.restarts == 2
        assert (account.stride, receiver.stride) == (stride, stride)
        # Nothing is left out of either account. They need not be equal: one may be back before the other.
        for lost in (account.lost, ledger.lost):
            assert 2 * (3 + 50 + 2 + 7 + 2) <= lost <= 2 * (3 + 50 + 5 + 2 + 7 + 5 + 2)
