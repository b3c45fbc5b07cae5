"""Which readouts of a file are duplicates, where runs begin, and what is missing. Pure."""

from astropix_stream.batch import Batch
from astropix_stream.clock import Moment
from astropix_stream.counting.counts import Counts
from astropix_stream.counting.stream import StreamLedger

_AFTER_ALL = Moment(float("inf"), 0)


class Sequence:
    """Follows the readouts of a file in the order in which they stand there."""

    def __init__(self) -> None:
        self._ledger = StreamLedger()

    def note(self, batch: Batch) -> None:
        """Note readouts, and tell the batch where runs begin in it and which readouts are duplicates."""
        self._ledger.note(batch, Moment(0.0, batch.timestamps[-1]))  # in a file no time passes

    def totals(self) -> Counts:
        """Return what was counted, at the end of the file."""
        self._ledger.tick(_AFTER_ALL)
        return self._ledger.totals()
