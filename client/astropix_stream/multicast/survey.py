"""What this host's network is at one moment, each question asked of the kernel once.

A relay looks after its memberships each second. With hundreds of them, nearly all ask the same: 256 streams
took 10 % of a core for it.
"""

import os
import socket

from astropix_stream.addresses import canonical
from astropix_stream.multicast import interfaces, memberships
from astropix_stream.multicast.interfaces import Interface


class Survey:
    """Answers as `interfaces` and `memberships` do, and remembers: for one round of looks, and no longer."""

    def __init__(self) -> None:
        self._to_join: dict[tuple[str | None, str | bool], Interface] = {}
        self._links: dict[Interface, bool] = {}
        self._members: dict[int, set[tuple[int, str]] | None] = {}
        self._namespace: list[int | None] = []
        self._can_look: list[bool] = []

    def find_to_join(self, interface: str | None, group: str, port: int) -> Interface:
        """Return the interface to join a group on; see `interfaces.find_to_join`."""
        # Without a name it depends on the route to the group; else on the version of its address alone.
        key = (interface, group if interface is None else ":" in group)
        found = self._to_join.get(key)
        if found is None:
            found = self._to_join[key] = interfaces.find_to_join(interface, group, port)
        return found

    def has_link(self, interface: Interface) -> bool:
        """Return whether an interface is there, up and its cable connected; see `interfaces.has_link`."""
        if interface not in self._links:
            self._links[interface] = interfaces.has_link(interface)
        return self._links[interface]

    def is_member(self, group: str, index: int) -> bool | None:
        """Return whether the kernel lists a group as joined; see `memberships.is_member`."""
        version = 6 if ":" in group else 4
        if version not in self._members:
            self._members[version] = memberships.all_memberships(version)
        members = self._members[version]
        return None if members is None else (index, canonical(group)) in members

    @property
    def namespace(self) -> int | None:
        """The number of this thread's network namespace; None where there are none."""
        if not self._namespace:
            self._namespace.append(_namespace())
        return self._namespace[0]

    @property
    def can_look(self) -> bool:
        """Whether a descriptor is free.

        Every look at interfaces takes one. Without one the kernel's answers read as *no such interface*,
        which must not make us leave a group that is joined.
        """
        if not self._can_look:
            self._can_look.append(_can_look())
        return self._can_look[0]


def _can_look() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def _namespace() -> int | None:
    try:
        return os.stat("/proc/thread-self/ns/net").st_ino
    except OSError:
        return None
