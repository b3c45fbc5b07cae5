"""A stream's socket on the loopback interface: silence, reload, and a socket that is taken away."""

import errno
import os

import pytest

from astropix_relay.configuration.model import StreamConfig
from astropix_relay.core import StreamCore
from astropix_relay.inlet import Inlet
from astropix_stream import clock
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.multicast.intake import Intake
from astropix_stream.multicast.rejoining import Cause
from astropix_stream.receiving.readiness import wait_readable
from astropix_stream.sock import MulticastSender

READOUT = AstroPix4Readout(b"\xbc\x01", 1).to_bytes()


@pytest.fixture
def stream(group, port):
    return StreamConfig(group=group, port=port, interface="127.0.0.1", silence=5.0)


@pytest.fixture
def inlet(stream):
    inlet = Inlet(stream)
    inlet.check(0.0, starting=True)
    yield inlet
    inlet.close()


def gets(inlet, group, port):
    with MulticastSender(group, port, 0, interface="127.0.0.1") as sender:
        sender.send_data(READOUT)
    return wait_readable(inlet.fileno(), 0.5) and inlet.read().payload == READOUT


def test_silence_is_counted_from_the_last_datagram(inlet, group, port):
    inlet.check(4.9)
    assert gets(inlet, group, port)
    for now_s in (5.1, 10.0):
        inlet.check(now_s)
        assert not inlet.rejoins
    for now_s in (10.2, 15.1):
        inlet.check(now_s)
        assert inlet.rejoins == {Cause.SILENCE: 1}
    inlet.check(15.2)
    assert inlet.rejoins == {Cause.SILENCE: 2}
    assert gets(inlet, group, port)


def test_silence_of_0_is_patient(inlet, stream):
    inlet.reconfigure(stream.model_copy(update={"silence": 0.0}))
    inlet.check(1e6)
    assert not inlet.rejoins


def test_a_change_that_needs_no_other_socket_keeps_it(inlet, stream):
    fileno = inlet.fileno()
    inlet.reconfigure(stream.model_copy(update={"silence": 60.0, "stride": 2}))
    inlet.check(1.0)
    assert (inlet.fileno(), inlet.joined) == (fileno, True)


def test_another_group_is_another_socket(inlet, stream, group, port):
    other = f"239.255.{group.partition('.')[2].partition('.')[2]}"
    inlet.reconfigure(stream.model_copy(update={"group": other}))
    assert not inlet.joined
    inlet.check(1.0)
    assert gets(inlet, other, port)


class Watched(Intake):
    """An intake that counts the drains that it takes datagram by datagram."""

    slow = 0

    def _take_each(self, drained, now):
        self.slow += 1
        return super()._take_each(drained, now)


@pytest.fixture
def core(monkeypatch):
    monkeypatch.setattr("astropix_relay.core.Intake", Watched)
    return StreamCore("astropix", 1)


def send_all(sender, readout_ids):
    for readout_id in readout_ids:
        sender.send_readout(AstroPix4Readout(b"\xbc\x01", readout_id, readout_id))


def take_all(inlet, core):
    """Let the core take what waits; return how many datagrams that were."""
    count = 0
    while (drained := inlet.read()).sizes:
        core.take(drained, clock.now())
        count += len(drained.sizes)
    core.settle()
    return count


def test_drops_go_on_counting_over_new_sockets_and_cost_nothing_afterwards(stream, core, sender):
    """What an operator does after drops: give more buffer, and reload."""
    small = stream.model_copy(update={"receive_buffer": 128 << 10})
    inlet = Inlet(small, closed=core.replace_socket)
    try:
        inlet.check(0.0, starting=True)
        sent, received = 0, 0
        for round_ in range(3):
            send_all(sender, range(sent, sent + 2000))  # more than there is room for
            received += take_all(inlet, core)
            send_all(sender, range(sent + 2000, sent + 2010))  # the first tells of the drops
            received += take_all(inlet, core)
            sent += 2010
            dropped = sent - received
            assert dropped > 0
            assert inlet.memory().dropped == core.ledger.kernel_dropped == dropped
            inlet.reconfigure(small.model_copy(update={"receive_buffer": (130 + round_) << 10}))
            inlet.check(1.0)
            assert inlet.memory().dropped == dropped
            slow = core._intake.slow
            for _ in range(20):
                send_all(sender, range(sent, sent + 5))
                received += take_all(inlet, core)
                sent += 5
            assert core._intake.slow == slow, "without a new drop every drain is taken as a whole"
        totals = core.ledger.totals()
        assert (totals.received, totals.in_kernel) == (received, sent - received)
        assert totals.before_socket == 0
    finally:
        inlet.close()


def test_drops_that_no_datagram_has_told_are_counted_when_the_socket_is_replaced(stream, core, sender):
    small = stream.model_copy(update={"receive_buffer": 128 << 10})
    inlet = Inlet(small, closed=core.replace_socket)
    try:
        inlet.check(0.0, starting=True)
        send_all(sender, range(2000))
        received = take_all(inlet, core)
        assert core.ledger.kernel_dropped == 0, "those that waited were there before the drops"
        inlet.reconfigure(stream)
        assert core.ledger.kernel_dropped == inlet.memory().dropped == 2000 - received > 0
        inlet.check(1.0)
        send_all(sender, range(2000, 2100))  # enough to settle what the gap before them was
        assert take_all(inlet, core) == 100
        totals = core.ledger.totals()
        assert (totals.in_kernel, totals.before_socket) == (2000 - received, 0)
    finally:
        inlet.close()


def test_a_socket_that_fails_is_replaced(inlet, group, port, monkeypatch, caplog):
    class Broken:
        def read(self):
            raise OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))

    monkeypatch.setattr(inlet._joined, "reader", Broken())
    assert not inlet.read().sizes
    assert not inlet.joined
    assert "connection abort" in inlet.membership
    inlet.check(1.0)
    assert inlet.joined
    assert gets(inlet, group, port)


def test_a_taken_port_ends_a_start_but_not_a_relay_that_runs(stream):
    unicast = stream.model_copy(update={"group": "127.0.0.1", "interface": None})
    first, second = Inlet(unicast), Inlet(unicast)
    try:
        first.check(0.0, starting=True)
        with pytest.raises(OSError, match="another program holds this port"):
            second.check(0.0, starting=True)
        second.check(1.0)
        assert "another program holds this port" in second.membership
        first.close()
        second.check(2.0)
        assert second.joined
    finally:
        first.close()
        second.close()
