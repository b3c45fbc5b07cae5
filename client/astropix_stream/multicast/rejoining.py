"""When to join a group again. Pure; `joined.JoinedSocket` looks, and does it."""

from collections.abc import Hashable
from enum import StrEnum


class Cause(StrEnum):
    """Why a group is joined again."""

    INTERFACE = "interface"
    """The interface was deleted and made again, was renamed, or another one has its name or address now."""
    FORGOTTEN = "forgotten"
    """The kernel does not list the membership any more."""
    SILENCE = "silence"
    """So long without a datagram that a switch may have forgotten this host."""


WORDS = {
    Cause.INTERFACE: "the interface is back, or another one now",
    Cause.FORGOTTEN: "the kernel had forgotten the membership",
    Cause.SILENCE: "no datagram came for so long that a switch may have forgotten us",
}


def why_rejoin(
    joined_on: Hashable, found: Hashable, *, listed: bool | None, silent_s: float, limit_s: float
) -> Cause | None:
    """Return the cause to join again; None while there is none.

    Parameters
    ----------
    joined_on, found
        The interface that the group was joined on, and the one to join on now.
    listed
        Whether the kernel lists the group there; None where it does not tell, or for an address that is no
        group.
    silent_s, limit_s
        For how long no datagram has come, and after how long to join again; a limit of 0: never.
    """
    if found != joined_on:
        return Cause.INTERFACE
    if listed is False:
        return Cause.FORGOTTEN
    return Cause.SILENCE if limit_s and silent_s >= limit_s else None
