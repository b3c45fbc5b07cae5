"""A real NATS server on the loopback interface, and a bridge, for tests."""

import contextlib
import json
import socket
import sys
from pathlib import Path

from ports import free_port
from programs import Program

NATS_SERVER = Path(sys.executable).with_name("nats-server")
BRIDGE = (sys.executable, "-m", "astropix_bridge", "run", "--config")


class Server:
    """One server; it can be stopped and started again with what it has stored.

    Parameters
    ----------
    directory
        For its files.
    more
        Lines of its configuration, besides those below.
    """

    def __init__(self, directory, more=""):
        self.directory = Path(directory)
        self.port = free_port(socket.SOCK_STREAM)
        self.more = more
        self.jetstream = "max_file: 1G"
        self.program = None

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self):
        file = self.directory / "nats.conf"
        file.write_text(
            f"listen: 127.0.0.1:{self.port}\nping_interval: '1s'\n"
            f"jetstream {{ store_dir: '{self.directory}/js', {self.jetstream} }}\n{self.more}\n"
        )
        self.program = Program(NATS_SERVER, "-c", file)
        self.program.wait_for("Server is ready")
        return self

    def reload(self, more):
        """Give it another configuration, without a restart."""
        self.more = more
        file = self.directory / "nats.conf"
        head = file.read_text().partition("}\n")[0]
        file.write_text(f"{head}}}\n{more}\n")
        self.program.send_signal(1)
        self.program.wait_for("Reloaded")

    def kill(self):
        self.program.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.program.close()


@contextlib.contextmanager
def bridge(directory, source, *servers, **keys):
    """Run a bridge from a relay's endpoint to servers."""
    config = {"sources": [source], "nats": {"servers": list(servers)}, "metrics": {"listen": None}, **keys}
    file = Path(directory, "bridge.json")
    file.write_text(json.dumps(config))
    with Program(*BRIDGE, file) as program:
        program.wait_for("storing into")
        yield program
