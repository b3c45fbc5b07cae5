"""docs/operating.md to the letter: its commands, in their order, each with the outcome that it promises.

There is one test for each step of the page, in its order, and each goes on where the one before ended.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from operating_page import STEPS, Step
from programs import Program
from systemd.container import Container, Unit, wait_until
from systemd.people import Host, check_out, host

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

CURRENT = "/opt/astropix-relay/current"
PYTHON = f"{CURRENT}/bin/python"
RELAY = "astropix-relay@relay.service"

# 100 readouts/s until the standard input ends; then says how many.
SENDER = """
import select, sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.sock import MulticastSender
count = 0
with MulticastSender(group=sys.argv[1], interface=sys.argv[2], ttl=1) as sender:
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        sender.send_readout(AstroPix4Readout(b"data", count))
        count += 1
print("sent", count, flush=True)
"""

SUBSCRIBER = """
import sys
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.relay import open_receiver
with open_receiver(AstroPix4Readout, sys.argv[1]) as receiver:
    receiver.wait_ready(10)
    print("ready", flush=True)
    for readout in receiver:
        print("got", readout.readout_id, flush=True)
"""


class Page:
    """Follows the page on the hosts that it names."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._hosts = hosts
        self._done = 0

    def follow(self, name: str) -> str:
        """Run the steps up to this one that have not been run; return what the last one printed."""
        wanted = next(i for i, step in enumerate(STEPS) if step.name == name)
        said = ""
        for step in STEPS[self._done : wanted + 1]:
            self._done += 1
            self._bring(step.name)
            on = self.host(step.host)
            said = on.follow(with_what_the_kernel_has(on.container, step))
        return said

    def host(self, name: str) -> Host:
        return self._hosts[name]

    def _bring(self, name: str) -> None:
        """Carry the files that the page says are to be carried."""
        relay = self.host("relay")
        if name == "tarball":
            relay.carry("checkout/dist/*.tar.gz", spare := self.host("spare"), spare.home)
        elif name == "package":
            relay.carry("checkout/dist/*.deb", debian := self.host("debian"), debian.home)
        elif name == "let_in":
            client = self.host("client")
            client.carry("keys/control-room.key", relay, relay.home)
            relay.carry("keys/relay.key", client, f"{client.home}/keys")
        elif name == "restore":
            relay.carry("/root/astropix-relay.tar.gz", self.host("spare"), "/root")
        elif name in ("upgrade", "rollback", "uninstall"):
            relay.where = f"{relay.home}/checkout"


def with_what_the_kernel_has(container: Container, step: Step) -> Step:
    """Return the step; on a kernel without VLANs, with a MACVLAN, which is an interface of that name, too."""
    vlan = " type vlan id 100"
    if vlan not in step.commands:
        return step
    lacks = container.run(
        "ip", *["link", "add", "link", "eth1", "name", "probe", "type", "vlan", "id", "1"], check=False
    ).returncode
    if not lacks:
        container.run("ip", "link", "delete", "probe")
    return replace(step, commands=step.commands.replace(vlan, " type macvlan")) if lacks else step


@pytest.fixture(scope="module")
def page(container: Container) -> Iterator[Page]:
    """`container`: to skip, or fail, where none can boot. The client is a person on the relay's host."""
    with ExitStack() as opened:
        hosts = {name: opened.enter_context(host("oper")) for name in ("relay", "spare", "debian")}
        hosts["client"] = Host(hosts["relay"].container, "physicist")
        hosts["relay"].container.run("sh", "-c", "echo 127.0.0.1 relay >>/etc/hosts")
        check_out(hosts["relay"])
        yield Page(hosts)


def relay_of(page: Page, name: str = "relay") -> Unit:
    return Unit(page.host("relay").container, f"astropix-relay@{name}.service")


@contextmanager
def daq(container: Container, group: str = "239.1.1.1", interface: str = "eth1") -> Iterator[Program]:
    with Program(*container.command(PYTHON, "-c", SENDER, group, interface)) as sender:
        yield sender


@contextmanager
def monitor(container: Container, url: str) -> Iterator[Program]:
    with Program(*container.command(PYTHON, "-c", SUBSCRIBER, url)) as subscriber:
        subscriber.wait_for("ready")
        yield subscriber


def assert_arrives(container: Container, url: str, group: str = "239.1.1.1", interface: str = "eth1") -> None:
    with monitor(container, url) as subscriber, daq(container, group, interface):
        subscriber.wait_for("got")


def versions(container: Container) -> dict[str, str]:
    """Return the version that each of the symlinks leads to."""
    script = "cd /opt/astropix-relay && for link in current previous; do readlink $link || echo; done"
    current, previous = container.run("sh", "-c", script).stdout.splitlines()
    return {"current": current.removeprefix("versions/"), "previous": previous.removeprefix("versions/")}


def version_that_runs(unit: Unit) -> str:
    command = unit.container.run("cat", f"/proc/{unit.show('MainPID')}/cmdline").stdout
    return re.search(r"/versions/([^/]+)/", command).group(1)


def test_install(page: Page) -> None:
    page.follow("install")
    container = page.host("relay").container
    assert versions(container)["current"] == "0.2.0-1"
    assert container.run("systemctl", "is-active", RELAY, check=False).stdout.strip() == "inactive"
    for command in ("astropix-relay", "apx"):
        as_anyone = ("runuser", "--login", "oper", "--command", f"{command} --version")
        assert "0.2.0" in container.run(*as_anyone).stdout
    for setting in ("net.ipv4.ipfrag_time = 2", "net.ipv6.ip6frag_time = 2"):
        assert container.run("sysctl", setting.split()[0]).stdout.strip() == setting
    installed = container.run("cat", "/usr/local/lib/sysctl.d/90-astropix-relay.conf").stdout
    assert re.search(r"^net.core.rmem_max = 8388608$", installed, re.MULTILINE)


def test_wheelhouse(page: Page) -> None:
    assert re.search(r"^dist/astropix-relay-0\.2\.0-\w+\.tar\.gz$", page.follow("wheelhouse"), re.MULTILINE)


def test_tarball(page: Page) -> None:
    page.follow("tarball")
    spare = page.host("spare").container
    assert versions(spare)["current"] == "0.2.0-1"
    assert "0.2.0" in spare.run("astropix-relay", "--version").stdout
    assert spare.run("test", "-e", "/etc/astropix-relay/relay.yaml").returncode == 0


def test_deb(page: Page) -> None:
    assert re.search(r"^dist/astropix-relay_0\.2\.0-1_\w+\.deb$", page.follow("deb"), re.MULTILINE)


def test_package(page: Page) -> None:
    page.follow("package")
    debian = page.host("debian").container
    assert "install ok installed" in debian.run("dpkg", "--status", "astropix-relay").stdout
    for command in ("astropix-relay", "apx", "astropix-bridge"):
        assert "0.2.0" in debian.run(command, "--version").stdout
    assert debian.run("sysctl", "net.ipv4.ipfrag_time").stdout.strip().endswith("= 2")
    debian.run("systemctl", "enable", "--now", RELAY)
    assert Unit(debian, RELAY).show("ActiveState") == "active"


def test_configure(page: Page) -> None:
    said = page.follow("configure")
    assert re.search(r"relay\.yaml: valid, 1 stream$", said, re.MULTILINE)
    assert "active (running)" in said
    status = re.search(r'Status: "(.*)"', said).group(1)
    assert re.search(r"readouts/s.*subscri.*eth1", status)
    assert relay_of(page).show("UnitFileState") == "enabled"
    assert_arrives(page.host("relay").container, "tcp://127.0.0.1:5556")


def test_kernel_settings(page: Page) -> None:
    page.follow("kernel_settings")
    container = page.host("relay").container
    assert container.run("sysctl", "net.ipv4.ipfrag_time").stdout.strip().endswith("= 3")
    assert container.run("sysctl", "net.ipv6.ip6frag_time").stdout.strip().endswith("= 2")


def test_vlan(page: Page) -> None:
    container = page.host("relay").container
    page.follow("vlan")
    wait_until(lambda: "eth1.100" in relay_of(page).show("StatusText"))
    assert_arrives(container, "tcp://127.0.0.1:5556?stream=testbeam", "239.1.1.2", "eth1.100")


def test_second(page: Page) -> None:
    """Both join one group on one interface, and each delivers."""
    page.follow("second")
    container = page.host("relay").container
    for name in ("relay", "second"):
        assert relay_of(page, name).show("ActiveState") == "active"
    with (
        monitor(container, "tcp://127.0.0.1:5556?stream=astropix") as first,
        monitor(container, "tcp://127.0.0.1:5566?stream=second") as second,
        daq(container),
    ):
        first.wait_for("got")
        second.wait_for("got")
    listening = container.run("ss", "-tln").stdout
    for port in (5556, 5557, 9108, 5566, 5567, 9118):
        assert f":{port} " in listening, port


def test_relay_keys(page: Page) -> None:
    page.follow("relay_keys")
    container = page.host("relay").container
    secret = container.run("stat", "-c", "%a %U", "/etc/credstore/astropix-relay.relay.key_secret").stdout
    assert secret.strip() == "600 root"


def test_client_keys(page: Page) -> None:
    page.follow("client_keys")
    made = page.host("relay").container.run("ls", "/home/physicist/keys").stdout.split()
    assert made == ["control-room.key", "control-room.key_secret"]


def test_let_in(page: Page) -> None:
    said = page.follow("let_in")
    assert re.search(r"relay\.yaml: valid, 2 streams$", said, re.MULTILINE)
    assert "warning" not in said
    unit = relay_of(page)
    assert unit.show("ActiveState") == "active"
    assert any("publishing on" in line and "IPv6 and IPv4" in line for line in unit.journal())
    listening = unit.container.run("ss", "--no-header", "-tln", "sport = :5556").stdout.splitlines()
    assert [line.split()[3] for line in listening] == ["*:5556"]  # one socket for both


def test_client_receives(page: Page) -> None:
    with daq(page.host("relay").container):
        said = page.follow("client_receives")
    assert len(re.findall(r"^readout \d+ at", said, re.MULTILINE)) == 10, said


def test_shut_out(page: Page) -> None:
    page.follow("shut_out")
    container = page.host("relay").container
    url = "tcp://relay:5556?stream=astropix&server_key=relay.key&key_file=control-room.key_secret"
    script = f"cd ~/keys && apx receive '{url}' --timeout 5"
    done = container.run("runuser", "--login", "physicist", "--command", script, check=False)
    assert done.returncode == 1
    assert "the relay refuses this client: our key is not in its list" in done.stderr
    key = re.search(
        r'public-key = "(.{40})"', container.run("cat", "/home/physicist/keys/control-room.key").stdout
    )
    wait_until(lambda: any("127.0.0.1" in line and key.group(1) in line for line in relay_of(page).journal()))


def test_upgrade(page: Page) -> None:
    unit = relay_of(page, "second")
    container = unit.container
    with monitor(container, "tcp://127.0.0.1:5566") as subscriber, daq(container) as sender:
        subscriber.wait_for("got")
        page.follow("upgrade")
        container.run("systemctl", "restart", unit.name)
        subscriber.wait_for("got")
        sender.process.stdin.close()
        sent = int(sender.wait_for("sent").split()[1])
        subscriber.wait_for(f"got {sent - 1}")
        got = [int(line.split()[1]) for line in subscriber.stdout.splitlines() if line.startswith("got ")]
        assert sorted(set(got)) == list(range(got[0], sent))
    assert versions(container) == {"current": "0.2.0-2", "previous": "0.2.0-1"}
    assert version_that_runs(relay_of(page)) == "0.2.0-2"


def test_rollback(page: Page) -> None:
    page.follow("rollback")
    assert versions(page.host("relay").container) == {"current": "0.2.0-1", "previous": "0.2.0-2"}
    assert version_that_runs(relay_of(page)) == "0.2.0-1"
    assert version_that_runs(relay_of(page, "second")) == "0.2.0-2"  # until it is restarted


def test_watch(page: Page) -> None:
    said = page.follow("watch")
    assert "active (running)" in said
    assert "publishing on tcp://" in said


def test_back_up(page: Page) -> None:
    page.follow("back_up")
    held = page.host("relay").container.run("tar", "-tzf", "/root/astropix-relay.tar.gz").stdout.split()
    assert {
        "etc/astropix-relay/relay.yaml",
        "etc/astropix-relay/second.yaml",
        "etc/credstore/astropix-relay.relay.key_secret",
        "etc/systemd/system/multi-user.target.wants/astropix-relay@relay.service",
    } <= set(held)


def test_restore(page: Page) -> None:
    """A client of the old host, with the keys that it has, is let in by the new one."""
    container = page.host("relay").container
    key = "/etc/astropix-relay/clients/control-room.key"
    container.run("install", "-m", "644", "/home/physicist/keys/control-room.key", key)
    page.host("relay").follow(next(step for step in STEPS if step.name == "back_up"))
    page.follow("restore")
    spare = page.host("spare")
    unit = Unit(spare.container, RELAY)
    assert (unit.show("ActiveState"), unit.show("UnitFileState")) == ("active", "enabled")
    page.host("client").carry("keys/relay.key keys/control-room.key_secret", spare, spare.home)
    spare.container.run("chown", "root:", f"{spare.home}/control-room.key_secret")
    keys = f"server_key={spare.home}/relay.key&key_file={spare.home}/control-room.key_secret"
    assert_arrives(spare.container, f"tcp://127.0.0.1:5556?stream=astropix&{keys}")


def test_uninstall(page: Page) -> None:
    page.follow("uninstall")
    container = page.host("relay").container
    for name in ("relay", "second"):
        unit = relay_of(page, name)
        assert (unit.show("ActiveState"), unit.show("LoadState")) == ("inactive", "not-found")
    gone = ("/opt/astropix-relay", "/usr/local/bin/apx", "/usr/local/lib/sysctl.d/90-astropix-relay.conf")
    for path in gone:
        assert container.run("test", "-e", path, check=False).returncode == 1, path
    container.run("test", "-e", "/etc/astropix-relay/clients/control-room.key")
    container.run("test", "-e", "/etc/credstore/astropix-relay.relay.key_secret")


def test_remove(page: Page) -> None:
    page.follow("remove")
    debian = page.host("debian").container
    assert Unit(debian, RELAY).show("ActiveState") == "inactive"
    assert debian.run("test", "-e", "/opt/astropix-relay", check=False).returncode == 1
    assert debian.run("sh", "-c", "command -v astropix-relay", check=False).returncode
    debian.run("test", "-e", "/etc/astropix-relay/relay.yaml")
