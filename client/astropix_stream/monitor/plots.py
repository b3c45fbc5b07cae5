"""The figures of the page: what `view.View` holds, in Bokeh's models."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
from bokeh.models import (
    AllLabels,
    ColorBar,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    DataRange1d,
    DatetimeTickFormatter,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    NoOverlap,
    Range1d,
)
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from astropix_stream import numbers
from astropix_stream.monitor.geometry import DEFAULT
from astropix_stream.monitor.themes import MAX_LOSS_MARKERS, Theme
from astropix_stream.monitor.view import View, map_values, problem_names, shown_problems

_TOOLS = "pan,box_zoom,wheel_zoom,reset"


class Plots:
    """The figures of one viewer.

    Parameters
    ----------
    theme
        Colours and sizes.
    """

    def __init__(self, theme: Theme) -> None:
        self.hit_map = HitMap(theme)
        self.tot = TotSpectrum(theme)
        self.rates = Rates(theme)
        self.per_readout = PerReadout(theme)
        self.problems = Problems(theme)
        self.profiles = Profiles(theme)

    def figures(self) -> dict[str, figure]:
        """Return each figure by its name, which is also that of its data in the export."""
        return {
            "hit_map": self.hit_map.figure,
            "tot": self.tot.figure,
            "rates": self.rates.figure,
            "per_readout": self.per_readout.figure,
            "problems": self.problems.figure,
            "profiles": self.profiles.figure,
        }

    def update(self, view: View) -> None:
        """Show another view."""
        self.hit_map.update(view)
        self.tot.update(view)
        self.rates.update(view)
        self.per_readout.update(view)
        self.problems.update(view)
        self.profiles.update(view)


def _figure(theme: Theme, name: str, x_label: str, y_label: str, **options: Any) -> figure:
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


def _from_zero(room: float = 0.08) -> DataRange1d:
    """Return a range with some room above the data."""
    return DataRange1d(start=0, range_padding=room, only_visible=True)


def _style_legend(fig: figure, theme: Theme) -> None:
    legend = fig.legend
    legend.location, legend.orientation = "top_left", "horizontal"
    legend.background_fill_alpha, legend.border_line_color = 0.0, None
    legend.label_text_color, legend.label_text_font_size = theme.text, f"{theme.tick_px}px"
    legend.padding = legend.margin = 2


def _counts_on(axis: Any) -> None:
    """Label a count axis with whole numbers, 20 000 as 20k."""
    axis.formatter = CustomJSTickFormatter(
        code="""
        if (!Number.isInteger(tick)) return ""
        for (const [least, unit, letter] of [[1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]])
            if (tick >= least) return `${+(tick / unit).toFixed(2)}${letter}`
        return `${tick}`
        """
    )


class HitMap:
    """Columns and rows of the chip, in colours."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme,
            "hit_map",
            "column",
            "row",
            x_range=Range1d(-0.5, DEFAULT.kind.columns - 0.5),
            y_range=Range1d(-0.5, DEFAULT.kind.rows - 0.5),
        )
        fig.grid.visible = False
        fig.title.update(
            align="right",
            text_color=theme.faint,
            text_font_size=f"{theme.label_px}px",
            text_font_style="normal",
        )  # of the colours; a title of the bar itself stands on its side
        fig.axis.minor_tick_line_color = None
        self._image = ColumnDataSource({"columns": [DEFAULT.kind.columns], "rows": [DEFAULT.kind.rows]})
        self._masked = ColumnDataSource({"x": [], "y": []})
        colours = {"palette": Cividis256, "low": 0, "high": 1, "nan_color": theme.empty}
        self._linear, self._log = LinearColorMapper(**colours), LogColorMapper(**{**colours, "low": 1})
        self._renderer = fig.image(
            "shown", x=-0.5, y=-0.5, dw="columns", dh="rows", color_mapper=self._linear, source=self._image
        )
        fig.scatter(
            "x", "y", marker="x", size=theme.tick_px, line_width=2, color=theme.faint, source=self._masked
        )
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
        tips = [("column, row", "$x{0}, $y{0}"), ("hits", "@hits{0,0}"), ("mean TOT", "@tot{0.0} µs")]
        fig.add_tools(HoverTool(renderers=[self._renderer], tooltips=tips))
        models = {"fig": fig, "image": self._image}
        square = CustomJS(args=models, code="if (globalThis.apx) apx.squarePixels(fig, image)")
        for attribute in ("inner_width", "inner_height"):
            fig.js_on_change(attribute, square)
        self._image.js_on_change("data", square)

    def update(self, view: View) -> None:
        """Show another view."""
        shown, title, (low, high) = map_values(view)
        rows, columns = shown.shape
        self._image.data = {
            "shown": [shown],
            "hits": [view.hit_map.astype(np.float64)],
            "tot": [view.mean_tot_us],
            "columns": [columns],
            "rows": [rows],
        }
        y, x = np.nonzero(view.masked)
        self._masked.data = {"x": x, "y": y}
        mapper = self._log if view.choice.log else self._linear
        mapper.update(low=low, high=high)
        if self._renderer.glyph.color_mapper is not mapper:
            self._renderer.glyph.color_mapper = mapper
            self._bar.color_mapper = mapper
        self.figure.title.text = title


class TotSpectrum:
    """Hits by TOT."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme, "tot", "time over threshold [µs]", "hits", x_range=Range1d(0, 1), y_range=_from_zero()
        )
        self._bars = ColumnDataSource({"left": [], "right": [], "hits": []})
        self._outline = ColumnDataSource({"x": [], "y": []})
        bars = fig.quad(
            left="left", right="right", bottom=0, top="hits", source=self._bars,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill, line_width=1,
        )  # fmt: skip
        fig.step("x", "y", source=self._outline, mode="after", color=theme.outline, line_width=2)
        fig.add_tools(
            HoverTool(
                renderers=[bars],
                tooltips=[("TOT", "@left{0.[0]} to @right{0.[0]} µs"), ("hits", "@hits{0,0}")],
                mode="vline",
            )
        )
        _counts_on(fig.yaxis)

    def update(self, view: View) -> None:
        """Show another view."""
        edges = view.tot_edges_us
        self._bars.data = {"left": edges[:-1], "right": edges[1:], "hits": view.tot}
        self._outline.data = _steps(edges, view.tot_outline)
        axis = self.figure.x_range
        if (axis.reset_start, axis.reset_end) != (edges[0], edges[-1]):
            axis.update(start=edges[0], end=edges[-1], reset_start=edges[0], reset_end=edges[-1])


def _steps(edges: Any, counts: Any) -> dict[str, Any]:
    """Return a histogram's outline for a step line: the last count stands for one more edge."""
    if not len(counts):
        return {"x": [], "y": []}
    return {"x": edges, "y": np.append(counts, counts[-1])}


class Rates:
    """Readouts and hits per second, and when readouts were lost."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme,
            "rates",
            "time of day",
            "per second",
            x_axis_type="datetime",
            x_range=DataRange1d(range_padding=0),
            y_range=_from_zero(room=0.25),  # for the legend
        )
        self._rates = ColumnDataSource({"t": [], "readouts": [], "hits": []})
        self._lost = ColumnDataSource({"t": [], "lost": [], "y": []})
        self._window = ColumnDataSource({"t": [], "y": []})
        fig.scatter("t", "y", source=self._window, alpha=0)  # so that the axis spans the whole window
        lost = fig.vspan(x="t", source=self._lost, line_color=theme.lost, line_width=1, line_alpha=0.6)
        marks = fig.scatter(
            "t", "y", source=self._lost, marker="triangle", size=14, color=theme.lost,
            legend_label="lost",
        )  # fmt: skip
        lost.level = marks.level = "overlay"
        line = fig.step(
            "t", "readouts", source=self._rates, mode="center", color=theme.readouts, line_width=2,
            legend_label="readouts",
        )  # fmt: skip
        fig.step(
            "t", "hits", source=self._rates, mode="center", color=theme.hits, line_width=2,
            line_dash="4 2", legend_label="hits",
        )  # fmt: skip
        time = {"@t": "datetime"}
        tips = [("time", "@t{%H:%M:%S}"), ("readouts/s", "@readouts{0,0.[0]}"), ("hits/s", "@hits{0,0.[0]}")]
        fig.add_tools(
            HoverTool(renderers=[line], tooltips=tips, formatters=time, mode="vline"),
            HoverTool(
                renderers=[marks], formatters=time,
                tooltips=[("time", "@t{%H:%M:%S}"), ("lost", "@lost{0,0} readouts")],
            ),
        )  # fmt: skip
        fig.xaxis.formatter = DatetimeTickFormatter(
            seconds="%H:%M:%S", minsec="%H:%M:%S", minutes="%H:%M", hourmin="%H:%M", hours="%H:%M",
            days="%d %b %H:%M", strip_leading_zeros=False,
        )  # fmt: skip
        fig.xaxis.ticker.desired_num_ticks = 5
        self._losses = ColumnDataSource({"t": [], "lost": []})
        self._loss_line = fig.step(
            "t", "lost", source=self._losses, mode="center", color=theme.lost, line_width=2,
            line_dash="1 2", legend_label="lost/s",
        )  # fmt: skip
        self._lost_label, self._loss_line_label = fig.legend.items[0], fig.legend.items[-1]
        _style_legend(fig, theme)
        _counts_on(fig.yaxis)

    def update(self, view: View) -> None:
        """Show another view."""
        series, to_ms = view.series, _wall_ms(view)
        middles = to_ms(series.begins_s + series.width_s / 2)
        self._rates.data = {"t": middles, "readouts": series.readouts, "hits": series.hits}
        losing = np.flatnonzero(series.lost)
        many = len(losing) > MAX_LOSS_MARKERS
        self._lost_label.visible = len(losing) > 0 and not many
        self._loss_line.visible = self._loss_line_label.visible = many
        self._losses.data = {
            "t": middles if many else [],
            "lost": series.lost / series.width_s if many else [],
        }
        losing = losing[:0] if many else losing
        self._lost.data = {"t": middles[losing], "lost": series.lost[losing], "y": np.zeros(len(losing))}
        window_s = 60.0 * view.choice.window_min
        if len(middles):  # a page that was just opened has no use for ten empty minutes
            window_s = min(window_s, max(60.0, series.until_s - series.begins_s[0]))
        ends = np.array([series.until_s - window_s, series.until_s])
        self._window.data = {"t": to_ms(ends), "y": np.zeros(2)}


def _wall_ms(view: View) -> Callable[[Any], Any]:
    """Return what turns monotonic seconds into what Bokeh draws as the local time of day."""
    local = datetime.fromtimestamp(view.now.ns / 1e9).astimezone().utcoffset()
    offset_s = view.now.ns / 1e9 - view.now.s + (local.total_seconds() if local else 0.0)
    return lambda seconds: (seconds + offset_s) * 1e3


class PerReadout:
    """How many hits readouts have."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme, "per_readout", "hits in a readout", "readouts",
            x_range=DataRange1d(range_padding=0.02), y_range=_from_zero(),
        )  # fmt: skip
        self._bars = ColumnDataSource({"n": [], "readouts": []})
        self._outline = ColumnDataSource({"x": [], "y": []})
        bars = fig.vbar(
            x="n", top="readouts", width=0.9, source=self._bars,
            fill_color=theme.fill, fill_alpha=0.75, line_color=theme.fill,
        )  # fmt: skip
        fig.step("x", "y", source=self._outline, mode="after", color=theme.outline, line_width=2)
        tips = [("hits", "@n"), ("readouts", "@readouts{0,0}")]
        fig.add_tools(HoverTool(renderers=[bars], tooltips=tips, mode="vline"))
        _counts_on(fig.axis)

    def update(self, view: View) -> None:
        """Show another view."""
        self._bars.data = {"n": np.arange(len(view.per_readout)), "readouts": view.per_readout}
        edges = np.arange(len(view.per_readout_outline) + 1) - 0.5
        self._outline.data = _steps(edges, view.per_readout_outline)


class Problems:
    """Readouts in which something was wrong, by status bit."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme, "problems", "readouts", "",
            x_range=DataRange1d(start=0, range_padding=0.05, default_span=10),
            y_range=[f"{name}: 0" for name in reversed(problem_names(DEFAULT).values())],
        )  # fmt: skip
        self._bars = ColumnDataSource({"name": [], "readouts": []})
        bars = fig.hbar(
            y="name", right="readouts", height=0.7, source=self._bars, fill_color=theme.lost, line_color=None
        )
        fig.add_tools(
            HoverTool(renderers=[bars], tooltips=[("@name", "@readouts{0,0} readouts")], mode="hline")
        )
        fig.ygrid.visible = False
        fig.yaxis.major_label_policy = AllLabels()
        _counts_on(fig.xaxis)

    def update(self, view: View) -> None:
        """Show another view."""
        # The figure stands in the label, where there is room for it: beside a long bar it would be cut.
        shown = {f"{name}: {numbers.grouped(count)}": count for name, count in shown_problems(view).items()}
        factors = list(reversed(shown))
        if factors != self.figure.y_range.factors:
            self.figure.y_range.factors = factors
        self._bars.data = {"name": list(shown), "readouts": list(shown.values())}


class Profiles:
    """Half hits by row and by column; shown where a hit is one of these."""

    def __init__(self, theme: Theme) -> None:
        self.figure = fig = _figure(
            theme, "profiles", "row or column", "half hits",
            x_range=Range1d(-0.5, 0.5), y_range=Range1d(0, 1),
        )  # fmt: skip  # a range that follows its data complains while the card is hidden
        self._lines = ColumnDataSource({"n": [], "rows": [], "columns": []})
        rows = fig.step(
            "n", "rows", source=self._lines, mode="center", color=theme.readouts, line_width=2,
            legend_label="rows",
        )  # fmt: skip
        fig.step(
            "n", "columns", source=self._lines, mode="center", color=theme.hits, line_width=2,
            line_dash="4 2", legend_label="columns",
        )  # fmt: skip
        tips = [("row or column", "@n"), ("rows", "@rows{0,0}"), ("columns", "@columns{0,0}")]
        fig.add_tools(HoverTool(renderers=[rows], tooltips=tips, mode="vline"))
        _style_legend(fig, theme)
        _counts_on(fig.axis)

    def update(self, view: View) -> None:
        """Show another view."""
        rows, columns = view.rows, view.columns
        size = max(len(rows), len(columns))
        high = 1.25 * max(1, *rows.tolist(), *columns.tolist()) if size else 1  # room for the legend
        self.figure.x_range.update(end=size - 0.5, reset_end=size - 0.5)
        self.figure.y_range.update(end=high, reset_end=high)
        self._lines.data = {
            "n": np.arange(size),
            "rows": np.pad(rows, (0, size - len(rows))),
            "columns": np.pad(columns, (0, size - len(columns))),
        }
