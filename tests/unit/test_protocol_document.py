"""The bytes printed in docs/protocol.md are those that the code reads and writes."""

import json
import re
from pathlib import Path

import pytest

from astropix_stream import fmt, wire
from astropix_stream.batch import Source

DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"
RELAY_ID = 0x123456789ABC


@pytest.fixture(scope="module")
def text():
    return DOCUMENT.read_text()


@pytest.fixture(scope="module")
def golden(text):
    blocks = re.findall(r"```hex (\S+)\n(.*?)```", text, re.DOTALL)
    return {name: bytes.fromhex(text) for name, text in blocks}


def test_readouts(golden):
    five = fmt.AstroPix4Readout(bytes.fromhex("bcbce08056e80da85403bc"), 5, 1753255536707629800)
    assert five.to_bytes() == golden["readout-5"]
    assert fmt.AstroPix4Readout(b"\xbc", 6, 1753255536707700000).to_bytes() == golden["readout-6"]


def test_data_message(golden):
    header = wire.Header(0, 2, RELAY_ID, 41, 1753255536707800000, Source("192.168.7.2", 40000))
    assert wire.pack_header(header) == golden["header-data"]
    payload = golden["readout-5"] + golden["readout-6"]
    message = wire.parse_message([b"apx/astropix/data", golden["header-data"], payload])
    assert message == wire.DataMessage("astropix", header, payload)
    assert wire.walk_payload(payload, 2)[0] == [5, 6]


def test_beat(golden):
    header = wire.Header(0, 0, RELAY_ID, 43, 1753255537000000000, wire.NO_SOURCE)
    assert wire.pack_header(header) == golden["header-beat"]
    message = wire.parse_message([b"apx/astropix/beat", golden["header-beat"], b'{"state": "live"}'])
    assert message == wire.BeatMessage("astropix", header, {"state": "live"})


def test_hello(text):
    printed = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL).group(1))
    hello = wire.Hello(RELAY_ID, "0.2.0", {"astropix": 4000}, None, {"astropix": 1}, {"astropix": RELAY_ID})
    frame = wire.pack_hello(hello)
    assert json.loads(frame.removeprefix(b"apx/hello\0")) == printed
    assert wire.parse_message([b"apx/hello\0" + json.dumps(printed).encode()]) == hello


def test_the_program_in_the_document_reads_such_a_message(golden, capsys):
    program = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)
    loop = program.split("    topic, header, payload = sub.recv_multipart()\n")[1]
    payload = golden["readout-5"] + golden["readout-6"]
    source = "import struct\n" + "".join(line[4:] + "\n" for line in loop.splitlines())
    exec(source, {"header": golden["header-data"], "payload": payload})
    assert capsys.readouterr().out.splitlines() == [
        "41 5 1753255536707629800 bcbce08056e80da85403bc",
        "42 6 1753255536707700000 bc",
    ]


def test_every_key_of_a_beat_is_explained():
    from astropix_relay.core import StreamCore
    from astropix_stream.clock import Moment

    report = StreamCore("astropix", 1).report(Moment(0.0, 0))
    text = DOCUMENT.read_text()
    for key in (*report, *report["totals"]):
        assert f"`{key}`" in text, key
