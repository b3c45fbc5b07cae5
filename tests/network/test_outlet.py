"""An output whose network is missing, or that would feed a loop, is tried again."""

import pytest

from astropix_relay.configuration.model import OutputConfig
from astropix_relay.outlet import Outlet, Outlets

OUTPUT = OutputConfig(multicast="239.1.1.1:5007", interface="late0", stream="astropix")


@pytest.fixture
def host(lab):
    host = lab.host("alone")
    with host.inside():
        yield host


def add_interface(host):
    host.ip("link add late0 type veth peer name other0")
    host.ip("link set other0 up")
    host.ip("link set late0 up")
    host.ip("address add 192.0.2.1/24 dev late0")


def test_an_interface_that_is_missing_is_waited_for(host):
    outlet = Outlet(OUTPUT)
    outlet.check()
    outlet.take([b"lost"], 0.0, recovered=False)
    assert "late0" in outlet.trouble
    assert (outlet.sent, outlet.unsent) == (0, 1)
    add_interface(host)
    outlet.check()
    outlet.take([b"sent"], 0.0, recovered=False)
    assert (outlet.trouble, outlet.sent, outlet.unsent) == ("", 1, 1)
    outlet.close()


def test_one_that_was_stopped_as_a_loop_is_tried_again_with_a_changed_configuration(host):
    add_interface(host)
    outlets = Outlets([OUTPUT])
    outlets.check()
    outlets.all[0].stop("a loop")
    outlets.check()
    assert (outlets.all[0].trouble, outlets.all[0].stopped) == ("a loop", True)
    outlets.reconfigure([OUTPUT], retry=False)
    outlets.check()
    assert outlets.all[0].stopped
    outlets.reconfigure([OUTPUT], retry=True)
    outlets.check()
    assert (outlets.all[0].trouble, outlets.all[0].stopped) == ("", False)
    outlets.all[0].close()
