"""Which readouts of a file are duplicates, where runs begin, and what is missing. Pure."""

from collections import OrderedDict

from astropix_stream.batch import Batch
from astropix_stream.clock import Moment
from astropix_stream.counting.ledger import Counts, StreamLedger

_AFTER_ALL = Moment(float("inf"), 0)
_REMEMBERED = 8192  # readouts


class Sequence:
    """Follows the readouts of a file in the order in which they stand there."""

    def __init__(self) -> None:
        self._ledger = StreamLedger()
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def note(self, batch: Batch) -> None:
        """Note readouts, and tell the batch where runs begin in it and which readouts are duplicates."""
        newest_ns = batch.timestamps[-1]
        now = Moment(newest_ns / 1e9, newest_ns)
        batch.runs = self._ledger.received(batch.source, batch.readout_ids, batch.timestamps, now)
        batch.duplicates = bytes(map(self._came_before, batch.datagrams()))

    def _came_before(self, raw: bytes) -> bool:
        if raw in self._seen:
            return True
        self._seen[raw] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def totals(self) -> Counts:
        """Return what was counted, at the end of the file."""
        self._ledger.tick(_AFTER_ALL)
        return self._ledger.totals()
