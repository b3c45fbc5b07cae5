"""What the kernel tells of lost fragments.

Each question has a pure half that parses, and a thin one that reads. All answers are None where the kernel
does not tell, so that a relay never depends on them.
"""

from astropix_stream.multicast.memberships import read_proc_net


def reassembly_failures() -> int | None:
    """Return how many IP datagrams of this host were given up because a fragment was missing."""
    ipv4 = parse_snmp(read_proc_net("snmp") or "", "Ip", "ReasmFails")
    ipv6 = parse_snmp6(read_proc_net("snmp6") or "", "Ip6ReasmFails")
    return None if ipv4 is None and ipv6 is None else (ipv4 or 0) + (ipv6 or 0)


def parse_snmp(text: str, protocol: str, counter: str) -> int | None:
    """Find a counter in /proc/net/snmp: for each protocol a line of names, then one of values."""
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{protocol}:")]
    if len(lines) < 2:
        return None
    value = dict(zip(lines[0], lines[1], strict=False)).get(counter)
    return None if value is None else int(value)


def parse_snmp6(text: str, counter: str) -> int | None:
    """Find a counter in /proc/net/snmp6: a line of name and value for each."""
    return next((int(f[1]) for f in map(str.split, text.splitlines()) if f[0] == counter), None)
