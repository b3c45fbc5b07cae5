"""What ``iptables-save`` prints, as chains to walk. Pure.

Most systems keep what iptables is told in nftables by now, where `nft` finds it; this is for the others.
"""

import shlex
from typing import Any

from astropix_stream.doctor.firewall import Chain, Rule, Ruleset, Test
from astropix_stream.doctor.nft import cannot_tell, match

_HOOKS = {"PREROUTING": "prerouting", "INPUT": "input", "OUTPUT": "output", "POSTROUTING": "postrouting"}
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_GO_ON = ("LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TRACE", "AUDIT", "NOTRACK")
# Matches whose options are understood below, or that hold of every packet.
_KNOWN_MATCHES = ("udp", "tcp", "conntrack", "state", "addrtype", "pkttype", "multiport", "comment")
_OPTIONS = {
    "-i": "iifname",
    "-o": "oifname",
    "-s": "ip saddr",
    "-d": "ip daddr",
    "-p": "l4proto",
    "--dport": "udp dport",
    "--dports": "udp dport",
    "--ctstate": "ct state",
    "--state": "ct state",
    "--pkt-type": "pkttype",
    "--dst-type": "pkttype",
}


def parse_save(text: str, version: int) -> Ruleset:
    """Parse the rules of IP version 4 or 6; what is not understood of them is left out."""
    tables: list[dict[str, Chain]] = []
    command = "iptables" if version == 4 else "ip6tables"
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables.append({})
        elif line.startswith(":") and tables and len(words := line[1:].split()) > 1:
            name, policy = words[:2]
            insert = f"sudo {command} -t {table} -I {name}"
            tables[-1][name] = Chain(
                name, _HOOKS.get(name, ""), policy.lower(), version, insert=insert, table=f"{command} {table}"
            )
        elif line.startswith("-A ") and tables:
            words = _split(line)
            if len(words) > 1 and words[1] in tables[-1]:
                chain = tables[-1][words[1]]
                chain.rules.append(_rule(words[2:], version, f"{chain.table}: {line}"))
    return Ruleset(tables)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quotation that does not end
        return line.split()


def _rule(words: list[str], version: int, where: str) -> Rule:
    tests: list[Test] = []
    verdict, negated = "", False
    while words:
        word = words.pop(0)
        if word == "!":
            negated = True
            continue
        values = []
        while words and not words[0].startswith("-") and words[0] != "!":
            values.append(words.pop(0))
        value = values[0] if values else ""
        if word in ("-j", "-g"):
            verdict = _verdict(word, value)
            if not verdict and value not in _GO_ON:
                tests.append(cannot_tell)
            break  # what follows are options of the target
        if word == "-m" and value in _KNOWN_MATCHES:
            continue
        if word != "--comment":
            tests.append(_test(word, value, version, "!=" if negated else "=="))
        negated = False
    return Rule(tests, verdict, where)


def _verdict(word: str, target: str) -> str:
    if target in _TARGETS:
        return _TARGETS[target]
    return "" if target in _GO_ON else f"{'jump' if word == '-j' else 'goto'} {target}"


def _test(option: str, value: str, version: int, op: str) -> Test:
    name = _OPTIONS.get(option)
    if name is None:
        return cannot_tell
    if version == 6:
        name = name.replace("ip ", "ip6 ")
    return match(name, op, _value(option, value))


def _value(option: str, value: str) -> Any:
    """Return a value as nft's JSON has it."""
    if option in ("-i", "-o"):
        return value.replace("+", "*")
    if option in ("-s", "-d") and "/" in value:
        address, _, length = value.partition("/")
        return {"prefix": {"addr": address, "len": length}}
    if option in ("--dport", "--dports"):
        ports = [[int(port) for port in part.split(":")] for part in value.split(",")]
        return {"set": [{"range": port} if len(port) == 2 else port[0] for port in ports]}
    return {"set": value.lower().split(",")}
