"""What alarms look at, out of an accumulator. Pure."""

import numpy as np

from astropix_stream.clock import Moment
from astropix_stream.counting.places import Place
from astropix_stream.fmt import Decoding
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.alarms import Reading
from astropix_stream.monitor.maps import find_hot
from astropix_stream.monitor.status import make_status

RATES_S = 600.0  # the longest time that a rule looks at
#: Decode problems; the other bits say that a hit was split between two readouts, which is as it should be.
FAULTS = tuple(
    bit for bit in Decoding if bit not in (Decoding.ORPHAN_BYTES_MATCHED, Decoding.VALID_EXTRA_BYTES)
)


def read(accumulator: Accumulator, now: Moment, *, hot: bool) -> Reading:
    """Return what there is at a moment.

    Parameters
    ----------
    accumulator
        What the page knows of the stream.
    now
        The moment.
    hot
        Whether to look for hot pixels, too, which takes a millisecond for each dozen of chips.
    """
    status, run = make_status(accumulator, now), accumulator.present
    age_s = now.s - accumulator.began.s if status.age_s is None else status.age_s
    tally = accumulator.tally(now.ns)
    counts = run.counts if run else None
    return Reading(
        now=now,
        state=status.state,
        state_text=status.state_text,
        age_s=age_s,
        rates=accumulator.rates.last(RATES_S, now.s).readouts.tolist(),
        held=tally.held - tally.late,
        lost=tally.lost_at.total() - tally.lost_at[Place.CLIENT_AWAY],
        run=run.number if run else 0,
        decoded=counts.readouts if counts else 0,
        faulty=[int(counts.problems[bit]) for bit in FAULTS] if counts else [0] * len(FAULTS),
        hot=_hot(accumulator) if hot else (),
    )


def _hot(accumulator: Accumulator) -> tuple[str, ...]:
    run = accumulator.present
    if run is None:
        return ()
    counts = run.counts
    chips = np.flatnonzero(counts.hit_map.any(axis=(1, 2))).tolist()
    return tuple(str(one.pixel) for one in find_hot(counts.hit_map, counts.geometry, chips))
