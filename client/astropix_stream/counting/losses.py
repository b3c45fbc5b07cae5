"""When readouts were lost: the latest losses one by one, and the first and last of each place. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from astropix_stream import numbers
from astropix_stream.counting.places import Place

KEPT_GAPS = 100  # that are told one by one


@dataclass(frozen=True, slots=True)
class Loss:
    """How many readouts (`count`) were lost at a place between `began_ns` and `ended_ns`, Unix time."""

    place: Place
    count: int
    began_ns: int
    ended_ns: int


class Period(NamedTuple):
    """When the first and the last readout of a place was lost, ns since the Unix epoch."""

    first_ns: int
    last_ns: int

    def text(self, now_ns: int) -> str:
        """Return '10:02:11 and 10:02:13', each with its date if that is not the day of `now_ns`."""
        return f"{numbers.clock(self.first_ns, now_ns)} and {numbers.clock(self.last_ns, now_ns)}"

    def __or__(self, other: "Period") -> "Period":
        """Return the period that holds both."""
        return Period(min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns))


K = TypeVar("K")


def extend(periods: dict[K, Period], more: Mapping[K, Period]) -> None:
    """Let some periods also hold others."""
    for key, period in more.items():
        periods[key] = periods.get(key, period) | period


class Losses:
    """Losses as they are noticed: the latest are kept, of all the others the period of each place."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self._latest: deque[Loss] = deque(maxlen=KEPT_GAPS)
        self.periods: dict[Place, Period] = {}
        """First and last loss, by place."""
        self.extend(losses)

    def append(self, loss: Loss) -> None:
        """Note a loss."""
        self._latest.append(loss)
        extend(self.periods, {loss.place: Period(loss.began_ns, loss.ended_ns)})

    def extend(self, losses: Iterable[Loss]) -> None:
        """Note several losses."""
        for loss in losses:
            self.append(loss)

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._latest)

    def __len__(self) -> int:
        return len(self._latest)


class GapLike(Protocol):
    """A gap in the readout_ids of a source, and how many of its readouts went where."""

    @property
    def began_ns(self) -> int:
        """When the readout before it was received."""

    @property
    def ended_ns(self) -> int:
        """When the readout after it was received."""

    @property
    def rejected(self) -> int:
        """How many were rejected."""

    @property
    def in_kernel(self) -> int:
        """How many the kernel dropped."""

    @property
    def before_socket(self) -> int:
        """How many never reached the socket."""


G = TypeVar("G", bound=GapLike)


class Gaps(Generic[G]):
    """The gaps of a source: the latest are kept, of all the others the period of each cause."""

    def __init__(self) -> None:
        self._latest: deque[G] = deque(maxlen=KEPT_GAPS)
        self.periods: dict[str, Period] = {}
        """First and last loss, by cause: ``before_socket``, ``in_kernel``, ``rejected``."""

    def append(self, gap: G) -> None:
        """Note a gap."""
        self._latest.append(gap)
        counts = {"before_socket": gap.before_socket, "in_kernel": gap.in_kernel, "rejected": gap.rejected}
        period = Period(gap.began_ns, gap.ended_ns)
        extend(self.periods, {cause: period for cause, count in counts.items() if count})

    def __iter__(self) -> Iterator[G]:
        return iter(self._latest)

    def __len__(self) -> int:
        return len(self._latest)
