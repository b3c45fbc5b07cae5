"""Rules as ``iptables-save`` prints them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.doctor import iptables
from unit.doctor.rules import READOUT6, SAVED, fate


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("", "dropped"),
        ("-A INPUT -j ACCEPT", "passes"),
        ("-A INPUT -d 239.1.1.1/32 -p udp -m udp --dport 5007 -j ACCEPT", "passes"),
        ("-A INPUT -d 224.0.0.0/4 -j ACCEPT", "passes"),
        ("-A INPUT ! -d 224.0.0.0/4 -j ACCEPT", "dropped"),
        ("-A INPUT -p udp -m multiport --dports 53,5000:5010 -j ACCEPT", "passes"),
        ("-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT", "passes"),
        ("-A INPUT -m pkttype --pkt-type multicast -m comment --comment 'a word' -j ACCEPT", "passes"),
        ("-A INPUT -i eth+ -j mine\n-A mine -p udp -j RETURN", "dropped"),
        ("-A INPUT -j mine\n-A mine -s 10.9.0.0/16 -j ACCEPT", "passes"),
        ("-A INPUT -m limit --limit 5/min -j ACCEPT", "perhaps"),
        ("-A INPUT -j LOG --log-prefix 'x -j ACCEPT'", "dropped"),
        ("-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable\n-A INPUT -j ACCEPT", "dropped"),
    ],
)
def test_rules_of_iptables(rule, expected):
    assert fate(iptables.parse_save(SAVED.format(rule=rule), 4)) == expected


@pytest.mark.parametrize("text", ["", "nonsense", "-A INPUT -j DROP", "*filter\n-A INPUT -j DROP\n"])
def test_what_is_no_text_of_iptables_has_no_rules(text):
    assert fate(iptables.parse_save(text, 4)) == "passes"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("-A INPUT -d ff15::/16 -j ACCEPT", "passes"),
        ("-A INPUT -j mine\n-A mine -p udp -j ACCEPT", "passes"),
        ("-A INPUT -g mine\n-A mine -p tcp -j ACCEPT\n-A INPUT -j ACCEPT", "dropped"),
        ("-A INPUT -m comment --comment x ! -p tcp -j ACCEPT", "passes"),
        ("-A INPUT -m set --match-set allowed src -j ACCEPT", "perhaps"),
        ("-A INPUT -j NFQUEUE --queue-num 1\n-A INPUT -j ACCEPT", "passes"),
        ("-A INPUT -m mark --mark 0x1 -j DROP\n-A INPUT -j ACCEPT", "perhaps"),
        ("-A other -j ACCEPT", "dropped"),  # of a chain that was not told of
    ],
)
def test_rules_of_ip6tables(rule, expected):
    assert fate(iptables.parse_save(SAVED.format(rule=rule), 6), READOUT6) == expected


LINES = st.sampled_from(["*filter", ":INPUT DROP [0:0]", ":INPUT", ":", "-A INPUT -j 'DROP", "-A ", "COMMIT"])


@given(st.lists(LINES | st.text(alphabet=":*-A INPUTjm!'\"\\", max_size=20), max_size=8))
def test_any_text_is_a_ruleset(lines):
    assert fate(iptables.parse_save("\n".join(lines), 4)) in ("passes", "dropped", "perhaps")
