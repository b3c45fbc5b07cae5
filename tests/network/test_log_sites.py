"""A leaf node at the beam line and a hub that mirrors it, with the files and accounts of config/nats."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from matrix.bench import Bench

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
CUT_S = float(
    os.environ.get("CUT_S", "5")
)  # CUT_S=60 is the aim, and takes too long for each run of the tests

MIRROR = """
import asyncio, nats, sys
from nats.js.api import ExternalStream, StreamConfig, StreamSource
async def main():
    client = await nats.connect(sys.argv[1], user="admin", password="change-me-as-well")
    source = StreamSource(name="APX_astropix", external=ExternalStream(api="$JS.beamline.API"))
    await client.jetstream().add_stream(StreamConfig(name="APX_astropix", mirror=source))
    await client.close()
asyncio.run(main())
"""
STATE = """
import asyncio, nats, sys
async def main():
    client = await nats.connect(sys.argv[1], user="admin", password="change-me-as-well")
    state = (await client.jetstream(domain=sys.argv[2]).stream_info("APX_astropix")).state
    print(state.last_seq, state.first_seq)
    await client.close()
asyncio.run(main())
"""


def start_server(bench, host, name, **names):
    """Start a server from its file in config/nats, with this test's addresses and directories."""
    directory = bench.directory / name
    shutil.copytree(ROOT / "config/nats", directory)
    file = directory / f"{name}.conf"
    text = file.read_text().replace("/var/lib/nats", str(directory / "js")).replace("1TB", "1GB")
    for word, address in names.items():
        text = text.replace(f"@{word}:", f"@{address}:")
    file.write_text(text.replace("100GB", "1GB"))
    program = bench.start(host, BINARIES / "nats-server", "-c", file)
    program.wait_for("Server is ready")
    return program


@pytest.mark.timeout(180)
def test_a_beam_line_that_is_cut_off_goes_on_and_the_hub_catches_up(tmp_path):
    with Bench(tmp_path, quick=True) as bench:
        beamline, hub = bench._lab.hosts("beamline", "hub")
        bench.back.connect(beamline)
        bench.back.connect(hub)
        start_server(bench, hub, "hub")
        start_server(bench, beamline, "leaf", hub=hub.address)
        leaf_url, hub_url = f"nats://{beamline.address}:4222", f"nats://{hub.address}:4222"
        relay = bench.start_relay()
        password = tmp_path / "password"
        password.write_text("change-me")
        config = {
            "sources": [bench.url],
            "nats": {"servers": [leaf_url], "user": "bridge", "password_file": str(password)},
            "site": "beamline",
        }
        (tmp_path / "bridge.json").write_text(json.dumps(config))
        run = ("-m", "astropix_bridge", "run", "--config", tmp_path / "bridge.json")
        bridge = bench.start(beamline, sys.executable, *run)
        bridge.wait_for("made APX_astropix")
        bridge.wait_for("made APX-BEATS")
        hub.python(MIRROR, hub_url)
        monitor = hub_url.replace("nats://", "nats://monitor:change-me-too@") + "?start=oldest&site=beamline"
        reader = bench.start_monitors(monitor + "&stream=astropix", host=hub, patience_s=20.0)
        daq = bench.start_daq(rate=1000)
        time.sleep(2)
        bench.back.switch.ip(f"link set {bench.back[hub].port} nomaster")
        time.sleep(CUT_S)
        bench.back.switch.ip(f"link set {bench.back[hub].port} master br0")
        began_s = time.monotonic()
        here = beamline.python(STATE, leaf_url, "beamline").split()
        while int(hub.python(STATE, hub_url, "hub").split()[0]) < int(here[0]):
            assert time.monotonic() - began_s < 30 + 2 * CUT_S
            time.sleep(0.2)
        caught_up_s = time.monotonic() - began_s
        print(f"cut off for {CUT_S:g} s, caught up after {caught_up_s:.1f} s")
        sent = daq.stop()
        (got,) = reader.finish(sent)
        assert got.serials == list(range(sent))  # mirrors keep order and numbers
        assert got.ledger["lost"] == 0
        # After each failure NATS waits longer, up to 2 min, before its mirror tries again: a longer cut takes
        # longer afterwards, too.
        assert caught_up_s < 10 + (CUT_S if CUT_S > 10 else 0)
        bench.stop_relay(relay)


def test_every_server_file_is_right():
    files = sorted((ROOT / "config/nats").glob("*.conf"))
    assert len(files) > 5
    import subprocess

    for file in files:
        command = [str(BINARIES / "nats-server"), "-t", "-c", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "is valid" in done.stderr
