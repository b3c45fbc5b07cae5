"""Read what this host tells of itself: interfaces, routes, sockets, settings, the firewall's rules.

With the standard library alone, since small containers have no `ip`. What cannot be read is None.
"""

import array
import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from astropix_stream.doctor import iptables, joining, nft, settings
from astropix_stream.doctor.firewall import Ruleset
from astropix_stream.doctor.path import Link
from astropix_stream.multicast import interfaces, memberships

_SIOCETHTOOL, _ETHTOOL_GDRVINFO = 0x8946, 3
_DRIVER_INFO = struct.Struct("=I32s160x")  # struct ethtool_drvinfo: command, driver, …
_COMMAND_S = 10.0  # for nft, with the rulesets of a large site
_CONF = Path("/proc/sys/net/ipv4/conf")


def is_root() -> bool:
    """Return whether we may read everything; a user elsewhere may have the capabilities instead."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def read_links(group: str) -> list[Link]:
    """Return all interfaces, with their addresses of the group's family."""
    version = 6 if ":" in group else 4
    addresses = interfaces.addresses(version)
    return [_read_link(index, name, addresses) for index, name in socket.if_nameindex()]


def _read_link(index: int, name: str, addresses: Sequence[tuple[str, str]]) -> Link:
    flags = interfaces.interface_flags(name)
    own = tuple(address for interface, address in addresses if interface == name)
    if flags is None:
        return Link(name, index, addresses=own)
    return Link(
        name,
        index,
        is_up=bool(flags & interfaces.IFF_UP),
        has_link=bool(flags & interfaces.IFF_RUNNING),
        has_multicast=bool(flags & interfaces.IFF_MULTICAST),
        is_loopback=bool(flags & interfaces.IFF_LOOPBACK),
        addresses=own,
        driver=_read_driver(name),
    )


def _read_driver(name: str) -> str:
    """Return the kind of an interface as its driver calls it: 'veth', 'e1000e', …; '' if it does not."""
    try:
        import fcntl  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return ""
    info = array.array("B", _DRIVER_INFO.pack(_ETHTOOL_GDRVINFO, b""))
    request = struct.pack("16sP16x", name.encode(), info.buffer_info()[0])
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCETHTOOL, request)
        return str(_DRIVER_INFO.unpack(info)[1].partition(b"\0")[0].decode(errors="replace"))
    return ""


def interface_towards(address: str) -> str | None:
    """Return the interface that the route to an address takes; None without a route."""
    found = interfaces.in_use(interfaces.Interface(), address, 1)
    return found.name if isinstance(found, interfaces.Interface) else None


def read_rp_filter(interface: str) -> int | None:
    """Return the reverse-path filter that counts for an interface."""
    return settings.effective_mode([read_text(_CONF / name / "rp_filter") for name in ("all", interface)])


def read_rp_dropped() -> int | None:
    """Return how many packets the reverse-path filter has dropped on this host."""
    return settings.parse_netstat(memberships.read_proc_net("netstat") or "", "IPReversePathFilter")


def read_owners(group: str, port: int) -> list[joining.Owner]:
    """Return the sockets on the port, with their programs as far as we may know them."""
    text = memberships.read_proc_net("udp6" if ":" in group else "udp") or ""
    owners = joining.parse_udp(text, group, port)
    programs = _programs_of({owner.inode for owner in owners}) if owners else {}
    named = [
        replace(owner, pid=pid, program=(read_text(Path(f"/proc/{pid}/comm")) or "a program").strip())
        for owner in owners
        if (pid := programs.get(owner.inode)) is not None
    ]
    return named + [owner for owner in owners if owner.inode not in programs]


def _programs_of(inodes: set[int]) -> dict[int, int]:
    """Find the process that has each socket open; of other users' processes only root is told."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = wanted.get(os.readlink(descriptor))
                    if inode is not None:
                        found[inode] = int(process.name)
    return found


def read_rules(group: str) -> Ruleset | None:
    """Return the firewall's rules, from nft and from what came before it; None if they cannot be read."""
    found = []
    text = _run("nft", "--json", "list", "ruleset")
    if text is not None:
        found.append(nft.parse_ruleset(text))
    version = 6 if ":" in group else 4
    for program in _iptables_save(version, with_nft=text is not None):
        text = _run(program)
        if text is not None:
            found.append(iptables.parse_save(text, version))
    return Ruleset([table for rules in found for table in rules.tables]) if found else None


def _iptables_save(version: int, *, with_nft: bool) -> list[str]:
    """Return the programs that tell rules which nft does not know."""
    name = "iptables" if version == 4 else "ip6tables"
    return [f"{name}-legacy-save"] if with_nft else [f"{name}-legacy-save", f"{name}-save"]


def _run(*words: str) -> str | None:
    """Return what a program prints; None where it is missing or fails, as without root."""
    program = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, check=False, timeout=_COMMAND_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def container_kind() -> str | None:
    """Return what kind of container this is; None if it is none."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    return os.environ.get("container") or None  # noqa: SIM112  (systemd-nspawn, podman and others call it so)


def read_text(path: Path) -> str | None:
    """Return a file's text."""
    try:
        return path.read_text()
    except OSError:
        return None
