"""Figures of maps in colours, and of a course over the run: what the parts of the page make theirs of."""

from typing import Any

import numpy as np
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJS,
    DatetimeTickFormatter,
    LinearColorMapper,
    LogColorMapper,
    Range1d,
)
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from astropix_stream.monitor.figures import new_figure, set_range
from astropix_stream.monitor.themes import Theme

NOTHING = np.full((1, 1), np.nan)
"""A map without hits, for as long as there is none."""


def on_tap(fig: figure, source: ColumnDataSource, call: str) -> None:
    """Let the browser say where a figure was clicked: assets/panels.js knows what that means."""
    code = f"if (globalThis.panels) panels.{call}(cb_obj, source)"
    fig.js_on_event("tap", CustomJS(args={"source": source}, code=code))


class Colours:
    """Colours of an image, linear or logarithmic, and their bar."""

    def __init__(self, fig: figure, theme: Theme, renderer: Any) -> None:
        colours = {"palette": Cividis256, "low": 0, "high": 1, "nan_color": theme.empty}
        self._linear, self._log = LinearColorMapper(**colours), LogColorMapper(**{**colours, "low": 1})
        self._renderer = renderer
        self._bar = ColorBar(
            color_mapper=self._linear,
            background_fill_color=None,
            major_label_text_color=theme.text,
            major_label_text_font_size=f"{theme.tick_px}px",
            bar_line_color=None,
            major_tick_line_color=theme.faint,
            width=theme.tick_px,
            padding=8,
        )
        fig.add_layout(self._bar, "right")
        self.set_limits(0.0, 1.0, log=False)

    def set_limits(self, low: float, high: float, *, log: bool) -> None:
        """Colour what is between two limits."""
        mapper = self._log if log else self._linear
        mapper.update(low=low, high=high)
        if self._renderer.glyph.color_mapper is not mapper:
            self._renderer.glyph.color_mapper = mapper
            self._bar.color_mapper = mapper

    def update(self, values: list[Any], *, log: bool) -> None:
        """Fit the limits to values; those that are not above 0 have no colour."""
        found = [one[one > 0] for one in values]
        some = np.concatenate(found) if found else np.zeros(0)
        high = float(some.max()) if len(some) else 1.0
        low = float(some.min()) if log and len(some) else 0.0
        self.set_limits(low if not log or len(some) else 0.1, max(high, low * 1.0001 + 1e-9), log=log)


def keep_square(fig: figure, source: ColumnDataSource) -> None:
    """Let the browser keep pixels square; the source has the number of columns and rows."""
    models = {"fig": fig, "image": source}
    square = CustomJS(args=models, code="if (globalThis.apx) apx.squarePixels(fig, image)")
    for attribute in ("inner_width", "inner_height"):
        fig.js_on_change(attribute, square)
    source.js_on_change("data", square)


def without_hits_empty(values: Any) -> Any:
    """Leave pixels without hits to the colour of nothing."""
    return np.where(values > 0, values, np.nan)


def course_figure(theme: Theme, name: str, y_label: str) -> figure:
    """Return an empty figure over time."""
    fig = new_figure(
        theme, name, "time of day", y_label,
        x_axis_type="datetime", x_range=Range1d(0, 1), y_range=Range1d(0, 1),
    )  # fmt: skip
    fig.xaxis.formatter = DatetimeTickFormatter(
        seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
        days="%d %b %H:%M", strip_leading_zeros=False,
    )  # fmt: skip
    fig.xaxis.ticker.desired_num_ticks = 5
    return fig


def set_course(fig: figure, times: Any, values: Any, *, timed: bool, from_zero: bool = True) -> None:
    """Fit the axes of a figure to a course over the run."""
    fig.xaxis.axis_label = "time of day" if timed else "readout id"
    if len(times):
        set_range(fig.x_range, float(times[0]), max(float(times[-1]), float(times[0]) + 1))
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    set_range(
        fig.y_range, 0.0 if from_zero else low - room, high + (room if not from_zero else 0.1 * high or 1.0)
    )
