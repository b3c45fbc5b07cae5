"""The account of the readouts that a person was given, where the receiver has read further. Pure."""

from dataclasses import replace
from math import inf

from astropix_stream.batch import Batch
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.ledger import Ledger, with_readouts
from astropix_stream.counting.losses import Loss, Losses
from astropix_stream.counting.places import Place
from astropix_stream.counting.stream import StreamLedger


class Tally:
    """Counts the readouts that are handed on, up to the last one that was wanted.

    A receiver takes all that waits, and counts it. A program that ends after N readouts says what was lost
    among these. The tally knows how many, from their ids; the receiver's ledger knows where.

    Parameters
    ----------
    stride
        The DAQ multicasts one readout in `stride`.
    """

    def __init__(self, stride: int = 1) -> None:
        self._readouts = StreamLedger(stride=stride)
        self._recovered = 0
        self._last = Moment(0.0, 0)
        self._totals: Counts | None = None

    def note(self, batch: Batch) -> None:
        """Note readouts, in the order in which they are handed on."""
        self._last = Moment(max(self._last.s, batch.received_ns / 1e9), batch.received_ns)
        self._readouts.received(batch.source, batch.readout_ids, batch.timestamps, self._last)
        self._recovered += len(batch) * batch.recovered

    def close(self) -> Counts:
        """Count what is missing among them: nothing more will be noted."""
        if self._totals is None:
            self._readouts.tick(Moment(inf, self._last.ns))
            self._totals = self._readouts.totals()
        return self._totals

    def account(self, ledger: Ledger) -> Ledger:
        """Close the tally, and return the account of the readouts noted.

        Parameters
        ----------
        ledger
            That of their receiver, which may have read more of them.
        """
        totals = self.close()
        kept = _first_losses(ledger.losses, ledger.lost - totals.lost)
        lost_at = _limited(ledger, totals.lost)
        return replace(
            with_readouts(ledger, totals),
            lost_at=lost_at,
            recovered=self._recovered,
            losses=kept,
            periods=ledger.periods if len(kept) == len(ledger.losses) else Losses(kept).periods,
            paths=(),
            hops={} if Place.BETWEEN_RELAYS not in lost_at else ledger.hops,
        )


def _limited(ledger: Ledger, lost: int) -> dict[Place, int]:
    """Return where the first `lost` readouts of those were lost that a ledger knows of."""
    lost_at = {place: count for place, count in ledger.lost_at.items() if count}
    missing = lost - ledger.lost
    if missing > 0:  # the ids say so, and nothing else does
        lost_at[Place.BEFORE_SOCKET] = lost_at.get(Place.BEFORE_SOCKET, 0) + missing
    latest = [(loss.place, loss.count) for loss in reversed(ledger.losses)]
    for place, count in [*latest, *reversed(lost_at.items())]:
        taken = min(count, max(0, -missing), lost_at.get(place, 0))
        missing += taken
        lost_at[place] = lost_at.get(place, 0) - taken
    return {place: count for place, count in lost_at.items() if count}


def _first_losses(losses: tuple[Loss, ...], too_many: int) -> tuple[Loss, ...]:
    """Return losses without the latest ones, which were `too_many` readouts."""
    kept = list(losses)
    while kept and too_many > 0:
        last = kept.pop()
        if last.count > too_many:
            kept.append(replace(last, count=last.count - too_many))
        too_many -= last.count
    return tuple(kept)
