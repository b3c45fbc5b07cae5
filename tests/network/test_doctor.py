"""`apx doctor` names each fault, its command mends it, and each verdict is silent where the fault is another.

daq and relay share the detector's LAN with monitor, which has a second one to the relay; the DAQ sends from
an address of another subnet. Each fault is put into monitor and undone.
"""

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from astropix_stream import keys
from network.hosts import Host, Lab

APX = (sys.executable, "-m", "astropix_stream.cli")
RELAY = (sys.executable, "-m", "astropix_relay", "run")
GROUP, PORT, RELAY_PORT = "239.1.1.1", 5007, 5556
DAQ_ADDRESS = "10.9.0.1"
UDP, TCP, SECURE = f"udp://{GROUP}:{PORT}", f"tcp://10.0.2.1:{RELAY_PORT}", "tcp://10.0.2.1:5610"

# Sends what is no readout, 100 times a second.
JUNK = """
import sys, time
from astropix_stream.sock import MulticastSender
with MulticastSender(sys.argv[1], int(sys.argv[2]), interface="eth0") as sender:
    print("sending")
    while True:
        sender.send_data(b"not a readout")
        time.sleep(0.01)
"""
# Holds the port, without sharing it.
HOLD = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.bind(("", int(sys.argv[1])))
print("bound")
sys.stdin.read()
"""
# Listens and says nothing.
SILENT = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))):
    print("listening")
    sys.stdin.read()
"""
# A ZeroMQ socket of any kind.
ZMQ = """
import sys, zmq
context = zmq.Context()
sock = context.socket(getattr(zmq, sys.argv[1]))
sock.bind(sys.argv[2])
print("bound")
sys.stdin.read()
"""


@dataclass
class Net:
    """The hosts, and the lab that they are in."""

    daq: Host
    relay: Host
    monitor: Host
    lan: Any
    keys: Path


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    directory = tmp_path_factory.mktemp("keys")
    for name in ("relay", "me", "foreign"):
        keys.write_pair(directory, name)
    with Lab() as lab:
        daq, relay, monitor = lab.hosts("daq", "relay", "monitor")
        lan = lab.lan(daq, relay, monitor)
        lab.lan(relay, monitor)
        daq.ip(f"address add {DAQ_ADDRESS}/24 dev eth0")
        for host in (relay, monitor):
            host.sysctl("net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0")
        monitor.route_multicast()
        with (
            daq.start(*APX, "simulate", "--interface", DAQ_ADDRESS, "--rate", 50),
            relay.start(*RELAY, "--interface", "eth0", "--publish", TCP) as daemon,
        ):
            daemon.wait_for("publishing")
            yield Net(daq, relay, monitor, lan, directory)


def examine(host, *urls, listen=0.5, env=None, before=()):
    """Run the doctor; return its records."""
    words = [urls[0], *(word for url in urls[1:] for word in ("--relay", url))]
    with host.start(*before, *APX, "doctor", *words, "--listen", listen, "--json", env=env) as program:
        code = program.wait()
    assert not program.stderr, str(program)
    *checks, summary = map(json.loads, program.stdout.splitlines())
    assert code == bool(summary["wrong"]), str(program)
    assert summary["wrong"] == len(faults(checks))
    return checks, summary


def faults(checks):
    return {check["fault"] for check in checks if check["mark"] == "wrong"}


def told(checks):
    return "\n".join(f"{check['mark']} {check['check']}: {check['text']}" for check in checks)


@contextlib.contextmanager
def no_route(net):
    net.monitor.ip("route del 224.0.0.0/4")
    try:
        yield
    finally:
        net.monitor.ip("route replace 224.0.0.0/4 dev eth0")


@contextlib.contextmanager
def route_elsewhere(net):
    net.monitor.ip("route replace 224.0.0.0/4 dev eth1")
    try:
        yield
    finally:
        net.monitor.ip("route replace 224.0.0.0/4 dev eth0")


@contextlib.contextmanager
def interface_down(net):
    nic = net.lan[net.monitor]
    nic.down()
    try:
        yield
    finally:
        nic.up()
        net.monitor.ip("route replace 224.0.0.0/4 dev eth0")


@contextlib.contextmanager
def cable_out(net):
    nic = net.lan[net.monitor]
    net.lan.switch.ip(f"link set {nic.port} down")
    try:
        yield
    finally:
        net.lan.switch.ip(f"link set {nic.port} up")
        nic.up()


@contextlib.contextmanager
def no_multicast_flag(net):
    net.monitor.ip("link set eth0 multicast off")
    try:
        yield
    finally:
        net.monitor.ip("link set eth0 multicast on")


@contextlib.contextmanager
def strict(net):
    """The kernel has no way back to the DAQ."""
    net.monitor.sysctl("net.ipv4.conf.eth0.rp_filter=1")
    try:
        yield
    finally:
        net.monitor.sysctl("net.ipv4.conf.eth0.rp_filter=0", "net.ipv4.conf.all.rp_filter=0")
        net.monitor.ip(f"route flush {DAQ_ADDRESS}")


@contextlib.contextmanager
def strict_with_another_way_back(net):
    net.monitor.ip("route add 10.9.0.0/24 dev eth1")
    try:
        with strict(net):
            yield
    finally:
        net.monitor.ip("route del 10.9.0.0/24 dev eth1")


@contextlib.contextmanager
def firewall(net, *rules, policy="accept", hook="input"):
    net.monitor.nft(
        f"table inet filter {{\nchain first {{ type filter hook {hook} priority 0; policy {policy};\n"
        + "\n".join(rules)
        + "\n}\n}"
    )
    try:
        yield
    finally:
        net.monitor.nft("delete table inet filter")


@contextlib.contextmanager
def running(host, word, *args):
    with host.start_python(*args) as program:
        program.wait_for(word)
        yield


@contextlib.contextmanager
def setting(host, name, value, usual):
    host.sysctl(f"{name}={value}")
    try:
        yield
    finally:
        host.sysctl(f"{name}={usual}")


@contextlib.contextmanager
def further_relay(net, *options):
    with net.relay.start(*RELAY, *options, "--publish", "tcp://10.0.2.1:5600") as daemon:
        daemon.wait_for("publishing")
        yield


def with_keys(theirs, ours, endpoint=SECURE):
    """A URL with keys; the directory is filled in where the case is run."""
    return f"{endpoint}?server_key={{keys}}/{theirs}.key&key_file={{keys}}/{ours}.key_secret"


@contextlib.contextmanager
def configured_relay(net, text):
    config = net.keys / "relay.yaml"
    config.write_text(
        f"streams: [{{name: astropix, group: {GROUP}, port: {PORT}, interface: eth0}}]\n"
        "history: {size: 0}\n" + text
    )
    with net.relay.start(*RELAY, "--config", config) as daemon:
        daemon.wait_for("publishing")
        yield


def secure_relay(net):
    """Lets in who has the key `me`."""
    clients = net.keys / "clients"
    clients.mkdir(exist_ok=True)
    (clients / "me.key").write_text((net.keys / "me.key").read_text())
    return configured_relay(
        net,
        f"publish: {{endpoint: '{SECURE}'}}\n"
        f"security: {{client_keys: {clients}, secret_key: {net.keys / 'relay.key_secret'}}}\n",
    )


@contextlib.contextmanager
def full_relay(net):
    """Takes one subscriber, and has it."""
    with (
        configured_relay(net, f"publish: {{endpoint: '{SECURE}', max_clients: 1}}\n"),
        net.monitor.start(*APX, "receive", SECURE) as receiving,
    ):
        receiving.wait_for("receiving")
        yield


@dataclass
class Case:
    """A fault, how the doctor is called, what it must find, and whether its command mends that."""

    name: str
    expected: set[str]
    fault: Callable[[Net], Any] = lambda net: contextlib.nullcontext()
    udp: str = UDP
    tcp: str = TCP
    mends: bool = True


CASES = [
    Case("all is well", set()),
    Case("no route", {"no-route"}, no_route),
    Case("route takes another interface", {"other-interface"}, route_elsewhere),
    Case("another interface is named", {"other-interface"}, udp=f"{UDP}?interface=eth1"),
    Case("interface down", {"interface-down"}, interface_down, mends=False),
    Case("named interface down", {"interface-down"}, interface_down, udp=f"{UDP}?interface=eth0"),
    Case("cable out", {"no-link"}, cable_out, mends=False),
    Case("no MULTICAST flag", {"no-multicast"}, no_multicast_flag),
    Case("rp_filter strict, no way back", {"rp-filter"}, strict),
    Case("rp_filter strict, another way back", {"rp-filter"}, strict_with_another_way_back),
    Case("nft drops the group", {"firewall"}, lambda net: firewall(net, "ip daddr 239.1.1.0/24 drop")),
    Case(
        "nft drops before routing", {"firewall"},
        lambda net: firewall(net, "udp dport 5007 drop", hook="prerouting"),
    ),
    Case(
        "nft drops what it does not accept", {"firewall"},
        lambda net: firewall(net, "ct state established accept", policy="drop"),
    ),
    Case(
        "nft drops by what cannot be told", {"stopped-inside"},
        lambda net: firewall(net, "meta mark 0 udp dport 5007 drop"), mends=False,
    ),
    Case("port taken", {"port-taken"}, lambda net: running(net.monitor, "bound", HOLD, PORT)),
    Case(
        "too many groups", {"too-many-groups"},
        lambda net: setting(net.monitor, "net.ipv4.igmp_max_memberships", 0, 20),
    ),
    Case("another port", {"other-group"}, udp=f"udp://{GROUP}:5017"),
    Case("another group", {"other-group"}, udp=f"udp://239.1.1.7:{PORT}"),
    Case("another source", {"other-source"}, udp=f"{UDP}?source=10.0.1.9"),
    Case(
        "others send to the group", {"not-readouts"},
        lambda net: running(net.relay, "sending", JUNK, GROUP, PORT),
    ),
    Case(
        "nothing but something else", {"not-readouts"}, udp="udp://239.1.1.8:5018", mends=False,
        fault=lambda net: running(net.relay, "sending", JUNK, "239.1.1.8", 5018),
    ),
    Case("relay absent", {"nothing-listens"}, tcp="tcp://10.0.2.1:5999", mends=False),
    Case("no such name", {"unknown-name"}, tcp="tcp://no-such-relay.invalid:5556", mends=False),
    Case("no way to the relay", {"no-answer"}, tcp="tcp://10.77.0.1:5556", mends=False),
    Case(
        "a firewall on the way", {"no-answer"}, mends=False,
        fault=lambda net: firewall(net, f"tcp sport {RELAY_PORT} drop"),
    ),
    Case(
        "another program", {"not-zeromq"}, tcp="tcp://10.0.2.1:5700", mends=False,
        fault=lambda net: running(net.relay, "listening", SILENT, "10.0.2.1", 5700),
    ),
    Case(
        "another ZeroMQ socket", {"not-a-relay"}, tcp="tcp://10.0.2.1:5701", mends=False,
        fault=lambda net: running(net.relay, "bound", ZMQ, "ROUTER", "tcp://10.0.2.1:5701"),
    ),
    Case(
        "another publisher", {"no-hello"}, tcp="tcp://10.0.2.1:5702", mends=False,
        fault=lambda net: running(net.relay, "bound", ZMQ, "XPUB", "tcp://10.0.2.1:5702"),
    ),
    Case("no key", {"key-needed"}, secure_relay, tcp=SECURE, mends=False),
    Case("wrong key", {"key-refused"}, secure_relay, tcp=with_keys("relay", "foreign"), mends=False),
    Case(
        "wrong key of the relay", {"wrong-server-key"}, secure_relay, tcp=with_keys("foreign", "me"),
        mends=False,
    ),
    Case("the right keys", set(), secure_relay, tcp=with_keys("relay", "me")),
    Case(
        "a key that nobody asked for", {"key-unneeded"}, secure_relay, tcp=with_keys("relay", "me", TCP),
        mends=False,
    ),
    Case("too many subscribers", {"refused"}, full_relay, tcp=SECURE, mends=False),
    Case("no such stream", {"no-such-stream"}, tcp=f"{TCP}?stream=other"),
    Case(
        "the relay waits for its interface", {"relay-not-joined"}, tcp="tcp://10.0.2.1:5600", mends=False,
        fault=lambda net: further_relay(net, "--interface", "eth7"),
    ),
    Case(
        "the relay hears nothing", {"relay-hears-nothing"}, tcp="tcp://10.0.2.1:5600", mends=False,
        fault=lambda net: further_relay(net, "--interface", "eth0", "--port", "5017"),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_fault_is_named_and_no_other(net, case):
    with case.fault(net):
        checks, summary = examine(net.monitor, case.udp, case.tcp.format(keys=net.keys))
        assert faults(checks) == case.expected, told(checks)
        if not case.expected:
            return
        assert summary["first"]["fault"] in case.expected
        if case.mends:
            mend(net.monitor, summary["first"]["command"])
            udp, tcp = mended_urls(case, summary["first"]["command"])
            checks, _ = examine(net.monitor, udp, tcp)
            assert not faults(checks), told(checks)


def mend(host, command):
    """Do what the doctor says; a receiver shows with its first readout that its URL is the right one."""
    for line in command.splitlines():
        words = shlex.split(line.removeprefix("sudo "))
        if words[0] == "apx":
            words = [*APX, *words[1:], "--count", "1", "--timeout", "10"]
        host.run(shlex.join(words))


def mended_urls(case, command):
    """The URLs to use after what the doctor says."""
    found = re.search(r"apx receive '?([^']*)'?$", command)
    if found is None:
        return case.udp, case.tcp
    url = found[1]
    return (url, case.tcp) if url.startswith("udp") else (case.udp, url)
