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

from astropix_stream.monitor.drawing import Changes, limits, model
from astropix_stream.monitor.figures import new_figure
from astropix_stream.monitor.themes import Theme


def on_tap(fig: figure, source: ColumnDataSource, call: str) -> None:
    """Let the browser say where a figure was clicked: assets/panels.js knows what that means."""
    code = f"if (globalThis.panels) panels.{call}(cb_obj, source)"
    fig.js_on_event("tap", CustomJS(args={"source": source}, code=code))


def add_colours(fig: figure, theme: Theme, image: Any) -> list[Any]:
    """Give an image colours, linear and logarithmic, and a bar that explains them; see `limit_colours`.

    There are two images of one source, of which one is visible: where an image gets other colours, Bokeh
    (3.9) goes on painting with those before.

    Returns
    -------
        Both, for tools.
    """
    name = fig.name
    colours = {"palette": Cividis256, "high": 1, "nan_color": theme.empty}
    linear = LinearColorMapper(**colours, low=0, name=f"{name}.linear")
    log = LogColorMapper(**colours, low=0.1, name=f"{name}.log")
    bar = ColorBar(
        name=f"{name}.bar",
        color_mapper=linear,
        background_fill_color=None,
        major_label_text_color=theme.text,
        major_label_text_font_size=f"{theme.tick_px}px",
        bar_line_color=None,
        major_tick_line_color=theme.faint,
        width=theme.tick_px,
        padding=8,
    )
    image.glyph.color_mapper = linear
    image.name = f"{name}.of_linear"
    twin = fig.add_glyph(
        image.data_source, image.glyph.clone(color_mapper=log), level=image.level, name=f"{name}.of_log"
    )
    twin.visible = False
    fig.add_layout(bar, "right")
    return [image, twin]


def limit_colours(name: str, low: float, high: float, *, log: bool) -> Changes:
    """Colour what is between two limits, in a figure of that name."""
    mapper = f"{name}.{'log' if log else 'linear'}"
    return {
        mapper: {"low": float(low), "high": float(high)},
        f"{name}.of_linear": {"visible": not log},
        f"{name}.of_log": {"visible": log},
        f"{name}.bar": {"color_mapper": model(mapper)},
    }


def fit_colours(name: str, values: list[Any], *, log: bool) -> Changes:
    """Fit the limits to values; those that are not above 0 have no colour."""
    found = [one[one > 0] for one in values]
    some = np.concatenate(found) if found else np.zeros(0)
    low, high = (float(some.min()), float(some.max())) if len(some) else (1.0, 1.0)
    if not log:
        low = 0.0
    elif high < 1.01 * low:  # all alike: a decade, instead of a bar whose ends read the same
        low = 0.1 * high
    return limit_colours(name, low, high, log=log)


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
    fig.xaxis.name, fig.x_range.name, fig.y_range.name = f"{name}.x", f"{name}.x_range", f"{name}.y_range"
    return fig


def set_course(name: str, times: Any, values: Any, *, timed: bool, from_zero: bool = True) -> Changes:
    """Fit the axes of a figure to a course over the run."""
    found = np.asarray(values, np.float64)
    found = found[np.isfinite(found)]
    low, high = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    bottom = 0.0 if from_zero else low - room
    changes = {
        f"{name}.x": {"axis_label": "time of day" if timed else "readout id"},
        f"{name}.y_range": limits(bottom, high + (room if not from_zero else 0.1 * high or 1.0)),
    }
    if len(times):
        changes[f"{name}.x_range"] = limits(times[0], max(float(times[-1]), float(times[0]) + 1))
    return changes
