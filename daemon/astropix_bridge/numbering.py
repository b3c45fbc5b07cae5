"""Number readouts that no single relay has numbered: of several merged, or of a multicast group. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from astropix_stream.batch import Batch, Position
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger
from astropix_stream.counting.places import Place


class Numberer:
    """Gives numbers as a relay does, from 0 on, under an id of its own.

    Parameters
    ----------
    relay_id
        A random number of this start.
    """

    def __init__(self, relay_id: int) -> None:
        self.next = Position(relay_id, 0)

    def number(self, batch: Batch) -> Batch:
        """Return a batch with its position."""
        position = self.next
        self.next = Position(position.relay_id, position.sequence + len(batch))
        return replace(batch, position=position)


_KERNEL = (Place.RELAY_KERNEL, Place.CLIENT_KERNEL)
_REJECTED = (Place.RELAY_REJECTED, Place.CLIENT_REJECTED)


def relay_counts(ledger: Ledger) -> Counts:
    """Return what a receiver has lost in the words of a relay, whose place it takes."""
    lost: Mapping[Place, int] = ledger.lost_at
    in_kernel = sum(lost.get(place, 0) for place in _KERNEL)
    rejected = sum(lost.get(place, 0) for place in _REJECTED)
    return Counts(
        received=ledger.delivered,
        before_socket=ledger.lost - in_kernel - rejected,
        in_kernel=in_kernel,
        rejected={"rejected": rejected} if rejected else {},
        runs=ledger.runs,
    )
