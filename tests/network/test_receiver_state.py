"""The state that a receiver tells, while the network under it comes and goes."""

import pytest

from astropix_stream.counting.state import State
from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver, MulticastSender
from network.hosts import wait_until


@pytest.mark.parametrize("named", [True, False])
def test_a_receiver_tells_that_its_network_is_gone_and_back(lab, named):
    daq, monitor = lab.hosts("daq", "monitor")
    nic = lab.lan(daq, monitor)[monitor]
    monitor.route_multicast()
    interface = "eth0" if named else None
    with monitor.inside(), MulticastReceiver(AstroPix4Readout, interface=interface) as receiver:
        assert receiver.state is State.QUIET
        with daq.inside(), MulticastSender(interface="eth0") as sender:
            sender.send_readout(AstroPix4Readout(b"", 0))
        assert receiver.receive(timeout=5).readout_id == 0
        assert receiver.state is State.LIVE
        nic.down()
        wait_until(lambda: receiver.state is State.NO_NETWORK)
        nic.up()
        wait_until(lambda: receiver.state is not State.NO_NETWORK)
        nic.delete()
        wait_until(lambda: receiver.state is State.NO_NETWORK)
        nic.create()  # another interface of that name: nobody has joined on it
        assert receiver.state is State.NO_NETWORK
        if not named:
            monitor.route_multicast()
        with pytest.raises(ReceiveTimeout):
            receiver.receive(timeout=1.5)
        assert receiver.state is not State.NO_NETWORK


def test_an_ipv6_receiver_knows_its_membership(lab):
    daq, monitor = lab.hosts("daq", "monitor")
    nic = lab.lan(daq, monitor)[monitor]
    with monitor.inside(), MulticastReceiver(AstroPix4Readout, "ff15::7", interface="eth0") as receiver:
        assert receiver.connected
        nic.delete()
        wait_until(lambda: not receiver.connected)
