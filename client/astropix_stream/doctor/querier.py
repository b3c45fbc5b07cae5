"""Is there a querier, which keeps memberships alive on switches that listen to IGMP? Pure."""

from collections.abc import Sequence

from astropix_stream.doctor.verdict import Fault, Verdict, fine, unknown

QUERY_INTERVAL_S = 125.0  # RFC 3376 and RFC 3810, 8.2: between general queries
ENOUGH_S = 130.0  # of listening, to say that there is none

NO_QUERIER = Fault(
    "no-querier",
    "nobody asked {interface} in {listened} which groups it wants: there is no {protocol} querier",
    "A switch with IGMP snooping (for IPv6: MLD snooping) sends a group to those ports only where somebody "
    "has asked for it, and forgets that after some 260 s. A querier (the router, or one of the switches) "
    "makes the hosts ask again. Without one, readouts come for four minutes after a program has joined, and "
    "then stop.",
    "turn on the switch's querier, or turn snooping off; the relay works around it by joining again",
)

FAULTS = (NO_QUERIER,)


def judge_querier(
    group: str, interface: str, queriers: Sequence[str] | None, listened_s: float, listened: str
) -> Verdict:
    """Judge whether there is a querier; `queriers` are those heard, None if we could not listen for them."""
    protocol = "MLD" if ":" in group else "IGMP"
    if queriers is None:
        return unknown(
            "querier", f"only root can hear whether there is an {protocol} querier", needs_root=True
        )
    if queriers:
        return fine("querier", f"{', '.join(queriers)} keeps memberships alive")
    if listened_s < ENOUGH_S:
        return unknown("querier", f"no {protocol} query in {listened}; --listen {ENOUGH_S:.0f} would tell")
    return NO_QUERIER.found("querier", interface=interface, listened=listened, protocol=protocol)
