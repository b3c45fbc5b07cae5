"""A run as the page has it: what was counted in it, and the account of what was missed. Pure."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from astropix_stream import numbers
from astropix_stream.batch import Source
from astropix_stream.counting.places import Place
from astropix_stream.monitor.histograms import Histograms
from astropix_stream.monitor.slices import Slices


@dataclass(slots=True)
class Tally:
    """What the page had of the stream at some moment; the difference of two is an account.

    Attributes
    ----------
    at_ns
        The moment, ns since the Unix epoch.
    held
        Readouts that arrived here and were not skipped; duplicates are none.
    lost_at
        Readouts missing, by place. A loss before the moment that was told after it is added later.
    duplicates
        Readouts that came once more, and were left out.
    late
        As in the receiver's ledger.
    """

    at_ns: int
    held: int
    lost_at: Counter[Place]
    duplicates: int = 0
    late: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Readouts held, missing by place, and left out as duplicates, between two tallies."""

    held: int
    lost_at: dict[Place, int]
    duplicates: int

    @property
    def lost(self) -> int:
        """Readouts missing, wherever they went."""
        return sum(self.lost_at.values())

    @property
    def live_fraction(self) -> float:
        """Readouts held, of those that the DAQ sent; 1 before any."""
        sent = self.held + self.lost
        return self.held / sent if sent else 1.0


def account(since: Tally, until: Tally) -> Account:
    """Return the account of the readouts between two moments.

    Late ones, which came after they had been counted as lost, are held.
    """
    lost_at = until.lost_at - since.lost_at
    held = until.held - since.held - (until.late - since.late)
    return Account(
        max(0, held),
        {place: lost_at[place] for place in Place if lost_at[place]},
        until.duplicates - since.duplicates,
    )


@dataclass(slots=True, eq=False)
class RunData:
    """A run of one DAQ, as far as the page has seen it.

    Attributes
    ----------
    number
        Counts from 1, for this page; another page has its own, so that a run's name is its time.
    source
        Where the DAQ sends from.
    first_id, first_timestamp, last_id
        Of the readouts that came here; the timestamp is the DAQ's, ns since the Unix epoch.
    began_ns
        When the first one was received, ns since the Unix epoch.
    since
        The tally when it began, which is also that at which the one before ended.
    until
        The tally when it had ended; None as long as it goes on.
    """

    number: int
    source: Source
    first_id: int
    first_timestamp: int
    began_ns: int
    since: Tally
    last_id: int = 0
    last_timestamp: int = 0
    last_s: float = 0.0
    until: Tally | None = None
    skipped: int = 0
    counts: Histograms = field(default_factory=Histograms)
    version: int = 0
    """Grows with every change, so that a view is made again only where it would differ."""
    slices: Slices = field(default_factory=Slices)
    """The course of its counts over time."""
    reference: str = ""
    """The file's name, of one that runs are compared with."""

    @property
    def from_start(self) -> bool:
        """Whether the run was seen from its first readout on."""
        return self.first_id == 0

    @property
    def started_ns(self) -> int:
        """When its first readout was made, by the DAQ's clock; where that tells no time, when it came."""
        return self.first_timestamp or self.began_ns

    @property
    def name(self) -> str:
        """What links and files call it, the same on every page: 20250723T120211.123Z."""
        if self.reference:
            return "reference" if self.number == 1 else f"reference-{self.number}"
        return run_name(self.started_ns)

    def kept(self) -> "RunData":
        """Return all of it as it is now, to go on with after a restart; it does not change any more."""
        key = self.last_timestamp if self.slices.timed else self.last_id
        return replace(self, counts=self.counts.copy(), slices=self.slices.kept(self.counts, key))

    def title_at(self, now_ns: int) -> str:
        """Return what people call it: the time of its first readout, with the date if that is not today's."""
        return f"reference {self.reference}" if self.reference else numbers.clock(self.started_ns, now_ns)


def run_name(started_ns: int) -> str:
    """Return the time of a run's first readout as links and files have it: UTC, to the millisecond."""
    seconds, rest_ns = divmod(started_ns, 10**9)
    try:
        second = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # a corrupt timestamp, far in the future
        return f"{started_ns}ns"
    return f"{second:%Y%m%dT%H%M%S}.{rest_ns // 10**6:03d}Z"
