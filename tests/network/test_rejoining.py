"""A receiver goes on when its interface comes back: read all the time, or waited for with `select`."""

import contextlib
import select
import threading
import time

import pytest

from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.multicast.rejoining import Cause
from astropix_stream.sock import MulticastReceiver, MulticastSender
from network.hosts import wait_until

PORT = 5007
LIMIT_S = 3.0
GROUPS = ["239.1.1.1", "ff15::1", "FF12:0::1"]


@pytest.fixture
def hosts(lab):
    return lab.hosts("daq", "monitor")


@pytest.fixture
def lan(lab, hosts):
    return lab.lan(*hosts)


@pytest.fixture(params=GROUPS)
def group(request):
    return request.param


class Reading:
    """Reads a receiver in a thread of the host, as a program would, for as long as the block lasts.

    With ``by="select"`` the program sleeps until the descriptor that it was given once is readable.
    """

    def __init__(self, host, group, by, interface="eth0"):
        self.received = 0
        self._stop = threading.Event()
        with host.inside():
            self.receiver = MulticastReceiver(AstroPix4Readout, group, PORT, interface=interface)
            self.fileno = self.receiver.fileno() if by == "select" else None
        self._thread = threading.Thread(target=self._run, args=(host,))

    def _run(self, host):
        with host.inside():
            while not self._stop.is_set():
                if self.fileno is None:
                    self._take(0.1)
                elif select.select([self.fileno], [], [], 0.1)[0]:
                    self._take(0.0)

    def _take(self, timeout):
        with contextlib.suppress(ReceiveTimeout):
            self.receiver.receive(timeout=timeout)
            self.received += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.receiver.close()


@contextlib.contextmanager
def sending(host, group):
    """Send 50 readouts/s until the block ends."""
    stop, ids = threading.Event(), iter(range(1 << 31))

    def send():
        with host.inside(), MulticastSender(group, PORT, interface="eth0") as sender:
            while not stop.wait(0.02):
                sender.send_readout(AstroPix4Readout(b"\xbc\x01", next(ids)))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def seconds_until_more(reading):
    began_s, before = time.monotonic(), reading.received
    wait_until(lambda: reading.received > before + 1, "readouts arrive again")
    return time.monotonic() - began_s


def silence(reading):
    """Wait until nothing arrives any more."""

    def is_silent():
        before = reading.received
        time.sleep(0.1)
        return reading.received == before

    wait_until(is_silent)


by = pytest.mark.parametrize("by", ["reading", "select"])


@by
def test_deleted_and_made_again(hosts, lan, group, by):
    daq, monitor = hosts
    with Reading(monitor, group, by) as reading, sending(daq, group):
        wait_until(lambda: reading.received)
        for times in (1, 2):
            lan[monitor].delete()
            silence(reading)
            lan[monitor].create()
            assert seconds_until_more(reading) < LIMIT_S
            assert reading.receiver.rejoins == {Cause.INTERFACE: times}
        assert reading.fileno in (None, reading.receiver.fileno()), "the descriptor stays the same"
        assert reading.receiver.ledger.runs == 1


@by
def test_deleted_and_made_again_at_once(hosts, lan, group, by):
    daq, monitor = hosts
    with Reading(monitor, group, by) as reading, sending(daq, group):
        wait_until(lambda: reading.received)
        lan[monitor].delete()
        lan[monitor].create()
        wait_until(lambda: reading.receiver.rejoins)
        assert seconds_until_more(reading) < LIMIT_S


@by
def test_renamed_and_another_takes_its_name(lab, hosts, lan, group, by):
    """What the interface was called is called so again: as udev may do when a card is plugged in twice."""
    daq, monitor = hosts
    nic = lan[monitor]
    with Reading(monitor, group, by) as reading, sending(daq, group):
        wait_until(lambda: reading.received)
        monitor.ip("link set eth0 down")
        monitor.ip("link set eth0 name old0")
        monitor.ip("link set old0 up")
        assert seconds_until_more(reading) < LIMIT_S, "it is followed under its new name"
        wait_until(lambda: reading.receiver.rejoins == {Cause.INTERFACE: 1})
        monitor.ip("link del old0")
        silence(reading)
        nic.create()
        assert seconds_until_more(reading) < LIMIT_S
        assert reading.receiver.rejoins == {Cause.INTERFACE: 2}


@by
def test_forgotten_by_the_kernel(lab, hosts, lan, group, by):
    """Moved to another namespace and back with its index: only the list of memberships tells."""
    daq, monitor = hosts
    away = lab.host("away")
    with Reading(monitor, group, by) as reading, sending(daq, group):
        wait_until(lambda: reading.received)
        index = lan[monitor].index
        monitor.ip(f"link set eth0 netns {away.namespace}")
        away.ip(f"link set eth0 netns {monitor.namespace}")
        assert lan[monitor].index == index
        monitor.ip(f"address add {lan[monitor].address}/24 dev eth0")
        lan[monitor].up()
        assert seconds_until_more(reading) < LIMIT_S
        assert sum(reading.receiver.rejoins.values()) == 1


@by
def test_link_down_and_up_needs_no_rejoin(hosts, lan, group, by):
    daq, monitor = hosts
    with Reading(monitor, group, by) as reading, sending(daq, group):
        wait_until(lambda: reading.received)
        lan[monitor].down()
        silence(reading)
        lan[monitor].up()
        assert seconds_until_more(reading) < LIMIT_S
        assert not reading.receiver.rejoins


@pytest.mark.parametrize("name", ["daq0", "the-network-of-the-detector", "eth0:daq", "10.0.1.2"])
def test_another_name_of_the_interface(hosts, lan, name):
    """By an alternative name, a long one, a label, an address."""
    daq, monitor = hosts

    def label():
        monitor.ip("link property add dev eth0 altname daq0 altname the-network-of-the-detector")
        monitor.ip("address add 10.0.1.102/24 dev eth0 label eth0:daq")

    label()
    with Reading(monitor, "239.1.1.1", "reading", name) as reading, sending(daq, "239.1.1.1"):
        wait_until(lambda: reading.received)
        lan[monitor].delete()
        silence(reading)
        lan[monitor].create()
        label()
        assert seconds_until_more(reading) < LIMIT_S
        assert reading.receiver.rejoins == {Cause.INTERFACE: 1}


def test_the_interface_of_the_route(hosts, lan):
    daq, monitor = hosts
    monitor.route_multicast()
    with Reading(monitor, "239.1.1.1", "select", None) as reading, sending(daq, "239.1.1.1"):
        wait_until(lambda: reading.received)
        lan[monitor].delete()
        silence(reading)
        lan[monitor].create()
        monitor.route_multicast()
        assert seconds_until_more(reading) < LIMIT_S
        assert reading.receiver.rejoins == {Cause.INTERFACE: 1}


def test_a_thread_in_another_network_changes_nothing(lab, hosts, lan):
    """What a thread sees that has entered another namespace is not of this socket."""
    daq, monitor = hosts
    other = lab.host("other")
    lab.lan(other)
    with monitor.inside():
        receiver = MulticastReceiver(AstroPix4Readout, port=PORT, interface="eth0", timeout=1.2)
    with other.inside(), receiver:
        with pytest.raises(ReceiveTimeout):
            receiver.receive()
        with sending(daq, "239.1.1.1"):
            receiver.receive()
        assert not receiver.rejoins
