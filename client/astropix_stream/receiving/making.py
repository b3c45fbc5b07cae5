"""Make readouts of a class out of bytes, on the shortest way that the class allows. Pure."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from astropix_stream import fmt
from astropix_stream.batch import Batch

_log = logging.getLogger(__name__)

MAX_SIZE = 65535  # bytes of the largest readout, header included

R = TypeVar("R")


class Maker(Generic[R]):
    """Makes readouts; those that the class refuses are counted and skipped.

    Parameters
    ----------
    readout_class
        Class of the readouts, with ``from_bytes(bytes)``.

    Raises
    ------
    TypeError
        The class has no ``from_bytes``.
    """

    def __init__(self, readout_class: type[R]) -> None:
        from_bytes = getattr(readout_class, "from_bytes", None)
        if from_bytes is None:
            raise TypeError(f"{readout_class!r} is not a readout class: it has no from_bytes()")
        self._readout_class = readout_class
        self._from_bytes: Callable[[bytes], R] = from_bytes
        self.from_fields, self.from_payload = _fast_ways(readout_class)
        """What makes one readout of checked fields, and many of a checked payload; None where the class has a
        way of its own."""
        self.refused = 0
        """Readouts that the class refused, or larger than the caller takes."""

    def of_batch(self, batch: Batch, max_size: int = MAX_SIZE) -> list[R]:
        """Return the readouts of a batch, of at most `max_size` bytes each."""
        if self.from_payload is not None and min(len(batch.payload), MAX_SIZE) <= max_size:
            return self.from_payload(batch.payload, batch.ends, batch.readout_ids, batch.timestamps)
        return self.of_datagrams(batch.datagrams(), max_size)

    def of_datagrams(self, datagrams: Iterable[bytes], max_size: int = MAX_SIZE) -> list[R]:
        """Return the readouts of datagrams, of at most `max_size` bytes each."""
        readouts, from_bytes = [], self._from_bytes
        for data in datagrams:
            try:
                if len(data) > max_size:
                    raise ValueError(f"a readout of {len(data)} bytes, more than max_size ({max_size})")
                readouts.append(from_bytes(data))
            except Exception as error:
                self._note_refused(error)
        return readouts

    def _note_refused(self, error: Exception) -> None:
        if not self.refused:
            _log.warning(
                "%r refused a readout, which is skipped (further ones are only counted): %s",
                self._readout_class,
                error,
            )
        self.refused += 1


def _fast_ways(readout_class: type[Any]) -> tuple[Callable[..., Any] | None, Callable[..., list[Any]] | None]:
    """Return what makes one readout of a class, or many at once, if it does the same as its from_bytes.

    The headers are checked already: these skip that, half of the time of from_bytes. A class with a
    from_bytes of its own may do more in it.
    """
    if not issubclass(readout_class, fmt.Readout):
        return None, None
    ways = ("from_bytes", "from_fields")
    if any(getattr(readout_class, way).__func__ is not getattr(fmt.Readout, way).__func__ for way in ways):
        return None, None
    return readout_class.from_fields, readout_class.from_payload
