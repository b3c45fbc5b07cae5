"""The README's program for a monitor with nothing of ours installed runs as printed."""

import re
import sys
import time
from pathlib import Path

from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender
from integration.test_relay import running_relay
from programs import Program

README = Path(__file__).parents[2] / "README.md"


def test_the_plain_zeromq_monitor(group, port):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (program,) = (block for block in blocks if "zmq.SUB" in block)
    assert len([line for line in program.splitlines() if line]) <= 15
    with (
        running_relay(group, port) as relay,
        MulticastSender(group, port, 0, interface="127.0.0.1") as sender,
        Program(sys.executable, "-c", program.replace("tcp://relay:5556", relay.publisher.endpoint)) as seen,
    ):
        sent = 0
        while not seen.stdout:  # what is published before the subscription works does not arrive
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", sent, timestamp=7))
            sent += 1
            time.sleep(0.001)  # a thousand a second will do
        for i in range(sent, sent + 50):
            sender.send_readout(AstroPix4Readout(b"\xbc\x01", i, timestamp=7))
        seen.wait_for(f"{sent + 49} 7 bc01")
        assert seen.process.poll() is None
        assert not seen.stderr
