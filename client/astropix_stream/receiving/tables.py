"""Batches of several sources to one table of hits, for `Receiver.columns`; needs NumPy."""

from typing import Any

from astropix_stream.columns import decode_batch, hit_dtype  # first: it says what to install without NumPy

# isort: split
import numpy as np
from numpy.typing import NDArray

from astropix_stream.batch import Batch, Source
from astropix_stream.errors import ConfigError
from astropix_stream.fmt import Readout, kind_of_class
from astropix_stream.joining import Joiner

MAX_JOINERS = 64  # sources whose split hits are joined: more than a network has DAQs


class HitTables:
    """Gathers hits until they are taken; split ones are joined, also from one table to the next.

    Raises
    ------
    ConfigError
        The class of readouts has no hits.
    """

    def __init__(self, readout_class: type[Any]) -> None:
        if not issubclass(readout_class, Readout):
            raise ConfigError(f"{readout_class!r} has no table of hits: it is not derived from fmt.Readout")
        self._kind = kind_of_class(readout_class)
        self._joiners: dict[Source, Joiner] = {}  # the source heard last at the end
        self._tables: list[NDArray[Any]] = []

    def add(self, batch: Batch) -> None:
        """Decode a batch, without its duplicates."""
        batch = batch.without_duplicates()
        decoded = decode_batch(
            batch.payload, self._kind, joiner=self._joiner(batch.source), run_starts=batch.run_starts
        )
        self._tables.append(decoded.hits)

    def take(self) -> NDArray[Any]:
        """Return the hits since the last call."""
        tables, self._tables = self._tables, []
        return np.concatenate([np.empty(0, hit_dtype(self._kind)), *tables])

    def _joiner(self, source: Source) -> Joiner:
        joiner = self._joiners.pop(source) if source in self._joiners else Joiner()
        self._joiners[source] = joiner
        while len(self._joiners) > MAX_JOINERS:
            del self._joiners[next(iter(self._joiners))]
        return joiner
