"""The relays on the way of a stream, as each heartbeat tells them: who, what each lost, how far behind it is.

Pure. The relay that joins the group is the first; one that is fed by it, or by several like it, comes after
them. What a heartbeat says comes from outside: anything that is no hop is left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from astropix_stream.counting.losses import Period
from astropix_stream.counting.places import Place

MAX_HOPS = 32  # on the way; what is beyond is not told
_MAX_TEXT = 255  # of a name or an address


@dataclass(frozen=True, slots=True)
class Hop:
    """One relay on the way.

    Attributes
    ----------
    id
        Random number of this start of the relay.
    name, address
        Of its host; where it publishes.
    fed_by
        The `id` of the relays that it takes the stream from; empty where it joins the group.
    lost
        Readouts that were lost here, or on the way here from the hop before, by the key of a `Place`.
    lost_first_ns, lost_last_ns
        When it noted the first and the last of them; ns since the Unix epoch, its clock. 0: none.
    age_s, lag_s
        Age of the last readout, None before the first; by how much it came later than the fastest.
    gaps
        Numbers that are missing in what it has published, wherever they were lost.
    thinned
        Readouts that were left out on the way here, to keep within a bandwidth. None: none can be. Otherwise
        the relay numbers what is left, and what was lost before it is no step in the numbers below.
    """

    id: int
    name: str
    address: str
    fed_by: tuple[int, ...] = ()
    lost: dict[str, int] = field(default_factory=dict)
    lost_first_ns: int = 0
    lost_last_ns: int = 0
    age_s: float | None = None
    lag_s: float = 0.0
    gaps: int = 0
    thinned: int | None = None

    @property
    def missing(self) -> int:
        """Readouts lost here or on the way here."""
        return sum(self.lost.values())

    def to_json(self) -> dict[str, Any]:
        """Return the hop as it stands in a heartbeat."""
        value = {name: getattr(self, name) for name in _NAMES} | {"fed_by": list(self.fed_by)}
        if self.thinned is None:
            del value["thinned"]
        return value

    @classmethod
    def from_json(cls, value: Any) -> "Hop | None":
        """Read a hop from a heartbeat; None for what is none. Unknown keys are ignored."""
        if not isinstance(value, dict) or not _is_number(value.get("id")):
            return None
        lost, fed_by = value.get("lost", {}), value.get("fed_by", [])
        times = (value.get("lost_first_ns", 0), value.get("lost_last_ns", 0))
        age_s, lag_s, thinned = value.get("age_s"), value.get("lag_s", 0.0), value.get("thinned")
        gaps = value.get("gaps", 0)
        well_formed = (
            isinstance(lost, dict)
            and isinstance(fed_by, list)
            and all(map(_is_number, [*lost.values(), *fed_by, *times]))
            and (age_s is None or _is_seconds(age_s))
            and _is_seconds(lag_s)
            and _is_number(gaps)
            and (thinned is None or _is_number(thinned))
        )
        if not well_formed:
            return None
        return cls(
            id=value["id"],
            name=_text(value.get("name")),
            address=_text(value.get("address")),
            fed_by=tuple(fed_by[:MAX_HOPS]),
            lost={_text(place): count for place, count in list(lost.items())[:MAX_HOPS]},
            lost_first_ns=times[0],
            lost_last_ns=times[1],
            age_s=age_s,
            lag_s=lag_s,
            gaps=gaps,
            thinned=thinned,
        )


_NAMES = tuple(f.name for f in fields(Hop))


def numbered_alike(hops: Sequence[Hop]) -> Sequence[Hop]:
    """Return the last hops whose losses show as steps in the numbers: none above a relay that thins."""
    begin = max((at for at, hop in enumerate(hops) if hop.thinned is not None), default=-1)
    return hops[begin + 1 :]


class HopLosses:
    """What was lost between relays since we began to listen, by hop."""

    def __init__(self) -> None:
        self._before: dict[int, int] = {}
        self._thinned_before: dict[int, int] = {}
        self._hops: tuple[Hop, ...] = ()

    def take(self, hops: tuple[Hop, ...]) -> None:
        """Note what a heartbeat tells; what a hop had lost when it was first heard of is not ours."""
        self._hops = hops
        for hop in hops:
            self._before.setdefault(hop.id, hop.lost.get(Place.BETWEEN_RELAYS.key, 0))
            self._thinned_before.setdefault(hop.id, hop.thinned or 0)

    def thinned(self) -> int:
        """Return how many readouts relays on the way left out to save bandwidth."""
        return sum(max(0, (hop.thinned or 0) - self._thinned_before[hop.id]) for hop in self._hops)

    def lost(self) -> list[tuple[str, int, Period, bool]]:
        """Return where between relays how many were lost, when, and whether our numbers show it.

        In the order of the way.
        """
        names = {hop.id: hop for hop in self._hops}
        shown = {hop.id for hop in numbered_alike(self._hops)}
        found = []
        for hop in self._hops:
            count = hop.lost.get(Place.BETWEEN_RELAYS.key, 0) - self._before[hop.id]
            if count > 0:
                above = [label(names[one], hop) for one in hop.fed_by if one in names]
                where = (
                    f"between {' or '.join(above) or 'the relay above'} and {label(hop, *self._others(hop))}"
                )
                period = Period(hop.lost_first_ns, hop.lost_last_ns)
                found.append((where, count, period, hop.id in shown))
        return found

    def _others(self, hop: Hop) -> list[Hop]:
        return [other for other in self._hops if other.id in hop.fed_by]


def label(hop: Hop, *others: Hop) -> str:
    """Return what a person calls a relay: its host, or its address where the host is the other one's, too."""
    return hop.address if any(hop.name == other.name for other in others) or not hop.name else hop.name


def parse_hops(report: Any) -> tuple[Hop, ...]:
    """Return the hops that a heartbeat tells; none of a relay that is too old to tell them."""
    told = report.get("hops") if isinstance(report, dict) else None
    if not isinstance(told, list):
        return ()
    hops = (Hop.from_json(value) for value in told[:MAX_HOPS])
    return tuple(hop for hop in hops if hop is not None)


def is_fed_without(hops: Sequence[Hop], relay_id: int) -> bool:
    """Return whether readouts can reach the last of these relays by a way that does not lead through one.

    They come from a relay that joins a group, or from one that is not known here.
    """
    known = {hop.id: hop for hop in hops}
    to_see, seen = [hop.id for hop in hops[-1:]], {relay_id}
    while to_see:
        one = to_see.pop()
        if one in seen:
            continue
        if one not in known or not known[one].fed_by:
            return True
        seen.add(one)
        to_see += known[one].fed_by
    return False


def joined_hops(ways: Iterable[Iterable[Hop]]) -> tuple[Hop, ...]:
    """Return the hops of several ways, each relay once: where they meet above, it is the same one."""
    found: dict[int, Hop] = {}
    for way in ways:
        for hop in way:
            found.setdefault(hop.id, hop)
    return tuple(found.values())[: MAX_HOPS - 1]


def _text(value: Any) -> str:
    text = str(value or "")[:_MAX_TEXT]
    return text if text.isprintable() else ascii(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
