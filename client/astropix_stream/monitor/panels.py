"""The parts of the page that are worked out only while somebody looks at them. Pure."""

from collections.abc import Callable
from typing import TypeAlias

from astropix_stream.monitor import chips, correlations, events, pixels, trend
from astropix_stream.monitor.accumulate import Accumulator
from astropix_stream.monitor.chips import ChipsPanel
from astropix_stream.monitor.correlations import CorrelationsPanel
from astropix_stream.monitor.events import EventsPanel
from astropix_stream.monitor.pixels import PixelPanel
from astropix_stream.monitor.shown import Shown
from astropix_stream.monitor.trend import TrendPanel

Panel: TypeAlias = ChipsPanel | PixelPanel | TrendPanel | CorrelationsPanel | EventsPanel

_MAKE: dict[str, Callable[[Shown, Accumulator], Panel]] = {
    "chips": chips.make,
    "pixel": pixels.make,
    "spectrum": trend.make,
    "correlations": correlations.make,
    "readouts": events.make,
}


def make(shown: Shown, accumulator: Accumulator) -> Panel | None:
    """Work out what the open part of the page shows; None for the overview, which has nothing of its own."""
    part = _MAKE.get(shown.choice.panel)
    return None if part is None else part(shown, accumulator)
