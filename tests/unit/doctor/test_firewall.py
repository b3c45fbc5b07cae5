"""Firewall rules as nft and iptables print them, walked with a readout."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.doctor import firewall, iptables, nft
from astropix_stream.doctor.firewall import INPUT, Ruleset, igmp_packets, readout_packet

READOUT = readout_packet("239.1.1.1", 5007, "eth0", "10.9.0.1")
READOUT6 = readout_packet("ff15::7", 5007, "eth0", None)

LEFT = {
    "daddr": {"payload": {"protocol": "ip", "field": "daddr"}},
    "saddr": {"payload": {"protocol": "ip", "field": "saddr"}},
    "ttl": {"payload": {"protocol": "ip", "field": "ttl"}},
    "daddr6": {"payload": {"protocol": "ip6", "field": "daddr"}},
    "dport": {"payload": {"protocol": "udp", "field": "dport"}},
    "tcp": {"payload": {"protocol": "tcp", "field": "dport"}},
    "iifname": {"meta": {"key": "iifname"}},
    "oifname": {"meta": {"key": "oifname"}},
    "l4proto": {"meta": {"key": "l4proto"}},
    "nfproto": {"meta": {"key": "nfproto"}},
    "mark": {"meta": {"key": "mark"}},
    "state": {"ct": {"key": "state"}},
    "both": {"concat": []},
}
DROP, ACCEPT, RETURN = {"drop": None}, {"accept": None}, {"return": None}


def match(name, right, op="=="):
    return {"match": {"op": op, "left": LEFT[name], "right": right}}


def jump(target, how="jump"):
    return {how: {"target": target}}


def ruleset(*rules, policy="accept", hook="input", family="inet", chains=None, sets=None):
    """A table with one chain that the kernel calls, and others."""
    about = {"family": family, "table": "t"}
    entries = [{"set": about | {"name": name, "elem": elements}} for name, elements in (sets or {}).items()]
    base = about | {"name": "base", "hook": hook, "prio": 0, "policy": policy, "type": "filter"}
    entries.append({"chain": base})
    for name, others in {"base": rules, **(chains or {})}.items():
        if name != "base":
            entries.append({"chain": about | {"name": name}})
        entries += [
            {"rule": about | {"chain": name, "handle": i, "expr": rule}} for i, rule in enumerate(others)
        ]
    return nft.parse_ruleset(json.dumps({"nftables": [{"metainfo": {}}, *entries]}))


def fate(rules, packet=READOUT):
    drop = rules.find_drop(packet, INPUT)
    return "passes" if drop is None else "dropped" if drop.is_certain else "perhaps"


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([], "dropped"),
        ([match("daddr", "239.1.1.1")], "dropped"),
        ([match("daddr", "239.1.1.2")], "passes"),
        ([match("daddr", "239.1.1.2", "!=")], "dropped"),
        ([match("daddr", {"prefix": {"addr": "239.1.0.0", "len": 16}})], "dropped"),
        ([match("daddr", {"prefix": {"addr": "224.0.0.0", "len": 24}})], "passes"),
        ([match("daddr", {"range": ["239.1.1.0", "239.1.1.9"]})], "dropped"),
        ([match("daddr", {"set": ["224.0.0.251", {"elem": {"val": "239.1.1.1"}}]})], "dropped"),
        ([match("dport", 5007)], "dropped"),
        ([match("dport", {"range": [5000, 5010]})], "dropped"),
        ([match("dport", {"set": [53, {"range": [80, 90]}]})], "passes"),
        ([match("dport", "@ports")], "dropped"),
        ([match("dport", "@unknown")], "perhaps"),
        ([match("dport", 5000, ">")], "dropped"),
        ([match("dport", 5007, "<")], "passes"),
        ([match("tcp", 5007)], "passes"),
        ([match("tcp", 22, "!=")], "passes"),
        ([match("daddr6", "ff15::7")], "passes"),
        ([match("iifname", "eth*")], "dropped"),
        ([match("iifname", "lo")], "passes"),
        ([match("oifname", "eth0")], "passes"),
        ([match("l4proto", {"set": ["udp", "tcp"]})], "dropped"),
        ([match("nfproto", "ipv6")], "passes"),
        ([match("state", {"set": ["established", "related"]})], "passes"),
        ([match("state", ["invalid", "new"], "in")], "dropped"),
        ([match("saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!=")], "passes"),
        ([match("ttl", 1)], "perhaps"),
        ([match("mark", 7)], "perhaps"),
        ([match("both", {"set": []})], "perhaps"),
        ([match("dport", 5007), {"counter": {}}, {"log": {"prefix": "x"}}], "dropped"),
        ([match("dport", 5007), {"limit": {"rate": 10}}], "perhaps"),
        ([match("dport", 80), {"limit": {"rate": 10}}], "passes"),
    ],
)
def test_a_rule_that_drops(tests, expected):
    assert fate(ruleset([*tests, DROP], sets={"ports": [5007, 5008]})) == expected


VMAP = {
    "vmap": {
        "key": LEFT["state"],
        "data": {"set": [["established", ACCEPT], ["invalid", DROP], ["new", jump("mine")]]},
    }
}


@pytest.mark.parametrize(
    ("rules", "options", "expected"),
    [
        ([], {"policy": "drop"}, "dropped"),
        ([[match("dport", 5007), ACCEPT]], {"policy": "drop"}, "passes"),
        ([[match("mark", 1), ACCEPT]], {"policy": "drop"}, "perhaps"),
        ([[match("dport", 5007), ACCEPT], [DROP]], {}, "passes"),
        ([[match("mark", 1), ACCEPT], [DROP]], {}, "perhaps"),
        ([[match("mark", 1), DROP], [ACCEPT]], {}, "perhaps"),
        ([[jump("mine")], [DROP]], {"chains": {"mine": [[RETURN], [ACCEPT]]}}, "dropped"),
        ([[match("dport", 5007), jump("mine")]], {"chains": {"mine": [[DROP]]}}, "dropped"),
        ([[jump("mine")]], {"chains": {"mine": [[match("mark", 1), ACCEPT], [DROP]]}}, "perhaps"),
        ([[jump("mine")], [DROP]], {"chains": {"mine": [[match("mark", 1), ACCEPT]]}}, "perhaps"),
        ([[jump("mine", "goto")], [DROP]], {"chains": {"mine": []}}, "passes"),
        ([[jump("mine", "goto")], [ACCEPT]], {"chains": {"mine": []}, "policy": "drop"}, "dropped"),
        ([[jump("base")]], {}, "passes"),  # a loop, which nft itself would refuse
        ([[{"reject": {}}]], {}, "dropped"),
        ([[VMAP]], {"chains": {"mine": [[DROP]]}}, "dropped"),
        ([[VMAP]], {"chains": {"mine": []}}, "passes"),
        ([[DROP]], {"hook": "forward"}, "passes"),
        ([[DROP]], {"hook": "prerouting"}, "dropped"),
        ([[DROP]], {"hook": "ingress", "family": "netdev"}, "dropped"),
        ([[DROP]], {"family": "ip6"}, "passes"),
        ([[DROP]], {"family": "bridge"}, "passes"),
    ],
)  # fmt: skip
def test_a_table(rules, options, expected):
    assert fate(ruleset(*rules, **options)) == expected


def test_a_surely_dropping_chain_is_told_before_one_that_perhaps_does():
    perhaps, surely = ruleset([match("mark", 1), DROP]), ruleset([DROP], family="ip")
    drop = Ruleset([*perhaps.tables, *surely.tables]).find_drop(READOUT, INPUT)
    assert drop.where == "ip t base, rule 0"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"nftables": 5}', '{"nftables": [1, {"rule": {"expr": []}}]}']
)
def test_what_is_no_ruleset_has_no_rules(text):
    assert fate(nft.parse_ruleset(text)) == "passes"


LEAVES = st.none() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3))
def test_expressions_that_nobody_has_seen_yet_do_no_harm(rights, statements):
    rules = [[match("dport", right), DROP] for right in rights]
    rules += [[{f"new{i}": statement}, DROP] for i, statement in enumerate(statements)]
    assert fate(ruleset(*rules)) in ("passes", "dropped", "perhaps")


SAVED = """\
# Generated by iptables-save
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:mine - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
{rule}
COMMIT
"""


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


def judge(rules, packet=READOUT, group="239.1.1.1", *, hears=False):
    return firewall.judge_readouts(rules, packet, group, 5007, hears=hears)


def test_the_command_is_that_of_the_program_that_keeps_the_rules():
    assert judge(ruleset([DROP])).command == (
        "sudo nft insert rule inet t base ip daddr 239.1.1.1 udp dport 5007 accept"
    )
    assert judge(ruleset([DROP]), READOUT6, "ff15::7").command.endswith(
        "ip6 daddr ff15::7 udp dport 5007 accept"
    )
    saved = iptables.parse_save(SAVED.format(rule=""), 4)
    assert judge(saved).command == (
        "sudo iptables -t filter -I INPUT -d 239.1.1.1 -p udp --dport 5007 -j ACCEPT"
    )
    ufw = SAVED.format(rule=":ufw-before-input - [0:0]\n-A INPUT -j ufw-before-input")
    assert judge(iptables.parse_save(ufw, 4)).command == "sudo ufw allow in proto udp to 239.1.1.1 port 5007"
    chain = {
        "family": "inet",
        "table": "firewalld",
        "name": "filter_INPUT",
        "hook": "input",
        "policy": "drop",
    }
    firewalld = nft.parse_ruleset(json.dumps({"nftables": [{"chain": chain}]}))
    assert judge(firewalld).command == "sudo firewall-cmd --add-port=5007/udp"


def test_readouts_that_arrive_were_let_pass_whatever_the_rules_seem_to_say():
    assert judge(ruleset([DROP]), hears=True).fault == ""
    assert judge(None, hears=True).fault == ""


def test_without_root_the_rules_are_unknown():
    verdict = judge(None)
    assert (verdict.mark, verdict.needs_root) == ("unknown", True)


def test_igmp():
    packets = igmp_packets("239.1.1.1", "eth0")
    assert firewall.judge_igmp(None, packets) is None
    assert firewall.judge_igmp(ruleset(), packets) is None
    assert igmp_packets("ff15::7", "eth0") == []
    for hook in ("input", "output"):
        verdict = firewall.judge_igmp(ruleset(policy="drop", hook=hook), packets)
        assert verdict.mark == "unknown"
        assert verdict.command == "sudo nft insert rule inet t base ip protocol igmp accept"
    accepting = ruleset([match("l4proto", "igmp"), ACCEPT], policy="drop")
    assert firewall.judge_igmp(accepting, packets) is None
