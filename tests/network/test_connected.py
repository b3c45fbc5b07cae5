"""A receiver knows when nothing can arrive."""

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver


def test_multicast_without_a_link(lab):
    daq, monitor = lab.hosts("daq", "monitor")
    lan = lab.lan(daq, monitor)
    with monitor.inside(), MulticastReceiver(AstroPix4Readout, interface="eth0") as receiver:
        assert receiver.connected
        lan[monitor].down()
        assert not receiver.connected
        lan[monitor].up()
        assert receiver.connected
        lan[monitor].delete()
        assert not receiver.connected
        lan[monitor].create()
        assert not receiver.connected  # another interface of the same name, on which nothing is joined
