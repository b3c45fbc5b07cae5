"""Files of readouts to compare runs with: ``apx monitor URL --reference run.apx``."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astropix_stream import clock
from astropix_stream.errors import ConfigError, ReceiveTimeout
from astropix_stream.fmt import ASTROPIX4, Kind, kind_of
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.arrivals import Arrival
from astropix_stream.monitor.runs import RunData
from astropix_stream.opening import open_receiver
from astropix_stream.url import SourceUrl


def read_references(paths: Sequence[Path], kind: Kind | None = None) -> list[RunData]:
    """Read files; return what was counted in each: of several runs in a file, those of the longest.

    Parameters
    ----------
    paths
        Of files of any format.
    kind
        What their readouts are; None takes the file's word for it, and AstroPix 4 without.

    Raises
    ------
    ConfigError, FormatError, OSError
        One cannot be read, or has no readouts.
    """
    return [_read(path, number, kind) for number, path in enumerate(paths, 1)]


def _read(path: Path, number: int, kind: Kind | None) -> RunData:
    readout_class: Any = (kind or ASTROPIX4).readout_class
    accumulator = Accumulator(clock.now(), str(path), kind or ASTROPIX4)
    with open_receiver(readout_class, SourceUrl("file", "", 0, path=str(path)), any_kind=True) as receiver:
        if kind is None and receiver.readout_uid is not None:
            accumulator.set_kind(kind_of(receiver.readout_uid))
        while not receiver.ended:
            with contextlib.suppress(ReceiveTimeout):
                accumulator.take([Arrival(receiver.receive_batch(), clock.now())])
    if not accumulator.runs:
        raise ConfigError(f"--reference {path}: there are no readouts in it")
    run = max(accumulator.runs, key=lambda one: one.counts.readouts)
    run.number, run.reference = number, path.name
    return run
