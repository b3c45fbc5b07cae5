"""What ``nft --json list ruleset`` prints, as chains to walk. Pure.

Anything that is not understood becomes a test that cannot be decided.
"""

import contextlib
import fnmatch
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import Any

from astropix_stream.doctor.firewall import Chain, Packet, Rule, Ruleset, Test

_VERSIONS = {"ip": 4, "ip6": 6}
_OF_IP = ("ip", "ip6", "inet", "netdev")
# Statements that change nothing about where a packet goes.
_HARMLESS = {"counter", "log", "comment", "notrack", "mangle", "meter", "set", "xt comment"}
_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return", "queue": "accept"}


# What a structure that is not as we know it raises; newer versions of nft may print other ones.
_STRANGE = (LookupError, TypeError, ValueError, AttributeError, StopIteration)


def parse_ruleset(text: str) -> Ruleset:
    """Parse the ruleset; what is not understood of it is left out."""
    tables: dict[tuple[str, str], dict[str, Chain]] = {}
    sets: dict[tuple[str, str], dict[str, Any]] = {}
    rules: list[dict[str, Any]] = []
    for kind, about in _objects(text):
        if about.get("family") not in _OF_IP:
            continue
        key = about["family"], str(about.get("table"))
        with contextlib.suppress(*_STRANGE):
            if kind in ("set", "map"):
                sets.setdefault(key, {})[about["name"]] = about.get("elem", [])
            elif kind == "chain":
                tables.setdefault(key, {})[about["name"]] = _chain(about)
            elif kind == "rule":
                rules.append(about)
    for about in rules:
        key = about["family"], str(about.get("table"))
        with contextlib.suppress(*_STRANGE):
            tables[key][about["chain"]].rules += _rules(about, sets.get(key, {}))
    return Ruleset(list(tables.values()))


def _objects(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the kind and the properties of everything in the ruleset."""
    try:
        entries = [entry for entry in json.loads(text)["nftables"] if isinstance(entry, dict)]
    except _STRANGE:
        return []
    return [(kind, about) for entry in entries for kind, about in entry.items() if isinstance(about, dict)]


def _chain(about: Mapping[str, Any]) -> Chain:
    family, table, name = about["family"], about["table"], about["name"]
    device = about.get("dev")
    return Chain(
        name,
        hook=about.get("hook", ""),
        policy=about.get("policy", "accept"),
        version=_VERSIONS.get(family),
        device=device if isinstance(device, str) else None,
        insert=f"sudo nft insert rule {family} {table} {name}",
        table=f"{family} {table}",
    )


def _rules(about: Mapping[str, Any], sets: Mapping[str, Sequence[Any]]) -> list[Rule]:
    """Turn one rule into one, or several where it holds a map of verdicts."""
    where = f"{about['family']} {about['table']} {about['chain']}, rule {about.get('handle', '?')}"
    tests: list[Test] = []
    for expression in about.get("expr", []):
        kind, value = next(iter(expression.items()))
        if kind == "match":
            tests.append(_match(value, sets))
        elif kind in _VERDICTS:
            return [Rule(tests, _VERDICTS[kind], where)]
        elif kind in ("jump", "goto"):
            return [Rule(tests, f"{kind} {value['target']}", where)]
        elif kind == "vmap":
            return [Rule([*tests, test], verdict, where) for test, verdict in _vmap(value, sets)]
        elif kind not in _HARMLESS and not (kind == "xt" and (value or {}).get("name") == "comment"):
            tests.append(cannot_tell)
    return []


def _vmap(value: Mapping[str, Any], sets: Mapping[str, Sequence[Any]]) -> list[tuple[Test, str]]:
    data = value["data"]
    elements = sets.get(data[1:], []) if isinstance(data, str) else data.get("set", [])
    found = []
    for key, action in elements:
        kind, about = next(iter(action.items()))
        verdict = _VERDICTS.get(kind) or f"{kind} {(about or {}).get('target', '')}"
        found.append((_match({"op": "==", "left": value["key"], "right": key}, sets), verdict))
    return found


def cannot_tell(_: Packet) -> bool | None:
    """Test for what we do not understand."""
    return None


def _match(about: Mapping[str, Any], sets: Mapping[str, Sequence[Any]]) -> Test:
    name = _name(about["left"])
    return cannot_tell if name is None else match(name, about["op"], about["right"], sets)


def match(name: str, op: str, right: Any, sets: Mapping[str, Sequence[Any]] | None = None) -> Test:
    """Return a test of one of a packet's values; `right` as nft's JSON has it."""

    def test(packet: Packet) -> bool | None:
        value = packet.values.get(name)
        if value is None:
            return None if _may_have(name, packet) else False
        if op in ("<", ">", "<=", ">="):
            return _compare(op, value, right)
        try:
            matches = _contains(right, value, sets or {})
        except _STRANGE:
            return None
        return not matches if op == "!=" and matches is not None else matches

    return test


def _name(left: Any) -> str | None:
    """Return the name of what is looked at, as `Packet` has it; None for what it has not."""
    if isinstance(left, dict):
        if "payload" in left and "field" in left["payload"]:
            return f"{left['payload']['protocol']} {left['payload']['field']}"
        if "meta" in left:
            return str(left["meta"]["key"])
        if "ct" in left:
            return f"ct {left['ct']['key']}"
    return None


def _may_have(name: str, packet: Packet) -> bool:
    """Return whether a packet could have a value that we do not know: one of its own protocol."""
    protocol = name.partition(" ")[0]
    if protocol in ("ip", "ip6"):
        return protocol == ("ip" if packet.version == 4 else "ip6")
    if protocol in ("tcp", "udp", "icmp", "icmpv6", "igmp", "sctp", "dccp"):
        return protocol == packet.values.get("l4proto")
    return name not in ("iif", "iifname", "oif", "oifname")


def _compare(op: str, value: str | int, right: Any) -> bool | None:
    if not isinstance(value, int) or not isinstance(right, int):
        return None
    return {"<": value < right, ">": value > right, "<=": value <= right, ">=": value >= right}[op]


def _contains(right: Any, value: str | int, sets: Mapping[str, Sequence[Any]]) -> bool | None:
    """Return whether `value` is `right`, or in it."""
    if isinstance(right, str) and right.startswith("@"):
        return _contains(list(sets[right[1:]]), value, sets) if right[1:] in sets else None
    if isinstance(right, list):
        return _any([_contains(element, value, sets) for element in right])
    if isinstance(right, dict):
        return _contains_structure(*next(iter(right.items())), value, sets)
    if isinstance(right, str) and isinstance(value, str):
        return fnmatch.fnmatchcase(value, right) or _same_address(value, right)
    return right == value if isinstance(right, type(value)) else None


def _contains_structure(
    kind: str, about: Any, value: str | int, sets: Mapping[str, Sequence[Any]]
) -> bool | None:
    if kind == "set":
        return _contains(list(about), value, sets)
    if kind == "elem":
        return _contains(about["val"], value, sets)
    if kind == "prefix":
        return _in_prefix(str(value), about)
    return _in_range(value, about) if kind == "range" else None


def _any(answers: Sequence[bool | None]) -> bool | None:
    if True in answers:
        return True
    return None if None in answers else False


def _same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _in_prefix(value: str, about: Mapping[str, Any]) -> bool | None:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(f"{about['addr']}/{about['len']}", False)
    except ValueError:
        return None


def _in_range(value: str | int, about: Sequence[Any]) -> bool | None:
    low, high = about
    if isinstance(value, int) and isinstance(low, int) and isinstance(high, int):
        return low <= value <= high
    try:
        address = int(ipaddress.ip_address(str(value)))
        return int(ipaddress.ip_address(low)) <= address <= int(ipaddress.ip_address(high))
    except ValueError:
        return None
