"""The checks of `apx doctor` on texts and values; tests/network puts the faults themselves into hosts."""

import errno
from collections import Counter
from pathlib import Path as File

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.batch import Source
from astropix_stream.clock import Moment
from astropix_stream.doctor import arrivals, environment, joining, path, querier, settings, troubleshooting
from astropix_stream.doctor.arrivals import Heard, Sighting
from astropix_stream.doctor.path import Link, choose
from astropix_stream.doctor.verdict import Mark, fine, first_to_mend, unknown
from astropix_stream.fmt import AstroPix4Readout
from astropix_stream.url import parse_url

GROUP, PORT = "239.1.1.1", 5007
URL = parse_url(f"udp://{GROUP}:{PORT}")
LO = Link("lo", 1, has_multicast=False, is_loopback=True, addresses=("127.0.0.1",))
ETH0, ETH1 = Link("eth0", 2, addresses=("10.0.1.3",)), Link("eth1", 3, addresses=("10.0.2.3",))
DAQ, OTHER = Source("10.9.0.1", 40001), Source("10.9.0.2", 50000)


def key(verdict):
    return None if verdict is None else verdict.fault or verdict.mark.value


def heard(*datagrams, ttl=2):
    result = Heard()
    for source, data in datagrams:
        result.note(data, source, ttl, Moment(0.0, 0))
    return result


READOUT = AstroPix4Readout(b"\xbc", 1, 2).to_bytes()


class TestPath:
    def test_a_named_interface_is_examined_whatever_the_route(self):
        way = choose(GROUP, [LO, ETH0, ETH1], "eth1", "eth0")
        assert (way.chosen, way.by) == (ETH1, "name")
        assert "eth1 (as named)" in path.judge_route(way, [], URL).text

    def test_without_a_route_an_interface_that_is_down_is_to_blame(self):
        down = Link("eth1", 3, is_up=False, addresses=("10.0.2.3",))
        way = choose(GROUP, [LO, ETH0, down], None, None)
        assert path.judge_route(way, [], URL) is None
        assert key(path.judge_link(way, [])) == "interface-down"

    def test_an_interface_that_is_down_and_was_never_set_up_is_not(self):
        way = choose(GROUP, [LO, Link("wlan0", 4, is_up=False), ETH0], None, None)
        verdict = path.judge_route(way, [], URL)
        assert (key(verdict), verdict.command) == ("no-route", "sudo ip route add 224.0.0.0/4 dev eth0")

    def test_a_host_without_a_network(self):
        assert key(
            path.judge_route(choose(GROUP, [LO, Link("wlan0", 4, is_up=False)], None, None), [], URL)
        ) == ("no-interface")

    def test_the_route_to_add_is_that_to_where_readouts_arrive(self):
        verdict = path.judge_route(choose(GROUP, [LO, ETH0, ETH1], None, None), ["eth1"], URL)
        assert verdict.command.endswith("dev eth1")
        assert f"'{URL}?interface=eth1'" in verdict.advice

    def test_ipv6_has_its_own_route(self):
        verdict = path.judge_route(choose("ff15::7", [LO, ETH0], None, None), [], URL)
        assert verdict.command == "sudo ip -6 route add ff00::/8 dev eth0 table local"

    @pytest.mark.parametrize(
        ("link", "expected"),
        [
            (ETH0, "ok"),
            (LO, "ok"),
            (Link("eth0", 2, is_up=False), "interface-down"),
            (Link("eth0", 2, has_link=False), "no-link"),
            (Link("tun0", 2, has_multicast=False, addresses=("10.8.0.2",)), "no-multicast"),
            (Link("eth0", 2), "no-address"),
        ],
    )
    def test_the_interface(self, link, expected):
        way = choose(GROUP, [link], link.name, None)
        assert key(path.judge_link(way, [])) == expected

    def test_an_interface_without_an_address_that_brings_readouts_does_no_harm(self):
        assert key(path.judge_link(choose(GROUP, [Link("eth0", 2)], "eth0", None), ["eth0"])) == "ok"

    def test_options_of_the_url_stay_when_another_interface_is_advised(self):
        url = parse_url(f"udp://{GROUP}:{PORT}?source=10.9.0.1&interface=eth0")
        way = choose(GROUP, [ETH0, ETH1], "eth0", None)
        verdict = path.judge_other_interfaces(way, ["eth1"], url)
        assert verdict.command == f"apx receive 'udp://{GROUP}:{PORT}?source=10.9.0.1&interface=eth1'"
        assert path.judge_other_interfaces(way, ["eth0", "eth1"], url) is None


UDP = (
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref "
    "pointer drops\n"
    "  1: 010101EF:138F 00000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 77 2 0 12\n"
    "  2: 00000000:138F 00000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 78 2 0 0\n"
    "  3: 0100007F:138F 00000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 79 2 0 0\n"
    "  4: 010101EF:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 1000 0 80 2 0 0\n"
)


class TestJoining:
    def test_sockets_on_the_port_are_found_in_the_kernels_text(self):
        owners = joining.parse_udp(UDP, GROUP, PORT)
        assert [(owner.address, owner.inode, owner.dropped) for owner in owners] == [
            (GROUP, 77, 12),
            ("0.0.0.0", 78, 0),
        ]
        ipv6 = (
            UDP.splitlines()[0]
            + "\n  1: "
            + "000015FF"
            + "00000000" * 2
            + "07000000:138F "
            + "0 " * 7
            + "5 2 0 3"
        )
        (owner,) = joining.parse_udp(ipv6, "ff15::7", PORT)
        assert (owner.inode, owner.dropped) == (5, 3)

    def test_a_port_that_is_taken(self):
        taken = OSError(errno.EADDRINUSE, "in use")
        unseen = joining.Owner("0.0.0.0", PORT, 1, 0)
        seen = joining.Owner("0.0.0.0", PORT, 1, 0, 4711, "daq")
        verdict = joining.judge_port(taken, [seen], PORT)
        assert (verdict.text, verdict.command) == (
            "daq (pid 4711) holds port 5007 and does not share it",
            "kill 4711",
        )
        assert "ss -ulnp" in joining.judge_port(taken, [unseen], PORT).command
        assert "is shared with another program" in joining.judge_port(None, [unseen], PORT).text
        assert joining.judge_port(OSError(errno.ENODEV, "gone"), [], PORT) is None

    @pytest.mark.parametrize(
        ("number", "listed", "expected"),
        [
            (None, True, "ok"),
            (None, None, "unknown"),
            (None, False, "not-a-member"),
            (errno.EADDRINUSE, None, None),
            (errno.ENOBUFS, None, "too-many-groups"),
            (errno.ENODEV, None, "cannot-join"),
        ],
    )
    def test_membership(self, number, listed, expected):
        error = None if number is None else OSError(number, "what the kernel says")
        assert key(joining.judge_membership(GROUP, "eth0", error, listed)) == expected

    def test_programs_that_joined_elsewhere_raise_a_suspicion(self):
        assert joining.judge_other_members(GROUP, "eth0", ["eth0", "lo"]) is None
        assert joining.judge_other_members(GROUP, "eth0", []) is None
        assert joining.judge_other_members(GROUP, "eth0", ["eth1"]).mark is Mark.UNKNOWN


class TestSettings:
    @pytest.mark.parametrize(
        ("mode", "dropped", "back", "hears", "expected"),
        [
            (None, None, {}, False, None),
            (0, 5, {"10.9.0.1": None}, False, "ok"),
            (1, 0, {"10.0.1.1": "eth0"}, False, "ok"),
            (1, 0, {"10.9.0.1": "eth1"}, False, "rp-filter"),
            (1, 0, {"10.9.0.1": None}, True, "rp-filter"),
            (2, 0, {"10.9.0.1": "eth1"}, False, "ok"),
            (2, 0, {"10.9.0.1": None}, False, "rp-filter"),
            (1, 7, {}, False, "rp-filter"),
            (1, 7, {}, True, "ok"),
            (1, None, {}, False, "unknown"),
        ],
    )
    def test_reverse_path(self, mode, dropped, back, hears, expected):
        filtered = settings.ReversePath(mode, dropped, back)
        assert key(settings.judge_reverse_path(filtered, "eth0", hears=hears)) == expected

    def test_the_larger_value_counts(self):
        assert settings.effective_mode(["1\n", "0\n"]) == 1
        assert settings.effective_mode([None, None]) is None

    def test_a_counter_of_netstat(self):
        text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: C IPReversePathFilter\nIpExt: 3 4\n"
        assert settings.parse_netstat(text, "IPReversePathFilter") == 4
        assert settings.parse_netstat("", "A") is None

    def test_receive_buffer(self):
        assert key(settings.judge_buffer(8 << 20, 8 << 20, 0)) == "ok"
        small = settings.judge_buffer(8 << 20, 208 << 10, 0)
        assert (small.mark, small.command) == (Mark.UNKNOWN, "sudo sysctl -w net.core.rmem_max=8388608")
        full = settings.judge_buffer(8 << 20, 8 << 20, 3)
        assert (full.mark, full.command) == (Mark.WRONG, "sudo sysctl -w net.core.rmem_max=16777216")


IPV4 = bytes([0x45, 0, 0, 48, 0, 0, 0, 0, 2, 17, 0, 0, 10, 9, 0, 1, 239, 1, 1, 1])
UDP_HEADER = (40001).to_bytes(2, "big") + PORT.to_bytes(2, "big") + bytes(4)
IPV6 = bytes([0x60, 0, 0, 0, 0, 30, 17, 2]) + bytes(15) + b"\x05" + bytes([0xFF, 0x15]) + bytes(13) + b"\x07"


class TestArrivals:
    def test_packets_are_read_as_they_reach_the_interface(self):
        assert arrivals.parse_ipv4(IPV4 + UDP_HEADER + READOUT) == Sighting("10.9.0.1", GROUP, PORT, True)
        assert arrivals.parse_ipv4(IPV4 + UDP_HEADER + b"junk") == Sighting("10.9.0.1", GROUP, PORT, False)
        assert arrivals.parse_ipv6(IPV6 + UDP_HEADER + READOUT) == Sighting("::5", "ff15::7", PORT, True)
        later_fragment = IPV4[:6] + b"\x00\x10" + IPV4[8:]
        to_one_host = IPV4[:16] + bytes([10, 0, 0, 1])
        for packet in (b"", IPV4, later_fragment + UDP_HEADER, to_one_host + UDP_HEADER, IPV6):
            assert arrivals.parse_ipv4(packet) is None
            assert arrivals.parse_ipv6(packet) is None

    @given(st.binary(max_size=80))
    def test_any_bytes_are_read(self, packet):
        arrivals.parse_ipv4(packet)
        arrivals.parse_ipv6(packet)
        arrivals.parse_ipv4(IPV4 + packet)
        arrivals.parse_ipv6(IPV6 + packet)

    def judge(self, heard, seen=(), *, url=URL, interface="eth0", explained=False):
        return arrivals.judge_arrivals(url, interface, heard, Counter(seen), "5 s", explained=explained)

    def test_what_arrived_is_told_with_source_and_ttl(self):
        verdict = self.judge(heard((DAQ, READOUT), (DAQ, READOUT), (OTHER, READOUT)))
        assert verdict.text == "3 readouts in 5 s, from 10.9.0.1:40001 (TTL 2), 10.9.0.2:50000 (TTL 2)"

    def test_many_sources_are_summed_up(self):
        verdict = self.judge(heard(*((Source("10.9.0.1", port), READOUT) for port in range(1, 9))))
        assert verdict.text.endswith("and 5 more")

    def test_nothing_arrives(self):
        assert key(self.judge(Heard())) == "nothing-arrives"
        assert self.judge(Heard(), interface="lo").command.endswith("--interface lo --ttl 0")
        assert key(self.judge(Heard(), explained=True)) == "unknown"
        assert key(self.judge(None, explained=True)) == "unknown"

    def test_what_reaches_the_interface_tells_more(self):
        for_us = Sighting("10.9.0.1", GROUP, PORT, True)
        assert key(self.judge(Heard(), [for_us])) == "stopped-inside"
        assert key(self.judge(Heard(), [for_us._replace(port=1, is_readout=False)])) == "nothing-arrives"
        verdict = self.judge(Heard(), [for_us._replace(group="239.1.1.2")])
        assert verdict.command == "apx receive 'udp://239.1.1.2:5007'"

    def test_another_source_than_the_one_that_is_asked_for(self):
        url = parse_url(f"udp://{GROUP}:{PORT}?source=10.9.0.7")
        verdict = self.judge(heard((DAQ, READOUT)), url=url)
        assert verdict.command == f"apx receive 'udp://{GROUP}:{PORT}?source=10.9.0.1'"

    def test_what_is_no_readout(self):
        assert arrivals.judge_content(URL, Heard()) is None
        assert key(arrivals.judge_content(URL, heard((DAQ, READOUT)))) == "ok"
        verdict = arrivals.judge_content(
            URL, heard((DAQ, READOUT), (OTHER, b"junk"), (OTHER, READOUT + b"\0"))
        )
        assert (
            verdict.text
            == "2 of 3 datagrams are not readouts (short: 1, length: 1); they come from 10.9.0.2:50000"
        )
        assert verdict.command == f"apx receive 'udp://{GROUP}:{PORT}?source=10.9.0.1'"
        assert arrivals.judge_content(URL, heard((DAQ, READOUT), (DAQ, b""))).command == ""


def test_a_querier():
    assert key(querier.judge_querier(GROUP, "eth0", None, 200, "")) == "unknown"
    assert querier.judge_querier(GROUP, "eth0", None, 200, "").needs_root
    assert key(querier.judge_querier(GROUP, "eth0", [], 129, "")) == "unknown"
    assert key(querier.judge_querier(GROUP, "eth0", [], 130, "")) == "no-querier"
    assert "MLD" in querier.judge_querier("ff15::7", "eth0", [], 130, "130 s").text
    assert key(querier.judge_querier(GROUP, "eth0", ["0.0.0.0"], 1, "")) == "ok"


@pytest.mark.parametrize(
    ("kind", "driver", "is_suspect", "expected"),
    [
        (None, "veth", True, None),
        ("docker", "e1000e", True, None),
        ("docker", "veth", False, None),
        ("docker", "veth", True, "container"),
        ("systemd-nspawn", "veth", True, "container"),
    ],
)
def test_a_container(kind, driver, is_suspect, expected):
    link = Link("eth0", 2, driver=driver)
    assert key(environment.judge_container(kind, link, is_suspect=is_suspect)) == expected


def test_the_old_package_and_whose_names_are_imported():
    verdict = environment.judge_packages(None, "astropix-analysis 1.2 (/site)")
    assert key(verdict) == "ok"
    assert verdict.text == "import astropix_analysis gives: astropix-analysis 1.2 (/site)"
    verdict = environment.judge_packages("…", "none")
    assert key(verdict) == "old-package"
    assert verdict.text == "astropix-relay is installed beside astropix-stream, which has replaced it"


def test_what_to_try_first():
    blocking = path.NO_ROUTE.found("route", case="IPv4", group=GROUP, interface="eth0", url="")
    wrong = settings.judge_buffer(1, 1, 1)
    suspicious = settings.judge_buffer(2, 1, 0)
    assert first_to_mend([fine("a", ""), unknown("b", "")]) is None
    assert first_to_mend([suspicious, wrong, blocking]) is blocking
    assert first_to_mend([suspicious, wrong]) is wrong
    assert first_to_mend([suspicious]) is suspicious


def test_the_document_is_what_the_doctor_says():
    document = File(__file__).parents[2] / "docs/troubleshooting.md"
    assert document.read_text() == troubleshooting.page(), (
        "python -m astropix_stream.doctor.troubleshooting > docs/troubleshooting.md"
    )


def test_each_fault_has_a_name_of_its_own():
    faults = troubleshooting.all_faults()
    assert len({fault.key for fault in faults}) == len({fault.message for fault in faults}) == len(faults)
