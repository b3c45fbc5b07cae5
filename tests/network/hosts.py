"""Hosts and LANs of a test's own, made of network namespaces: no packet leaves them, they end with the test.

::

    def test_something(lab):
        daq, relay, monitor = lab.hosts("daq", "relay", "monitor")
        front = lab.lan(daq, relay)         # a bridge; eth0 of both: 10.0.1.1, 10.0.1.2, fd00:1::1, fd00:1::2
        back = lab.lan(relay, monitor)      # eth1 of relay: 10.0.2.1; eth0 of monitor: 10.0.2.2
        daq.route_multicast()               # programs that name no interface need a route to the group

        with daq.inside():                  # what this thread opens here belongs to daq for good
            sender = MulticastSender(interface="eth0")
        with relay.start("astropix-relay", "run") as program:      # a `programs.Program`
            program.wait_for("ready")
            print(relay.run("ss -ulnp"))    # a program to its end; its output
            print(daq.python("import sys; print(sys.argv)", "x"))  # the same for Python code

            nic = front[relay]              # relay's interface on that LAN
            nic.down(), nic.up()            # the link
            nic.address = "10.0.1.77"       # instead of the one it had
            nic.delete(), nic.create()      # pulled out, and a new one with the same name and addresses
            relay.nft("add table ip t; ...")
            relay.ip("route add ...")       # `ip -n <namespace> …`

`lab` is the fixture of tests/network/conftest.py; elsewhere: ``with Lab() as lab:``. Everything is undone in
reverse order when the block ends, however it ends; what a killed test run left is removed by the next one.
Names begin with the PID, so that runs side by side do not meet.

Nothing waits for IPv6's duplicate address detection (it is off), and the bridge forwards at once. A link that
comes up is waited for. `inside` switches this thread only (setns): a thread started within is inside too, and
so are child processes; /proc/net follows the main thread, /sys/class/net stays that of this host.
"""

import contextlib
import ctypes
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from programs import TIMEOUT, Program

NAMESPACES = Path("/run/netns")
_PREFIX = "apx"
_libc = ctypes.CDLL(None, use_errno=True)


def run(command: str, **options: Any) -> str:
    """Run a program to its end and return its output; an error shows what it printed."""
    words = shlex.split(command)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIMEOUT, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str = "", timeout: float = TIMEOUT) -> None:
    """Wait for what the kernel announces to nobody; anything that can be waited for needs no such thing."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {timeout} s: {what or condition}")
        time.sleep(0.001)


class Lab:
    """The hosts and LANs of one test, removed when the `with` block ends."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._lans = 0
        self._made = 0

    def host(self, name: str = "host") -> "Host":
        """Make a host; it has nothing but a loopback interface (with 127.0.0.1 and ::1)."""
        return self.hosts(name)[0]

    def hosts(self, *names: str) -> list["Host"]:
        """Make several hosts."""
        return [Host(name, self.namespace(name)) for name in names]

    def lan(self, *hosts: "Host") -> "Lan":
        """Make a LAN: a bridge, and an interface of each of `hosts` on it."""
        self._lans += 1
        return Lan(self._lans, Host("lan", self.namespace("lan")), hosts)

    def namespace(self, name: str) -> str:
        """Make a network namespace; return its name."""
        self._made += 1
        namespace = f"{_PREFIX}{os.getpid()}-{id(self) >> 4 & 0xFFFF:x}-{self._made}-{name}"
        run(f"ip netns add {namespace}")
        self._undo.callback(run, f"ip netns del {namespace}")
        return namespace

    def __enter__(self) -> Self:
        _remove_stale()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()


def _remove_stale() -> None:
    """Remove the namespaces of test runs that were killed."""
    for path in NAMESPACES.glob(f"{_PREFIX}[0-9]*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            with contextlib.suppress(AssertionError):  # another run was faster
                run(f"ip netns del {path.name}")


class Host:
    """A host of its own: interfaces, addresses, routes, firewall."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self.namespace = namespace
        self.nics: list[Nic] = []
        self.sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
        self.ip("link set lo up")

    @property
    def address(self) -> str:
        """IPv4 address of the first interface."""
        return self.nics[0].address

    @property
    def address6(self) -> str:
        """IPv6 address of the first interface."""
        return self.nics[0].address6

    def start(self, *argv: object, env: dict[str, str] | None = None) -> Program:
        """Start a program in this host; see `programs.Program`."""
        return Program("ip", "netns", "exec", self.namespace, *argv, env=env)

    def start_python(self, code: str, *args: object) -> Program:
        """Start Python code in this host, with `args` in sys.argv[1:]."""
        return self.start(sys.executable, "-c", code, *args)

    def run(self, command: str) -> str:
        """Run a program in this host to its end; return its output."""
        return run(f"ip netns exec {self.namespace} {command}")

    def python(self, code: str, *args: object) -> str:
        """Run Python code in this host to its end; return its output."""
        return self.run(shlex.join([sys.executable, "-c", code, *map(str, args)]))

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put this thread into the host: sockets opened meanwhile stay there, processes started too."""
        with (
            Path("/proc/thread-self/ns/net").open() as outside,
            (NAMESPACES / self.namespace).open() as namespace,
        ):
            _enter(namespace.fileno())
            try:
                yield
            finally:
                _enter(outside.fileno())

    def ip(self, arguments: str) -> str:
        """Run iproute2's ``ip`` in this host."""
        return run(f"ip -n {self.namespace} {arguments}")

    def tc(self, arguments: str) -> str:
        """Run iproute2's ``tc`` in this host."""
        return run(f"tc -n {self.namespace} {arguments}")

    def nft(self, rules: str) -> str:
        """Give rules to this host's firewall."""
        return run(f"ip netns exec {self.namespace} nft -f -", input=rules)

    def sysctl(self, *settings: str) -> None:
        """Set kernel parameters below net. of this host: ``net.ipv4.ip_forward=1``."""
        with self.inside():
            for name, _, value in (setting.partition("=") for setting in settings):
                Path("/proc/sys", *name.split(".")).write_text(value)

    def route_multicast(self, interface: str = "eth0") -> None:
        """Add the route to the groups that programs which name no interface need."""
        self.ip(f"route add 224.0.0.0/4 dev {interface}")

    def __repr__(self) -> str:
        return f"Host({self.name!r})"


def _enter(namespace_fd: int) -> None:
    if _libc.setns(namespace_fd, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


class Lan:
    """A switch (a Linux bridge in a namespace of its own) and the interfaces on it; ``lan[host]`` is one."""

    def __init__(self, number: int, switch: Host, hosts: tuple[Host, ...]) -> None:
        self.number = number
        self.switch = switch
        self._nics: dict[Host, Nic] = {}
        switch.ip("link add br0 type bridge")
        switch.ip("link set br0 up")
        for host in hosts:
            self.connect(host)

    def connect(self, host: Host, *, name: str | None = None, create: bool = True) -> "Nic":
        """Give `host` an interface on this LAN, called eth0, eth1, …; with ``create=False`` only later."""
        place = len(self._nics) + 1
        nic = Nic(self, host, name or f"eth{len(host.nics)}", place)
        self._nics[host] = nic
        host.nics.append(nic)
        if create:
            nic.create()
        return nic

    def __getitem__(self, host: Host) -> "Nic":
        return self._nics[host]


class Nic:
    """A host's interface on a LAN: the one end of a veth pair, the other is the port of the bridge."""

    def __init__(self, lan: Lan, host: Host, name: str, place: int) -> None:
        self.lan = lan
        self.host = host
        self.name = name
        self.port = f"port{place}"
        self.address6 = f"fd00:{lan.number}::{place}"
        self._address = f"10.0.{lan.number}.{place}"

    @property
    def address(self) -> str:
        """The IPv4 address, in a /24; assign to change it, as DHCP would, without touching the link."""
        return self._address

    @address.setter
    def address(self, address: str) -> None:
        self.host.ip(f"address del {self._address}/24 dev {self.name}")
        self.host.ip(f"address add {address}/24 dev {self.name}")
        self._address = address

    @property
    def index(self) -> int:
        """The kernel's number of the interface, another one each time it is created."""
        return int(json.loads(self.host.ip(f"-j link show {self.name}"))[0]["ifindex"])

    def create(self) -> None:
        """Plug the interface in, with its addresses, and wait until it carries packets."""
        switch = self.lan.switch
        switch.ip(
            f"link add {self.port} master br0 type veth peer name {self.name} netns {self.host.namespace}"
        )
        switch.ip(f"link set {self.port} up")
        self.host.ip(f"address add {self._address}/24 dev {self.name}")
        self.host.ip(f"address add {self.address6}/64 dev {self.name} nodad")
        self.up()

    def delete(self) -> None:
        """Pull the interface out: it is gone, and with it routes and memberships."""
        self.host.ip(f"link del {self.name}")

    def up(self) -> None:
        """Bring the link up and wait until it carries packets."""
        self.host.ip(f"link set {self.name} up")
        wait_until(self._carries, f"{self.name} of {self.host} is up")

    def down(self) -> None:
        """Bring the link down: routes over it go, memberships stay."""
        self.host.ip(f"link set {self.name} down")

    def _carries(self) -> bool:
        here = json.loads(self.host.ip(f"-j link show {self.name}"))[0]
        there = json.loads(self.lan.switch.ip(f"-j -d link show {self.port}"))[0]
        port = there["linkinfo"]["info_slave_data"]
        return here["operstate"] == there["operstate"] == "UP" and port["state"] == "forwarding"
