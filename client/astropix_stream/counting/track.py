"""A sequence of readout_ids: where it is, which of its last ids came, and what may still come. Pure."""

from collections import Counter, deque
from dataclasses import dataclass, field

from astropix_stream.batch import Run
from astropix_stream.clock import Moment

CLOSE_AFTER_READOUTS = 64
CLOSE_AFTER_S = 1.0
REORDER_WINDOW = 64  # in strides
PLAUSIBLE_JUMP = 1 << 20  # in strides
LONG_GAP = 1 << 16  # readouts; it may turn out to lie between two DAQs that share an address
U32 = 1 << 32
_WINDOW_BITS = REORDER_WINDOW + 1  # the highest id, and those behind it
_WINDOW_MASK = (1 << _WINDOW_BITS) - 1


@dataclass(slots=True, eq=False)
class OpenGap:
    """Ids that are missing and may still come; and where those that do not may have gone."""

    first_id: int
    width: int
    """Up to the id after the gap."""
    missing: int
    began_ns: int
    opened: Moment
    opened_size: int
    joining: bool
    ordinal: int = 0
    """Which readout of the source came after it."""
    passed_s: float = float("inf")
    """Since when all paths are past it, where there are several."""
    rejected: Counter[str] = field(default_factory=Counter)
    drops: int = 0

    def holds(self, readout_id: int) -> bool:
        """Whether this id is in the gap."""
        return (readout_id - self.first_id) % U32 < self.width

    def wait_until(self, s: float) -> None:
        """Stay open until this time at least, for what is counted by time."""
        if self.opened.s + CLOSE_AFTER_S < s:
            self.opened = self.opened._replace(s=s - CLOSE_AFTER_S)

    @property
    def room(self) -> int:
        """How many more are missing than were rejected and dropped; not below 0."""
        return max(0, self.missing - self.rejected.total() - self.drops)

    @property
    def has_room(self) -> bool:
        """Whether more is missing than was rejected and dropped."""
        return self.room > 0


@dataclass(slots=True, eq=False)
class Track:
    """A run, or what follows a long gap in it; which of its last ids came; its gaps that are still open."""

    run: Run
    last_id: int
    last_timestamp: int
    began: Moment
    first_ordinal: int
    """Which readout of the source began it."""
    last_s: float
    size: int = 1
    """Readouts that took it further."""
    window: int = 1
    """Bit i: the id i strides below the highest has come."""
    open: deque[OpenGap] = field(default_factory=deque)
    _steps: tuple[int, int, int] = (0, 0, 0)  # the last two, and its size then
    seen_size: int = 0
    """Its size when the track after it began."""

    def advance(self, skipped: int, count: int) -> None:
        """Go on by `skipped` ids that did not come and `count` that did."""
        came = (1 << min(count, _WINDOW_BITS)) - 1
        self.window = (self.window << min(skipped + count, _WINDOW_BITS) | came) & _WINDOW_MASK
        self.size += count

    @property
    def usual_step(self) -> int:
        """The smaller of the last two steps, where no other came since."""
        before, last, size = self._steps
        return min(before, last) if size == self.size else 0

    def note_step(self, step: int) -> None:
        """Note the step that led to the highest id."""
        _, last, size = self._steps
        self._steps = (last if size >= self.size - 1 else 0, step, self.size)

    def take_due(self, now: Moment) -> list[OpenGap]:
        """Take out the gaps whose time to close has come; for a long one that is a second."""
        due = [
            gap
            for gap in self.open
            if now.s - gap.opened.s >= CLOSE_AFTER_S
            or (self.size - gap.opened_size >= CLOSE_AFTER_READOUTS and gap.missing <= LONG_GAP)
        ]
        for gap in due:
            self.open.remove(gap)
        return due

    def gap_of(self, readout_id: int) -> OpenGap | None:
        """Return the open gap that this id is in."""
        return next((gap for gap in reversed(self.open) if gap.holds(readout_id)), None)


@dataclass(slots=True, eq=False)
class Pending:
    """Readouts whose place is not known yet: of a new run, after a long gap, or from nowhere.

    Attributes
    ----------
    places
        Id and timestamp of each, in order of arrival.
    ordinals
        Which readouts of the source they are; of those that came before.
    began
        When it came.
    track, size_then
        The present track when it came, and the size of that.
    drops, rejections
        What was dropped and rejected just before the first one: it explains what is missing there.
    original
        Of readouts that came before, byte for byte: which one of the source the latest was the first time.
    from_first
        They are those of the present run, from its first one on.
    distance
        By how many strides the first one is behind the highest id.
    settled
        It was counted as something else already: nothing had followed.
    """

    places: list[tuple[int, int]]
    ordinals: list[int]
    began: Moment
    track: Track
    size_then: int
    drops: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    original: int | None = None
    from_first: bool = False
    distance: int = 0
    settled: bool = False

    @property
    def went_on(self) -> int:
        """By how many readouts the track went on meanwhile."""
        return self.track.size - self.size_then

    @property
    def repeats(self) -> bool:
        """Whether these are readouts that came before."""
        return self.original is not None


def distance(last_id: int, readout_id: int, longest: int = PLAUSIBLE_JUMP) -> int:
    """Return how far `readout_id` is ahead of `last_id`: over the counter's end only by at most `longest`."""
    around = (readout_id - last_id + longest) % U32 - longest
    return around if around <= longest else readout_id - last_id
