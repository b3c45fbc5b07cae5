"""What the figures of the page share: their style, axes and ranges."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, DataRange1d, NoOverlap
from bokeh.plotting import figure

from astropix_stream.monitor.drawing import model
from astropix_stream.monitor.themes import Theme
from astropix_stream.monitor.view import View

LOG_OF_NONE = 0.5  # where a logarithmic axis of counts begins
_TOOLS = "pan,box_zoom,wheel_zoom,reset"


def new_figure(theme: Theme, name: str, x_label: str, y_label: str, **options: Any) -> figure:
    """Return an empty figure in the style of the page."""
    fig = figure(
        name=name,
        tools=_TOOLS,
        active_drag="box_zoom",
        toolbar_location="right",
        toolbar_inner=False,  # else it lies over the last column or bin
        sizing_mode="stretch_both",
        min_height=100,
        x_axis_label=x_label,
        y_axis_label=y_label,
        background_fill_color=theme.background,
        border_fill_color=theme.background,
        outline_line_color=None,
        **options,
    )
    fig.toolbar.logo = None
    fig.toolbar.autohide = True
    fig.axis.axis_line_color = theme.faint
    fig.axis.major_tick_line_color = theme.faint
    fig.axis.minor_tick_line_color = None
    fig.axis.major_label_text_color = theme.text
    fig.axis.major_label_text_font_size = f"{theme.tick_px}px"
    fig.axis.axis_label_text_color = theme.faint
    fig.axis.axis_label_text_font_size = f"{theme.label_px}px"
    fig.axis.axis_label_text_font_style = "normal"
    fig.axis.major_label_policy = NoOverlap(min_distance=theme.tick_px // 2)
    fig.grid.grid_line_color = theme.grid
    return fig


def new_source(name: str, /, *columns: str, **values: list[Any]) -> ColumnDataSource:
    """Return a source of data with the name that `drawing` knows it by, and empty columns.

    Axes that follow their data want some `values` to begin with.
    """
    return ColumnDataSource({column: [] for column in columns} | values, name=name)


def from_zero(room: float = 0.08) -> DataRange1d:
    """Return a range with some room above the data."""
    return DataRange1d(start=0, range_padding=room, only_visible=True)


def style_legend(fig: figure, theme: Theme) -> None:
    """Put the legend into a line above the data."""
    legend = fig.legend
    legend.location, legend.orientation = "top_left", "horizontal"
    legend.background_fill_alpha, legend.border_line_color = 0.0, None
    legend.label_text_color, legend.label_text_font_size = theme.text, f"{theme.tick_px}px"
    legend.padding = legend.margin = 2


_COUNTS = """
if (!Number.isInteger(tick)) return ""
for (const [least, unit, letter] of [[1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]])
    if (tick >= least) return `${+(tick / unit).toFixed(2)}${letter}`
return `${tick}`
"""
_DECADES = """
if (!Number.isInteger(tick) || tick < 0) return ""
return tick < 4 ? `${10 ** tick}` : tick < 6 ? `${10 ** (tick - 3)}k` : `10^${tick}`
"""


def counts_on(axis: Any) -> None:
    """Label a count axis with whole numbers, 20 000 as 20k."""
    axis.formatter = CustomJSTickFormatter(code=_COUNTS)


class Scales:
    """The labels of an axis on which either counts are drawn or their logarithms."""

    @staticmethod
    def add(fig: figure, name: str) -> None:
        """Give both to the axis of a figure, and the axis a name."""
        fig.yaxis.name = f"{name}.y"
        counts = CustomJSTickFormatter(code=_COUNTS, name=f"{name}.counts")
        decades = CustomJSTickFormatter(code=_DECADES, name=f"{name}.decades")
        fig.yaxis.formatter = counts
        fig.tags = [*fig.tags, counts, decades]  # the browser has what something refers to

    @staticmethod
    def shown(name: str, *, log: bool) -> dict[str, Any]:
        """Return which of them the axis has."""
        return {"formatter": model(f"{name}.{'decades' if log else 'counts'}")}


def wall_ms(view: View) -> Callable[[Any], Any]:
    """Return what turns monotonic seconds into what Bokeh draws as the local time of day."""
    local = datetime.fromtimestamp(view.now.ns / 1e9).astimezone().utcoffset()
    offset_s = view.now.ns / 1e9 - view.now.s + (local.total_seconds() if local else 0.0)
    return lambda seconds: (seconds + offset_s) * 1e3


def wall_ms_of(view: View) -> Callable[[Any], Any]:
    """Return what turns ns since the Unix epoch into what Bokeh draws as the local time of day."""
    local = datetime.fromtimestamp(view.now.ns / 1e9).astimezone().utcoffset()
    offset_ms = local.total_seconds() * 1e3 if local else 0.0
    return lambda ns: ns / 1e6 + offset_ms


def drawn(counts: Any, *, log: bool) -> Any:
    """Return where counts are drawn: on a logarithmic axis, their logarithm, and of none that of a half."""
    return np.log10(np.maximum(counts, LOG_OF_NONE)) if log else counts
