"""What is counted of readouts: numbers that add up, and that travel in the relay's heartbeats. Pure."""

from dataclasses import dataclass, field, fields
from typing import Any

from astropix_stream.errors import WireError


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
