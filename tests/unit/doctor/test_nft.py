"""Rules as ``nft --json list ruleset`` prints them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astropix_stream.doctor import nft
from unit.doctor.rules import DROP, READOUT6, fate, match, ruleset


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


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([match("daddr6", "ff15::7")], "dropped"),
        ([match("daddr6", "FF15:0::7")], "dropped"),  # another spelling
        ([match("daddr6", {"prefix": {"addr": "ff00::", "len": 8}})], "dropped"),
        ([match("daddr6", {"prefix": {"addr": "ff00::", "len": 300}})], "perhaps"),
        ([match("daddr6", {"range": ["ff15::", "ff15::6"]})], "passes"),
        ([match("daddr6", {"range": ["ff15::", "no address"]})], "perhaps"),
        ([match("daddr6", {"unheard of": 1})], "perhaps"),
        ([match("saddr6", "2001:db8::1")], "perhaps"),  # a source that we do not know
        ([match("daddr", "239.1.1.1")], "passes"),
        ([match("nfproto", "ipv6")], "dropped"),
        ([match("dport", "ssh", "<")], "perhaps"),
        ([match("dport", 5007, ">=")], "dropped"),
        ([match("dport", 5006, "<=")], "passes"),
        ([match("dport", [53, "ssh"])], "perhaps"),  # a name, which nft prints only when asked
        ([match("dport", [53, 80])], "passes"),
        ([match("dport", [53, {"unheard of": 1}])], "perhaps"),
        ([{"xt": {"type": "match", "name": "comment"}}], "dropped"),
        ([{"xt": {"type": "match", "name": "recent"}}], "perhaps"),
        ([{"xt": None}], "perhaps"),
    ],
)
def test_a_rule_on_ipv6_and_what_cannot_be_decided(tests, expected):
    assert fate(ruleset([*tests, DROP]), READOUT6) == expected


def test_a_map_of_verdicts_with_a_name():
    about = {"family": "inet", "table": "t", "name": "ports", "elem": [[5007, {"drop": None}]]}
    vmap = {"vmap": {"key": {"payload": {"protocol": "udp", "field": "dport"}}, "data": "@ports"}}
    chain = {"family": "inet", "table": "t", "name": "base", "hook": "input", "policy": "accept"}
    rule = {"family": "inet", "table": "t", "chain": "base", "handle": 1, "expr": [vmap]}
    entries = [{"map": about}, {"chain": chain}, {"rule": rule}]
    assert fate(nft.parse_ruleset(json.dumps({"nftables": entries}))) == "dropped"
    assert fate(nft.parse_ruleset(json.dumps({"nftables": entries[1:]}))) == "passes"


@given(st.text(max_size=40))
def test_any_text_is_a_ruleset(text):
    assert fate(nft.parse_ruleset(text)) == "passes"
