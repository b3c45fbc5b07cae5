"""The two programs of the documentation, to the letter; they name no interface, so each has its own host."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"

SENDER = """\
from astropix_stream.sock import MulticastSender
sender = MulticastSender(group='239.1.1.1', port=5007)
while True:
    sender.send_readout(readout)
"""
RECEIVER = """\
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastReceiver
receiver = MulticastReceiver(AstroPix4Readout, group='239.1.1.1', port=5007)
while True:
    readout = receiver.receive()
    print(readout)
    for hit in readout.decode():
        print(hit)
"""

# What the sender's program leaves to the reader: a source of readouts, here one each 2 ms.
SOURCE = """\
import itertools, time
from astropix_stream.fmt import AstroPix4Readout

class Detector:
    numbers = itertools.count()

    def to_bytes(self):
        time.sleep(0.002)
        data = bytes.fromhex("bcbc e08056e80da85403 bcbcbcbcbcbcbcbc e080d26f04ca3005 bcbcbcbcbcbc")
        return AstroPix4Readout(data, next(self.numbers)).to_bytes()

readout = Detector()
"""
LOG = "import logging; logging.basicConfig(level=logging.INFO)\n"


@pytest.fixture
def hosts(lab):
    daq, monitor = lab.hosts("daq", "monitor")
    lab.lan(daq, monitor)
    for host in (daq, monitor):
        host.route_multicast()
    return daq, monitor


def test_the_readme_shows_these_programs():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert SENDER in blocks
    assert RECEIVER in blocks


def test_what_the_one_sends_the_other_prints(hosts):
    daq, monitor = hosts
    with (
        monitor.start_python(LOG + RECEIVER) as receiver,
        daq.start_python(LOG + SOURCE + SENDER) as sender,
    ):
        first = int(re.match(r"readout (\d+) ", receiver.wait_for("readout")).group(1))
        receiver.wait_for(f"readout {first + 200} ")
        receiver.wait_for(f"hit 1 of readout {first + 200}: ")
        lines = receiver.stdout.splitlines()
        sender.wait_for("sending to 239.1.1.1:5007 from 10.0.1.1 (eth0)")
        receiver.wait_for("receiving 239.1.1.1:5007 on 10.0.1.2 (eth0)")
        assert "WARNING" not in sender.stderr + receiver.stderr
        assert sender.process.poll() is None
        assert receiver.process.poll() is None
    for i in range(200):
        readout, *hits = lines[3 * i : 3 * i + 3]
        assert re.fullmatch(rf"readout {first + i} at \d{{19}} ns, \d+ bytes", readout)
        assert [hit.partition(":")[0] for hit in hits] == [f"hit {n} of readout {first + i}" for n in (0, 1)]
    assert "row" in lines[1]


def test_the_sender_neither_stalls_nor_dies_when_the_network_goes_and_comes(hosts):
    daq, monitor = hosts
    with (
        monitor.start_python(LOG + RECEIVER) as receiver,
        daq.start_python(LOG + SOURCE + SENDER) as sender,
    ):
        receiver.wait_for("readout")
        daq.nics[0].down()
        sender.wait_for("readouts are not sent to 239.1.1.1:5007: Network is unreachable")
        daq.nics[0].up()
        daq.route_multicast()
        sender.wait_for("sending to 239.1.1.1:5007 works again")
        receiver.wait_for("readout")
        assert sender.process.poll() is None
        assert sender.stderr.count("WARNING") == 2
