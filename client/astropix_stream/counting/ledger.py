"""Count what arrived and what did not, and say of each missing readout where it went.

Pure, and the same in the relay, the receivers, the commands, the page and the metrics. `StreamLedger` counts
what one socket receives of a stream. Its `Counts` travel in the relay's heartbeats to its subscribers.
`Ledger` is what a receiver shows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from astropix_stream import clock, markup, numbers
from astropix_stream.arguments import check_whole
from astropix_stream.batch import Batch, Run, RunStart, Source
from astropix_stream.clock import Moment
from astropix_stream.counting.account import Gap, KernelDrops
from astropix_stream.counting.losses import KEPT_GAPS, Loss, Losses, Period, extend
from astropix_stream.counting.places import Place
from astropix_stream.counting.sequencing import SourceSequence
from astropix_stream.errors import WireError

MAX_SOURCES = 64  # accounts in a stream; further sources share one that counts what it receives
IDLE_S = 60.0  # after which a source may give its account to a new one


@dataclass(frozen=True, slots=True)
class Counts:
    """The account of the readouts of one source, or of all sources of a stream.

    Attributes
    ----------
    received
        Valid readouts; each is also counted below where something was wrong with it.
    duplicates, reordered, late, stray
        Received twice; out of order, in time; after its gap was closed (it stays counted as lost); with an id
        that nothing before or after agrees with.
    before_joining
        Of the run that was going on when we joined: sent before. No loss.
    rejected
        Missing readouts in whose place something came that was not a readout, by reason.
    in_kernel
        Missing readouts that the kernel dropped, for want of room in the receive buffer.
    before_socket
        Missing readouts that never came to the socket: lost in the sender, the network or the interface.
    runs
        Runs of the DAQ seen so far.
    undecided
        Received just now, the same as readouts before: duplicates, unless a recording is played again.
    """

    received: int = 0
    duplicates: int = 0
    reordered: int = 0
    late: int = 0
    stray: int = 0
    before_joining: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    in_kernel: int = 0
    before_socket: int = 0
    runs: int = 0
    undecided: int = 0

    @property
    def lost(self) -> int:
        """Missing readouts, wherever they went."""
        return sum(self.rejected.values()) + self.in_kernel + self.before_socket

    @property
    def delivered(self) -> int:
        """Readouts that arrived in time, each counted once. Strays are among them: they were handed out."""
        return self.received - self.duplicates - self.late - self.undecided

    def to_json(self) -> dict[str, Any]:
        """Return the counts as they stand in a heartbeat."""
        return {name: getattr(self, name) for name in _NAMES} | {"rejected": dict(self.rejected)}

    @classmethod
    def from_json(cls, value: Any) -> "Counts":
        """Read counts from a heartbeat: unknown keys are ignored, missing ones are 0.

        Raises
        ------
        WireError
            Not an object of counts.
        """
        if not isinstance(value, dict):
            raise WireError("counts that are not a JSON object")
        known = {f.name: value[f.name] for f in fields(cls) if f.name in value}
        rejected = known.pop("rejected", {})
        if not isinstance(rejected, dict) or not all(map(_is_count, [*known.values(), *rejected.values()])):
            raise WireError("counts that are not numbers from 0")
        return cls(**known, rejected={str(reason): count for reason, count in rejected.items()})

    def __add__(self, other: "Counts") -> "Counts":
        return _combine(self, other, 1)

    def __sub__(self, other: "Counts") -> "Counts":
        return _combine(self, other, -1)


_NAMES = tuple(f.name for f in fields(Counts))
_NUMBERS = tuple(name for name in _NAMES if name != "rejected")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def _combine(one: Counts, other: Counts, sign: int) -> Counts:
    numbers = {name: getattr(one, name) + sign * getattr(other, name) for name in _NUMBERS}
    reasons = [*one.rejected, *(reason for reason in other.rejected if reason not in one.rejected)]
    rejected = {r: one.rejected.get(r, 0) + sign * other.rejected.get(r, 0) for r in reasons}
    return Counts(**numbers, rejected={reason: count for reason, count in rejected.items() if count})


class StreamLedger:
    """The account of one stream as one socket sees it, told in the order of the kernel's queue.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`.
    """

    def __init__(self, *, stride: int = 1) -> None:
        self.rejected: Counter[str] = Counter()
        """Datagrams that were not readouts, by reason; those that no gap claims are foreign."""
        self._stride = check_whole("stride", stride, 1)
        self._kernel = KernelDrops()
        self._sources: dict[Source, SourceSequence] = {}
        self._retired = Counts()
        self._retired_periods: dict[str, Period] = {}
        self._none_idle_before_s = float("-inf")
        self._unaccounted = 0

    def goes_on(
        self,
        batches: Sequence[Batch],
        readout_ids: Sequence[int],
        last_timestamp: int,
        now: Moment,
        *,
        rising: bool = False,
    ) -> bool:
        """Note batches of one source that go on, in order, where its last ones ended; with the ids of all.

        Return false, and note nothing, if they do not, or anything else is open: then tell `note`.
        """
        account = self._sources.get(batches[0].source)
        if account is None:
            return False
        return account.goes_on(readout_ids, last_timestamp, now, batches, rising=rising)

    def note(self, batch: Batch, now: Moment, *, rising: bool = False) -> None:
        """Note readouts in order of arrival; write into the batch which runs begin and the duplicates.

        `rising` is said of a file in which the timestamps of all readouts so far rise: none came before.
        """
        account = self._sources.get(batch.source) or self._open_account(batch.source, now)
        if account is None:
            self._unaccounted += len(batch)
            return
        begun, batch.duplicates = account.note(batch, now, rising=rising)
        batch.runs = [RunStart(max(0, at), batch.source, run, max(0, -at)) for at, run in begun]

    def received(
        self, source: Source, readout_ids: Sequence[int], timestamps: Sequence[int], now: Moment
    ) -> list[RunStart]:
        """Do what `note` does, where of readouts only ids and timestamps are known; return the runs."""
        batch = Batch(source, now.ns, b"", readout_ids, timestamps, range(len(readout_ids)))
        self.note(batch, now)
        return [*batch.runs]

    def note_rejected(self, source: Source, reason: str) -> None:
        """Note a datagram that was not a readout."""
        self.rejected[reason] += 1
        if source in self._sources:
            self._sources[source].note_rejected(reason)

    def note_dropped(self, count: int) -> None:
        """Note that the kernel dropped `count` datagrams, just before the datagram noted next."""
        self._kernel.total += count

    def tick(self, now: Moment) -> None:
        """Close the gaps whose time has come."""
        for account in self._sources.values():
            account.tick(now)

    @property
    def stride(self) -> int:
        """The DAQ multicasts one readout in so many; may be changed, for the readouts to come."""
        return self._stride

    @stride.setter
    def stride(self, stride: int) -> None:
        self._stride = stride
        for account in self._sources.values():
            account.stride = stride

    @property
    def kernel_dropped(self) -> int:
        """Datagrams that the kernel dropped on the socket, readouts or not."""
        return self._kernel.total

    @property
    def at_most(self) -> bool:
        """Whether `in_kernel` may be too large: drops carry no source, and some may have been no readouts."""
        several = len(self._sources) > 1 or self._retired.received > 0
        rejected = sum(account.rejected.total() for account in self._sources.values())
        foreign = self._kernel.total > self._kernel.claimed or self.rejected.total() > rejected
        return self._kernel.claimed > 0 and (several or foreign)

    def sources(self) -> dict[Source, Counts]:
        """Return the account of each source."""
        return {source: _counts(account) for source, account in self._sources.items()}

    def shared(self) -> list[Source]:
        """Return the sources that two DAQs share: two sequences of ids go on there beside each other."""
        return [source for source, account in self._sources.items() if account.shared]

    def implausible(self) -> list[Source]:
        """Return the sources whose ids follow no order; what they miss is in no account."""
        return [source for source, account in self._sources.items() if account.implausible]

    def remarks(self) -> list[str]:
        """Return what a person should know of the sources."""
        return [
            *(f"two sources seem to share {source}" for source in self.shared()),
            *(
                f"the readout_ids of {source} follow no order, its losses are not counted"
                for source in self.implausible()
            ),
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing has ever come, and nothing was dropped."""
        return not (self._sources or self.rejected or self._kernel.total)

    def totals(self, sources: Mapping[Source, Counts] | None = None) -> Counts:
        """Return the account of the stream; who has asked for `sources` just now can give them."""
        counts = [*(self.sources() if sources is None else sources).values()]
        if self._retired.received:
            counts.append(self._retired)
        if self._unaccounted:
            counts.append(Counts(received=self._unaccounted))
        return sum(counts[1:], counts[0]) if counts else Counts()

    def gaps(self) -> list[tuple[Source, Gap]]:
        """Return the last 100 gaps of each source, in order of time."""
        every = [(source, gap) for source, account in self._sources.items() for gap in account.gaps]
        return sorted(every, key=lambda item: item[1].ended_ns)

    def periods(self) -> dict[str, Period]:
        """Return the first and last loss of each cause, of all gaps since the begin."""
        periods = dict(self._retired_periods)
        for account in self._sources.values():
            extend(periods, account.gaps.periods)
        return periods

    def runs(self) -> dict[Source, list[Run]]:
        """Return the latest runs of each source."""
        return {source: list(account.runs) for source, account in self._sources.items()}

    def _open_account(self, source: Source, now: Moment) -> SourceSequence | None:
        if len(self._sources) >= MAX_SOURCES and not self._retire(now):
            return None
        account = self._sources[source] = SourceSequence(self._stride, self._kernel)
        return account

    def _retire(self, now: Moment) -> bool:
        """Give up the account that was idle for longest: each start of a DAQ comes from a new port."""
        if now.s < self._none_idle_before_s:  # a flood of forged sources must not search at each datagram
            return False
        source, account = min(self._sources.items(), key=lambda item: item[1].last_s)
        self._none_idle_before_s = account.last_s + IDLE_S
        if now.s < self._none_idle_before_s:
            return False
        account.tick(now)
        self._retired += _counts(account)
        extend(self._retired_periods, account.gaps.periods)
        del self._sources[source]
        return True


def _counts(account: SourceSequence) -> Counts:
    return Counts(
        received=account.received,
        duplicates=account.duplicates,
        reordered=account.reordered,
        late=account.late,
        stray=account.stray,
        before_joining=account.before_joining,
        rejected=dict(account.rejected),
        in_kernel=account.in_kernel,
        before_socket=account.before_socket,
        runs=account.run_count,
        undecided=account.unproved,
    )


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
