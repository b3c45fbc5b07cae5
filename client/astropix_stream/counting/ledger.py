"""What a receiver shows: how many readouts were delivered, and of each missing one where it was lost. Pure.

`Ledger` is the same for the commands, the page, the metrics and programs, whatever way the readouts came.
`counting.stream` and `counting.numbered` count; the functions at the end put what they counted into places.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from astropix_stream import clock, markup, numbers
from astropix_stream.counting.account import Gap
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.losses import KEPT_GAPS, Loss, Losses, Period
from astropix_stream.counting.places import Place
from astropix_stream.counting.stream import StreamLedger


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """What a receiver knows of the readouts that the DAQ sent since it joined.

    Attributes
    ----------
    delivered
        Readouts received in time, each counted once.
    lost_at
        Readouts missing, by place.
    duplicates, reordered, late, stray, before_joining, runs
        As in `Counts`.
    recovered
        Readouts that were lost on the way and came from the relay's history; they count as delivered.
    restarts
        Restarts of the relay.
    at_most
        The number lost in a kernel may be too large, and that before the socket too small: the kernel's
        drops carry no source.
    losses
        The last 100, in order of time.
    periods
        The first and the last loss of each place, whatever was lost between.
    paths
        The account of each path, where several are merged; empty otherwise.
    remarks
        What else a person should know, such as 'two sources seem to share 10.0.0.5:40000'.
    hops
        Of what was lost between relays: where, such as 'between relay-a and relay-roma', and how many.
    thinned
        Readouts that were left out on the way to keep within a bandwidth, as somebody asked; no loss.
    """

    delivered: int = 0
    lost_at: dict[Place, int] = field(default_factory=dict)
    duplicates: int = 0
    reordered: int = 0
    late: int = 0
    stray: int = 0
    before_joining: int = 0
    runs: int = 0
    recovered: int = 0
    restarts: int = 0
    at_most: bool = False
    losses: tuple[Loss, ...] = ()
    periods: dict[Place, Period] = field(default_factory=dict)
    paths: tuple["PathAccount", ...] = ()
    remarks: tuple[str, ...] = ()
    hops: dict[str, int] = field(default_factory=dict)
    thinned: int = 0

    @property
    def lost(self) -> int:
        """Readouts missing, wherever they went."""
        return sum(self.lost_at.values())

    @property
    def live_fraction(self) -> float:
        """Readouts delivered, of those that the DAQ sent; 1 before any."""
        sent = self.delivered + self.lost
        return self.delivered / sent if sent else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the account for programs."""
        value = asdict(self)
        value["lost"] = self.lost
        value["live_fraction"] = self.live_fraction
        value["lost_at"] = {place.key: count for place, count in self.lost_at.items()}
        value["periods"] = {place.key: period._asdict() for place, period in self.periods.items()}
        value["losses"] = [{**asdict(loss), "place": loss.place.key} for loss in self.losses]
        del value["paths"]
        if not self.hops:
            del value["hops"]
        if self.paths:
            value["paths"] = [{**path._asdict(), "ledger": path.ledger.to_json()} for path in self.paths]
        return value

    def text(self, now_ns: int) -> str:
        """Return the account in a line, with the date of what is not of the day of `now_ns`."""
        thinned = f"; {self.thinned} thinned out, to save bandwidth" if self.thinned else ""
        return self._lost_text(now_ns) + thinned

    def _lost_text(self, now_ns: int) -> str:
        if not self.lost:
            return f"nothing lost of {self.delivered}" if self.delivered else "no readouts"
        periods = self.periods or Losses(self.losses).periods
        lost = [place for place, count in self.lost_at.items() if count]
        at_most = "at most " if self.at_most else ""
        what = [at_most * place.is_kernel + text for place, text in zip(lost, self.places(), strict=True)]
        told = {place: period for place, period in periods.items() if any(period)}  # a file may have no times
        when = [f", between {told[place].text(now_ns)}" if place in told else "" for place in lost]
        if len(set(when)) == 1:
            text = ", ".join(what) + when[0]
        else:
            text = "; ".join(map("".join, zip(what, when, strict=True)))
        return f"{self.lost} lost of {self.delivered + self.lost}: {text}"

    def places(self) -> list[str]:
        """Return what was lost at each place: '12 before the socket', '14 between relay-a and relay-roma'."""
        return [
            ", ".join(f"{part} {where}" for where, part in self.hops.items())
            if self.hops and place is Place.BETWEEN_RELAYS
            else f"{count} {place}"
            for place, count in self.lost_at.items()
            if count
        ]

    def __repr__(self) -> str:
        return f"<Ledger: {self}>"

    def _repr_html_(self) -> str:
        """Return a table of the places where readouts were lost, for notebooks."""
        now_ns = clock.now().ns
        periods = self.periods or Losses(self.losses).periods
        rows = []
        for place, count in self.lost_at.items():
            if count:
                period = periods.get(place)
                times = period and [numbers.clock(at_ns, now_ns) for at_ns in period]
                at_most = "at most " * (self.at_most and place.is_kernel)
                rows.append((place, f"{at_most}{count}", *(times or ("", ""))))
        sent = self.delivered + self.lost
        told = f"{self.lost or 'nothing'} lost of {sent} readouts" if sent else "no readouts"
        told += f"; {self.thinned} thinned out, to save bandwidth" if self.thinned else ""
        tables = [markup.table(told, ("place", "lost", "first", "last"), rows)]
        tables += [markup.paragraph(remark) for remark in self.remarks]
        tables += [markup.paragraph(path.name) + path.ledger._repr_html_() for path in self.paths]
        return "".join(tables)

    def __str__(self) -> str:
        return self.text(clock.now().ns)


class PathAccount(NamedTuple):
    """One path of a merged receiver; `name` is its URL.

    `first` readouts were delivered from it, `later` ones discarded: copies of what another path had brought.
    `ledger` is its own account, of what was lost on this path.
    """

    name: str
    first: int
    later: int
    ledger: Ledger

    def __str__(self) -> str:
        return f"{self.name}: {self.first} first, {self.later} later copies, {self.ledger}"


def place_counts(counts: Counts, kernel: Place, rejected: Place) -> dict[Place, int]:
    """Return the losses of `counts` by place, as seen from a receiver."""
    lost_at = {
        Place.BEFORE_SOCKET: counts.before_socket,
        kernel: counts.in_kernel,
        rejected: sum(counts.rejected.values()),
    }
    return {place: count for place, count in lost_at.items() if count}


def place_gap(gap: Gap, kernel: Place, rejected: Place) -> list[Loss]:
    """Return a gap's losses by place."""
    parts = ((Place.BEFORE_SOCKET, gap.before_socket), (kernel, gap.in_kernel), (rejected, gap.rejected))
    return [Loss(place, count, gap.began_ns, gap.ended_ns) for place, count in parts if count]


def place_periods(periods: Mapping[str, Period], kernel: Place, rejected: Place) -> dict[Place, Period]:
    """Return the periods of the causes of gaps by place."""
    places = {"before_socket": Place.BEFORE_SOCKET, "in_kernel": kernel, "rejected": rejected}
    return {place: periods[cause] for cause, place in places.items() if cause in periods}


def with_readouts(ledger: Ledger, counts: Counts) -> Ledger:
    """Return a ledger that says of the readouts received what `counts` says; where others were lost stays."""
    return replace(
        ledger,
        delivered=counts.delivered,
        duplicates=counts.duplicates,
        reordered=counts.reordered,
        late=counts.late,
        stray=counts.stray,
        before_joining=counts.before_joining,
        runs=counts.runs,
    )


def direct_ledger(stream: StreamLedger) -> Ledger:
    """Return the account of a receiver that joined the group itself."""
    totals = stream.totals()
    here = (Place.CLIENT_KERNEL, Place.CLIENT_REJECTED)
    ledger = Ledger(
        lost_at=place_counts(totals, *here),
        at_most=stream.at_most,
        remarks=tuple(stream.remarks()),
        losses=tuple(loss for _, gap in stream.gaps() for loss in place_gap(gap, *here))[-KEPT_GAPS:],
        periods=place_periods(stream.periods(), *here),
    )
    return with_readouts(ledger, totals)
