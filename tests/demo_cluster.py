"""``make demo-cluster``: simulator, relay, bridge, three NATS nodes, and a page that reads from the log.

Keys: 1, 2, 3 kill a node or start it again; b the bridge; r the relay; q ends all. Everything is on
127.0.0.1, in a directory that is removed at the end.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty
from pathlib import Path

from astropix_stream.errors import ReceiveTimeout
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.opening import open_receiver
from ports import free_port, free_port_pair

BINARIES = Path(sys.executable).parent
PORTS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class Part:
    """A program of the demo, which a key kills and starts again."""

    def __init__(self, name, log, *argv):
        self.name, self.argv = name, [str(word) for word in argv]
        self._log = log
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def kill(self):
        if self.running:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def running(self):
        return self.process.poll() is None

    def toggle(self):
        self.kill() if self.running else self.start()

    def __str__(self):
        return f"{self.name} {'up' if self.running else 'DOWN'}"


def node_file(directory, number, clients, routes):
    file = directory / f"node{number}.conf"
    urls = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    file.write_text(
        f"server_name: node{number}\nlisten: 127.0.0.1:{clients[number - 1]}\n"
        f"jetstream {{ store_dir: '{directory}/js{number}', max_file_store: 2G }}\n"
        f"cluster {{ name: demo, listen: 127.0.0.1:{routes[number - 1]}, routes: [{urls}] }}\n"
    )
    return file


def start_all(directory, log):
    clients, routes = ([free_port(PORTS["tcp"]) for _ in range(3)] for _ in range(2))
    nats_server, relay_port, udp_port = BINARIES / "nats-server", free_port_pair(), free_port(PORTS["udp"])
    nodes = [
        Part(f"node {i}", log, nats_server, "-c", node_file(directory, i, clients, routes)) for i in (1, 2, 3)
    ]
    endpoint = f"tcp://127.0.0.1:{relay_port}"
    relay_options = ("--group", "127.0.0.1", "--port", udp_port, "--publish", endpoint)
    relay = Part("relay", log, BINARIES / "astropix-relay", "run", *relay_options)
    servers = [f"nats://127.0.0.1:{port}" for port in clients]
    config = directory / "bridge.json"
    keys = {"sources": [endpoint], "nats": {"servers": servers}, "keep": {"replicas": 3}}
    config.write_text(json.dumps({**keys, "metrics": {"listen": None}}))
    bridge = Part("bridge", log, BINARIES / "astropix-bridge", "run", "--config", config)
    apx = BINARIES / "apx"
    daq = ("simulate", "--group", "127.0.0.1", "--port", udp_port, "--ttl", "0", "--rate", "500")
    simulator = Part("simulator", log, apx, *daq)
    url = f"nats://{','.join(f'127.0.0.1:{port}' for port in clients)}?stream=astropix"
    page_port = free_port(PORTS["tcp"])
    page = Part(
        "page", log, apx, "monitor", f"{url}&start=oldest", "--no-state", "--listen", f"127.0.0.1:{page_port}"
    )
    parts = {"1": nodes[0], "2": nodes[1], "3": nodes[2], "b": bridge, "r": relay}
    return parts, [*nodes, relay, bridge, simulator, page], url, page_port


def watch(parts, url):
    """Read the log, and tell how it stands twice a second, until q."""
    with open_receiver(AstroPix4Readout, f"{url}&start=oldest") as receiver:
        next_s = 0.0
        while True:
            with contextlib.suppress(ReceiveTimeout):
                while time.monotonic() < next_s:
                    receiver.receive_batch(timeout=0.1)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + 0.5
                state = ", ".join(map(str, parts.values()))
                print(f"\r\x1b[K{state} | {receiver.state}: {receiver.ledger}", end="", flush=True)
            if select.select([sys.stdin], [], [], 0)[0]:
                key = os.read(sys.stdin.fileno(), 1).decode(errors="replace")
                if key in ("q", "\x03", ""):
                    return
                if key in parts:
                    parts[key].toggle()


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # also where the terminal was closed
        signal.signal(number, interrupt)
    is_terminal = sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin) if is_terminal else None
    with tempfile.TemporaryDirectory(prefix="apx-demo-") as name, Path(name, "log").open("w") as log:
        parts, every, url, page_port = start_all(Path(name), log)
        try:
            print(f"the page is at http://127.0.0.1:{page_port}/, its data in {name}")
            print("1, 2, 3: kill a node, or start it again; b: the bridge; r: the relay; q: end", flush=True)
            if is_terminal:
                tty.setcbreak(sys.stdin)
            watch(parts, url)
        except KeyboardInterrupt:
            pass
        finally:
            for part in every:
                part.kill()
            with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
                if before is not None:
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
                print()


if __name__ == "__main__":
    main()
