"""What `apx doctor` says without root, in a container, of queriers, IPv6 and a silent network."""

import pytest

from network.test_doctor import APX, GROUP, PORT, UDP, examine, faults, told

# The rights of any user, but for reading the files of this interpreter wherever it is installed.
AS_NOBODY = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


@pytest.fixture
def net(lab):
    """As that of test_doctor, but without relay and DAQ."""
    daq, monitor = lab.hosts("daq", "monitor")
    lan = lab.lan(daq, monitor)
    monitor.route_multicast()
    return lan, daq, monitor


def bridged(monitor):
    """Put a bridge on top of the interface, as a host of virtual machines has: no container would."""
    monitor.ip("link add br0 type bridge")
    monitor.ip("link set eth0 master br0")
    monitor.ip("address flush dev eth0")
    monitor.ip("address add 10.0.1.2/24 dev br0")
    monitor.ip("link set br0 up")
    monitor.ip("route replace 224.0.0.0/4 dev br0")


def test_without_root_it_says_what_root_would_add(net):
    _, daq, monitor = net
    with daq.start(*APX, "simulate", "--interface", "eth0"):
        checks, summary = examine(monitor, UDP, before=AS_NOBODY)
        assert not faults(checks), told(checks)
        assert summary["root_would_add"] == ["querier"]
        monitor.nft("table ip t { chain c { type filter hook input priority 0; policy drop; }; }")
        checks, summary = examine(monitor, UDP, before=AS_NOBODY)
        assert summary["root_would_add"] == ["firewall", "querier"]
        assert faults(checks) <= {"nothing-arrives", "container"}


def test_without_root_a_filter_that_drops_is_known_by_its_count(net):
    _, daq, monitor = net
    monitor.sysctl("net.ipv4.conf.all.rp_filter=1")
    daq.ip("address add 10.9.0.1/24 dev eth0")
    with daq.start(*APX, "simulate", "--interface", "10.9.0.1"):
        checks, summary = examine(monitor, UDP, before=AS_NOBODY)
        assert faults(checks) == {"rp-filter"}, told(checks)
        monitor.run(summary["first"]["command"].removeprefix("sudo "))
        assert not faults(examine(monitor, UDP, before=AS_NOBODY)[0])


def test_a_silent_network(net):
    _, _, monitor = net
    bridged(monitor)
    checks, summary = examine(monitor, UDP)
    assert faults(checks) == {"nothing-arrives"}, told(checks)
    assert summary["first"]["command"] == f"apx simulate --group {GROUP} --port {PORT} --interface INTERFACE"


def test_a_container(net):
    _, _, monitor = net
    checks, summary = examine(monitor, UDP, env={"container": "podman"})
    assert faults(checks) == {"container"}, told(checks)
    assert "--network host" in summary["first"]["command"]


def test_a_querier_is_heard(net):
    lan, _, monitor = net
    lan.switch.ip("address add 10.0.1.254/24 dev br0")
    lan.switch.ip(
        "link set br0 type bridge mcast_snooping 1 mcast_query_use_ifaddr 1 mcast_startup_query_interval 100 "
        "mcast_startup_query_count 100 mcast_querier 1"
    )
    checks, _ = examine(monitor, UDP, listen=3)  # the kernel lets it ask once a second at most
    (querier,) = (check for check in checks if check["check"] == "querier")
    assert (querier["mark"], querier["text"]) == ("ok", "10.0.1.254 keeps memberships alive")


def test_a_group_of_ipv6(net):
    _, daq, monitor = net
    url = "udp://[ff15::5007]:5007?interface=eth0"
    with daq.start(*APX, "simulate", "--group", "ff15::5007", "--interface", "eth0"):
        checks, _ = examine(monitor, url)
        assert not faults(checks), told(checks)
        assert any("(TTL 2)" in check["text"] for check in checks)
        monitor.nft(
            "table ip6 t {\nchain c { type filter hook input priority 0;\nip6 daddr ff15::5007 drop\n}\n}"
        )
        checks, summary = examine(monitor, url)
        assert faults(checks) == {"firewall"}, told(checks)
        monitor.run(summary["first"]["command"].removeprefix("sudo "))
        assert not faults(examine(monitor, url)[0])


def test_a_monitor_that_runs_already(net):
    _, daq, monitor = net
    with (
        daq.start(*APX, "simulate", "--interface", "eth0"),
        monitor.start(*APX, "receive", f"{UDP}?interface=127.0.0.1") as receiving,
    ):
        receiving.wait_for("receiving")
        checks, _ = examine(monitor, UDP)
    assert not faults(checks), told(checks)
    assert f"port: {PORT} is shared with python" in told(checks)
    assert "programs of this host have joined 239.1.1.1 on lo, and none on eth0" in told(checks)
