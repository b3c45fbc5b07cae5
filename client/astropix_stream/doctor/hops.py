"""The way of a stream through several relays: where it stops, and where it loses readouts. Pure."""

from collections.abc import Mapping
from typing import Any

from astropix_stream import numbers
from astropix_stream.counting.hops import label, parse_hops
from astropix_stream.counting.places import Place
from astropix_stream.counting.state import QUIET_AFTER_S
from astropix_stream.doctor.verdict import Fault, Verdict, fine

RECENT_S = 60.0  # in which a loss is worth looking after now

HOP_SILENT = Fault(
    "hop-silent",
    "readouts stop between {above} and {below}: {age} there, the last one above came {fresh} ago",
    "On its way through several relays the stream stops at one line.",
    "examine the relay above, from the host of the one below",
    "apx doctor {address}",
)
HOP_LOSES = Fault(
    "hop-loses",
    "{count} readouts were lost between {above} and {below}, the last of them {ago} ago",
    "The line between two relays is too slow for the stream, or it was down for longer than the history of "
    "the relay above lasts, or there is no history.",
    "look at that line; compress or thin the stream there (docs/cascades.md), or give the relay above a "
    "larger `history.size`",
)

FAULTS = (HOP_SILENT, HOP_LOSES)


def has_just_begun(report: Mapping[str, Any]) -> bool:
    """Whether a relay may have its first readouts and not have told it yet: each tells once a second."""
    ages = [hop.age_s for hop in parse_hops(report)]
    return None in ages and any(age_s is not None and age_s <= QUIET_AFTER_S for age_s in ages)


def judge_hops(report: Mapping[str, Any] | None, reported_ns: int) -> Verdict | None:
    """Judge the way of the readouts through several relays, as the last one told at a time of its clock."""
    hops = parse_hops(report)
    if len(hops) < 2:
        return None
    by_id = {hop.id: hop for hop in hops}
    for hop in hops:
        above = [by_id[one] for one in hop.fed_by if one in by_id]
        if not above:
            continue
        freshest = min(above, key=lambda one: one.age_s if one.age_s is not None else float("inf"))
        fresh_s, age_s = freshest.age_s, hop.age_s
        names: dict[str, Any] = {"above": label(freshest, hop), "below": label(hop, *above)}
        if fresh_s is not None and fresh_s <= QUIET_AFTER_S and (age_s is None or age_s > 2 * QUIET_AFTER_S):
            age = "none has come" if age_s is None else f"the last one came {numbers.duration(age_s)} ago"
            fresh = numbers.duration(fresh_s)
            return HOP_SILENT.found("hops", **names, age=age, fresh=fresh, address=freshest.address)
        lost = hop.lost.get(Place.BETWEEN_RELAYS.key, 0)
        since_s = (reported_ns - hop.lost_last_ns) / 1e9
        if lost and since_s < RECENT_S:
            ago = numbers.duration(max(0.0, since_s))
            return HOP_LOSES.found("hops", **names, count=lost, ago=ago)
    way = " -> ".join(hop.address or hop.name for hop in hops)
    lost = sum(hop.lost.get(Place.BETWEEN_RELAYS.key, 0) for hop in hops)
    return fine(
        "hops", f"{way}; {f'{lost} lost between them, none lately' if lost else 'nothing lost between them'}"
    )
