"""A readout on its way through the chains of a firewall."""

import json

import pytest

from astropix_stream.doctor import firewall, iptables, nft
from astropix_stream.doctor.firewall import INPUT, Ruleset, igmp_packets
from unit.doctor.rules import (
    ACCEPT,
    DROP,
    LEFT,
    READOUT,
    READOUT6,
    RETURN,
    SAVED,
    fate,
    jump,
    match,
    ruleset,
)

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
