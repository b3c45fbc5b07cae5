"""A log of three NATS nodes for a bench, each on a host of its own, and the bridge that fills it.

What the log holds is read with nats-py alone, and parsed here: not by the code under test.
"""

import contextlib
import json
import random
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

from matrix.bench import Died, kill
from matrix.readouts import HEADER, serial_of

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
# The relay protocol's header: magic, version, flags, count, relay_id, sequence, received_ns, source, port
_MESSAGE = struct.Struct("<4sBBHQQQ16sH6x")

_DUMP = """
import asyncio, base64, json, sys, nats
from nats.js.api import AckPolicy, ConsumerConfig

async def main(servers, stream):
    client = await nats.connect(servers, connect_timeout=2, max_reconnect_attempts=5)
    context = client.jetstream(timeout=10)
    state = (await context.stream_info(stream)).state
    subscription = await context.pull_subscribe(
        "", stream=stream, config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=100000))
    sequence = 0
    while sequence < state.last_seq and state.messages:
        for msg in await subscription.fetch(200, timeout=10):
            await msg.ack()
            sequence = msg.metadata.sequence.stream
            print(sequence, json.dumps(dict(msg.headers)), base64.b64encode(msg.data).decode(), sep="\\t")
    await client.close()

asyncio.run(main(sys.argv[2:], sys.argv[1]))
"""


# Prints who leads the stream, and which of its copies have all of it; through the servers that are named.
_WHO = """
import asyncio, json, sys, nats

async def main(servers, stream):
    client = await nats.connect(servers, connect_timeout=1, allow_reconnect=False)
    cluster = (await client.jetstream(timeout=2).stream_info(stream)).cluster
    current = [peer.name for peer in cluster.replicas or [] if peer.current and not peer.offline]
    print(json.dumps({"leader": cluster.leader, "current": current}))
    await client.close()

asyncio.run(main(sys.argv[2:], sys.argv[1]))
"""
# A run in CI shares its processors with others: what takes 2 s alone has taken 30.
PATIENCE_S = 120.0


class Stored(NamedTuple):
    """A message of the log, parsed by hand."""

    number: int
    headers: dict[str, str]
    relay_id: int
    sequence: int
    serials: list[int | None]


def parse(line):
    number, headers, data = line.split("\t")
    import base64

    data = base64.b64decode(data)
    magic, version, _, count, relay_id, sequence, _, _, _ = _MESSAGE.unpack_from(data)
    assert (magic, version) == (b"APXR", 1), data[:8]
    serials, at = [], _MESSAGE.size
    while at < len(data):
        size = HEADER.size + HEADER.unpack_from(data, at)[3]
        serials.append(serial_of(data[at : at + size]))
        at += size
    assert len(serials) == count, (len(serials), count)
    return Stored(int(number), json.loads(headers), relay_id, sequence, serials)


class Node:
    """One NATS server, which may be killed and started again, or cut off."""

    def __init__(self, cluster, host, number):
        self.cluster, self.host, self.number = cluster, host, number
        self.program = None
        self.cut = False

    @property
    def url(self):
        return f"nats://{self.host.address}:4222"

    def configure(self, **more):
        name = f"n{self.number}"
        routes = [f"nats://{node.host.address}:6222" for node in self.cluster.nodes]
        directory = self.cluster.bench.directory / name
        lines = {
            "server_name": name,
            "listen": f"{self.host.address}:4222",
            "ping_interval": '"1s"',
            "ping_max": 2,
            "jetstream": f'{{store_dir: "{directory}", max_file: 2G, max_mem: 64M}}',
            **more,
        }
        if len(self.cluster.nodes) > 1:
            lines["cluster"] = (
                f"{{name: apx, listen: '{self.host.address}:6222', routes: {json.dumps(routes)}, "
                'ping_interval: "1s", ping_max: 2}}'.replace("}}", "}")
            )
        file = self.cluster.bench.directory / f"{name}.conf"
        file.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
        return file

    def start(self, **more):
        file = self.configure(**more)
        self.program = self.cluster.bench.start(self.host, BINARIES / "nats-server", "-c", file)
        self.program.wait_for("Server is ready", PATIENCE_S)

    def kill(self):
        kill(self.program)
        self.program = None


class Cluster:
    """Nodes, and bridges beside them."""

    def __init__(self, bench, nodes=3):
        self.bench = bench
        hosts = bench._lab.hosts(*(f"node{i}" for i in range(1, nodes + 1)), "bridge")
        *node_hosts, self.bridge_host = hosts
        for host in hosts:
            bench.back.connect(host)
        self.nodes = []
        for number, host in enumerate(node_hosts, 1):
            self.nodes.append(Node(self, host, number))
        self.bridge = None

    def start(self, **more):
        for node in self.nodes:
            node.start(**more)

    @property
    def urls(self):
        return [node.url for node in self.nodes]

    @property
    def log_url(self):
        servers = ",".join(url.removeprefix("nats://") for url in self.urls)
        return f"nats://{servers}?stream=astropix&start=oldest"

    def start_bridge(self, *sources, **keys):
        bench = self.bench
        config = {
            "sources": list(sources or (bench.url,)),
            "nats": {"servers": self.urls},
            "keep": {"replicas": len(self.nodes)},
            "metrics": {"listen": "127.0.0.1:9109"},
            **keys,
        }
        file = bench.directory / "bridge.json"
        file.write_text(json.dumps(config))
        self.bridge = bench.start(
            self.bridge_host, sys.executable, "-m", "astropix_bridge", "run", "--config", file
        )
        self.bridge.wait_for("storing into", PATIENCE_S)
        return self.bridge

    def metrics(self):
        text = self.bridge_host.run("curl -s http://127.0.0.1:9109/metrics")
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("astropix_bridge_")
        }

    def waiting(self):
        """Return how many readouts' messages are not stored yet, and the state."""
        found = self.metrics()
        states = [key.split('"')[1] for key, value in found.items() if "bridge_state{" in key and value]
        return int(found.get('astropix_bridge_waiting_messages{stream="astropix"}', -1)), states

    def dump(self):
        """Return every message that the log holds; a cluster that has just lost a node may need a moment."""
        for _ in range(5):
            code, lines = self._python(_DUMP, "APX_astropix", *self.urls, timeout=5 * PATIENCE_S)
            if code == 0:
                return [parse(line) for line in lines]
            time.sleep(1)
        raise Died(f"the log cannot be read: {lines[-1:]}")

    def _python(self, code, *args, timeout=PATIENCE_S):
        """Run a program on the bridge's host; return its exit code and what it printed."""
        host = self.bridge_host
        with host.start_python(code, *args) as program:
            return program.wait(timeout), program.stdout.splitlines() or program.stderr.splitlines()

    def who(self):
        """Return who leads the stream, and the nodes whose copies are current; nobody without a leader."""
        for node in self.nodes:
            if node.program is not None and not node.cut:
                code, lines = self._python(_WHO, "APX_astropix", node.url)
                if code == 0:
                    return json.loads(lines[-1])
        return {"leader": None, "current": []}

    def leader(self):
        """Return the node that leads the stream of readouts; None while there is none."""
        name = self.who()["leader"]
        return next((node for node in self.nodes if f"n{node.number}" == name), None)

    def wait_whole(self):
        """Wait until the stream has a leader and every copy is current: what is broken next finds it so."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            who = self.who()
            if who["leader"] and len(who["current"]) == len(self.nodes) - 1:
                return
            time.sleep(0.2)
        raise Died(f"the cluster is not whole again: {who}")


class Chaos:
    """Kills and cuts from a seed, one at a time, each mended before the next."""

    KINDS = ("leader", "node", "bridge", "relay", "link", "relay link", "pair")

    def __init__(self, bench, cluster, seed, kinds=KINDS):
        self.bench, self.cluster = bench, cluster
        self.random = random.Random(seed)
        self.kinds = list(kinds)
        self.done = []

    def run(self, each):
        """Break each kind so many times, in random order."""
        plan = [kind for kind in self.kinds for _ in range(each)]
        if len(self.kinds) == len(set(self.kinds)):
            self.random.shuffle(plan)
        for kind in plan:
            print(time.strftime("%H:%M:%S"), kind, flush=True)
            getattr(self, kind.replace(" ", "_"))()
            self.done.append(kind)
            self.cluster.wait_whole()
            time.sleep(self.random.uniform(0.0, 1.0))  # so that the bridge is found in any state

    def _pause(self, low=0.3, high=4.0):
        time.sleep(self.random.uniform(low, high))

    def leader(self):
        self._kill(self.cluster.leader() or self.random.choice(self.cluster.nodes))

    def node(self):
        self._kill(self.random.choice(self.cluster.nodes))

    def _kill(self, node):
        node.kill()
        self._pause()
        node.start()

    def bridge(self):
        kill(self.cluster.bridge)
        self._pause(0.0, 4.0)
        self.cluster.start_bridge()

    def relay(self):
        kill(self.bench.relay)
        self._pause(0.0, 1.0)
        self.bench.relay = self.bench.start_relay()

    def link(self):
        """Cut a node off from all, so that no packet tells of it."""
        self._cut(self.random.choice([node.host for node in self.cluster.nodes]))

    def relay_link(self):
        """Cut the bridge off from all."""
        self._cut(self.cluster.bridge_host)

    def pair(self):
        """Cut the line between two, both ways; the others still reach both."""
        hosts = [*(node.host for node in self.cluster.nodes), self.cluster.bridge_host, self.bench.relay_host]
        one, other = self.random.sample(hosts, 2)
        for host, peer in ((one, other), (other, one)):
            rule = f"ip saddr {self.bench.back[peer].address} drop"
            hook = "type filter hook prerouting priority -450"
            host.nft(f"table ip cut {{\nchain in {{\n{hook}\n{rule}\n}}\n}}\n")
        self._pause(0.3, 8.0)
        for host in (one, other):
            host.nft("delete table ip cut")

    def _cut(self, host):
        port = self.bench.back[host].port
        self.bench.back.switch.ip(f"link set {port} nomaster")
        self._pause(0.3, 8.0)
        self.bench.back.switch.ip(f"link set {port} master br0")


def settle(cluster, timeout_s=PATIENCE_S):
    """Wait until the bridge has nothing waiting."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if cluster.bridge.process.poll() is not None:
            raise Died(f"the bridge died: {cluster.bridge.stderr[-400:]}")
        with contextlib.suppress(AssertionError):
            waiting, states = cluster.waiting()
            if waiting == 0 and "no log" not in states and "no network" not in states:
                return
        time.sleep(0.2)
    raise Died(f"the bridge has not stored what it has: {cluster.bridge.stderr[-400:]}")
