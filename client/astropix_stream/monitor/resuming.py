"""Go on where a monitor ended: whether a run does, and what was lost in between. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from astropix_stream.batch import Batch, Position
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger, place_counts
from astropix_stream.counting.places import Place
from astropix_stream.counting.track import distance
from astropix_stream.errors import WireError

_CLOSE = 0.1  # of the readouts that a run would have sent meanwhile, by which its id may differ
_SHORT_NS = 10**9  # a run that is shorter has no rate yet
_FEW = 64  # readouts by which it may differ, however few that are


def goes_on(
    first: tuple[int, int], last: tuple[int, int], then: tuple[int, int], stride: int = 1
) -> int | None:
    """Return how many readouts of a run are missing where it goes on; None if it is another run.

    Ids and timestamps have to grow. A run that began in between may have come just as far by now: where that
    is possible, the id must be about the one that the old run would have reached.

    Parameters
    ----------
    first, last
        Id and timestamp of the first and the last readout of the run that were known.
    then
        Those of a later readout of the same source.
    stride
        The DAQ multicasts one readout in `stride`.
    """
    ahead, passed_ns = distance(last[0], then[0]), then[1] - last[1]
    if ahead <= 0 or passed_ns < 0:
        return None
    missing = (ahead - 1) // stride
    lasted_ns = last[1] - first[1]
    if not missing or lasted_ns < _SHORT_NS:
        return missing
    rate = (last[0] - first[0]) / lasted_ns
    expected = rate * passed_ns
    a_new_run_may_be_there = expected + _FEW >= then[0] > _FEW
    if a_new_run_may_be_there and abs(ahead - expected) > _CLOSE * expected + _FEW:
        return None
    return missing


@dataclass
class Gap:
    """What a relay says of the time in which no monitor ran: the same relay counts on.

    Attributes
    ----------
    position
        The relay's number of the readout that was to come next.
    totals
        What the relay had counted.
    told
        What of the losses since was told already.
    """

    position: Position
    totals: Counts | None
    told: Counter[Place] = field(default_factory=Counter)
    _first: Counts | None = None

    def lost(self, ledger: Ledger, first: dict[str, Any] | None, relay_id: int | None) -> Counter[Place]:
        """Return what is known to be lost in that time, and was not told before.

        Parameters
        ----------
        ledger
            That of the receiver; `before_joining` are readouts that history does not have.
        first
            The first heartbeat that it got: what the relay counts afterwards is in the ledger.
        relay_id
            Who sent it.
        """
        if first is None or relay_id != self.position.relay_id:
            return Counter()
        lost = Counter({Place.CLIENT_AWAY: max(0, ledger.before_joining - self.position.sequence)})
        counted = counts_of(first)
        if self.totals is not None and counted is not None:
            lost.update(place_counts(counted - self.totals, Place.RELAY_KERNEL, Place.RELAY_REJECTED))
        more = lost - self.told
        self.told |= lost
        return more


def counts_of(report: dict[str, Any] | None) -> Counts | None:
    """Return what a relay has counted, by its heartbeat; None if that does not say."""
    try:
        return Counts.from_json((report or {}).get("totals"))
    except WireError:
        return None


def unseen(batch: Batch, position: Position | None) -> Batch | None:
    """Return what of a batch comes at a position or later; None if nothing does.

    A log is read from a moment on, which is a little before the position.
    """
    if position is None or batch.position is None or batch.position.relay_id != position.relay_id:
        return batch
    known = position.sequence - batch.position.sequence
    if known <= 0:
        return batch
    if known >= len(batch):
        return None
    rest = batch.part(known, len(batch))
    rest.runs = [one._replace(position=one.position - known) for one in batch.runs if one.position >= known]
    return rest
