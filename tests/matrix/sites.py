"""A beam line and a hub for a bench, with the files and accounts of config/nats."""

import json
import shutil
import sys
import time

from matrix.bench import Died, wait
from matrix.cluster import BINARIES, ROOT

_STATE = """
import asyncio, nats, sys
async def main():
    client = await nats.connect(sys.argv[1], user="admin", password="change-me-as-well")
    print((await client.jetstream().stream_info("APX_astropix")).state.last_seq)
    await client.close()
asyncio.run(main())
"""


class Sites:
    """One server at each of two places, on a line that can be cut."""

    def __init__(self, bench):
        self.bench = bench
        self.beam_line, self.hub = bench._lab.hosts("beamline", "hub")
        bench.back.connect(self.beam_line)
        bench.back.connect(self.hub)
        self.mirroring = None

    @property
    def hub_url(self):
        """What a monitor reads at the institute."""
        options = "start=oldest&site=beamline&stream=astropix"
        return f"nats://monitor:change-me-too@{self.hub.address}:4222?{options}"

    def start_hub(self):
        """Start the hub's server, and the bridge there that mirrors."""
        self._start_server(self.hub, "hub")
        self.mirroring = self._start_bridge(
            self.hub, "mirror", "change-me-here-too", mirror="beamline", streams=["astropix"]
        )
        self.mirroring.wait_for("made APX_astropix in the log, a mirror of beamline's")

    def start_beam_line(self):
        self._start_server(self.beam_line, "leaf")

    def start_bridge(self):
        """Start the bridge at the beam line."""
        bridge = self._start_bridge(
            self.beam_line, "bridge", "change-me", sources=[self.bench.url], site="beamline"
        )
        bridge.wait_for("made APX_astropix in the log")
        bridge.wait_for("made APX-BEATS in the log")

    def wait_until_asked(self):
        """Wait until the mirror has asked for readouts, and nobody was there: NATS does so within 0.2 s."""
        wait(1.0)

    def cut(self, seconds):
        """Cut the hub off, so that no packet tells of it."""
        port = self.bench.back[self.hub].port
        self.bench.back.switch.ip(f"link set {port} nomaster")
        wait(seconds)
        self.bench.back.switch.ip(f"link set {port} master br0")

    def wait_until_mirrored(self, timeout_s):
        """Wait until the hub has what the beam line has now."""
        end_s = time.monotonic() + timeout_s
        there = self._last(self.beam_line)
        while self._last(self.hub) < there:
            if time.monotonic() > end_s:
                raise Died(f"the hub has no more than {self._last(self.hub)} of {there} messages")
            wait(0.1)

    def _last(self, host):
        return int(host.python(_STATE, f"nats://{host.address}:4222"))

    def _start_server(self, host, name):
        directory = self.bench.directory / name
        shutil.copytree(ROOT / "config/nats", directory)
        file = directory / f"{name}.conf"
        text = file.read_text().replace("/var/lib/nats", str(directory / "js")).replace("1TB", "1GB")
        file.write_text(text.replace("100GB", "1GB").replace("@hub:", f"@{self.hub.address}:"))
        self.bench.start(host, BINARIES / "nats-server", "-c", file).wait_for("Server is ready")

    def _start_bridge(self, host, user, password, **keys):
        secret = self.bench.directory / f"{user}.password"
        secret.write_text(password)
        servers = {"servers": [f"nats://{host.address}:4222"], "user": user, "password_file": str(secret)}
        file = self.bench.directory / f"{user}.json"
        file.write_text(json.dumps({"nats": servers, **keys}))
        return self.bench.start(host, sys.executable, "-m", "astropix_bridge", "run", "--config", file)
