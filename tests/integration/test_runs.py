"""A receiver tells of each run that begins, on either way to the readouts."""

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver, MulticastSender


def test_on_run_is_called_before_the_first_readout_of_each_run(group, port):
    with (
        MulticastReceiver(AstroPix4Readout, group, port, interface="127.0.0.1", timeout=5) as receiver,
        MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
    ):
        told = []
        receiver.on_run = told.append
        for readout_id in (0, 1, 2):
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", readout_id))
        assert [receiver.receive().readout_id for _ in range(3)] == [0, 1, 2]
        assert [start.run.number for start in told] == [1]
        for readout_id in (0, 1):
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", readout_id))
        assert [receiver.receive().readout_id for _ in range(2)] == [0, 1]
        assert [start.run.number for start in told] == [1, 2]
        assert (told[0].run.first_id, told[0].run.last_id) == (0, 2)
